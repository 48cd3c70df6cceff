"""Docker images, files for Docker Compose, and the health check."""
