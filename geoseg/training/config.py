"""Settings of a training run: the tutorials' fields as they are, and geoseg's own beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from geoseg.config import Settings, parse_settings
from geoseg.data.auxiliary import AuxiliarySettings
from geoseg.data.settings import AugmentSettings, ClassSettings, SamplerSettings, TrainingDataSettings
from geoseg.errors import ConfigError
from geoseg.models.card import NAME_PATTERN
from geoseg.models.losses import LOSSES
from geoseg.models.options import ArchitectureSpec

__all__ = ["LossTerm", "TrainSettings", "apply_overrides", "parse_train_settings"]


class TrainVal(Settings):
    """A whole number for training and one for validation."""

    train: int = Field(default=1, ge=1)
    val: int = Field(default=1, ge=1)


class TrainValCount(Settings):
    """A count, 0 allowed, for training and one for validation."""

    train: int = Field(default=0, ge=0)
    val: int = Field(default=0, ge=0)


class InputSize(Settings):
    """Pixels of a chip."""

    # The tutorials' default; which sizes a network can take is checked once it is built.
    width: int = Field(default=128, ge=8)
    height: int = Field(default=128, ge=8)


class DatasetTags(Settings):
    """Image tags that choose what is trained and validated on; ``__all__`` takes every image."""

    train: str = "train"
    val: str = "val"


class SpecialClasses(Settings):
    """Titles of the background and of ground that teaches nothing."""

    background: str = "bg"
    neutral: str | None = "neutral"

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.background == self.neutral:
            raise ValueError(f"background and neutral must differ, got {self.background} for both.")
        return self


class LrDecreasing(Settings):
    """Divide the rate when the last ``patience`` validations brought no new lowest loss."""

    # A thousand validations, the tutorials' default: more than most runs have, so it is off unless asked for.
    patience: int = Field(default=1000, ge=1)
    lr_divisor: float = Field(default=5.0, gt=1)


class LossWeights(Settings):
    """Shares of cross-entropy and Dice in the two-class loss."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.bce + self.dice == 0:
            raise ValueError("bce and dice must not both be 0.")
        return self


