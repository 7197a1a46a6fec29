"""Fitting a network: settings, Lightning module, checkpoints, charts."""
