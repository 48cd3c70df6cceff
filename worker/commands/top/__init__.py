"""``facemend top``: a live view of the service."""
