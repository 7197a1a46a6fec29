"""Features of a file that lie on a raster, in the raster's pixels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import shapely
from pyproj import CRS, Transformer

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.io.vectors.files import VectorFile, open_vector
from geoseg.io.vectors.formats import belonging_files
from geoseg.scores.polygons import clean_polygons
from geoseg.typing import Array, IntArray, PathLike
from geoseg.vector.geometry import repaired

__all__ = [
    "Features",
    "PlacedFeatures",
    "beside_scene",
    "check_crs_pair",
    "continuous_bounds",
    "moved_to",
    "once_around",
    "pixel_transform",
    "reach",
    "read_features",
]

logger = logging.getLogger(__name__)

#: EPSG's number of the projection of web maps, and meters once around on them.
_WEB_MERCATOR, _AROUND_M = "1024", 40_075_016.685578488


@dataclass(frozen=True)
class PlacedFeatures:
    """Features on a raster.

    Attributes
    ----------
    index
        (n,) int64, which of the file's features, in their order.
    geometry
        (n,) valid geometries in the raster's pixel corners (x = column, y = row), not cut at its edges.
    """

    index: IntArray
    geometry: Array


@dataclass(frozen=True, eq=False)
class Features:
    """All features of a layer that can be used, with one column.

    Attributes
    ----------
    source
        Where they come from.
    geometry
        (n,) object array of valid, non-empty 2-D geometries.
    values
        (n,) the column's values; None without a column.
    repaired
        Invalid polygons that were made valid.
    left_out
        Rows without a geometry, or, where only polygons were asked for, without an area.
    """

    source: VectorFile
    geometry: Array
    values: Array | None
    repaired: int
    left_out: int

    def __len__(self) -> int:
        return len(self.geometry)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of geometries and values, whatever the format of the file."""
        digest = hashlib.sha256(repr(None if self.values is None else self.values.tolist()).encode())
        for shape in shapely.to_wkb(self.geometry):
            digest.update(shape)
        return digest.hexdigest()

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.geometry)

    def on(self, geobox: GeoBox, name: str) -> PlacedFeatures:
        """The features whose bounds meet those of a raster.

        Features that the raster's CRS can't show are left out, with a warning.

        Parameters
        ----------
        geobox
            The raster.
        name
            What messages call it.

        Raises
        ------
        InputError
            Only one of the two has a CRS.
        """
        check_crs_pair(self.source, geobox.crs, name)
        # In the order of the file, where later features are drawn over earlier ones.
        near = np.sort(
            self._tree.query(shapely.box(*reach(geobox.bounds(), geobox.crs, self.source.crs)))
        ).astype(np.int64)
        moved = moved_to(self.geometry[near], self.source.crs, geobox.crs, geobox.bounds())
        moved = shapely.transform(moved, pixel_transform(None, geobox), interleaved=False)
        # Once more, by the bounds in pixels: those in the file's CRS were taken wide.
        bounds = shapely.bounds(moved).reshape(-1, 4)
        finite = np.isfinite(bounds).all(axis=1)
        if not finite.all():
            logger.warning("%s: %d rows far outside the CRS left out", self.source.path, int((~finite).sum()))
        on = finite & (bounds[:, 0] <= geobox.width) & (bounds[:, 2] >= 0)
        on &= (bounds[:, 1] <= geobox.height) & (bounds[:, 3] >= 0)
        near, moved = near[on], moved[on]
        broken = ~shapely.is_valid(moved)  # reprojection may let an edge cross another one
        moved[broken] = repaired(moved[broken])
        return PlacedFeatures(near, moved)


def read_features(
    path: PathLike, column: str | None = None, *, layer: str | None = None, polygons_only: bool = True
) -> Features:
    """Read a layer whole; the last few files stay in memory.

    Parameters
    ----------
    path, layer
        As for :func:`~geoseg.io.vectors.open_vector`.
    column
        Column to read along.
    polygons_only
        Leave lines and points out.

    Raises
    ------
    MissingFileError, InputError
        As :func:`~geoseg.io.vectors.open_vector`, or a column that the layer does not have.
    """
    source = open_vector(path, layer=layer)
    stats = [(str(file), file.stat()) for file in belonging_files(source.path)]
    stamp = tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    return _read(source, column, polygons_only, stamp)


