"""The faces of a photo: detection, selection, alignment, postprocessing and pasting."""
