"""The Python environment: install it, lock it."""
