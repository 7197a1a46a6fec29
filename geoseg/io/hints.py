"""What the header of a class or probability raster says of the meaning of its values."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from geoseg.errors import SceneError
from geoseg.io.gdal_env import opened_header
from geoseg.raster.source import RasterHints
from geoseg.typing import PathLike

__all__ = ["PROVENANCE_TAG", "SETTINGS_TAG", "hints_of", "named_classes", "read_hints"]

#: Tag of a raster of probabilities: the settings of its run that decide footprints, as JSON.
SETTINGS_TAG = "GEOSEG_SETTINGS"
#: Tag of each raster that a run writes: what it was made from and how, as JSON.
PROVENANCE_TAG = "GEOSEG_PROVENANCE"


def read_hints(path: PathLike, bands: Sequence[int]) -> RasterHints:
    """Read the hints of some bands (1-based) of a raster.

    Raises
    ------
    MissingFileError, SceneError
        As for :func:`geoseg.io.sources.open_raster`, and bands whose scales differ.
    """
    with opened_header(os.fspath(path)) as dataset:
        return hints_of(dataset, path, bands)


def hints_of(dataset: Any, path: PathLike, bands: Sequence[int]) -> RasterHints:
    """The hints of an open raster; as :func:`read_hints`."""
    stated = {(dataset.scales[band - 1], dataset.offsets[band - 1]) for band in bands}
    if len(stated) > 1:
        raise SceneError(
            f"bands must state one scale and offset, got {sorted(stated)} in {path}. Choose such bands."
        )
    scale, offset = stated.pop()
    return RasterHints(
        scale=float(scale),
        offset=float(offset),
        descriptions=tuple(dataset.descriptions[band - 1] or "" for band in bands),
        class_names=named_classes(dataset.tags()),
        settings=_kept_object(dataset.tags().get(SETTINGS_TAG)),
        provenance=_kept_object(dataset.tags().get(PROVENANCE_TAG)),
    )


def _kept_object(text: str | None) -> dict[str, Any]:
    """What a tag keeps as JSON; nothing where it is missing or of another program."""
    # Anybody may write a tag of this name: settings that it holds are checked again where they are used.
    try:
        kept = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def named_classes(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the values 1, 2, ... as far as tags give them without a gap.

    Examples
    --------
    >>> named_classes({"class_2": "road", "class_1": "building", "AREA_OR_POINT": "Area"})
    ('building', 'road')
    >>> named_classes({"class_2": "road"})
    ()
    """
    names: list[str] = []
    while (name := tags.get(f"class_{len(names) + 1}")) is not None:
        names.append(name)
    return tuple(names)
