"""ONNX networks with the metadata of Deepness, the QGIS plug-in; reading and writing.

Such a file is a whole model: class names, resolution, tile size and overlap, standardization and
threshold stand as JSON strings in its ``metadata_props``. geoseg's own files carry the card as well.

References
----------
Deepness documentation, "Model creation: add metadata"; pixels are divided by 255, then standardized.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard, card_text, parse_card
from geoseg.models.onnx_files import OnnxFile
from geoseg.models.options import GeosegOptions
from geoseg.models.scaling import BandScaling, ZScore, band_ramps

__all__ = ["CARD_KEY", "card_from_metadata", "metadata_from_card", "standardization"]

#: Metadata key under which geoseg keeps the whole card.
CARD_KEY = "geoseg_card"

_CLASS_TYPES = {"Segmentor"}


def card_from_metadata(file: OnnxFile) -> ModelCard:
    """A card from an ONNX file's own card or its Deepness metadata.

    Raises
    ------
    ModelError
        The metadata is missing, of another model type, or contradicts the network.
    """
    metadata, name = file.metadata, file.label
    if CARD_KEY in metadata:
        return parse_card(_json(metadata, CARD_KEY, name), source=name)
    kind = str(_json(metadata, "model_type", name))
    if kind not in _CLASS_TYPES:
        raise ModelError(f"{name}: model_type must be one of {', '.join(sorted(_CLASS_TYPES))}, got {kind}")
    channels, (height, width), outputs = file.channels or 3, file.shape, file.outputs or 1
    classes = _class_names(_json(metadata, "class_names", name, {}), outputs)
    size = int(_number(metadata, "tiles_size", name, height or 512))
    window = (height or size, width or size)
    # Stated in percent, and the resolution in centimeters.
    share = _number(metadata, "tiles_overlap", name, 25.0) / 100
    small = _number(metadata, "seg_small_segment", name, 0.0)
    resolution = _number(metadata, "resolution", name, 0.0) / 100
    try:
        options = GeosegOptions(
            gsd=resolution or None,
            window=window,
            overlap=(_overlap(window[0], share), _overlap(window[1], share)),
            # Deepness expects probabilities from the network.
            activation="none",
            threshold=_number(metadata, "seg_thresh", name, 0.5),
            min_area_m2=math.pi / 4 * (small * resolution) ** 2,
        )
        scaling = _scaling(metadata, name, channels, whole=not file.dtype.startswith("float"))
    except ValidationError as error:
        raise ModelError(f"{name}: metadata is impossible: {error.errors()[0]['msg']}") from None
    bands = ["red", "green", "blue"] if channels == 3 else [f"band_{index + 1}" for index in range(channels)]
    card = ModelCard.create(
        _plain_name(name), classes=classes, bands=bands, scaling=scaling, options=options, architecture="ONNX"
    )
    if outputs == 1:
        return card
    # Of several outputs the first is the background, so classes count from 0.
    document = card.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for value, item in enumerate(document["properties"]["mlm:output"][0]["classification:classes"]):
        item["value"] = value
    return parse_card(document, source=card.id)


def metadata_from_card(card: ModelCard) -> dict[str, str]:
    """Deepness metadata (JSON strings) and the card itself, for ``metadata_props`` of an ONNX file."""
    options = card.options
    names = {0: "background", 1: card.classes[0]} if len(card.classes) == 1 else dict(enumerate(card.classes))
    given = options.threshold
    several = given.values() if isinstance(given, dict) else given if isinstance(given, tuple) else (given,)
    threshold = min((share for share in several if share is not None), default=0.5)  # Deepness knows only one
    # It has one number for both sides.
    side, overlap = max(options.window), max(options.overlap)
    values: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": names,
        "tiles_size": side,
        "tiles_overlap": round(100 * overlap / side),
        "seg_thresh": threshold,
        # Pixels across a disc of the smallest area: Deepness drops segments that are narrower.
        "seg_small_segment": round(2 * math.sqrt(options.min_area_m2 / math.pi) / options.gsd)
        if options.gsd
        else 0,
    }
    if options.gsd:
        values["resolution"] = round(options.gsd * 100, 3)
    if (standard := standardization(card)) is not None:
        values["standardization_mean"], values["standardization_std"] = standard
    # The whole card goes along: read back by geoseg, nothing is lost to what Deepness has no field for.
    return {**{key: json.dumps(value) for key, value in values.items()}, CARD_KEY: card_text(card)}


def standardization(card: ModelCard) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation after a division by 255, where the scaling is a straight line."""
    ramps = band_ramps(card.scaling, card.in_channels)
    if any(math.isfinite(ramp.low) or math.isfinite(ramp.high) for ramp in ramps):
        return None
    std = [1 / ramp.gain / 255 for ramp in ramps]
    return [-ramp.offset / ramp.gain / 255 for ramp in ramps], std


def _overlap(side: int, share: float) -> int:
    # An overlap as wide as the window would never move on.
    return min(round(side * share), side - 1)


def _json(metadata: Mapping[str, str], key: str, name: str, default: Any = None) -> Any:
    if key not in metadata:
        if default is None:
            raise ModelError(
                f"{name} must carry metadata ({key} is missing). Put it into a bundle with a card, or add "
                "the metadata of Deepness: model_type, class_names, resolution, tiles_size, tiles_overlap."
            )
        return default
    try:
        return json.loads(metadata[key])
    except ValueError:
        # Plain text in place of JSON is taken as it is.
        return metadata[key]


def _number(metadata: Mapping[str, str], key: str, name: str, default: float) -> float:
    value = _json(metadata, key, name, default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ModelError(f"{name}: metadata {key} must be a number, got {value!r}") from None


def _scaling(
    metadata: Mapping[str, str], name: str, channels: int, *, whole: bool
) -> list[BandScaling | None] | None:
    """Scaling of each band; None where the network takes whole numbers, the pixels as they are."""
    if whole and not {"standardization_mean", "standardization_std"} & set(metadata):
        return None
    mean = _vector(metadata, "standardization_mean", name, channels, 0.0)
    std = _vector(metadata, "standardization_std", name, channels, 1.0)
    return [ZScore(mean=m * 255, stddev=s * 255) for m, s in zip(mean, std)]


def _vector(metadata: Mapping[str, str], key: str, name: str, channels: int, default: float) -> list[float]:
    value = _json(metadata, key, name, [default] * channels)
    values = value if isinstance(value, list) else [value]
    values = values * channels if len(values) == 1 else values
    if len(values) != channels or not all(isinstance(item, int | float) for item in values):
        raise ModelError(f"{name}: metadata {key} must be {channels} numbers, got {value!r}")
    return [float(item) for item in values]


def _class_names(names: Any, outputs: int) -> list[str]:
    """One name an output; a single output of two named classes is the object, not the background."""
    pairs = names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else [])
    known = {int(key): str(value) for key, value in pairs if str(key).isdigit()}
    if outputs == 1:
        return [known.get(1, known.get(0, "object"))]
    return [known.get(index, f"class_{index}") for index in range(outputs)]


def _plain_name(name: str) -> str:
    text = "".join(
        char if char.isascii() and (char.isalnum() or char in "_-") else "-" for char in Path(name).stem
    )
    text = text.strip("-_")
    return text if text[:1].isalpha() and len(text) > 2 else f"model-{text or 'x'}x"
