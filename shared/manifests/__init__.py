"""Manifests: copies of accepted jobs in the object storage, from which Redis can be rebuilt."""
