"""A model as inference over projects needs it: titles, colors, the size of its input, how it decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from geoseg.errors import InputError
from geoseg.models.devices import device_name
from geoseg.models.loading import as_predictor
from geoseg.models.predictor import CallablePredictor, Predictor, cpu_batch_size
from geoseg.pipeline.inference.classes import Decision
from geoseg.projects.figures import parse_color
from geoseg.projects.figures.meta import Color

__all__ = ["Network", "open_network"]

#: Title of the background of a network that has no output for it, as training calls it.
_BACKGROUND = "bg"


@dataclass(frozen=True)
class Network:
    """A predictor and what its outputs mean.

    Attributes
    ----------
    predictor
        From pixels to probabilities.
    names, colors
        Title of each class in index order, and its color where the card states one.
    decide
        From probabilities to classes; its index 0 may be a class that the network has no output for.
    size
        (height, width) that every crop is stretched to; None: it sees pixels as they lie.
    native
        Window and overlap that larger crops are covered with where they are not stretched.
    notes
        What the user should know.
    """

    predictor: Predictor
    names: tuple[str, ...]
    colors: tuple[Color | None, ...]
    decide: Decision
    size: tuple[int, int] | None
    native: tuple[tuple[int, int], tuple[int, int]] | None
    notes: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        """Channels that the network returns."""
        return len(self.names) - self.decide.implied

    def batch_size(self, shape: tuple[int, int]) -> int:
        """Windows (height, width) of a batch."""
        if isinstance(self.predictor, CallablePredictor):
            return cpu_batch_size(shape)
        return self.predictor.batch_size_default(shape)


def open_network(
    model: Any,
    *,
    gpu: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    classes: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
    threshold: float | None = None,
) -> Network:
    """Open a model for inference over a project.

    Parameters
    ----------
    model
        A bundle, a torch module, or any callable from (N, C, h, w) to probabilities (N, K, h, w).
    gpu
        GPU that the config names; where it is absent, there is a note.
    device
        ``auto`` follows the config.
    engine
        As for :func:`geoseg.models.load_model`.
    classes
        Title of each output; None: those of the bundle.
    input_size
        (width, height) that crops are stretched to; None: as the bundle's card says.
    threshold
        Probability that a class must reach to win over the background.

    Raises
    ------
    InputError
        Titles or a size are missing or impossible.
    """
    chosen, notes = _choose_device(gpu) if device == "auto" else (device, [])
    predictor = as_predictor(model, device=chosen, engine=engine, classes=tuple(classes or ()), lazy=True)
    card = predictor.card
    names = tuple(classes or predictor.classes)
    if not names:
        raise InputError(
            "classes must be given for a model that does not name its own, got none. "
            "List a title for each of its outputs, in their order."
        )
    if predictor.classes and len(predictor.classes) != len(names):
        raise InputError(
            f"classes must be {len(predictor.classes)}, one for each output of the model, got {len(names)}."
        )
    # None: the plan of the result gives a class the color that always belongs to its name.
    colors: tuple[Color | None, ...] = (None,) * len(names)
    if card is not None:
        colors = tuple(parse_color(text) if text else None for text in card.colors)
    # Of a sigmoid each output says how likely its class is, and none how likely there is nothing.
    implied = len(names) == 1 or predictor.activation == "sigmoid"
    if implied:
        names, colors = (_BACKGROUND, *names), (None, *colors)
        if threshold is None:
            suggested = None if card is None else card.options.suggested().get("threshold")
            notes.append(
                f"the model has no output for the background: pixels below 0.5 are {_BACKGROUND!r}; "
                "--threshold sets another limit"
                + (f" (the model's card suggests {suggested:g})" if isinstance(suggested, float) else "")
            )
    if len(set(names)) < len(names):
        raise InputError(
            f"classes must have distinct titles, got {', '.join(names)}. Give them with classes."
        )
    background = 0 if implied else predictor.background
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"threshold must be from 0 to 1, got {threshold}.")
    if threshold is not None and background is None:
        raise InputError(
            "threshold must go with a model that has a background, got one without. Leave it out."
        )
    size = None
    if input_size is not None:
        if len(input_size) != 2 or not all(isinstance(side, int) and side >= 1 for side in input_size):
            raise InputError(f"input_size must be (width, height) in pixels, got {input_size!r}.")
        size = input_size[1], input_size[0]
    elif card is not None:
        size = card.options.training_resize
    # A network that was trained on stretched images must see them stretched; any other sees windows of its
    # own.
    native = (card.options.window, card.options.overlap) if card is not None and size is None else None
    return Network(
        predictor, names, colors, Decision(background or 0, implied, threshold), size, native, notes
    )


def _choose_device(gpu: int | None) -> tuple[str, list[str]]:
    """The config's GPU where there is one, else what there is, with a note."""
    present = device_name("auto")
    if gpu is None or not present.startswith("cuda"):
        return present, [] if gpu is None else [_absent(gpu, present)]
    try:
        return device_name(f"cuda:{gpu}"), []
    except InputError:
        return present, [_absent(gpu, present)]


def _absent(gpu: int, present: str) -> str:
    return f"the config names GPU {gpu}, which is absent: running on {present}"