class LossTerm(Settings):
    """One part of the loss: its name, its weight, and what its function in ``LOSSES`` takes besides."""

    # What else a term holds is known by its loss alone, and checked in _fits.
    model_config = ConfigDict(extra="allow")

    name: str
    weight: float = Field(default=1.0, gt=0)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in LOSSES:
            raise ValueError(f"must be one of {', '.join(sorted(LOSSES))}, got {name}.")
        return name

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        """Settings of None count as not given: configs of earlier runs name all of every loss."""
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        settings = LOSSES[self.name].settings
        for key in self.model_extra or {}:
            if key not in settings.model_fields:
                known = ", ".join(sorted(settings.model_fields)) or "no settings"
                raise ValueError(f"{key} is no setting of {self.name}; it has {known}.")
        try:
            settings.model_validate(self.model_extra)
        except ValidationError as error:
            mistake = error.errors()[0]
            place = ".".join(map(str, mistake["loc"]))
            raise ValueError(f"{place}: {mistake['msg']}, got {mistake['input']}.") from None
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings given for the function."""
        given = LOSSES[self.name].settings.model_validate(self.model_extra)
        # Defaults stay with the function that has them.
        return given.model_dump(exclude_unset=True)


class Optimizer(Settings):
    """``adam`` (the tutorials'), ``adamw``, or ``sgd`` with ``momentum``."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    encoder_lr: float = Field(default=1.0, gt=0, description="Rate of the encoder as a share of lr.")


class Schedule(Settings):
    """The rate over the run: ``constant``, ``cosine`` down to ``floor``, or ``one_cycle`` up and down.

    Attributes
    ----------
    warmup
        Share of the run over which the rate rises from 0 (``one_cycle``: to its top; default 0.3).
    floor
        Last rate as a share of lr.
    """

    name: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: float | None = Field(default=None, ge=0, lt=1)
    floor: float = Field(default=0.01, ge=0, le=1)


class EarlyStopping(Settings):
    """Stop after ``patience`` validations without a lower loss."""

    patience: int = Field(ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class Teacher(Settings):
    """Soft targets: what another network makes of the chips before their colors change.

    Attributes
    ----------
    bundle
        Its bundle, with the classes of this run; unlabeled ground learns from it, too.
    weight
        Of the cross-entropy against its probabilities, beside the loss against the labels.
    """

    bundle: str
    weight: float = Field(default=1.0, gt=0)


class Ema(Settings):
    """Exponential moving average of the weights, which is what is validated and exported."""

    decay: float = Field(default=0.999, gt=0, lt=1)


class Normalization(Settings):
    """Mean and standard deviation of each band, in the scene's own numbers."""

    mean: tuple[float, ...] = Field(min_length=1)
    stddev: tuple[float, ...] = Field(min_length=1)


class CardSettings(Settings):
    """What the card of the bundle says and can't be worked out.

    Attributes
    ----------
    auxiliary
        Whether the bundle keeps the auxiliary outputs. They are listed in the card and used only by what asks
        for them.
    """

    name: str = "geoseg network"
    description: str = ""
    license: str = ""
    data: str = ""
    bands: tuple[str, ...] = ()
    auxiliary: bool = False

    @field_validator("name")
    @classmethod
    def _allowed(cls, name: str) -> str:
        # Checked before training: a card that is refused after hours of it would leave no bundle.
        if not re.match(NAME_PATTERN, name):
            raise ValueError(
                "must be 3 or more of the letters a to z, digits, spaces, dots, dashes and underscores, the "
                f"first a letter, the last a letter or digit, got {name}. Use description for more."
            )
        return name


class TrainSettings(Settings):
    """All of a training run. The fields down to ``validate_with_model_eval`` are the tutorials'."""

    lr: float = Field(default=0.001, gt=0)
    epochs: int = Field(default=2, ge=1)
    val_every: float = Field(default=0.5, gt=0)
    batch_size: TrainVal = TrainVal()
    input_size: InputSize = InputSize()
    gpu_devices: tuple[int, ...] = Field(default=(0,), min_length=1)
    data_workers: TrainValCount = TrainValCount()
    dataset_tags: DatasetTags = DatasetTags()
    special_classes: SpecialClasses = SpecialClasses()
    weights_init_type: Literal["transfer_learning", "continue_training"] = "transfer_learning"
    lr_decreasing: LrDecreasing = LrDecreasing()
    loss_weights: LossWeights = LossWeights()
    # Part of the tutorials' configs, which must load as they are; Adam has no use for it, SGD has.
    momentum: float = Field(default=0.9, ge=0, lt=1)
    allow_corrupted_samples: TrainValCount = TrainValCount()
    validate_with_model_eval: bool = True

    data: TrainingDataSettings = TrainingDataSettings()
    classes: tuple[ClassSettings, ...] = ()
    resolution: float | None = Field(default=None, gt=0)
    architecture: ArchitectureSpec = ArchitectureSpec(name="unet_v2")
    pretrained: Literal["none", "imagenet"] = "none"
    weights: str | None = None
    loss: tuple[LossTerm, ...] = ()
    auxiliary: AuxiliarySettings | None = None
    sampler: SamplerSettings = SamplerSettings()
    augment: AugmentSettings = AugmentSettings()
    normalization: Literal["auto", "imagenet"] | Normalization = "auto"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    early_stopping: EarlyStopping | None = None
    ema: Ema | None = None
    teacher: Teacher | None = None
    # Eight batches hold millions of pixels, and take little of the time between two validations.
    batch_norm_batches: int = Field(default=8, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["32", "16-mixed", "bf16-mixed"] = "32"
    save_every_minutes: float = Field(default=5.0, ge=0)
    keep_checkpoints: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    card: CardSettings = CardSettings()

    @field_validator("gpu_devices")
    @classmethod
    def _devices(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 0:
            raise ValueError(f"must be different device numbers from 0, got {list(value)}.")
        return value

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_text(cls, value: Any) -> Any:
        # JSON configs and --set give 32 as a number.
        return str(value) if isinstance(value, int) else value

    @field_validator("architecture", mode="before")
    @classmethod
    def _architecture_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("classes", mode="before")
    @classmethod
    def _class_names(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("loss", mode="before")
    @classmethod
    def _loss_names(cls, value: Any) -> Any:
        terms = [value] if isinstance(value, str | dict) else value
        if isinstance(terms, list | tuple):
            return [{"name": item} if isinstance(item, str) else item for item in terms]
        return value

    @field_validator("loss")
    @classmethod
    def _teaches_classes(cls, value: tuple[LossTerm, ...]) -> tuple[LossTerm, ...]:
        if value and not any(LOSSES[term.name].alone for term in value):
            raise ValueError(
                f"must hold a loss of pixels beside {value[0].name}, which takes an object and its negative "
                f"for the same, got {value[0].name} alone. Add cross_entropy, say."
            )
        return value

    @field_validator("augment")
    @classmethod
    def _another_chip(cls, value: AugmentSettings, info: ValidationInfo) -> AugmentSettings:
        batch = info.data.get("batch_size")
        for name, what in (("paste", "objects"), ("style", "colors"), ("mixup", "pixels")):
            share = getattr(value, name)
            if share and batch is not None and batch.train == 1:
                raise ValueError(
                    f"{name} must be 0 where batch_size.train is 1, since {what} come from another chip of "
                    f"the batch, got {share}. Raise batch_size.train."
                )
        return value

    @model_validator(mode="after")
    def _auxiliary_trained(self) -> Self:
        if self.card.auxiliary and self.auxiliary is None:
            raise ValueError("card.auxiliary must go with auxiliary outputs, got none. Name auxiliary.kinds.")
        return self

    @property
    def chip(self) -> tuple[int, int]:
        """(height, width) of a chip."""
        return self.input_size.height, self.input_size.width


def apply_overrides(document: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A config with ``key=value`` changes; keys are dotted paths, values JSON or plain text.

    Entries of a list go by their number from 0.

    Raises
    ------
    ConfigError
        No equals sign, an empty key, a list without such an entry, or a path through what holds none.

    Examples
    --------
    >>> apply_overrides({"batch_size": {"train": 12}}, ["batch_size.train=2", "precision=bf16-mixed"])
    {'batch_size': {'train': 2}, 'precision': 'bf16-mixed'}
    >>> apply_overrides({"loss": [{"name": "dice"}]}, ["loss.0.weight=2"])
    {'loss': [{'name': 'dice', 'weight': 2}]}
    """
    # A deep copy: the document of the caller stays as it is.
    changed: dict[str, Any] = json.loads(json.dumps(document))
    for override in overrides:
        path, sign, text = override.partition("=")
        *parents, last = path.split(".")
        if not (sign and last and all(parents)):
            raise ConfigError(f"--set must be key=value, got {override}.")
        place: Any = changed
        name = "the config"
        for key in parents:
            at = _entry(place, name, key, override)
            place = place.setdefault(at, {}) if isinstance(place, dict) else place[at]
            name = key
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            # Plain text: nobody wants to quote "bf16-mixed" twice at a shell.
            value = text
        place[_entry(place, name, last, override)] = value
    return changed


def _entry(place: Any, name: str, key: str, override: str) -> Any:
    """What ``place``, which is called ``name``, knows a key by: itself in an object, its number in a list."""
    if isinstance(place, dict):
        return key
    if not isinstance(place, list):
        raise ConfigError(f"--set {override}: {name} holds no further keys.")
    if not place:
        raise ConfigError(f"--set {override}: {name} has no entries.")
    if not (key.isascii() and key.isdigit() and int(key) < len(place)):
        numbers = f"0 to {len(place) - 1}" if len(place) > 1 else "0"
        raise ConfigError(f"--set {override}: an entry of {name} must be {numbers}, got {key}.")
    return int(key)


def parse_train_settings(document: Mapping[str, Any] | Any, source: str = "settings") -> TrainSettings:
    """Validate a config.

    Raises
    ------
    ConfigError
        One line for each mistake, each with its JSON path.
    """
    return parse_settings(TrainSettings, document, source=source)
