"""Faces in a photo: detect, select, align, judge and paste back."""
