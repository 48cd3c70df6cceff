"""The background: enlarges a photo two or four times.

``upscaler`` enlarges an image of any size with a network, tile by tile. ``rrdbnet`` is that of
Real-ESRGAN (arXiv 2107.10833); ``ncnn_weights`` reads its weights in ncnn's format.
``photo_enlarger`` enlarges a photo with its alpha.
"""

from worker.engine.background.photo_enlarger import MAX_PIXELS, PhotoEnlarger, no_enlarger

__all__ = ["MAX_PIXELS", "PhotoEnlarger", "no_enlarger"]
