"""Evaluation of files: predictions against truth, rasters and vectors alike."""
