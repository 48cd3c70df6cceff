"""The embedded stack: all processes of the service on one machine, without Docker."""
