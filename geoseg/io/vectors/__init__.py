"""Vector files, read in one way wherever they come from: labels, areas of interest, footprints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg.late import offer_late

if TYPE_CHECKING:
    from geoseg.io.vectors.features import (
        Features,
        PlacedFeatures,
        beside_scene,
        check_crs_pair,
        continuous_bounds,
        moved_to,
        once_around,
        pixel_transform,
        reach,
        read_features,
    )
    from geoseg.io.vectors.files import VectorBatch, VectorFile, open_vector
    from geoseg.io.vectors.formats import VECTOR_FORMATS, is_vector_file, split_layer
    from geoseg.io.vectors.values import class_name

__all__ = [
    "VECTOR_FORMATS",
    "Features",
    "PlacedFeatures",
    "VectorBatch",
    "VectorFile",
    "beside_scene",
    "check_crs_pair",
    "class_name",
    "continuous_bounds",
    "is_vector_file",
    "moved_to",
    "once_around",
    "open_vector",
    "pixel_transform",
    "reach",
    "read_features",
    "split_layer",
]

# Late, because reading loads pandas and geopandas, and names and formats are asked for more often than files
__getattr__, __dir__ = offer_late(
    __name__,
    {
        **dict.fromkeys(
            (
                "Features",
                "PlacedFeatures",
                "beside_scene",
                "check_crs_pair",
                "continuous_bounds",
                "moved_to",
                "once_around",
                "pixel_transform",
                "reach",
                "read_features",
            ),
            "geoseg.io.vectors.features",
        ),
        **dict.fromkeys(("VectorBatch", "VectorFile", "open_vector"), "geoseg.io.vectors.files"),
        **dict.fromkeys(("VECTOR_FORMATS", "is_vector_file", "split_layer"), "geoseg.io.vectors.formats"),
        "class_name": "geoseg.io.vectors.values",
    },
)
