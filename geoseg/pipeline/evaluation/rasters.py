"""Pixels of two files compared window by window, where at least one of them is a raster."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.effort import TRACING_MPX_S, check_effort
from geoseg.geo.windows import iter_chunks
from geoseg.io.sources import open_raster
from geoseg.io.vectors import is_vector_file, read_features
from geoseg.pipeline.evaluation.readers import (
    ClassCodes,
    PolygonValues,
    RasterValues,
    holds_probabilities,
)
from geoseg.scores.pixels import PixelScores, confusion, pixel_scores
from geoseg.typing import Array, PathLike, Progress, no_progress

__all__ = ["compare_pixels"]

logger = logging.getLogger(__name__)

#: Side of the windows compared, in pixels: 4 Mpx, of which codes and validity of both sides take 40 MB.
CHUNK = 2048


def compare_pixels(
    pred: PathLike,
    truth: PathLike,
    *,
    aoi: PathLike | None = None,
    class_column: str | None = None,
    threshold: float | None = None,
    progress: Progress = no_progress,
) -> tuple[PixelScores, str]:
    """Compare two files on the pixels of a raster: of ``truth`` if that is one, else of ``pred``.

    A raster in another grid is sampled at the pixel's center; polygons cover the pixels whose centers lie
    in them. Without a class column polygons are of one class, and so is then all that is not 0 in the
    raster. Two rasters are compared class by class, by the names that both give to their values or by the
    values; unless both hold one class at most, and do not call it differently. A threshold is for the rasters
    that say that they hold probabilities; without such a one, for all.

    Returns
    -------
    PixelScores, str
        The scores, and whose pixels were compared.

    Raises
    ------
    InputError
        Rasters in colors, values that are no classes, unlike coordinate systems, an area of
        interest without polygons, a class column beside a raster that a threshold leaves without classes.
    """
    base = Path(pred) if is_vector_file(truth) else Path(truth)
    grid = open_raster(base, expand_palette=False).geobox
    check_effort(*grid.shape, TRACING_MPX_S, str(base))
    codes = ClassCodes()
    paths = {"truth": truth, "pred": pred}
    # Rasters first: the names that they give to their values are those of a class column.
    raster_paths = {name: path for name, path in paths.items() if not is_vector_file(path)}
    probable = {name for name, path in raster_paths.items() if holds_probabilities(path)} or set(raster_paths)
    rasters = {
        name: RasterValues(path, grid, threshold if name in probable else None, codes)
        for name, path in raster_paths.items()
    }
    if class_column is not None and any(side.flat for side in rasters.values()):
        raise InputError(
            f"class column must not go with a threshold that makes one class of {base.name}, got "
            f"{class_column!r}. Leave out one of the two."
        )
    polygons = {
        name: PolygonValues(read_features(path, class_column), grid, base.name, codes)
        for name, path in paths.items()
        if name not in rasters
    }
    sides = rasters | polygons
    inside: PolygonValues | RasterValues | None = None
    if aoi is not None and is_vector_file(aoi):
        area = read_features(aoi)
        if not len(area):
            raise InputError(f"aoi must hold at least one polygon, got {Path(aoi).name} without any.")
        inside = PolygonValues(area, grid, "the raster", None)
    elif aoi is not None:
        inside = RasterValues(aoi, grid, None, ClassCodes())
    counts = np.zeros((1, 1), np.int64)
    windows = list(iter_chunks(grid.height, grid.width, CHUNK))
    for done, window in enumerate(windows, start=1):
        (truth_codes, truth_valid), (pred_codes, pred_valid) = (sides[name](window) for name in paths)
        # What one side does not know can be neither right nor wrong.
        valid = truth_valid & pred_valid
        if inside is not None:
            valid &= inside(window)[0] != 0
        size = len(codes.titles) + 1  # classes come up as they are met
        counts = np.pad(counts, (0, size - len(counts))) + confusion(truth_codes, pred_codes, size, valid)
        progress("compare", done, len(windows))
    if not counts.sum():
        where = f"no pixel that both know lies in {aoi}" if aoi is not None else "no pixel that both know"
        raise InputError(
            f"pred and truth must have pixels in common, got {pred} and {truth}: {where}. "
            "Check that they, and the area of interest, are of one place."
        )
    for name, seen in zip(paths, _seen(counts), strict=True):
        alpha = rasters[name].scene.alpha if name in rasters else None
        if alpha is not None and not seen.size:
            logger.warning(
                "%s has no object where its alpha band shows data; if that band is the mask, give it alone: "
                "gdal_translate -b %d",
                paths[name],
                alpha,
            )
    for doubt in filter(None, (side.doubt() for side in rasters.values())):
        logger.warning("%s", doubt)
    # One class on each side is the same class, whatever number each file gives it (1 and 255). The files
    # decide: a class map of which an area of interest shows one class is none the less a class map.
    few = len(codes.names) < 2 and all(len(side.met) <= 1 for side in rasters.values())
    single = class_column is None and (bool(polygons) or few)
    truth_seen, pred_seen = ({codes.titles[code - 1] for code in seen.tolist()} for seen in _seen(counts))
    if not single and not polygons and truth_seen and pred_seen and truth_seen.isdisjoint(pred_seen):
        # Of rasters that name their classes, or of probabilities, a threshold would make no single class.
        advice = "" if codes.names or threshold is not None else "; give --threshold 1 to compare objects"
        logger.warning(
            "classes of %s (%s) and of %s (%s) have no value in common%s",
            truth,
            _few_names(truth_seen),
            pred,
            _few_names(pred_seen),
            advice,
        )
    return _scores(counts, codes, single), f"pixels of {base.name}"


def _few_names(titles: set[str]) -> str:
    """The first of many classes, numbers by their size."""
    names = sorted(titles, key=lambda title: (len(title), title) if title.isdecimal() else (0, title))
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _seen(counts: Array) -> tuple[Array, Array]:
    """Codes of classes that occur in the truth, and in the prediction."""
    truth, pred = (np.flatnonzero(counts.sum(axis=axis)[1:]) + 1 for axis in (1, 0))
    return truth, pred


def _scores(counts: Array, codes: ClassCodes, single: bool) -> PixelScores:
    if single:
        # Row and column 0 are the background; the sums of all others are "object".
        split = np.add.reduceat(counts, [0, 1], axis=0)
        return pixel_scores(np.add.reduceat(split, [0, 1], axis=1), ["object"])
    seen = sorted(np.union1d(*_seen(counts)).tolist(), key=codes.order)
    keep = [0, *seen]
    return pixel_scores(counts[np.ix_(keep, keep)], [codes.titles[code - 1] for code in seen])
