"""S3-compatible object storage: the bucket and the names of the objects in it."""
