"""Networks, bundles and predictors. Nothing here loads torch before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg.late import offer_late

if TYPE_CHECKING:
    from geoseg.models.bundle import open_bundle, shipped_model, write_bundle
    from geoseg.models.card import ModelCard, read_card, write_card
    from geoseg.models.convert import convert_model
    from geoseg.models.describe import describe_model
    from geoseg.models.devices import resolve_device, tune_malloc
    from geoseg.models.export import export_onnx
    from geoseg.models.loading import as_predictor, load_model
    from geoseg.models.options import ArchitectureSpec, GeosegOptions
    from geoseg.models.predictor import Predictor, check_bands
    from geoseg.models.scaling import ZScore

__all__ = [
    "ArchitectureSpec",
    "GeosegOptions",
    "ModelCard",
    "Predictor",
    "ZScore",
    "as_predictor",
    "check_bands",
    "convert_model",
    "describe_model",
    "export_onnx",
    "load_model",
    "open_bundle",
    "read_card",
    "resolve_device",
    "shipped_model",
    "tune_malloc",
    "write_bundle",
    "write_card",
]

__getattr__, __dir__ = offer_late(
    __name__,
    {
        "ArchitectureSpec": "geoseg.models.options",
        "GeosegOptions": "geoseg.models.options",
        "ModelCard": "geoseg.models.card",
        "Predictor": "geoseg.models.predictor",
        "ZScore": "geoseg.models.scaling",
        "as_predictor": "geoseg.models.loading",
        "convert_model": "geoseg.models.convert",
        "check_bands": "geoseg.models.predictor",
        "describe_model": "geoseg.models.describe",
        "export_onnx": "geoseg.models.export",
        "load_model": "geoseg.models.loading",
        "open_bundle": "geoseg.models.bundle",
        "read_card": "geoseg.models.card",
        "resolve_device": "geoseg.models.devices",
        "shipped_model": "geoseg.models.bundle",
        "tune_malloc": "geoseg.models.devices",
        "write_bundle": "geoseg.models.bundle",
        "write_card": "geoseg.models.card",
    },
)
