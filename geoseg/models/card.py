"""The model card: a STAC Item with the MLM extension, typed.

What another tool wrote is kept: unknown keys of the STAC parts go through reading and writing unchanged,
while the ``geoseg`` object (:mod:`geoseg.models.options`) refuses keys it does not know.

References
----------
STAC specification 1.1, https://github.com/radiantearth/stac-spec; STAC Machine Learning Model extension
1.5, https://github.com/stac-extensions/mlm; File extension 2.1 (checksums as multihash).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from geoseg.config import parse_settings, read_document
from geoseg.errors import ConfigError, ModelError
from geoseg.files import write_text
from geoseg.models.card_parts import NAME_PATTERN, Asset, ClassObject, OpenModel, Properties
from geoseg.models.compose import (
    MLM_SCHEMA,
    compose_item,
    default_activation,
    input_object,
    model_properties,
    output_object,
)
from geoseg.models.options import Activation, GeosegOptions
from geoseg.models.scaling import BandScaling
from geoseg.typing import PathLike

__all__ = [
    "MLM_SCHEMA",
    "NAME_PATTERN",
    "Asset",
    "ClassObject",
    "ModelCard",
    "parse_card",
    "read_card",
    "write_card",
]


class ModelCard(OpenModel):
    """A STAC Item that describes one network.

    The STAC structure is all there (``card.properties.input[0].value_scaling``); the properties below
    answer what a run asks.
    """

    type: Literal["Feature"] = "Feature"
    stac_version: str
    stac_extensions: list[str]
    id: str = Field(min_length=1)
    geometry: dict[str, Any] | None
    bbox: list[float] | None = None
    properties: Properties
    links: list[dict[str, Any]]
    assets: dict[str, Asset]

    @field_validator("stac_extensions")
    @classmethod
    def _has_mlm(cls, extensions: list[str]) -> list[str]:
        # The address, and nothing is fetched from it.
        if not any("/mlm/v1" in url for url in extensions):
            raise ValueError(f"must name the MLM extension, version 1, such as {MLM_SCHEMA}")
        return extensions

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        classes, outputs = self.properties.output[0].classes, self.properties.output[0].outputs
        # The list may name the background though the network has no output for it.
        if outputs is not None and classes and outputs not in (len(classes), len(_objects(classes))):
            raise ValueError(f"{outputs} outputs must have one class each, got {[c.name for c in classes]}")
        options = self.options
        named = [*options.class_priority, *(options.threshold if isinstance(options.threshold, dict) else ())]
        if unknown := [name for name in named if name not in self.classes]:
            raise ValueError(
                f"classes of the geoseg object must be among {list(self.classes)}, got {unknown}"
            )
        return self

    @property
    def name(self) -> str:
        """``mlm:name``."""
        return self.properties.name

    @property
    def options(self) -> GeosegOptions:
        """The ``geoseg`` object, with its defaults where the card has none."""
        return self.properties.hyperparameters.geoseg

    @property
    def in_channels(self) -> int:
        """Number of bands the network takes."""
        return self.properties.input[0].channels or 0

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in the network's order; empty when the card names none."""
        bands = self.properties.input[0].bands
        return tuple(band if isinstance(band, str) else band.name for band in bands)

    @property
    def scaling(self) -> list[BandScaling | None] | None:
        """``value_scaling`` of the input."""
        return self.properties.input[0].value_scaling

    @property
    def dtype(self) -> str:
        """Data type of the pixels the scaling is made for, such as ``uint8``."""
        return self.properties.input[0].input.data_type

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K outputs, background among them where the network has such an output."""
        listed = self._listed()
        if not listed:
            count = self.properties.output[0].outputs or 1
            return ("object",) if count == 1 else tuple(f"class_{index}" for index in range(count))
        return tuple(item.name for item in listed)

    @property
    def colors(self) -> tuple[str | None, ...]:
        """Color of each of :attr:`classes`, six hexadecimal digits; None where the card has none."""
        return tuple(item.color_hint for item in self._listed()) or (None,) * len(self.classes)

    def _listed(self) -> list[ClassObject]:
        """The class of each output; empty where the card names none."""
        output = self.properties.output[0]
        listed = sorted(output.classes, key=lambda item: item.value)
        if output.outputs is not None and len(listed) != output.outputs:
            listed = _objects(listed)
        return listed

    @property
    def background(self) -> int | None:
        """Index of the output that is background (class value 0), or None."""
        listed = self.properties.output[0].classes
        # By its value and not by its name, which every language spells otherwise.
        name = next((item.name for item in listed if item.value == 0), None)
        return self.classes.index(name) if name in self.classes else None

    @property
    def activation(self) -> Activation:
        """From the network's output to probabilities."""
        return default_activation(self.options, len(self.classes))

    def model_asset(self) -> Asset:
        """The file with the weights: the first asset with the role ``mlm:model``."""
        for asset in self.assets.values():
            if "mlm:model" in asset.roles:
                return asset
        raise ModelError(f"card {self.id} must have an asset with the role 'mlm:model', got none")

    def replace_options(self, **changes: Any) -> ModelCard:
        """The same card with other values in its ``geoseg`` object."""
        document = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        # Through the document, so that the new card is checked as one that was read.
        parameters = document["properties"].setdefault("mlm:hyperparameters", {})
        parameters["geoseg"] = {**self.options.document(), **changes}
        return parse_card(document, source=self.id)

    def with_asset(self, asset: Asset) -> ModelCard:
        """The same card with ``asset`` as its only file of weights."""
        # STAC 1.1 allows bands of an item only where an asset tells of its own.
        if bands := (self.properties.model_extra or {}).get("bands"):
            asset = asset.model_copy(update={"bands": bands})
        kept = {key: value for key, value in self.assets.items() if "mlm:model" not in value.roles}
        return self.model_copy(update={"assets": {"model": asset, **kept}})

    @classmethod
    def create(
        cls,
        name: str,
        *,
        classes: Sequence[str],
        bands: Sequence[str],
        scaling: Sequence[BandScaling | None] | None,
        options: GeosegOptions,
        data_type: str = "uint8",
        architecture: str | None = None,
        description: str = "",
        parameters: int | None = None,
        colors: Sequence[str | None] | None = None,
        period: tuple[str, str] = ("2015-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        **properties: Any,
    ) -> ModelCard:
        """A card from what a training run knows; weights are added by ``write_bundle``.

        Parameters
        ----------
        name
            Letters, digits, spaces, dots, dashes and underscores.
        classes
            Names of the outputs. With a softmax the first one is background (value 0); otherwise every
            output is an object class and values count from 1.
        bands
            Names of the input bands, in the network's order.
        scaling
            One entry for all bands or one a band, in units of the raw pixels.
        options
            The ``geoseg`` object.
        data_type
            Data type of the raw pixels.
        architecture
            What to call the network; default: from ``options.architecture``.
        parameters
            Number of weights.
        colors
            Color of each class, six hexadecimal digits; None where there is none.
        period
            First and last moment of the imagery used in training (STAC wants one).
        **properties
            Further item properties, such as ``license`` or ``mlm:pretrained_source``.

        Raises
        ------
        ModelError
            The parts contradict each other.
        """
        # A program or .onnx of one size has lost its architecture, and with it the freedom of its sides.
        fixed = options.multiple == 1 and options.architecture is None
        sides = options.window if fixed else (-1, -1)
        item = {
            **model_properties(name, options, architecture=architecture, description=description),
            "datetime": None,
            "start_datetime": period[0],
            "end_datetime": period[1],
            "bands": [{"name": band, "data_type": data_type} for band in bands],
            "mlm:input": [input_object(bands, scaling, data_type, sides)],
            "mlm:output": [output_object(classes, colors, default_activation(options, len(classes)), sides)],
            **({} if parameters is None else {"mlm:total_parameters": parameters}),
            **properties,
        }
        return parse_card(compose_item("-".join(name.lower().split()), item), source=name)


def _objects(classes: list[ClassObject]) -> list[ClassObject]:
    return [item for item in classes if item.value > 0]


def parse_card(document: Any, *, source: str = "model card") -> ModelCard:
    """Validate a STAC Item document.

    Raises
    ------
    ModelError
        One line for each mistake, each with its JSON path.
    """
    try:
        return parse_settings(ModelCard, document, source=source)
    except ConfigError as error:
        raise ModelError(str(error)) from None


def read_card(path: PathLike) -> ModelCard:
    """Read a card from a JSON file.

    Raises
    ------
    MissingFileError, ModelError
        No such file; not JSON; not a card.
    """
    try:
        document = read_document(path)
    except ConfigError as error:
        raise ModelError(str(error)) from None
    return parse_card(document, source=Path(path).name)


def card_text(card: ModelCard) -> str:
    """The card as JSON text, indented, keys in the order of the card."""
    # Only what was set: defaults of fields that the author left out would look like statements.
    document = card.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write_card(card: ModelCard, path: PathLike) -> None:
    """Write a card as JSON, whole or not at all."""
    write_text(path, card_text(card))
