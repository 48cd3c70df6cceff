"""``facemend verify``: check a result against its signed manifest."""
