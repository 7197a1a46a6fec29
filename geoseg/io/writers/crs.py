"""A CRS as a GDAL driver keeps it: it is read back from a file of one feature before any work is done."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import InputError

__all__ = ["read_crs", "same_crs", "stated_crs"]


def same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether two CRSs mean the same place by the same numbers; x comes first whatever they say.

    Examples
    --------
    >>> same_crs(CRS.from_epsg(32645), CRS.from_proj4("+proj=utm +zone=45 +datum=WGS84 +units=us-ft"))
    False
    """
    if one is None or other is None:
        return one is other
    return bool(one.equals(other, ignore_axis_order=True))


def read_crs(path: Path, layer: str | None = None) -> CRS | None:
    """The CRS that a reader finds in a vector file."""
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
    own = crs.to_json_dict()
    own["id"] = {"authority": "GEOSEG", "code": 1}
    for text in (crs.to_wkt(), CRS.from_json_dict(own).to_wkt()):
        with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
            path = Path(folder) / f"probe{suffix}"
            fields = pa.schema([("id", pa.int64()), ("geom", pa.binary())])
            shape = shapely.to_wkb(shapely.box(0, 0, 1, 1))
            row = pa.record_batch([pa.array([1]), pa.array([shape], pa.binary())], schema=fields)
            reader = pa.RecordBatchReader.from_batches(fields, [row])
            try:
                pyogrio.write_arrow(
                    reader, path, driver=driver, geometry_name="geom", geometry_type="Polygon", crs=text
                )
                if same_crs(read_crs(path), crs):
                    return text
            except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, CRSError, RuntimeError):
                continue  # the driver refuses this text; what no text does is refused below
    raise InputError(
        f"format must be one that can hold the scene's CRS ({crs.name}), got {suffix[1:]}, which would give "
        "it back changed. Use parquet or gpkg, or bring the scene to another CRS."
    )
