"""``facemend watch``: restore the photos that arrive in a folder."""
