"""Fitting a network: settings, the loop, checkpoints, charts; ``geoseg.training`` is its function."""
