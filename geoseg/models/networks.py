"""Networks behind an engine, as predictors: normalization, padding, batches, activation and turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.errors import GeosegError, ModelError, RunError
from geoseg.files import json_digest
from geoseg.models.card import ModelCard
from geoseg.models.engines import Engine
from geoseg.models.normalize import Normalize, to_tensor
from geoseg.models.options import Activation
from geoseg.models.predictor import (
    LARGEST_BATCH,
    check_batch,
    cpu_batch_size,
    padded_side,
    range_note,
    take_note,
)
from geoseg.typing import Array, FloatArray, TestTime

__all__ = ["NetworkPredictor", "activate", "mean_of_turns"]

#: Rough bytes of activations a pixel, for the first guess of a batch that fits a GPU.
_BYTES_PER_PIXEL = 1500


class NetworkPredictor:
    """A torch network, exported program or ONNX network behind an engine.

    Parameters
    ----------
    engine
        Carries the network out.
    normalize
        From raw pixels to the network's input.
    device
        Where both run.
    classes
        Names of the outputs; empty when not known.
    activation
        Applied to the engine's output.
    in_channels
        Number of bands, or None for any.
    card
        The model's card, if it has one.
    multiple
        The network's sides must be multiples of this: other windows are padded at the right and at the
        bottom by repeating the edge, and cut back.
    test_time
        Turned and mirrored copies averaged.
    digest
        Digest of the weights.
    """

    def __init__(
        self,
        engine: Engine,
        normalize: Normalize,
        device: torch.device,
        *,
        classes: tuple[str, ...],
        activation: Activation,
        in_channels: int | None,
        card: ModelCard | None = None,
        background: int | None = None,
        multiple: int = 1,
        test_time: TestTime = "none",
        digest: str,
    ) -> None:
        self.engine, self.device, self.normalize = engine, device, normalize.to(device)
        self.classes, self.background, self.activation = classes, background, activation
        self.in_channels, self.card, self.multiple, self.test_time = in_channels, card, multiple, test_time
        self._digest = digest
        # Falls when the GPU's memory runs out, and stays there: the next batch would fail the same way.
        self._largest = LARGEST_BATCH
        self.notes: list[str] = []

    def __call__(self, batch: Array, /) -> FloatArray:
        """Probabilities of a batch.

        Parameters
        ----------
        batch
            (N, C, h, w) in the scene's own type.

        Returns
        -------
        float32 (N, K, h, w)

        Raises
        ------
        ModelError
            The number of bands is not the network's, or the network's output does not fit its input.
        """
        check_batch(batch.shape, self.in_channels)
        if len(batch) == 0:
            return np.zeros((0, max(len(self.classes), 1), *batch.shape[2:]), np.float32)
        with torch.inference_mode():
            x = self.normalize(to_tensor(batch, self.device))
            prob = mean_of_turns(x, self._probabilities, self.test_time)
            prob = prob.to("cpu", torch.float32).contiguous()
            # On the CPU, where the numbers are anyway; on the GPU it would wait for it once more.
            low, high = (float(value) for value in prob.aminmax())
        if note := range_note(low, high, self.activation):
            take_note(self.notes, note)
        return prob.numpy()

    def fill_values(self) -> FloatArray:
        """Raw value of each channel that stands for "no data", (C,) float32."""
        values: FloatArray = self.normalize.fill.flatten().cpu().numpy()
        return values

    def with_test_time(self, test_time: TestTime) -> Self:
        """The same predictor with other test-time turns; the network is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, test_time=test_time)
        return other

    @property
    def runtime(self) -> str:
        """What carries the network out, such as ``onnxruntime on cpu``; the last bits depend on it."""
        return f"{self.engine.name} on {self.device.type}"

    def fingerprint(self) -> str:
        """Digest of weights, normalization, activation and test-time turns; not of :attr:`runtime`."""
        lines = [
            getattr(self.normalize, name).flatten().tolist()
            for name in ("gain", "offset", "low", "high", "fill")
        ]
        parts = [
            self._digest,
            lines,
            self.activation,
            self.multiple,
            self.test_time,
        ]
        return json_digest(parts)

    def batch_size_default(self, window: tuple[int, int]) -> int:
        """As :func:`cpu_batch_size` on the CPU; on CUDA what half the free memory holds."""
        if self.engine.batch is not None:
            return 1
        if self.device.type != "cuda":
            return cpu_batch_size(window, self._largest)
        free, _ = torch.cuda.mem_get_info(self.device)
        # Half: the other half is for what the estimate leaves out.
        fits = int(free * 0.5 / (window[0] * window[1] * _BYTES_PER_PIXEL))
        return max(1, min(fits, self._largest))

    def _probabilities(self, x: Tensor) -> Tensor:
        """Run the engine on padded input, in as many calls as it needs."""
        height, width = x.shape[-2:]
        rows = padded_side(height, self.multiple, self.engine.shape[0], "height")
        cols = padded_side(width, self.multiple, self.engine.shape[1], "width")
        if (rows, cols) != (height, width):
            # The edge repeated: zeros would be a wall of mean color beside real ground.
            x = F.pad(x, (0, cols - width, 0, rows - height), mode="replicate")
        out = self._in_parts(x)
        if out.ndim != 4 or out.shape[0] != x.shape[0] or out.shape[-2:] != x.shape[-2:]:
            raise ModelError(
                f"the network must return (N, K, h, w) for {tuple(x.shape)}, got {tuple(out.shape)}"
            )
        if self.classes and out.shape[1] != len(self.classes):
            raise ModelError(
                f"the network must have one output a class ({len(self.classes)}), got {out.shape[1]}"
            )
        return activate(out[..., :height, :width], self.activation)

    def _in_parts(self, x: Tensor) -> Tensor:
        """The engine on parts of the batch: its own size, or halves again and again when memory runs out."""
        size = self.engine.batch or min(len(x), self._largest)
        while True:
            try:
                parts = [self._call(part, size) for part in x.split(size)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except torch.cuda.OutOfMemoryError:
                if size == 1 or self.engine.batch is not None:
                    raise
                size = self._largest = size // 2
                # What the failed try had reserved is in pieces too small for the next one.
                torch.cuda.empty_cache()

    def _call(self, part: Tensor, size: int) -> Tensor:
        """A part, filled up with zeros where the engine takes a fixed number only."""
        count, short = len(part), size - len(part)
        if self.engine.batch is not None and short:
            part = F.pad(part, (0, 0, 0, 0, 0, 0, 0, short))
        try:
            return self.engine(part)[:count]
        except (GeosegError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # those of engines and networks share no base
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if "allocate memory" in reason:
                raise RunError(
                    f"memory is too short for input {tuple(part.shape)} of the network. "
                    "Give a smaller batch size or a smaller window."
                ) from error
            if reason.startswith("CUDA error"):
                raise RunError(f"the device failed: {reason}") from error
            raise ModelError(f"the network can't run on input {tuple(part.shape)}: {reason}") from error


def mean_of_turns(x: Tensor, run: Callable[[Tensor], Tensor], test_time: TestTime) -> Tensor:
    """Mean of what ``run`` gives for turned and mirrored copies of ``x``, turned back."""
    turns = list(_turns(test_time))
    if len(turns) == 1:
        return run(x)
    # One copy at a time: eight at once would need eight times the memory.
    parts = (_turn_back(run(_turn(x, *turn)), *turn) for turn in turns)
    return sum(parts, start=torch.zeros((), device=x.device)) / len(turns)


def _turn(x: Tensor, flip: bool, quarter: int) -> Tensor:
    return torch.rot90(x.flip(-1) if flip else x, quarter, (-2, -1))


def _turn_back(x: Tensor, flip: bool, quarter: int) -> Tensor:
    x = torch.rot90(x, -quarter, (-2, -1))
    return x.flip(-1) if flip else x


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """Probabilities from logits, float32."""
    logits = logits.float()
    if activation == "sigmoid":
        return torch.sigmoid(logits)
    return torch.softmax(logits, 1) if activation == "softmax" else logits


def _turns(test_time: TestTime) -> Iterator[tuple[bool, int]]:
    """(mirrored, quarter turns) of each copy."""
    if test_time == "none":
        yield False, 0
        return
    for flip in (False, True):
        # Half turns alone keep the shape of windows that are not square.
        for quarter in range(4) if test_time == "d4" else (0, 2):
            yield flip, quarter
