"""Commands that prepare and run a training."""
