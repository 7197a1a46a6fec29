"""Reports of results: one HTML file for a scene or for many, which opens from disk without a network."""
