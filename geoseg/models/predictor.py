"""Predictors: from a batch of the scene's pixels to probabilities.

One protocol for a bundle, a bare ``torch.nn.Module`` and any callable, so that the pipeline needs to know of
neither torch nor runtimes. Nothing here imports torch before a network runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.models.digests import callable_digest
from geoseg.models.options import Activation
from geoseg.typing import Array, FloatArray, TestTime

__all__ = ["CallablePredictor", "Predictor", "check_bands", "check_batch", "cpu_batch_size", "range_note"]

#: Windows of a batch at the most, however small they are.
LARGEST_BATCH = 32
_CPU_PIXELS = 2 * 512 * 512
#: How far a probability may be off 0..1 by rounding in half precision.
_ROUNDING = 2e-3


@runtime_checkable
class Predictor(Protocol):
    """What the pipeline asks of a model."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K outputs; empty when not known before the first call."""

    @property
    def background(self) -> int | None:
        """Index of the output that is background, or None."""

    @property
    def activation(self) -> Activation:
        """What was applied to the network's output."""

    @property
    def in_channels(self) -> int | None:
        """Number of bands it takes, or None for any."""

    @property
    def card(self) -> ModelCard | None:
        """The model's card, where it has one."""

    def __call__(self, batch: Array, /) -> FloatArray:
        """From (N, C, h, w) in the scene's own type to (N, K, h, w) float32."""

    def fill_values(self) -> FloatArray:
        """Raw value of each channel that stands for "no data", (C,) float32; (1,) when C is not known."""

    def fingerprint(self) -> str:
        """Digest of all that changes the result."""

    def batch_size_default(self, window: tuple[int, int]) -> int:
        """A good number of windows a batch."""


class CallablePredictor:
    """Any callable from float32 (N, C, h, w) to (N, K, h, w).

    Examples
    --------
    >>> double = CallablePredictor(lambda batch: 2 * batch)
    >>> double(np.ones((1, 1, 2, 2), np.uint8)).dtype
    dtype('float32')
    """

    background: int | None = None
    activation: Activation = "none"
    card: ModelCard | None = None

    def __init__(
        self,
        function: Callable[[FloatArray], Any],
        *,
        classes: Sequence[str] = (),
        in_channels: int | None = None,
        test_time: TestTime = "none",
    ) -> None:
        self.function, self.classes, self.in_channels = function, tuple(classes), in_channels
        self.test_time = test_time
        self.notes: list[str] = []

    def __call__(self, batch: Array, /) -> FloatArray:
        """Call the function and check what it returns."""
        check_batch(batch.shape, self.in_channels)
        # A callable gets float32 whatever the scene holds, so that it need not know of scenes.
        batch = batch.astype(np.float32, copy=False)
        if self.test_time == "none":
            return self._run(batch)
        import torch

        from geoseg.models.networks import mean_of_turns

        whole = torch.from_numpy(np.ascontiguousarray(batch))
        mean = mean_of_turns(
            whole, lambda x: torch.from_numpy(self._run(x.contiguous().numpy())), self.test_time
        )
        return mean.contiguous().numpy()

    def _run(self, batch: FloatArray) -> FloatArray:
        result = np.asarray(self.function(batch))
        if result.ndim != 4 or result.shape[0] != batch.shape[0] or result.shape[2:] != batch.shape[2:]:
            raise ModelError(f"the model must return (N, K, h, w) for {batch.shape}, got {result.shape}")
        prob: FloatArray = np.ascontiguousarray(result, np.float32)
        if prob.size and (note := range_note(float(prob.min()), float(prob.max()), "none")):
            take_note(self.notes, note)
        return prob

    def with_test_time(self, test_time: TestTime) -> CallablePredictor:
        """The same function with other test-time turns."""
        return CallablePredictor(
            self.function, classes=self.classes, in_channels=self.in_channels, test_time=test_time
        )

    def fill_values(self) -> FloatArray:
        """Zero."""
        return np.zeros(self.in_channels or 1, np.float32)

    def fingerprint(self) -> str:
        """Digest of the function's name and code, or of its own ``fingerprint``."""
        return callable_digest(self.function) + ("" if self.test_time == "none" else self.test_time)

    def batch_size_default(self, window: tuple[int, int]) -> int:
        """One."""
        return 1


