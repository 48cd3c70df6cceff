"""The background: enlarges a photo two or four times with Real-ESRGAN (arXiv 2107.10833).

``rrdbnet`` is the network; ``ncnn_weights`` reads weights in ncnn's format. ``upscaler`` enlarges an
image of any size with a network, tile by tile. ``photo_enlarger`` enlarges a photo with its alpha.
"""

from worker.engine.background.load_enlarger import load_enlarger
from worker.engine.background.photo_enlarger import MAX_PIXELS, PhotoEnlarger, no_enlarger

__all__ = ["MAX_PIXELS", "PhotoEnlarger", "load_enlarger", "no_enlarger"]
