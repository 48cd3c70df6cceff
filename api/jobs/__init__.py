"""From a request to an accepted job, and waiting for its end."""
