"""Containers: images, compose and health checks."""
