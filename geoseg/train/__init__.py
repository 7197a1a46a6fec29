"""Fitting a network: settings, the loop, checkpoints, charts."""
