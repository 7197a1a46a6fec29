"""Networks, bundles and predictors. Nothing here loads torch before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg.models.bundle import open_bundle, shipped_model, write_bundle
    from geoseg.models.card import ModelCard, read_card, write_card
    from geoseg.models.devices import resolve_device, tune_malloc
    from geoseg.models.export import export_onnx
    from geoseg.models.loading import as_predictor, describe_model, load_model
    from geoseg.models.options import ArchitectureSpec, GeosegOptions
    from geoseg.models.predictor import Predictor, check_bands

#: Public name -> module that holds it.
_LAZY = {
    "ArchitectureSpec": "options",
    "GeosegOptions": "options",
    "ModelCard": "card",
    "Predictor": "predictor",
    "as_predictor": "loading",
    "check_bands": "predictor",
    "describe_model": "loading",
    "export_onnx": "export",
    "load_model": "loading",
    "open_bundle": "bundle",
    "read_card": "card",
    "resolve_device": "devices",
    "shipped_model": "bundle",
    "tune_malloc": "devices",
    "write_bundle": "bundle",
    "write_card": "card",
}

__all__ = [
    "ArchitectureSpec",
    "GeosegOptions",
    "ModelCard",
    "Predictor",
    "as_predictor",
    "check_bands",
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


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'geoseg.models' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