def padded_side(size: int, multiple: int, fixed: int | None, name: str) -> int:
    """Side the network is run at for a window of ``size``.

    Raises
    ------
    ModelError
        The network has a fixed side and the window is larger.

    Examples
    --------
    >>> padded_side(370, 32, None, "width"), padded_side(100, 1, 256, "width")
    (384, 256)
    """
    if fixed is None:
        return -(-size // multiple) * multiple
    if size > fixed:
        raise ModelError(f"window {name} must be at most {fixed}, which this network is made for, got {size}")
    return fixed


def check_batch(shape: tuple[int, ...], in_channels: int | None) -> None:
    """Refuse a batch that does not have the network's number of channels.

    Raises
    ------
    ModelError
        It does not.
    """
    if len(shape) != 4:
        raise ModelError(f"a batch must have four axes (N, C, h, w), got shape {shape}")
    if in_channels is not None and shape[1] != in_channels:
        raise ModelError(f"the number of bands must be {in_channels}, which the model takes, got {shape[1]}")


def check_bands(predictor: Predictor, count: int, dtype: str, advice: str | None = None) -> list[str]:
    """Check a scene's bands against a model's; returns what a user should be told.

    Parameters
    ----------
    predictor
        The model.
    count
        Number of bands that will be read.
    dtype
        Type of the scene's pixels, such as ``uint16``.
    advice
        What to do where the number of bands differs; None: choose them with the option ``bands``.

    Raises
    ------
    ModelError
        The number of bands differs.
    """
    wanted, card = predictor.in_channels, predictor.card
    if wanted is not None and count != wanted:
        names = f" ({', '.join(card.bands)})" if card is not None and card.bands else ""
        raise ModelError(
            f"the scene must have the {wanted} bands that the model takes{names}, got {count}. "
            + (advice or f"Choose them with bands, such as {','.join(map(str, range(1, wanted + 1)))}.")
        )
    # A note and no error: people know of scenes whose values fit though their type does not.
    if card is None or card.scaling is None or card.dtype in (dtype, "other"):
        return []
    return [f"the model's value scaling is made for {card.dtype} pixels, the scene holds {dtype}"]


def cpu_batch_size(window: tuple[int, int], largest: int = LARGEST_BATCH) -> int:
    """Windows of a batch on the CPU: as many pixels as two of 512 x 512.

    Two are some 5 % faster than one; more win little and need more memory.

    Examples
    --------
    >>> cpu_batch_size((512, 512)), cpu_batch_size((2048, 2048)), cpu_batch_size((64, 64))
    (2, 1, 32)
    """
    return max(1, min(_CPU_PIXELS // (window[0] * window[1]), largest))


def range_note(low: float, high: float, activation: Activation) -> str | None:
    """What a user should be told of a network whose output lies between ``low`` and ``high``.

    Examples
    --------
    >>> range_note(0.0, 1.0, "none") is None
    True
    >>> range_note(-8.0, 11.5, "none")[:48]
    'the model returns values from -8 to 11.5, not pr'
    """
    # NaN first: every comparison with it is false.
    if low != low or high != high:
        return "the model returns values that are no numbers (NaN): those pixels count as no data"
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return None
    advice = (
        # Below zero they are logits; from 0 to 100 they are percent.
        "activation sigmoid or softmax in its card (docs/model-bundle.md)" if low < 0 else "a division by 100"
    )
    return (
        f"the model returns values from {low:.3g} to {high:.3g}, not probabilities: they are cut to 0..1. "
        f"Give it {advice if high <= 100 or low < 0 else 'an output from 0 to 1'}."
    )


def take_note(notes: list[str], note: str) -> None:
    """Keep the first note of each kind: the numbers differ from batch to batch."""
    if not any(kept.split(" from ")[0] == note.split(" from ")[0] for kept in notes):
        notes.append(note)
