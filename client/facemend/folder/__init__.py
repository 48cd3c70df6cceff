"""Folders of photos: which files are photos, names of results, what was done before."""
