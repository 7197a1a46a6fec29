"""geoseg: huge satellite and aerial scenes in, exact vector footprints out."""

from __future__ import annotations

import importlib
from typing import Any

from geoseg import accessor  # noqa: F401  (DataArray.geoseg)

__version__ = "0.1.0"

#: Public name -> module that holds it; loaded on first use, so that ``import geoseg`` stays light.
_LAZY: dict[str, str] = {
    "GeosegError": "geoseg.errors",
    "load_model": "geoseg.models",
    "open_scene": "geoseg.xr",
    "polygonize": "geoseg.xr",
    "predict": "geoseg.xr",
    "run": "geoseg.api",
    "segment": "geoseg.api",
    "split_masks": "geoseg.xr",
    "vectorize": "geoseg.api",
}

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'geoseg' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
