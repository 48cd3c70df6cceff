"""Commands for models: the catalogue, models of one's own, quality and speed."""
