"""What the header of a raster says, decided into the fields of a scene."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags

from geoseg.errors import SceneError
from geoseg.geo.geobox import GeoBox, is_earth
from geoseg.io.exif import read_orientation
from geoseg.io.metadata import acquired_date, earth_crs, gcp_transform
from geoseg.io.validity import ValidityRule, check_dtype, decide_validity

__all__ = ["Header", "read_header", "select_bands"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Header:
    """What :func:`read_header` found.

    Attributes
    ----------
    geobox
        Of the whole file.
    bands
        Selected bands, 1-based.
    dtype
        Of the pixels read.
    nodata
        First nodata value of the selected bands, or None.
    rule
        Where validity comes from.
    acquired
        ISO date or None.
    block
        (height, width) of the storage blocks.
    palette
        RGBA table as bytes, or None.
    orientation
        EXIF's, of a photo without georeferencing; 1 of all else.
    """

    geobox: GeoBox
    bands: tuple[int, ...]
    dtype: str
    nodata: float | None
    rule: ValidityRule
    acquired: str | None
    block: tuple[int, int]
    palette: bytes | None
    orientation: int = 1


def select_bands(bands: Sequence[int] | None, count: int, alpha: int | None, path: str) -> tuple[int, ...]:
    """The bands to read: those asked for, or all but the alpha band.

    Raises
    ------
    SceneError
        A band that is not there, or none at all.

    Examples
    --------
    >>> select_bands(None, 4, 4, "a.tif"), select_bands([3, 1], 4, 4, "a.tif")
    ((1, 2, 3), (3, 1))
    """
    if bands is None:
        # A raster of nothing but an alpha band is read as an image of one band.
        return tuple(band for band in range(1, count + 1) if band != alpha) or (1,)
    chosen = tuple(int(band) for band in bands)
    if not chosen or any(not 1 <= band <= count for band in chosen):
        raise SceneError(
            f"bands must be some of 1..{count}, got {', '.join(map(str, chosen)) or 'none'}. "
            f"{path} has {count} band{'s' if count != 1 else ''}; counting starts at 1."
        )
    return chosen


def read_header(
    dataset: Any, path: str, *, bands: Sequence[int] | None = None, expand_palette: bool = True
) -> Header:
    """Read the header of an open raster.

    Parameters
    ----------
    dataset
        rasterio.DatasetReader.
    path
        For messages.
    bands
        1-based, None for all data bands.
    expand_palette
        Turn a palette image into its colors (red, green, blue as bands 1, 2, 3).

    Raises
    ------
    SceneError
        No pixels, unknown bands, complex pixels, control points that need a warp.
    """
    if dataset.count == 0 or not dataset.dtypes:
        inside = "; ".join(dataset.subdatasets[:8]) or "nothing"
        raise SceneError(
            f"scene must hold pixels of its own, got {path}, which holds {inside}. Name one of these."
        )
    interp = dataset.colorinterp
    alpha = next((i for i, kind in enumerate(interp, 1) if kind == ColorInterp.alpha), None)
    palette = _palette(dataset) if expand_palette and interp[0] == ColorInterp.palette else None
    chosen = select_bands(bands, 3 if palette else dataset.count, None if palette else alpha, path)
    stored = (1,) if palette else chosen
    for band in stored:
        check_dtype(dataset.dtypes[band - 1], path)
    dtype = str(np.result_type(*(dataset.dtypes[band - 1] for band in stored)))
    nodata = [dataset.nodatavals[band - 1] for band in stored]
    # Of a palette its index, where nodata is an index, too.
    rule = decide_validity(
        dtype=dtype, nodata=nodata, mask=_mask_bands(dataset.mask_flag_enums, stored), alpha=alpha
    )
    transform, crs = georeference(dataset, path)
    geobox = GeoBox(transform, crs, dataset.height, dataset.width)
    check_place(geobox, path)
    return Header(
        geobox=geobox,
        bands=chosen,
        dtype="uint8" if palette else dtype,
        nodata=None if palette else next((value for value in rule.nodata if value is not None), None),
        rule=rule,
        # Where a name stands in several domains, the tags of the file itself win.
        acquired=acquired_date({**dataset.tags(ns="EXIF"), **dataset.tags(ns="IMAGERY"), **dataset.tags()}),
        block=tuple(dataset.block_shapes[0]),
        palette=palette,
        orientation=_orientation(dataset, path) if crs is None and transform.is_identity else 1,
    )


def _orientation(dataset: Any, path: str) -> int:
    stated = dataset.tags().get("EXIF_Orientation", "") if dataset.driver == "JPEG" else ""
    if stated.strip() in {str(value) for value in range(1, 9)}:
        return int(stated)
    return read_orientation(Path(path)) if dataset.driver in ("GTiff", "PNG", "WEBP") else 1


def _mask_bands(flags: Sequence[Sequence[MaskFlags]], bands: Sequence[int]) -> tuple[int, ...]:
    """Bands whose masks hold the validity: one for a dataset mask, all selected for masks band by band.

    Examples
    --------
    >>> _mask_bands([[MaskFlags.per_dataset]] * 3, (1, 2, 3)), _mask_bands([[MaskFlags.all_valid]], (1,))
    ((1,), ())
    """
    # A mask of the whole dataset is the same for all bands: reading it once is enough.
    kinds = [set(flags[band - 1]) for band in bands]
    if kinds[0] == {MaskFlags.per_dataset}:
        return (bands[0],)
    return tuple(bands) if any(not kind for kind in kinds) else ()


def _palette(dataset: Any) -> bytes | None:
    """RGBA table of band 1 as bytes; None where there is no usable one."""
    try:
        table = dataset.colormap(1)
    except ValueError:
        return None
    colors = np.zeros((max(table) + 1, 4), np.uint8)
    for index, color in table.items():
        colors[index] = color
    return colors.tobytes()


def check_place(geobox: GeoBox, path: str) -> None:
    """Refuse a scene whose middle is nowhere on its body: its CRS is not that of its coordinates.

    Raises
    ------
    SceneError
        Such as meters that a header calls degrees.
    """
    lonlat, step = geobox.center_lonlat(), geobox.ground_resolution()
    if lonlat is None or step is None:
        return
    # Longitudes may run on beyond 180 degrees, as across the date line; but not for several turns.
    if all(map(math.isfinite, (*lonlat, *step))) and abs(lonlat[0]) <= 720 and abs(lonlat[1]) <= 90:
        return
    x, y = geobox.transform * (geobox.width / 2, geobox.height / 2)
    name = geobox.crs.to_string() if geobox.crs else ""
    place = "the Earth" if geobox.crs is None or is_earth(geobox.crs) else "its celestial body"
    raise SceneError(
        f"scene must lie on {place}, got {path} with its middle at ({x:.10g}, {y:.10g}) in {name}. "
        "State the right CRS, for example with gdal_edit -a_srs."
    )


def georeference(dataset: Any, path: str) -> tuple[Affine, CRS | None]:
    """Affine and CRS: of the geotransform, else of control points, else plain pixels."""
    transform = Affine(*dataset.transform[:6])
    wkt = dataset.crs.to_wkt() if dataset.crs else None
    if transform != Affine.identity():
        # Its inverse is needed to place anything on the pixels.
        if transform.determinant == 0:
            raise SceneError(f"geotransform must span an area, got {tuple(transform[:6])} in {path}.")
        crs = earth_crs(wkt)
        if wkt and crs is None:
            logger.warning("%s: its coordinate system is not one on the Earth; taken as none.", path)
        return transform, crs
    gcps, gcp_crs = dataset.gcps
    if gcps:
        return gcp_transform(gcps, path), earth_crs(gcp_crs.to_wkt() if gcp_crs else None)
    if dataset.rpcs is not None:
        logger.warning(
            "%s: only RPCs place it on the ground; footprints come in pixel coordinates. "
            "Orthorectify it first (gdalwarp -rpc) for ground coordinates.",
            path,
        )
    elif dataset.driver == "netCDF":
        # Variables called x and y are not enough for GDAL, which reads what the CF conventions say of them.
        logger.warning(
            "%s: no coordinates place it, so footprints come in pixel coordinates. Give x and y the "
            "standard_name projection_x_coordinate and projection_y_coordinate, the pixels a grid_mapping.",
            path,
        )
    return Affine.identity(), None
