"""What a scene or a file of footprints is, in plain words and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyproj import CRS

from geoseg.errors import InputError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.io.sources import open_raster
from geoseg.io.stac import is_stac
from geoseg.io.vectors.formats import is_vector_file, split_layer
from geoseg.typing import PathLike

__all__ = ["describe"]


def describe(path: PathLike, gsd: float | None = None) -> dict[str, Any]:
    """Describe a scene, or a file of footprints, from its header, as ``geoseg info`` prints it.

    Parameters
    ----------
    path, gsd
        As for :func:`geoseg.io.sources.open_raster`.

    Returns
    -------
    dict
        JSON-ready; lengths in pixels unless the name says otherwise. ``provenance`` is what a result says of
        its origin.

    Raises
    ------
    MissingFileError, SceneError
        As :func:`geoseg.io.sources.open_raster`.
    InputError
        A vector file that can't be read, or a ``gsd`` for one.
    """
    if Path(path).suffix.lower() == ".pmtiles" and Path(path).is_file():
        return _describe_tiles(Path(path))
    if is_vector_file(path) and not is_stac(path):
        try:
            return _describe_footprints(path, gsd)
        except InputError:
            # which may hold a raster and no layer
            if split_layer(path)[0].suffix.lower() != ".gpkg" or gsd is not None:
                raise
    # As every job opens it: what is described is what would be read, turned upright for example.
    source = open_raster(path, gsd=gsd)
    box = source.geobox
    step = box.ground_resolution()
    try:
        provenance = dict(source.hints().provenance)
    except SceneError:  # bands of several scales, which are no result of ours
        provenance = {}
    return {
        "path": source.path,
        "width": box.width,
        "height": box.height,
        "megapixels": round(box.width * box.height / 1e6, 3),
        "crs": _crs_words(box.crs),
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
        **({"provenance": provenance} if provenance else {}),
    }


def _describe_footprints(path: PathLike, gsd: float | None) -> dict[str, Any]:
    # These load pandas and pyarrow, which a scene does without.
    from geoseg.io.vectors import open_vector
    from geoseg.io.writers import read_provenance

    if gsd is not None:
        raise InputError(f"gsd must be given for a scene, got {path}, which holds polygons. Leave it out.")
    layer = open_vector(path)
    provenance = read_provenance(layer.path)
    return {
        "path": str(layer.path),
        "layer": layer.layer,
        "features": layer.count,
        "crs": _crs_words(layer.crs),
        "bounds": None if layer.bounds is None else list(layer.bounds),
        "columns": list(layer.columns),
        **({} if provenance is None else {"provenance": provenance}),
    }


def _describe_tiles(path: Path) -> dict[str, Any]:
    from geoseg.io.writers import read_provenance  # loads pyarrow
    from geoseg.io.writers.pmtiles import read_header

    try:
        header = read_header(path)
    except ValueError as error:
        raise InputError(f"a .pmtiles file must be one of vector tiles, got {path}: {error}.") from error
    layers = header.metadata.get("vector_layers", [])
    provenance = read_provenance(path)
    return {
        "path": str(path),
        "layers": [str(layer.get("id")) for layer in layers],
        "tiles": header.tiles,
        "zooms": list(header.zooms),
        "bounds_lonlat": list(header.bounds),
        "columns": list(dict.fromkeys(name for layer in layers for name in layer.get("fields", {}))),
        **({} if provenance is None else {"provenance": provenance}),
    }


def _crs_words(crs: CRS | None) -> str | None:
    """Code and name, for WKT is no plain word; a CRS of the user's own has no code."""
    code = None if crs is None else crs.to_authority()
    return None if crs is None else f"{':'.join(code)} ({crs.name})" if code else crs.name


def _orientation(box: GeoBox) -> str:
    """How the raster lies: "north-up", "south-up", "rotated", or "pixels" without a place on the ground."""
    transform = box.transform
    if box.crs is None and transform.is_identity:
        return "pixels"
    if not transform.is_rectilinear:
        return "rotated"
    return "north-up" if transform.e < 0 else "south-up"
