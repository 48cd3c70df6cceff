"""Photos to learn from: reading, spoiling and aligning them."""
