"""What a scene's metadata say, as pure functions: the day it was taken, its CRS, its place."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.transform import from_gcps

from geoseg.errors import SceneError

__all__ = ["acquired_date", "date_tags", "earth_crs", "gcp_transform", "parse_date", "surface_crs"]

#: Tags that tell when the pixels were taken, the surest first. TIFFTAG_DATETIME comes last: it is the time
#: the file was written when nobody set it on purpose.
_DATE_TAGS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATETIME",
    "ACQUISITION_DATE",
    "DATE_ACQUIRED",
    "EXIF_DATETIMEORIGINAL",
    "EXIF_DATETIMEDIGITIZED",
    "TIFFTAG_DATETIME",
    "EXIF_DATETIME",
)

_DATE = re.compile(r"^\s*(\d{4})([-:/.]?)(\d{2})\2(\d{2})(?:$|[T \t].*|Z$)")

#: Ground control points are taken as an affine when it misses none of them by more than this.
_GCP_LIMIT_PX = 1.0


def parse_date(text: str) -> str | None:
    """The day in a time stamp as metadata write it (ISO 8601, EXIF's ``2019:11:08 10:11:12``).

    Returns
    -------
    str or None
        ISO date; None for anything that is no date.

    Examples
    --------
    >>> parse_date("2019:11:08 10:11:12"), parse_date("2021-02-03T04:05:06Z"), parse_date("20210203")
    ('2019-11-08', '2021-02-03', '2021-02-03')
    >>> parse_date("0000:00:00 00:00:00") is None
    True
    """
    match = _DATE.match(text)
    if match is None:
        return None
    try:
        day = date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None
    return day.isoformat() if day.year >= 1826 else None  # the first photograph


def acquired_date(tags: Mapping[str, str], stac_datetime: str | None = None) -> str | None:
    """The day a scene was taken.

    Parameters
    ----------
    tags
        Metadata of all domains in one mapping; names count without regard to case.
    stac_datetime
        ``datetime`` of the STAC Item the scene belongs to: it wins where it is a date.

    Returns
    -------
    str or None
        ISO date, or None where nothing tells it.

    Examples
    --------
    >>> acquired_date({"TIFFTAG_DATETIME": "2020:01:02 00:00:00", "DATE_ACQUIRED": "2019-05-06"})
    '2019-05-06'
    >>> acquired_date({}) is None
    True
    """
    upper = {name.upper(): value for name, value in tags.items()}
    candidates = [stac_datetime, *(upper.get(name) for name in _DATE_TAGS)]
    return next((day for text in candidates if text and (day := parse_date(text))), None)


def date_tags(acquired: str | None) -> dict[str, str]:
    """Metadata of a raster that was made of a scene: footprints that are made of it know when it was taken.

    Examples
    --------
    >>> acquired_date(date_tags("2019-05-06")), date_tags(None)
    ('2019-05-06', {})
    """
    return {} if acquired is None else {_DATE_TAGS[0]: acquired}


@functools.lru_cache(maxsize=64)  # thousands of sheets have the same
def earth_crs(wkt: str | None) -> CRS | None:
    """The CRS of a raster, or None where there is none on the Earth (absent, broken, or a local grid)."""
    if not wkt:
        return None
    try:
        return surface_crs(CRS.from_wkt(wkt))
    except CRSError:
        return None


def surface_crs(crs: CRS) -> CRS | None:
    """A CRS, or None where it is of no place on the Earth or another body, such as a local grid."""
    base = crs.source_crs
    # The grid of a site that is tied to a projection.
    if crs.is_derived and base is not None and base.is_projected:
        return crs
    # A compound CRS adds heights to a horizontal one, which is all that is used.
    if crs.is_engineering or not (crs.is_geographic or crs.is_projected or crs.is_compound):
        return None
    return crs


def gcp_transform(gcps: Sequence[Any], path: str) -> Affine:
    """The affine through ground control points, where one fits them within a pixel.

    Raises
    ------
    SceneError
        Fewer than three points, or a raster too distorted for an affine.
    """
    advice = "Warp it first: gdalwarp -t_srs EPSG:XXXX -tps SCENE OUT.tif."
    if len(gcps) < 3:
        raise SceneError(f"ground control points must be at least 3, got {len(gcps)} in {path}. {advice}")
    ground = np.array([(p.x, p.y) for p in gcps])
    pixels = np.array([(p.col, p.row) for p in gcps])
    if any(np.linalg.matrix_rank(xy - xy.mean(axis=0)) < 2 for xy in (ground, pixels)):
        raise SceneError(f"ground control points must not lie on one line, as in {path}. {advice}")
    affine = from_gcps(gcps)
    # In pixels rather than in the CRS, so that one limit fits degrees and meters.
    inverse = np.array(~affine).reshape(3, 3)
    fitted = ground @ inverse[:2, :2].T + inverse[:2, 2]
    miss = float(np.hypot(*(fitted - pixels).T).max())
    if miss > _GCP_LIMIT_PX:
        raise SceneError(
            f"ground control points must fit an affine within {_GCP_LIMIT_PX:g} pixel, "
            f"got {miss:.1f} pixels in {path}. {advice}"
        )
    return affine
