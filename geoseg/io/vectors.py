"""Polygons from vector files: areas of interest and labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS

from geoseg.errors import InputError, MissingFileError
from geoseg.geo.geobox import GeoBox
from geoseg.raster.draw import fill_rings
from geoseg.typing import BoolArray, PathLike

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["VECTOR_FORMATS", "rasterize_mask", "read_polygons"]

logger = logging.getLogger(__name__)

#: Suffix -> how such a file begins. XML and web formats (GML, KML, OGR_VRT, WFS, ...) are left out on
#: purpose: they can make the reader open other files and hosts; and GDAL trusts content more than suffixes.
VECTOR_FORMATS: dict[str, tuple[bytes, ...]] = {
    ".geojson": (b"{",),
    ".json": (b"{",),
    ".geojsonl": (b"{", b"\x1e"),
    ".geojsons": (b"{", b"\x1e"),
    ".geojsonseq": (b"{", b"\x1e"),
    ".ndjson": (b"{",),
    ".gpkg": (b"SQLite format 3\x00",),
    ".fgb": (b"fgb",),
    ".shp": (b"\x00\x00\x27\x0a",),
    ".parquet": (b"PAR1",),
    ".geoparquet": (b"PAR1",),
    ".gdb": (),
}
_POLYGONAL = [int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON)]
_SEQUENCES = (".geojsonl", ".geojsons", ".geojsonseq", ".ndjson")


def read_polygons(
    path: PathLike,
    *,
    crs: CRS | None = None,
    bbox: Sequence[float] | None = None,
    layer: str | int | None = None,
) -> gpd.GeoDataFrame:
    """Read the polygons of a vector file.

    Parameters
    ----------
    path
        A file with one of the suffixes of :data:`VECTOR_FORMATS`.
    crs
        CRS to bring them to; None keeps the file's.
    bbox
        Only polygons that meet (min x, min y, max x, max y), in ``crs`` or, without it, in the file's CRS.
    layer
        Name or number where a file has several; by default the first.

    Returns
    -------
    geopandas.GeoDataFrame
        Valid Polygons and MultiPolygons with their attributes, rows numbered from 0. Invalid ones are
        repaired; points, lines and missing geometries are left out; how many, is logged.

    Raises
    ------
    MissingFileError
        No such file.
    InputError
        Another kind of file, a broken one, or one without a CRS where ``crs`` is given.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in VECTOR_FORMATS:
        raise InputError(f"suffix of a vector file must be one of {', '.join(VECTOR_FORMATS)}, got {path}.")
    if not path.exists():
        raise MissingFileError(f"vector file must exist, got {path}. Check the path.")
    _check_beginning(path, suffix)
    frame = _read(path, suffix, layer)
    if crs is not None:
        if frame.crs is None:
            raise InputError(
                f"vector file must state its CRS, got {path} without. Set it with ogr2ogr -a_srs."
            )
        frame = _projected(frame, crs, path)
    frame = _polygons_only(frame, path)
    if bbox is not None:
        frame = frame[shapely.intersects(frame.geometry.to_numpy(), shapely.box(*bbox))]
    return frame.reset_index(drop=True)


def _check_beginning(path: Path, suffix: str) -> None:
    """Refuse a file whose content is not what its suffix says."""
    begins = VECTOR_FORMATS[suffix]
    if suffix == ".gdb":
        if not path.is_dir():
            raise InputError(f"a .gdb must be a folder, got {path}.")
        return
    try:
        with path.open("rb") as file:
            head = file.read(1024).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"vector file must be readable, got {path}: {error.strerror}.") from error
    if suffix in _SEQUENCES and not head:
        return
    if not (head.lstrip() if begins[0] == b"{" else head).startswith(begins):
        raise InputError(f"content of a vector file must fit its suffix, got {path}, which is no {suffix}.")


