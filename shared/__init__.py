"""Code of both the API and the workers: contract, job record, storage, queue, webhooks.

It imports no torch, numpy or OpenCV, so that the API stays small.
"""
