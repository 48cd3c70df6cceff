"""The service beside the least that one would write by hand: ``make bench-service``."""
