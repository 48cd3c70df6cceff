"""``facemend doctor``: check the installation."""
