"""The background, two or four times as large, by Real-ESRGAN: a deep part behind one small door.

The network (``rrdbnet``), its weights as ncnn keeps them (``ncnn_weights``), a picture of any size
through it (``upscaler``, ``tiles``), a photo with all that belongs to one (``enlarger``).
"""

from worker.engine.background.load_enlarger import load_enlarger
from worker.engine.background.photo_enlarger import MAX_PIXELS, PhotoEnlarger, no_enlarger

__all__ = ["MAX_PIXELS", "PhotoEnlarger", "load_enlarger", "no_enlarger"]
