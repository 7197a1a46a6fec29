"""The accessor ``DataArray.geoseg``; light, so that ``import geoseg`` can register it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from geoseg.typing import Connectivity

if TYPE_CHECKING:
    import geopandas as gpd

    from geoseg.pipeline.run import RunSummary

__all__ = ["GeosegAccessor"]


@xr.register_dataarray_accessor("geoseg")
class GeosegAccessor:
    """``array.geoseg``: the functions of :mod:`geoseg.xr` as methods of a DataArray."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def predict(self, model: Any, **options: Any) -> xr.DataArray:
        """See :func:`geoseg.xr.predict`."""
        from geoseg.xr import predict

        return predict(self._array, model, **options)

    def split_masks(self, connectivity: Connectivity = 8) -> xr.DataArray:
        """See :func:`geoseg.xr.split_masks`."""
        from geoseg.xr import split_masks

        return split_masks(self._array, connectivity)

    def polygonize(self, **options: Any) -> gpd.GeoDataFrame:
        """See :func:`geoseg.xr.polygonize`."""
        from geoseg.xr import polygonize

        return polygonize(self._array, **options)

    def segment(self, model: Any = None, **options: Any) -> gpd.GeoDataFrame | RunSummary:
        """See :func:`geoseg.xr.segment`."""
        from geoseg.xr import segment

        return segment(self._array, model, **options)
