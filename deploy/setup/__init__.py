"""The Python environment of a checkout: install it, and lock its packages."""
