"""Provenance: signed statements about how a result was made, and the keys that check them."""
