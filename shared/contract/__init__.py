"""The HTTP contract: requests and resources, and how a job becomes a resource."""
