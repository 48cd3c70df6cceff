"""Weight files: the catalogue, downloads and checked loading."""