@lru_cache(4)
def _read(source: VectorFile, column: str | None, polygons_only: bool, stamp: tuple[object, ...]) -> Features:
    shapes, values, repaired, left_out = [np.empty(0, object)], [], 0, 0
    # In batches, so that the file's own form of a batch is gone before the next one comes.
    for batch in source.batches([column] if column else []):
        polygons = clean_polygons(batch.geometry)
        geometry, index = polygons.geometry, polygons.index
        if not polygons_only:
            flat = shapely.force_2d(batch.geometry)
            flat[index] = geometry
            index = np.flatnonzero(
                (shapely.get_dimensions(flat) < 2) & ~shapely.is_empty(flat) & ~shapely.is_missing(flat)
            )
            index = np.sort(np.concatenate([index, polygons.index]))
            geometry = flat[index]
        shapes.append(geometry)
        repaired += polygons.repaired
        left_out += len(batch.geometry) - len(index)
        if column:
            values.append(batch.columns[column][index])
    for count, what in (
        (repaired, "invalid polygons repaired"),
        (left_out, "rows without a polygon left out"),
    ):
        if count and polygons_only:
            logger.warning("%s: %d %s", source.path, count, what)
    whole = np.concatenate([np.empty(0, object), *values]) if column else None
    return Features(source, np.concatenate(shapes), whole, repaired, left_out)


def check_crs_pair(source: VectorFile, crs: CRS | None, name: str) -> None:
    """Refuse a file whose coordinates can't be brought to another's: one has a CRS, the other has none.

    Raises
    ------
    InputError
        With what to do; an empty file fits everything.
    """
    if not source.count or (source.crs is None) == (crs is None):
        return
    if source.crs is None:
        raise InputError(
            f"vector file must state its CRS, as {name} does, got {source.path} without one. "
            "Set it with ogr2ogr -a_srs."
        )
    raise InputError(
        f"{name} must have a CRS, as {source.path} has ({source.crs.to_string()}), got none. Set it with "
        'gdal_edit -a_srs; or if the file is in its coordinates, write "crs": null into the GeoJSON.'
    )


def pixel_transform(crs: CRS | None, geobox: GeoBox) -> Callable[[Array, Array], tuple[Array, Array]]:
    """From x and y in a CRS to columns and rows (pixel corners) of a raster.

    Parameters
    ----------
    crs
        Of the coordinates; None: they are in the raster's own.
    geobox
        The raster.

    Examples
    --------
    >>> from affine import Affine
    >>> box = GeoBox(Affine(2, 0, 100, 0, -2, 50), None, 5, 5)
    >>> [one.tolist() for one in pixel_transform(None, box)(np.array([104.0]), np.array([48.0]))]
    [[2.0], [1.0]]
    """
    a, b, c, d, e, f = (~geobox.transform)[:6]
    same = crs is None or geobox.crs is None or crs == geobox.crs
    project = None if same else Transformer.from_crs(crs, geobox.crs, always_xy=True).transform

    def to_pixels(x: Array, y: Array) -> tuple[Array, Array]:
        if project is not None:
            x, y = project(x, y)
        return a * x + b * y + c, d * x + e * y + f

    return to_pixels


def moved_to(
    geometry: Array, crs: CRS | None, target: CRS | None, bounds: tuple[float, float, float, float]
) -> Array:
    """Geometries in the CRS of a scene; in degrees or on a web map moved by whole turns to where it lies.

    Longitudes of a scene may run on beyond 180, where files have those from -180 on.

    Parameters
    ----------
    geometry : (n,) object
        In ``crs``.
    crs, target
        Without one of them, the geometries stay where they are.
    bounds
        (min x, min y, max x, max y) of the scene in ``target``.

    Returns
    -------
    (n,) object

    Examples
    --------
    >>> wgs84 = CRS.from_epsg(4326)
    >>> moved_to(np.array([shapely.Point(-175, 1)]), wgs84, wgs84, (180, 0, 190, 9))
    array([<POINT (185 1)>], dtype=object)
    """
    if crs is None or target is None:
        return geometry
    if crs != target:
        project = Transformer.from_crs(crs, target, always_xy=True).transform
        geometry = shapely.transform(geometry, project, interleaved=False)
    once = once_around(target)
    if once is None:
        return geometry

    def turns(shapes: Array) -> tuple[Array, Array]:
        """First and last whole turn by which each meets the scene; only touching it does not count."""
        left, _, right, _ = shapely.bounds(shapes).reshape(-1, 4).T
        return np.floor((bounds[0] - right) / once) + 1, np.ceil((bounds[2] - left) / once) - 1

    first, last = turns(geometry)
    out = geometry.copy()
    # Those that meet it at no turn, or that the CRS can't show, stay where they are.
    elsewhere = (first <= last) & ((first != 0) | (last != 0)) & np.isfinite(first + last)
    for index in np.flatnonzero(elsewhere):
        # Part by part: one that was cut at 180 degrees has them on both sides.
        parts = shapely.get_parts(geometry[index])
        pieces = [
            shapely.transform(part, lambda xy, turn=turn: np.add(xy, [once * turn, 0]))
            for part, start, stop in zip(parts, *turns(parts))
            for turn in np.arange(start, stop + 1)
        ]
        if pieces:
            out[index] = shapely.union_all(pieces)
    return out


