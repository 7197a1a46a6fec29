"""Pictures of scenes and footprints."""
