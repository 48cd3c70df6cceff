"""Model weights: the catalogue, downloads, verification and safe loading."""
