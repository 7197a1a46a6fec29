"""What a scene is, in plain words and numbers."""

from __future__ import annotations

from typing import Any

from pyproj import CRS

from geoseg.geo.geobox import GeoBox
from geoseg.io.gdal_env import is_remote, open_dataset, raster_env
from geoseg.io.scene import Scene, open_source
from geoseg.io.validity import ValidityRule
from geoseg.typing import PathLike

__all__ = ["describe"]


def describe(path: PathLike) -> dict[str, Any]:
    """Describe a scene from its header, as ``geoseg info`` prints it.

    Returns
    -------
    dict
        JSON-ready; lengths in pixels unless the name says otherwise.

    Raises
    ------
    MissingFileError, SceneError
        As :func:`geoseg.io.scene.open_source`.
    """
    scene = open_source(path)
    dataset = open_dataset(path)
    with raster_env(is_remote(scene.path)), dataset:
        stored = {
            "driver": dataset.driver,
            "compression": dataset.compression.value if dataset.compression else None,
            "interleaving": dataset.interleaving.value if dataset.interleaving else None,
            "overviews": list(dataset.overviews(1)),
            "stored_bands": _bands(dataset),
            "scales": list(dataset.scales),
            "offsets": list(dataset.offsets),
        }
    return {**_place(scene), **_pixels(scene), **stored}


def _bands(dataset: Any) -> list[dict[str, Any]]:
    rows = zip(dataset.indexes, dataset.dtypes, dataset.colorinterp, dataset.descriptions, strict=True)
    return [
        {"band": band, "dtype": dtype, "color": color.name, "description": description}
        for band, dtype, color, description in rows
    ]


def _place(scene: Scene) -> dict[str, Any]:
    box = scene.geobox
    step = box.ground_resolution()
    return {
        "path": scene.path,
        "width": box.width,
        "height": box.height,
        "megapixels": round(box.width * box.height / 1e6, 3),
        "crs": _crs_name(box.crs),
        "transform": list(box.transform[:6]),
        "orientation": _orientation(box),
        "bounds": list(box.bounds()),
        "center_lonlat": list(center) if (center := box.center_lonlat()) else None,
        "ground_resolution_m": [round(meters, 6) for meters in step] if step else None,
        "acquired": scene.acquired,
    }


def _pixels(scene: Scene) -> dict[str, Any]:
    return {
        "bands": scene.count,
        "dtype": scene.dtype,
        "palette": scene.palette is not None,
        "nodata": scene.nodata,
        "validity": validity_sources(scene.rule, scene.has_validity),
        "block": list(scene.file_block),
    }


def _crs_name(crs: CRS | None) -> str | None:
    if crs is None:
        return None
    code = crs.to_authority()
    return f"{':'.join(code)} ({crs.name})" if code else crs.name


def _orientation(box: GeoBox) -> str:
    """How the raster lies: "north-up", "south-up", "rotated", or "pixels" without a place on the ground."""
    transform = box.transform
    if box.crs is None and transform.is_identity:
        return "pixels"
    if not transform.is_rectilinear:
        return "rotated"
    return "north-up" if transform.e < 0 else "south-up"


def validity_sources(rule: ValidityRule, anything: bool) -> list[str]:
    """Names of what can make a pixel invalid; empty where every pixel counts.

    Examples
    --------
    >>> validity_sources(ValidityRule(alpha=4, nodata=(0.0, 0.0)), True)
    ['alpha band 4', 'nodata 0']
    >>> validity_sources(ValidityRule(), False)
    []
    """
    sources = []
    if rule.mask:
        sources.append("mask")
    if rule.alpha is not None:
        sources.append(f"alpha band {rule.alpha}")
    values = sorted({value for value in rule.nodata if value is not None})
    if values:
        sources.append("nodata " + ", ".join(f"{value:g}" for value in values))
    if rule.finite:
        sources.append("NaN")
    return sources or (["palette"] if anything else [])
