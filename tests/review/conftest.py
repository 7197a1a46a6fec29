"""Fixtures of the review's tests."""

from reviews_made import footprints, project, project_review, review, scene, target

__all__ = ["footprints", "project", "project_review", "review", "scene", "target"]
