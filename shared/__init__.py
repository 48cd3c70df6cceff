"""What the API and the workers have in common: contracts, the job record, storage, queue, webhooks.

Imports neither torch, numpy nor OpenCV, so that the API stays small.
"""
