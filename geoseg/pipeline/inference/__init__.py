"""Inference over annotated projects: typed settings of a config, what the result will be, the run."""