def _read(path: Path, suffix: str, layer: str | int | None) -> gpd.GeoDataFrame:
    import geopandas as gpd

    try:
        if suffix in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(path)
        elif suffix in _SEQUENCES and path.stat().st_size == 0:
            frame = gpd.GeoDataFrame(geometry=[], crs=4326)  # a sequence of no features
        else:
            frame = gpd.read_file(path, layer=layer, engine="pyogrio")
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"vector file must be readable, got {path}: {reason}. Check it with ogrinfo."
        ) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"vector file must hold geometries, got {path}, a table without any.")
    return frame


def _projected(frame: gpd.GeoDataFrame, crs: CRS, path: Path) -> gpd.GeoDataFrame:
    """Rows in another CRS, without those that it cannot show."""
    moved = frame.to_crs(crs)
    finite = np.isfinite(moved.geometry.bounds.to_numpy()).all(axis=1) | moved.geometry.isna().to_numpy()
    finite |= moved.geometry.is_empty.to_numpy()
    if finite.all():
        return moved
    if not finite.any():
        extent = tuple(round(float(value), 6) for value in frame.total_bounds)
        raise InputError(
            f"coordinates of a vector file must lie in its CRS, got {extent} in {frame.crs.to_string()} in "
            f"{path}. State the right CRS with ogr2ogr -a_srs (GeoJSON without one is lon/lat)."
        )
    logger.warning("%s: %d rows far outside the CRS left out", path, int((~finite).sum()))
    return moved[finite]


def _polygons_only(frame: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    """Rows with an area, repaired where they are invalid."""
    shapes = shapely.force_2d(frame.geometry.to_numpy())
    broken = ~(shapely.is_valid(shapes) | shapely.is_missing(shapes))
    if broken.any():
        shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
        logger.warning("%s: %d invalid polygons repaired", path, int(broken.sum()))
    mixed = shapely.get_type_id(shapes) == int(shapely.GeometryType.GEOMETRYCOLLECTION)
    for index in np.flatnonzero(mixed):
        parts = [part for part in shapely.get_parts(shapes[index]) if "Polygon" in part.geom_type]
        shapes[index] = shapely.union_all(parts)
    polygon = np.isin(
        shapely.get_type_id(shapes),
        [int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON)],
    ) & ~shapely.is_empty(shapes)
    if not polygon.all():
        logger.warning("%s: %d rows without a polygon left out", path, int((~polygon).sum()))
    return frame.set_geometry(shapes, crs=frame.crs)[polygon]


def rasterize_mask(polygons: Any, geobox: GeoBox) -> BoolArray:
    """Pixels whose centers lie in any of the polygons.

    A center on an edge belongs to the polygon on its right or, at level edges, below it (in pixels), so
    polygons that share an edge share no pixel.

    Parameters
    ----------
    polygons
        GeoDataFrame, GeoSeries or sequence of shapely polygons in the geobox's CRS.
    geobox
        Raster, or ``geobox.window(window)`` of one.

    Returns
    -------
    bool array (height, width)

    Examples
    --------
    >>> from affine import Affine
    >>> box = GeoBox(Affine.identity(), None, 2, 3)
    >>> rasterize_mask([shapely.box(0, 0, 1, 2)], box).astype(int).tolist()
    [[1, 0, 0], [1, 0, 0]]
    >>> rasterize_mask([], box).any()
    np.False_
    """
    shapes = np.asarray(getattr(polygons, "geometry", polygons), dtype=object)
    footprint = shapely.Polygon(geobox.corners())
    near = [shape for shape in shapes if shape is not None and shapely.intersects(footprint, shape)]
    if not near or 0 in geobox.shape:
        return np.zeros(geobox.shape, bool)
    mask, to_pixels = np.zeros(geobox.shape, bool), ~geobox.transform
    for part in shapely.get_parts(near):
        rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(part)]
        fill_rings(
            mask, [np.column_stack(to_pixels * (ring[:, 0], ring[:, 1])) for ring in rings], (0.5, 0.5)
        )
    return mask
