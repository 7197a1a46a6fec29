"""The demonstration: a generated town with known footprints, and the main job run on it."""
