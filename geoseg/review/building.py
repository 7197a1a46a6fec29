"""The index of a review made of what is reviewed: before the journal, and when the index is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.files import json_digest, json_text
from geoseg.geo.geobox import GeoBox
from geoseg.raster.source import RasterSource
from geoseg.review.folder import Images, settings_key
from geoseg.review.index import Index
from geoseg.review.places import add_shares, block_scores, image_places, scene_places
from geoseg.review.ranking import draw_qa
from geoseg.review.rows import Place
from geoseg.review.targets import ProjectTarget, SceneTarget
from geoseg.typing import Array, Progress

__all__ = ["open_index"]


def open_index(
    path: Path,
    target: SceneTarget | ProjectTarget,
    settings: Mapping[str, Any],
    images: Images,
    journal_size: int,
    probability: RasterSource | None,
    progress: Progress,
) -> Index:
    """The index at ``path``, or a new one of the base alone, to which the journal is still to be applied.

    Parameters
    ----------
    settings
        The review's own.
    images
        Its images; those that the index does not know yet are added.
    journal_size
        Bytes of the journal.
    probability
        Probabilities on the scene's grid, by which its places are ranked.
    progress
        Told how far reading and ranking are.
    """
    key = settings_key(settings)
    index = Index.open(path, key)
    if index is not None and index.get("journal", 0) > journal_size:
        # The journal was cut by hand: the index knows of edits that are no more.
        index.close()
        index = Index.open(path, "")
    if index is None:
        index = Index.create(path, key)
        with index.transaction():
            if isinstance(target, SceneTarget):
                index.add_image(0, images.names[0])
                known = _import_footprints(index, target, settings["block"], progress)
                _import_before(index, target, settings["before"], progress)
                index.add_places(_scene_places(target, settings, *known, probability, progress))
            # Last: a process killed before leaves an index that counts as none, and it is made anew.
            index.complete()
    elif isinstance(target, SceneTarget) and index.get("before") != json_digest(settings["before"]):
        with index.transaction():
            _import_before(index, target, settings["before"], progress)
    if isinstance(target, ProjectTarget) and index.image_count() < len(images.names):
        with index.transaction():
            for number in range(index.image_count(), len(images.names)):
                index.add_image(number, images.names[number])
            # Ranked anew as a whole: images that joined may be more uncertain than those that wait, and marks
            # stay.
            kept = {place.id: place.status for place in index.places()}
            index.add_places(image_places(target, images.names, images.qa, settings["seed"]))
            for place, status in kept.items():
                index.mark(place, status)
    return index


def _import_footprints(
    index: Index, target: SceneTarget, block: int, progress: Progress
) -> tuple[Array, Array]:
    """Take the footprints in; what share of each block they cover, and expect to be wrong (NaN: unknown)."""
    height, width = target.scene.geobox.shape
    largest_id = number = 0
    doubt = np.full((-(-height // block), -(-width // block)), np.nan)
    covered = np.zeros(doubt.shape)
    source = target.footprints
    count = 0 if source is None else source.count
    for rows in target.read(source) if source is not None else ():
        # Numbers of rows, so that an index made anew gives each footprint the id that the journal knows
        # it by.
        ids = (rows.rows + 1).tolist()
        index.add_polygons(ids, 0, rows.classes, rows.values, rows.pixels, rows.ground)
        add_shares(covered, doubt, block, rows.pixels, rows.confidence)
        largest_id = max(largest_id, rows.largest_id)
        number += len(ids)
        progress("footprints", number, count)
    index.put("next_id", count + 1)
    index.put("base_count", count)
    # Footprints that are drawn get ids above those of the file, which other tables may refer to.
    index.put("base_ids", largest_id)
    index.put("left_out", count - number)
    index.put("schema", json_text(target.schema()))
    index.set_image(0, None, [])
    return covered, doubt


def _import_before(index: Index, target: SceneTarget, identity: Any, progress: Progress) -> None:
    """Take in what the footprints are compared with, under ids from -1 downwards, in place of another."""
    index.remove_before()
    number = 0
    for rows in target.read(target.before) if target.before is not None else ():
        ids = (-(rows.rows + 1)).tolist()
        index.add_polygons(ids, 0, rows.classes, rows.values, rows.pixels, rows.ground)
        number += len(ids)
        progress("footprints before", number, target.before.count if target.before is not None else 0)
    index.put("before", json_digest(identity))


def _scene_places(
    target: SceneTarget,
    settings: Mapping[str, Any],
    covered: Array,
    doubt: Array,
    probability: RasterSource | None,
    progress: Progress,
) -> list[Place]:
    shape, block, seed = target.scene.geobox.shape, settings["block"], settings["seed"]
    # What the footprints say of themselves, where there are no probabilities.
    scores = doubt, np.full(doubt.shape, np.nan)
    if probability is not None:
        if probability.geobox.shape != shape:
            raise InputError(
                f"probabilities must have the scene's {shape[1]} x {shape[0]} pixels, got "
                f"{probability.geobox.width} x {probability.geobox.height} in {probability.path}. "
                "Predict them at the scene's own resolution."
            )
        if not _may_meet(probability.geobox, target.scene.geobox):
            raise InputError(
                f"probabilities must be of the scene, got {probability.path}, which lies elsewhere. "
                "Name those of this scene."
            )
        scores = block_scores(probability, block, progress)
    return scene_places(shape, block, scores, covered, draw_qa(doubt.size, seed), seed)


def _may_meet(one: GeoBox, other: GeoBox) -> bool:
    """Whether two rasters can show the same ground; of two CRSs, or without one, it is not known."""
    if one.crs is None or one.crs != other.crs:
        return True
    left, bottom, right, top = one.bounds()
    x0, y0, x1, y1 = other.bounds()
    return left < x1 and x0 < right and bottom < y1 and y0 < top
