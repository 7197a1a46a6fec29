"""A new model card's STAC document, put together from what a training run knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoseg.models.options import Activation, GeosegOptions
from geoseg.models.scaling import BandScaling

__all__ = ["MLM_SCHEMA", "compose_item", "default_activation"]

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
_FILE_SCHEMA = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_CLASS_SCHEMA = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
_WORLD = (-180.0, -90.0, 180.0, 90.0)


def default_activation(options: GeosegOptions, outputs: int) -> Activation:
    """The activation that options ask for, or the usual one for this number of outputs."""
    return options.activation or ("sigmoid" if outputs == 1 else "softmax")


def compose_item(identifier: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A STAC Item without assets; it covers the world, since a model lies nowhere."""
    west, south, east, north = _WORLD
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM_SCHEMA, _FILE_SCHEMA, _CLASS_SCHEMA],
        "id": identifier,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(_WORLD),
        "properties": properties,
        "links": [],
        "assets": {},
    }


def model_properties(
    name: str, options: GeosegOptions, *, architecture: str | None, description: str
) -> dict[str, Any]:
    """What is said of the model as a whole."""
    spec = options.architecture
    named = name if spec is None else f"{spec.name} ({spec.encoder})" if spec.encoder else spec.name
    return {
        "mlm:name": name,
        "description": description or name,
        "mlm:architecture": architecture or named,
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        # Null means that any will do.
        "mlm:accelerator": None,
        "mlm:hyperparameters": {"geoseg": options.document()},
        **({"gsd": options.gsd} if options.gsd else {}),
    }


def input_object(
    bands: Sequence[str], scaling: Sequence[BandScaling | None] | None, data_type: str, sides: tuple[int, int]
) -> dict[str, Any]:
    """The MLM "Model Input Object"."""
    return {
        "name": "scene",
        "bands": list(bands),
        "input": {
            "shape": [-1, len(bands), *sides],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": data_type,
        },
        "value_scaling": None
        if scaling is None
        else [step and step.model_dump(mode="json") for step in scaling],
    }


def output_object(
    classes: Sequence[str],
    colors: Sequence[str | None] | None,
    activation: Activation,
    sides: tuple[int, int],
) -> dict[str, Any]:
    """The MLM "Model Output Object"; with a softmax the first class is background, value 0."""
    first = 0 if activation == "softmax" else 1
    return {
        "name": "probabilities" if activation == "none" else "logits",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(classes), *sides],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": value,
                "name": text,
                "description": text,
                **({"color_hint": color} if color else {}),
            }
            for value, (text, color) in enumerate(
                zip(classes, colors or [None] * len(classes), strict=True), start=first
            )
        ],
    }
