"""Vector files, read in one way wherever they come from: labels, areas of interest, footprints."""

from geoseg.io.vectors.features import (
    Features,
    PlacedFeatures,
    check_crs_pair,
    pixel_transform,
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
    "check_crs_pair",
    "class_name",
    "is_vector_file",
    "open_vector",
    "pixel_transform",
    "read_features",
    "split_layer",
]
