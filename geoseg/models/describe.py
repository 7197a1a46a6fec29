"""What a model is, in plain words: its card, and the arrays that its network takes."""

from __future__ import annotations

import hashlib
from typing import Any

from geoseg.models.bundle import open_bundle, shipped_model
from geoseg.models.exported import input_shape, plain_archive
from geoseg.models.onnx_files import read_onnx
from geoseg.typing import PathLike

__all__ = ["describe_model"]


def describe_model(path: PathLike | None = None) -> dict[str, Any]:
    """What ``geoseg info`` prints of a model: the card's content in plain words.

    Weights are verified; a graph that a bundle brings along (.pt2, .onnx) is looked through, and an .onnx
    file is tried on small images.

    Raises
    ------
    MissingFileError, ModelError
        As :func:`load_model`.
    """
    bundle = open_bundle(shipped_model() if path is None else path)
    card, options = bundle.card, bundle.card.options
    content = bundle.weights()
    extra = card.properties.model_extra or {}
    multiple, dtype = options.multiple, "float32"
    sides: tuple[int | None, ...] = (None, None)
    if bundle.kind == "pt2":
        sides = input_shape(plain_archive(content, bundle.label), bundle.label)[2:]
    elif bundle.kind == "onnx":
        file = read_onnx(content, bundle.label, card.in_channels)
        multiple, dtype, sides = max(multiple, file.divisor(file.open())), file.dtype, file.shape
    size = f"sides are multiples of {multiple} px (others are padded)"
    if None not in sides:
        size = f"{sides[0]} x {sides[1]} px"
    return {
        "name": card.name,
        "description": extra.get("description"),
        "path": str(bundle.path),
        "weights": {
            "format": bundle.kind,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
        "input": f"{dtype}, {size}",
        "architecture": card.properties.architecture,
        "parameters": extra.get("mlm:total_parameters"),
        "bands": list(card.bands) or card.in_channels,
        "dtype": card.dtype,
        "scaling": None
        if card.scaling is None
        else [step and step.model_dump(mode="json") for step in card.scaling],
        "classes": list(card.classes),
        "background": None if card.background is None else card.classes[card.background],
        "activation": card.activation,
        "license": extra.get("license"),
        **options.model_dump(mode="json", exclude={"version", "activation", "architecture"}),
    }
