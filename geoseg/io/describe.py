"""What a scene is, in plain words and numbers."""

from __future__ import annotations

from typing import Any

from geoseg.geo.geobox import GeoBox
from geoseg.io.sources import open_raster
from geoseg.typing import PathLike

__all__ = ["describe"]


def describe(path: PathLike, gsd: float | None = None) -> dict[str, Any]:
    """Describe a scene from its header, as ``geoseg info`` prints it.

    Parameters
    ----------
    path, gsd
        As for :func:`geoseg.io.sources.open_raster`.

    Returns
    -------
    dict
        JSON-ready; lengths in pixels unless the name says otherwise.

    Raises
    ------
    MissingFileError, SceneError
        As :func:`geoseg.io.sources.open_raster`.
    """
    # As every job opens it: what is described is what would be read, turned upright for example.
    source = open_raster(path, gsd=gsd)
    box = source.geobox
    step = box.ground_resolution()
    # By code and name, for WKT is no plain word; a CRS of the user's own has no code.
    code = box.crs.to_authority() if box.crs is not None else None
    return {
        "path": source.path,
        "width": box.width,
        "height": box.height,
        "megapixels": round(box.width * box.height / 1e6, 3),
        "crs": None if box.crs is None else f"{':'.join(code)} ({box.crs.name})" if code else box.crs.name,
        "transform": list(box.transform[:6]),
        "orientation": _orientation(box),
        "bounds": list(box.bounds()),
        "center_lonlat": list(center) if (center := box.center_lonlat()) else None,
        "ground_resolution_m": [round(meters, 6) for meters in step] if step else None,
        "acquired": source.acquired,
        "bands": source.count,
        "dtype": source.dtype,
        "nodata": source.nodata,
        "block": list(source.file_block),
        **source.facts(),
    }


def _orientation(box: GeoBox) -> str:
    """How the raster lies: "north-up", "south-up", "rotated", or "pixels" without a place on the ground."""
    transform = box.transform
    if box.crs is None and transform.is_identity:
        return "pixels"
    if not transform.is_rectilinear:
        return "rotated"
    return "north-up" if transform.e < 0 else "south-up"
