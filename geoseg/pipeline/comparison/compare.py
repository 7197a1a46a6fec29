"""Two projects or two files of footprints, told apart by what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from geoseg.errors import InputError
from geoseg.io.vectors import is_vector_file
from geoseg.pipeline.comparison.result import Comparison
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["compare"]


def compare(
    before: PathLike,
    after: PathLike,
    *,
    truth: PathLike | None = None,
    tag: str | None = None,
    classes: Mapping[str, str] | None = None,
    aoi: PathLike | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare two predictions of the same ground: the command ``geoseg compare``.

    Parameters
    ----------
    before, after
        Two annotated projects with the same images, or two vector files.
    truth
        What is true: a project for projects, a vector file for files.
    tag
        Projects: truth counts on images with this tag only, such as ``qa`` for those that a review drew at
        random.
    classes
        Projects: titles to compare, and what they are called in the truth. None: all that both have, but for
        backgrounds; ``road_unet`` is ``road`` in the truth.
    aoi
        Files: vector file with the ground to look at.
    progress
        Told how far it is.

    Returns
    -------
    Comparison
        What changed place by place, the most changed first; with a truth how good both are, as a whole with
        exact 95 % intervals.

    Raises
    ------
    InputError
        The two can't be compared.
    """
    sides = [before, after, *([truth] if truth is not None else [])]
    folders = [Path(side).is_dir() and not is_vector_file(side) for side in sides]
    if all(folders):
        if aoi is not None:
            raise InputError("aoi must go with vector files, got projects. Leave it out, or give a tag.")
        from geoseg.pipeline.comparison.projects import compare_projects

        return compare_projects(before, after, truth=truth, tag=tag, classes=classes, progress=progress)
    if any(folders):
        raise InputError(
            f"all must be projects or all vector files, got {', '.join(map(str, sides))}. "
            "Export a project with geoseg project export."
        )
    for name, value in (("tag", tag), ("class", classes)):
        if value:
            raise InputError(f"{name} must go with projects, got vector files. Leave it out.")
    from geoseg.pipeline.comparison.footprints import compare_footprints

    return compare_footprints(before, after, truth=truth, aoi=aoi, progress=progress)
