"""A CRS as a format keeps it: it is read back from the smallest of files before any work is done."""

from __future__ import annotations

from functools import lru_cache
from uuid import uuid4

import numpy as np
import pyarrow as pa
import rasterio
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.io import MemoryFile

from geoseg.errors import InputError
from geoseg.geo.geobox import is_earth
from geoseg.io.gdal_env import quiet_georeferencing, raster_env
from geoseg.typing import PathLike

#: A millimeter.
_SAME_DEGREES = 1e-8

__all__ = ["check_tiff_crs", "read_crs", "same_crs", "stated_crs"]


def same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether two CRSs mean the same place by the same numbers; x comes first whatever they say.

    Examples
    --------
    >>> same_crs(CRS.from_epsg(32645), CRS.from_proj4("+proj=utm +zone=45 +datum=WGS84 +units=us-ft"))
    False
    """
    if one is None or other is None:
        return one is other
    if one.equals(other, ignore_axis_order=True):
        return True
    # Texts differ where places do not: a TIFF of EPSG:3067 comes back under another name for its axes. Where
    # a CRS is made for is known of those in the register.
    area = one.area_of_use or other.area_of_use
    if area is None or not (is_earth(one) and is_earth(other)):
        return False
    across, along = np.linspace(area.west, area.east, 5), np.linspace(area.south, area.north, 5)
    lon, lat = np.meshgrid(across[1:4], along[1:4])
    try:
        xy = Transformer.from_crs(4326, one, always_xy=True).transform(lon, lat)
        back = Transformer.from_crs(other, 4326, always_xy=True).transform(*xy)
        straight = Transformer.from_crs(one, 4326, always_xy=True).transform(*xy)
    except ProjError:
        return False
    return bool(np.allclose(back, straight, rtol=0, atol=_SAME_DEGREES))


def read_crs(path: PathLike, layer: str | None = None) -> CRS | None:
    """The CRS that a reader finds in a vector file."""
    import pyogrio  # loads pandas and geopandas, 0.3 s that a run to GeoJSON does without

    text = pyogrio.read_info(path, layer=layer)["crs"]
    return None if text is None else CRS.from_user_input(text)


@lru_cache(maxsize=64)
def stated_crs(driver: str, suffix: str, crs: CRS) -> str:
    """The text that makes a driver keep a CRS.

    GDAL takes a CRS without a code for a known one that looks like it, and does not look at everything:
    UTM zone 45 in feet becomes UTM zone 45 in meters. With a code of its own it stays what it is.

    Raises
    ------
    InputError
        The format can't hold it.
    """
    import pyogrio

    own = crs.to_json_dict()
    own["id"] = {"authority": "GEOSEG", "code": 1}
    for text in (crs.to_wkt(), CRS.from_json_dict(own).to_wkt()):
        # In memory: a full disk is no reason to refuse a format
        folder = f"/vsimem/geoseg-{uuid4().hex}/"
        path = f"{folder}probe{suffix}"
        try:
            fields = pa.schema([("id", pa.int64()), ("geom", pa.binary())])
            shape = shapely.to_wkb(shapely.box(0, 0, 1, 1))
            row = pa.record_batch([pa.array([1]), pa.array([shape], pa.binary())], schema=fields)
            reader = pa.RecordBatchReader.from_batches(fields, [row])
            pyogrio.write_arrow(
                reader, path, driver=driver, geometry_name="geom", geometry_type="Polygon", crs=text
            )
            if same_crs(read_crs(path), crs):
                return text
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, CRSError, RuntimeError):
            continue  # the driver refuses this text; what no text does is refused below
        finally:
            if pyogrio.vsi_listtree(folder):
                pyogrio.vsi_rmtree(folder)
    raise InputError(
        f"format must be one that can hold the scene's CRS ({crs.name}), got {suffix[1:]}, which would give "
        "it back changed. Use parquet or gpkg, or bring the scene to another CRS."
    )


@lru_cache(maxsize=16)
def check_tiff_crs(crs: CRS | None) -> None:
    """Refuse a CRS that a GeoTIFF would give back changed, or not at all.

    Raises
    ------
    InputError
        It has no place in a GeoTIFF, as a rotated or derived one.
    """
    if crs is None:
        return
    profile = {"driver": "GTiff", "width": 1, "height": 1, "count": 1, "dtype": "uint8", "crs": crs.to_wkt()}
    # Without the .aux.xml, which would not go along with the file
    with raster_env(), rasterio.Env(GDAL_PAM_ENABLED="NO"), quiet_georeferencing(), MemoryFile() as file:
        with file.open(**profile, transform=Affine.translation(1, 1)):
            pass
        with file.open() as written:
            kept = None if written.crs is None else CRS.from_user_input(written.crs.to_wkt())
    if not same_crs(kept, crs):
        raise InputError(
            f"a raster to be written must have a CRS that a GeoTIFF can hold, got {crs.name}. "
            "Bring the scene to another CRS, or write footprints to parquet or gpkg."
        )
