"""What starts processes: the embedded stack, the environment, containers."""
