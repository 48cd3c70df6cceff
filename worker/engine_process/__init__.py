"""The engine in a process of its own, so that a crash of the engine does not end the worker.

The worker's side (``supervisor``, ``process``) imports no torch, OpenCV, numpy or Pillow. The side
of the engine process (``__main__``, ``request_handler``) has no access to Redis, S3 or secrets.
Both use ``protocol``.
"""
