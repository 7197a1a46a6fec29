"""Types shared by every layer: array aliases and the progress protocol."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]
PathLike: TypeAlias = str | os.PathLike[str]

Connectivity: TypeAlias = Literal[4, 8]
Blend: TypeAlias = Literal["smooth", "uniform"]
#: What to do about a region that can't be read: end the run, or go on without it and list it.
OnError: TypeAlias = Literal["fail", "skip"]
#: ``auto``: files on one grid that touch are one scene; ``off``: each file is a scene; ``warp``: files that
#: touch are one scene, those off the grid resampled onto it.
MosaicMode: TypeAlias = Literal["auto", "off", "warp"]
#: Which file is seen where several overlap: of the first or the last name, or of the newest date.
OnTop: TypeAlias = Literal["last", "first", "newest"]
#: Who owns ground that several scenes of a batch have seen: all of them, the newest, or the surest.
Overlaps: TypeAlias = Literal["keep", "newest", "best"]
#: Turned and mirrored copies averaged at inference: 1, 4 or 8 runs of each window.
TestTime: TypeAlias = Literal["none", "flips", "d4"]

#: From a batch (N, C, h, w) to (N, K, h, w) float32.
PredictBatch: TypeAlias = Callable[[Array], Array]


class Progress(Protocol):
    """Told how far a long job is; the command line draws a bar from it."""

    def __call__(self, stage: str, done: float, total: float, **info: float) -> None:
        """Report that ``done`` of ``total`` units of ``stage`` are finished.

        ``info`` holds figures worth showing, such as ``mpx_per_s``.
        """


def no_progress(stage: str, done: float, total: float, **info: float) -> None:
    """Ignore the report: the default of every ``progress`` parameter."""
