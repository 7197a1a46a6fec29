"""The accessor ``DataArray.geoseg``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import xarray as xr

from geoseg.config.keywords import PolygonizeKeywords, PredictKeywords, RunKeywords, SegmentKeywords
from geoseg.config.signature import takes_settings
from geoseg.typing import Connectivity, PathLike, Progress, no_progress

if TYPE_CHECKING:
    import geopandas as gpd
    from affine import Affine

    from geoseg.pipeline.summary import RunSummary

__all__ = ["GeosegAccessor"]


# Thin on purpose: help texts and settings are those of the functions.
@xr.register_dataarray_accessor("geoseg")
class GeosegAccessor:
    """``array.geoseg``: the functions of geoseg that take an array, as its methods."""

    # Each function is imported when it is called: the accessor comes with every xarray, used or not.
    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @takes_settings("array")
    def predict(self, model: Any = None, **settings: Unpack[PredictKeywords]) -> xr.DataArray:
        """See :func:`geoseg.predict`."""
        from geoseg.xr import predict

        return predict(self._array, model, **settings)

    def split_masks(
        self,
        connectivity: Connectivity = 8,
        *,
        height: xr.DataArray | None = None,
        persistence: float = 0.25,
    ) -> xr.DataArray:
        """See :func:`geoseg.split_masks`."""
        from geoseg.xr import split_masks

        return split_masks(self._array, connectivity, height=height, persistence=persistence)

    @takes_settings("polygonize")
    def polygonize(
        self,
        *,
        transform: Affine | None = None,
        crs: Any = None,
        connectivity: Connectivity = 8,
        values: Sequence[int] | None = None,
        **settings: Unpack[PolygonizeKeywords],
    ) -> gpd.GeoDataFrame:
        """See :func:`geoseg.polygonize`."""
        from geoseg.xr import polygonize

        return polygonize(
            self._array, transform=transform, crs=crs, connectivity=connectivity, values=values, **settings
        )

    @takes_settings("segment")
    def segment(
        self,
        model: Any = None,
        *,
        progress: Progress = no_progress,
        client: Any = None,
        **settings: Unpack[SegmentKeywords],
    ) -> gpd.GeoDataFrame:
        """See :func:`geoseg.segment`."""
        from geoseg.api import segment

        return segment(self._array, model, progress=progress, client=client, **settings)

    @takes_settings("run")
    def run(
        self,
        model: Any = None,
        *,
        out: PathLike,
        progress: Progress = no_progress,
        client: Any = None,
        **settings: Unpack[RunKeywords],
    ) -> RunSummary:
        """See :func:`geoseg.run`."""
        from geoseg.api import run

        return run(self._array, model, out=out, progress=progress, client=client, **settings)
