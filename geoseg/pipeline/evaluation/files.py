"""Files against files: read, bring to one local metric plane, hand over to the kernels."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer

from geoseg.errors import InputError
from geoseg.geo.geobox import body_ellipsoid, to_lonlat
from geoseg.io.geometry_heap import GeometryHeap
from geoseg.io.vectors import VectorFile, continuous_bounds, is_vector_file, open_vector
from geoseg.pipeline.evaluation.rasters import compare_pixels
from geoseg.pipeline.evaluation.vectors import ToPlane, VectorSide, compare_sides, read_side
from geoseg.scores.objects import ObjectScores, check_threshold
from geoseg.scores.pixels import PixelScores, coverage_scores
from geoseg.scores.polygons import clean_polygons
from geoseg.scores.shapes import NeighborMeasures
from geoseg.typing import Array, PathLike, Progress, no_progress

__all__ = ["Evaluation", "evaluate_files", "local_plane"]

#: Columns taken for the score of a prediction, the first that is there.
SCORE_COLUMNS = ("confidence", "score", "conf")
#: Polygons of both files that are kept in memory; more are put aside in a temporary file.
IN_MEMORY = 500_000


@dataclass(frozen=True)
class Evaluation:
    """All scores of one prediction against one truth.

    Attributes
    ----------
    pred, truth
        Paths, as given.
    objects
        Scores of all objects; None when a side is a raster.
    objects_by_class
        The same for each class, when a class column was named.
    pixels
        Scores of pixels or of ground covered.
    pixel_method
        How ``pixels`` was found: "exact areas", or the raster whose pixels were compared.
    unit
        Unit of distances: "m", or "px" without a coordinate reference system.
    score_column
        Column that ranked the predictions, or None.
    neighbors
        How the polygons of each file ("pred", "truth") lie beside each other; None where not asked for.
    """

    pred: str
    truth: str
    objects: ObjectScores | None
    objects_by_class: dict[str, ObjectScores]
    pixels: PixelScores
    pixel_method: str
    unit: str
    score_column: str | None
    neighbors: dict[str, NeighborMeasures] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries for JSON; NaN becomes None."""
        plain = asdict(self)
        for side, measures in (self.neighbors or {}).items():
            plain["neighbors"][side]["shared_share"] = measures.shared_share
        return _plain(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # JSON has neither NaN nor infinity; Python's writer would put words that other readers refuse.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def local_plane(crs: CRS | None, bounds: Sequence[float] | None) -> CRS | None:
    """An equal-area plane in meters centered on ``bounds`` (None without a CRS).

    Parameters
    ----------
    crs
        Of the bounds.
    bounds
        (min x, min y, max x, max y).

    Examples
    --------
    >>> local_plane(CRS("EPSG:4326"), (85.0, 27.0, 86.0, 28.0)).axis_info[0].unit_name
    'metre'
    """
    if crs is None or bounds is None:
        return None
    lon, lat = to_lonlat(crs).transform((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
    # Six digits are 0.1 m: the plane does not depend on the last bits of the bounds.
    center = f"+lat_0={lat:.6f} +lon_0={lon:.6f}"
    return CRS.from_proj4(f"+proj=laea {center} {body_ellipsoid(crs)} +units=m +no_defs")


def _to_plane(source: CRS | None, plane: CRS | None) -> ToPlane:
    if plane is None or source is None:
        return lambda shapes: shapes
    project = Transformer.from_crs(source, plane, always_xy=True).transform

    def move(shapes: Array) -> Array:
        moved = shapely.transform(shapes, lambda x, y: project(x, y), interleaved=False)
        return np.asarray(moved, object).reshape(-1)

    return move


def _check_crs(sides: Sequence[VectorFile]) -> None:
    known = [side for side in sides if side.crs is not None]
    # An empty GeoJSON has no place either way, and must not count as pixel coordinates.
    plain = [side for side in sides if side.crs is None and side.count]
    if known and plain:
        raise InputError(
            f"crs must be known for both files or for none, got one for {known[0].path.name} and plain pixel "
            f"coordinates in {plain[0].path.name}. Give the latter a coordinate reference system."
        )


def _may_meet(source: VectorFile, plane: CRS | None, area: shapely.Geometry) -> bool:
    """Whether an area in the plane meets the bounds of a file; True where they are not known."""
    if source.bounds is None:
        return True
    bounds = source.bounds
    if source.crs is not None and plane is not None:
        bounds = Transformer.from_crs(source.crs, plane, always_xy=True).transform_bounds(*bounds)
    # Bounds beyond what a projection can show become infinite, which tells nothing.
    return not np.isfinite(bounds).all() or bool(area.intersects(shapely.box(*bounds)))


def _read_aoi(source: VectorFile | None, plane: CRS | None) -> Any:
    if source is None:
        return None
    if (source.crs is None) != (plane is None):
        raise InputError(
            f"aoi must lie in the coordinates of the files, got {source.path.name} in {source.crs}."
        )
    move = _to_plane(source.crs, plane)
    parts = [clean_polygons(move(shapely.force_2d(batch.geometry))).geometry for batch in source.batches()]
    if not sum(map(len, parts)):
        raise InputError(f"aoi must hold at least one polygon, got {source.path.name} without any.")
    return shapely.union_all(np.concatenate(parts))


def evaluate_files(
    pred: PathLike,
    truth: PathLike,
    *,
    aoi: PathLike | None = None,
    iou: float = 0.5,
    class_column: str | None = None,
    score_column: str | None = None,
    threshold: float | None = None,
    boundary_distance: float = 1.0,
    coverage: bool = False,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score a prediction against the truth, each a vector file or a raster.

    Two vector files are compared as objects, and by the exact areas that they cover. As soon as a raster
    is among them, pixels of that raster's grid (of the truth's, when both are rasters) are compared, window
    by window. Distances and areas are in meters on an equal-area plane centered on the files, whatever
    their coordinate reference systems.

    Parameters
    ----------
    pred, truth
        Files.
    aoi
        Vector file with the area to look at. Without it everything counts, so predictions outside the
        labeled area count as false.
    iou
        Threshold of a match.
    class_column
        Column of both files that holds the class; beside a raster, its values or the names that it gives to
        them. None: all objects are of one class. Not for two rasters.
    score_column
        Column of ``pred`` with the score of each object; None: "confidence", "score" or "conf", where
        there is one.
    threshold
        Rasters: values of at least this are objects; beside a raster that says that it holds probabilities,
        a class map stays as it is. None: for such probabilities the threshold of the run that wrote them, or
        0.5; else every value but 0 is a class.
    boundary_distance
        Width of the strip of the boundary IoU, in meters.
    coverage
        Also measure overlaps, gaps and shared walls within each of two vector files.
    progress
        Told how far it is.

    Raises
    ------
    InputError
        A file that is missing or can't be read, unlike coordinate systems, a missing column, options that do
        not go with the files.
    """
    check_threshold(iou)
    if not boundary_distance > 0:
        raise InputError(f"boundary must be greater than 0, got {boundary_distance}.")
    vectors = {
        name: open_vector(path) for name, path in (("pred", pred), ("truth", truth)) if is_vector_file(path)
    }
    # What would be passed over, or means nothing, is refused: scores must be of what was asked for.
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"threshold must be a finite number, got {threshold}.")
    if not vectors and class_column is not None:
        raise InputError(
            f"class column must go with a vector file, got {class_column!r} and two rasters. "
            "Leave it out: rasters are compared by their values."
        )
    if len(vectors) == 2 and threshold is not None:
        raise InputError("threshold must go with a raster, got two vector files.")
    if len(vectors) < 2 and coverage:
        raise InputError("coverage must go with two vector files: pixels share no walls. Leave it out.")
    if len(vectors) < 2 and score_column is not None:
        raise InputError("score column must go with two vector files: pixels are not ranked.")
    if len(vectors) < 2:
        pixels, method = compare_pixels(
            pred, truth, aoi=aoi, class_column=class_column, threshold=threshold, progress=progress
        )
        return Evaluation(str(pred), str(truth), None, {}, pixels, method, "m", None)
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        return _compare_vectors(
            vectors["pred"],
            vectors["truth"],
            Path(folder),
            aoi=aoi,
            iou=iou,
            class_column=class_column,
            score_column=score_column,
            distance=boundary_distance,
            walls=coverage,
            progress=progress,
        )


def _compare_vectors(
    pred: VectorFile,
    truth: VectorFile,
    folder: Path,
    *,
    aoi: PathLike | None,
    iou: float,
    class_column: str | None,
    score_column: str | None,
    distance: float,
    walls: bool,
    progress: Progress,
) -> Evaluation:
    _check_crs([pred, truth])
    limits = None if aoi is None else open_vector(aoi)
    # The area of interest gives the plane only where both files are empty: its CRS can't stand in for theirs.
    placed = [truth, pred, *([limits] if limits and not truth.count + pred.count else [])]
    # Of the truth where it has polygons, so that two predictions are measured on the same plane.
    plane = next(
        (local_plane(side.crs, continuous_bounds(side)) for side in placed if side.bounds and side.crs), None
    )
    # geoseg's own files, and those of most tools, rank by one of a few names, so nobody need give it.
    ranking = score_column
    if ranking is None:
        ranking = next((name for name in SCORE_COLUMNS if name in pred.columns), None)
    area = _read_aoi(limits, plane)
    # An empty file meets nothing, and is a fair prediction of an area without buildings.
    full = [side for side in (truth, pred) if side.count]
    if area is not None and full and not any(_may_meet(side, plane, area) for side in full):
        raise InputError(
            f"aoi must meet the files, got {aoi}, which lies outside of {pred} and {truth}. "
            "Check that it is of the same place."
        )
    # Geometries alone go to the disk; the numbers of a polygon that scores need are a few dozen bytes.
    spill = pred.count + truth.count > IN_MEMORY
    names: dict[str, int] = {}
    with ExitStack() as stack:
        sides: list[VectorSide] = []
        for source, column in ((truth, None), (pred, ranking)):
            path = folder / f"{len(sides)}.wkb" if spill else None
            sides.append(
                read_side(
                    source,
                    stack.enter_context(GeometryHeap(path)),
                    to_plane=_to_plane(source.crs, plane),
                    aoi=area,
                    class_column=class_column,
                    score_column=column,
                    names=names,
                )
            )
            progress("read", len(sides), 2)
        labels = list(names) or ["object"]
        scores, coverage, neighbors = compare_sides(
            sides[0],
            sides[1],
            len(labels),
            iou=iou,
            boundary_distance=distance,
            walls=walls,
            progress=progress,
        )
    unit = "px" if plane is None else "m"
    # Without an area of interest nothing says how much ground is rightly empty, so there is no accuracy.
    total = math.nan if area is None else float(area.area)
    pixels = coverage_scores(coverage, labels, total=total, unit=f"{unit}2")
    pixels = replace(pixels, classes=tuple(sorted(pixels.classes, key=lambda entry: _order(entry.name))))
    by_class = dict(sorted(zip(labels, scores[1:], strict=False), key=lambda item: _order(item[0])))
    beside = None if neighbors is None else dict(zip(("pred", "truth"), neighbors, strict=True))
    return Evaluation(
        str(pred), str(truth), scores[0], by_class, pixels, "exact areas", unit, ranking, beside
    )


def _order(name: str) -> tuple[bool, int, str]:
    """Numbers first, by their value; then names."""
    return (False, int(name), "") if name.isdecimal() else (True, 0, name)
