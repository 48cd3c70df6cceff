"""The engine in a process of its own: what crashes it costs a child, not the worker.

The worker's side (``engine`` and what it stands on) knows no torch, OpenCV, numpy or Pillow; the
child's (``__main__``, ``workbench``) knows no Redis, S3 or secret. Between them: ``wire``.
"""
