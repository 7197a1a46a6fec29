"""A chip: the pixels of a window and their target, and how one is cut from an area."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from geoseg.data.auxiliary import AuxiliarySettings, auxiliary_targets, gap_line
from geoseg.geo.windows import Window
from geoseg.raster.classes import IGNORE
from geoseg.raster.source import PixelSource
from geoseg.typing import Array, BoolArray

__all__ = ["Area", "Burned", "Chip", "ChipRef", "Truth", "cut_chip", "fit_chip"]


class ChipRef(NamedTuple):
    """Which window of which area in which epoch; plain integers, cheap to send to a worker."""

    area: int
    row: int
    col: int
    height: int
    width: int
    epoch: int = 0

    @property
    def window(self) -> Window:
        """The window in pixels of the area."""
        return Window(row_off=self.row, col_off=self.col, height=self.height, width=self.width)


@dataclass(frozen=True)
class Burned:
    """Labels drawn onto the pixels of a window.

    Attributes
    ----------
    target
        (h, w) uint8: 0 background, class index, 255 unknown.
    ids
        (h, w) int32: a number of its own for each object, 0 background.
    """

    target: NDArray[np.uint8]
    ids: NDArray[np.int32]


class Truth(Protocol):
    """Labels of an area, drawn window by window."""

    def burn(self, window: Window) -> Burned:
        """Draw the labels of a window that lies inside the area."""

    def anchors(self) -> NDArray[np.int32]:
        """Points on objects, spread over large ones: (n, 3) of row, column, class index."""

    def region(self) -> Window:
        """The rectangle that holds all labeled ground."""

    def known(self, rows: Array, cols: Array) -> BoolArray:
        """Whether pixels are labeled ground."""

    def present(self) -> frozenset[int]:
        """Class indices that objects of the area belong to."""


@dataclass(frozen=True)
class Area:
    """A scene or an image with its labels: what windows are drawn from.

    Attributes
    ----------
    name
        For messages and charts.
    pixels, truth
        Where pixels and labels come from; both can be pickled.
    redraw
        From a later epoch to the area as it is drawn anew for it; None where it is always the same.
    weight
        How often its windows are drawn, against those of other areas.
    instances
        Whether the labels tell touching objects apart.
    """

    name: str
    pixels: PixelSource
    truth: Truth
    redraw: Callable[[int], Area] | None = field(default=None, compare=False)
    weight: float = 1.0
    instances: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.geobox.shape

    def in_epoch(self, ref: ChipRef) -> tuple[Area, Window]:
        """The area as it is in the epoch of a chip, and the chip's window there.

        A chip of the whole area is one of the whole area again, another is moved inside.
        """
        # Epoch 0 is the area as it was opened: no need to make its samples twice.
        area = self if self.redraw is None or not ref.epoch else self.redraw(ref.epoch)
        if area.shape == self.shape:
            return area, ref.window
        (height, width), window = area.shape, ref.window
        if window == Window.whole(self.shape):
            return area, Window.whole((height, width))
        row = max(0, min(window.row_off, height - window.height))
        col = max(0, min(window.col_off, width - window.width))
        return area, Window(row_off=row, col_off=col, height=window.height, width=window.width)


@dataclass(frozen=True)
class Chip:
    """Pixels and target of one window.

    Attributes
    ----------
    image
        (C, h, w) in the scene's dtype.
    target
        (h, w) uint8: class index, 255 where invalid, unlabeled or neutral.
    auxiliary
        (A, h, w) float32, NaN where nothing is known.
    name
        Area and window, for messages.
    """

    image: Array
    target: NDArray[np.uint8]
    auxiliary: NDArray[np.float32]
    name: str


def cut_chip(
    area: Area,
    window: Window,
    auxiliary: AuxiliarySettings | None = None,
    fill: Sequence[float] = (),
    gap: bool = False,
) -> Chip:
    """Read a window and draw its target; what lies outside the area is reflected and teaches nothing.

    Parameters
    ----------
    fill
        Value of invalid pixels in each band; empty leaves what the file holds.
    gap
        Part touching objects by a line of background in the target (:func:`~geoseg.data.auxiliary.gap_line`).
    """
    height, width = area.shape
    inside = window.clipped(height, width)
    image, valid = area.pixels.read_with_valid(inside)
    # Rims and contacts at the edge of a window depend on objects beyond it; a gap reaches one pixel.
    halo = max(auxiliary.halo if auxiliary else 0, int(gap))
    grown = inside.grown(halo).clipped(height, width)
    burned = area.truth.burn(grown)
    core = np.s_[
        inside.row_off - grown.row_off : inside.row_end - grown.row_off,
        inside.col_off - grown.col_off : inside.col_end - grown.col_off,
    ]
    target = np.where(valid, burned.target[core], IGNORE).astype(np.uint8)
    if gap:
        # Unknown ground stays unknown: a gap is a statement about what is there.
        target[gap_line(burned.ids)[core] & (target != IGNORE)] = 0
    extra = np.zeros((0, *target.shape), np.float32)
    if auxiliary:
        extra = auxiliary_targets(burned.ids, burned.target != IGNORE, auxiliary)[(slice(None), *core)].copy()
        # Where the sensor has no data, outputs beside the classes have nothing to learn from either.
        extra[:, target == IGNORE] = np.nan
        if not area.instances:
            # The walls between its houses are not known: rims and distances would be those of whole blocks.
            extra[:] = np.nan
    name = f"{area.name}, {window}"
    if len(fill) and not valid.all():
        # The mean of the band, which is 0 to the network: nodata of -9999 would drown all other pixels.
        image = np.where(valid, image, np.asarray(fill)[:, None, None]).astype(image.dtype)
    return _pad(Chip(image, target, extra, name), inside, window)


def _pad(chip: Chip, inside: Window, window: Window) -> Chip:
    if inside == window:
        return chip
    rows = (inside.row_off - window.row_off, window.row_end - inside.row_end)
    cols = (inside.col_off - window.col_off, window.col_end - inside.col_end)
    around = ((0, 0), rows, cols)
    return Chip(
        # Mirrored with the edge pixel: a network is not to learn that scenes end in black.
        np.pad(chip.image, around, mode="symmetric"),
        np.pad(chip.target, (rows, cols), constant_values=IGNORE),
        np.pad(chip.auxiliary, around, constant_values=np.nan),
        chip.name,
    )


def fit_chip(chip: Chip, height: int, width: int) -> Chip:
    """Stretch a chip: pixels bilinearly (no smoothing first, as the tutorials do), targets by nearest."""
    if chip.target.shape == (height, width):
        return chip
    size = (height, width)
    image = torch.from_numpy(chip.image.astype(np.float32))[None]
    smooth = F.interpolate(image, size=size, mode="bilinear", align_corners=False)[0].numpy()
    if np.issubdtype(chip.image.dtype, np.integer):
        # Cutting decimals off would darken every stretched image by half a value on average.
        smooth = np.rint(smooth)
    target = torch.from_numpy(chip.target)[None, None]
    extra = torch.from_numpy(chip.auxiliary)[None]
    return Chip(
        smooth.astype(chip.image.dtype),
        F.interpolate(target, size=size, mode="nearest")[0, 0].numpy(),
        # torch refuses to stretch a tensor without channels.
        F.interpolate(extra, size=size, mode="nearest")[0].numpy()
        if len(chip.auxiliary)
        else np.zeros((0, *size), np.float32),
        chip.name,
    )


def chip_tensors(chip: Chip) -> dict[str, Any]:
    """A chip as tensors; uint16 and uint32 pixels travel as the next signed type."""
    # torch can hold unsigned types and do next to nothing with them.
    wider = {"uint16": np.int32, "uint32": np.int64}
    image = chip.image.astype(wider.get(chip.image.dtype.name, chip.image.dtype), copy=False)
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "target": torch.from_numpy(chip.target),
        "auxiliary": torch.from_numpy(chip.auxiliary),
        "name": chip.name,
    }