def beside_scene(geometry: Array, crs: CRS | None, geobox: GeoBox) -> Array:
    """Geometries moved by whole turns, part by part, to where a scene in their CRS lies that runs beyond 180.

    Corners stay as many, and in their order. Nothing moves of another CRS, or where the scene ends before.

    Parameters
    ----------
    geometry : (n,) object
        In ``crs``, in 2-D.
    crs
        Their CRS.
    geobox
        The scene.

    Examples
    --------
    >>> from affine import Affine
    >>> wgs84 = CRS.from_epsg(4326)
    >>> fiji = GeoBox(Affine(1, 0, 175, 0, -1, 0), wgs84, 9, 9)
    >>> beside_scene(np.array([shapely.Point(-179, -5)]), wgs84, fiji)
    array([<POINT (181 -5)>], dtype=object)
    """
    once = None if crs is None or crs != geobox.crs else once_around(crs)
    left, _, right, _ = geobox.bounds()
    if once is None or (left >= -once / 2 and right <= once / 2):
        return geometry
    parts, of_geometry = shapely.get_parts(geometry, return_index=True)
    bounds = shapely.bounds(parts).reshape(-1, 4)
    turns = np.round((left + right - bounds[:, 0] - bounds[:, 2]) / 2 / once)
    corners = shapely.get_num_coordinates(parts)
    moved = geometry.copy()
    away = np.isfinite(turns) & (turns != 0)
    for index in np.unique(of_geometry[away]):
        mine = of_geometry == index
        steps = np.repeat(turns[mine] * once, corners[mine])
        moved[index] = shapely.transform(
            geometry[index], lambda x, y, steps=steps: (x + steps, y), interleaved=False
        )
    return moved


def continuous_bounds(source: VectorFile) -> tuple[float, float, float, float] | None:
    """Bounds of a file; those of one that lies on both sides of 180 degrees run on beyond it.

    Taken as they are stated, they would go once around the Earth, and their middle be on its other side.
    """
    once = None if source.crs is None else once_around(source.crs)
    if source.bounds is None or once is None or source.bounds[2] - source.bounds[0] <= once / 2:
        return source.bounds
    left, bottom, right, top = source.bounds
    # Part by part: what was cut at 180 degrees has some on either side.
    parts = [shapely.bounds(shapely.get_parts(batch.geometry)).reshape(-1, 4) for batch in source.batches()]
    spans = np.concatenate([np.empty((0, 4)), *parts])[:, ::2]
    spans = spans[np.isfinite(spans).all(axis=1)]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reached = np.maximum.accumulate(spans[:, 1])
    gaps = spans[1:, 0] - reached[:-1]
    # The widest stretch without anything is what lies outside.
    if gaps.size and gaps.max() > once - (right - left):
        widest = int(gaps.argmax())
        left, right = float(spans[widest + 1, 0]), float(reached[widest]) + once
    return left, bottom, right, top


@lru_cache(maxsize=64)
def once_around(crs: CRS) -> float | None:
    """What x gains on the way once around the Earth; None where a CRS ends before that, or bends."""
    if crs.is_geographic:
        return 360.0
    operation = crs.coordinate_operation
    return _AROUND_M if operation is not None and operation.method_code == _WEB_MERCATOR else None


def reach(
    bounds: tuple[float, float, float, float], crs: CRS | None, target: CRS | None
) -> tuple[float, float, float, float]:
    """Bounds in another CRS, a little too large; without end where it can't show them.

    Parameters
    ----------
    bounds
        (min x, min y, max x, max y) in ``crs``.
    crs, target
        Without one of them, or where both are the same, the bounds stay where they are.
    """
    if crs is not None and target is not None and crs != target:
        bounds = Transformer.from_crs(crs, target, always_xy=True).transform_bounds(*bounds)
    left, bottom, right, top = bounds
    if not np.isfinite(bounds).all():
        return -np.inf, -np.inf, np.inf, np.inf
    once = None if target is None else once_around(target)
    if once is not None and (left > right or left < -once / 2 or right > once / 2):
        left, right = -once, once  # over the antimeridian: longitudes from either side of it
    # Projected edges are curves, of which only some points were looked at.
    across, up = (right - left) / 50, (top - bottom) / 50
    return left - across, bottom - up, right + across, top + up
