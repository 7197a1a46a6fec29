"""Which part of an area is trained on and which is validated on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.data.chips import Area
from geoseg.data.ground import carry, neighbors, place_of, rect_of, share_ground
from geoseg.data.settings import SplitSettings
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Grid, Window, iter_chunks
from geoseg.typing import BoolArray

__all__ = ["AreaSplit", "block_split", "file_split", "grid_windows", "labeled_points"]

logger = logging.getLogger(__name__)

#: Of the points by which labeled ground is found: most along a side of a region, and pixels between two.
_LATTICE, _STEP = 256, 32


@dataclass(frozen=True)
class AreaSplit:
    """What one area gives to training and to validation.

    Attributes
    ----------
    train
        Whether training windows are drawn from it.
    forbidden
        Rectangles (n, 4) of row, column, row end, column end that no training window may touch.
    val
        Windows to validate on.
    """

    train: bool
    forbidden: NDArray[np.int64]
    val: tuple[Window, ...]


_NOTHING = np.zeros((0, 4), np.int64)


def grid_windows(area: Area, chip: tuple[int, int], inside: Window | None = None) -> tuple[Window, ...]:
    """Windows of a grid without overlap over labeled ground; those without a labeled pixel are left out.

    Where the ground is smaller than a chip, the window reaches beyond it.
    """
    region = inside or area.truth.region()
    if not (region.height and region.width):
        return ()
    # Without overlap: each validation pixel counts once in the scores, but for the last row and column.
    grid = Grid(shape=(region.height, region.width), window=chip, overlap=(0, 0))
    windows = []
    for window in grid:
        moved = Window(
            row_off=region.row_off + window.row_off,
            col_off=region.col_off + window.col_off,
            height=chip[0],
            width=chip[1],
        )
        # A window without labels can't be scored and would only cost time.
        if known_share(area, moved) > 0:
            windows.append(moved)
    return tuple(windows)


def known_share(area: Area, window: Window, points: int = 8) -> float:
    """Share of a window that is labeled ground inside the area, judged on a lattice of points."""
    rows = window.row_off + (np.arange(points) + 0.5) * window.height / points
    cols = window.col_off + (np.arange(points) + 0.5) * window.width / points
    rr, cc = (axis.ravel().astype(np.int64) for axis in np.meshgrid(rows, cols, indexing="ij"))
    height, width = area.shape
    inside = (rr >= 0) & (cc >= 0) & (rr < height) & (cc < width)
    return float((inside & area.truth.known(rr, cc)).mean())


def labeled_points(area: Area) -> tuple[NDArray[np.int64], float]:
    """Points (n, 2) of an even lattice over the region that lie on labeled ground, and their share of all."""
    region = area.truth.region()
    axes = []
    for start, side in ((region.row_off, region.height), (region.col_off, region.width)):
        count = max(1, min(_LATTICE, side // _STEP))
        axes.append(start + np.floor((np.arange(count) + 0.5) * side / count).astype(np.int64))
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    known = area.truth.known(lattice[:, 0], lattice[:, 1])
    # Some ground in any case: plots may lie between the points.
    return lattice[known], max(float(known.mean()), 1 / len(lattice))


def file_split(
    areas: Sequence[Area], chip: tuple[int, int], settings: SplitSettings, parts: Sequence[str], seed: int
) -> list[AreaSplit]:
    """Whole areas on one side; labeled ground that is on both through two areas gets a warning.

    Parameters
    ----------
    parts
        ``train``, ``val`` or ``auto`` of each area; ``settings.val`` names more. Without any of them the
        seed chooses ``settings.val_fraction`` of the areas.

    Raises
    ------
    InputError
        A name of no area, or a side left empty.
    """
    names = [area.name for area in areas]
    unknown = sorted(set(settings.val) - set(names))
    if unknown:
        raise InputError(f"data.split.val must name scenes, got {unknown[0]}. There are {', '.join(names)}.")
    chosen = {i for i, name in enumerate(names) if name in settings.val or parts[i] == "val"}
    if not chosen:
        free = [i for i, part in enumerate(parts) if part == "auto"]
        count = max(1, round(settings.val_fraction * len(areas)))
        chosen = {free[i] for i in np.random.default_rng(seed).permutation(len(free))[:count]}
    if not 0 < len(chosen) < len(areas):
        raise InputError(
            f"a split by file must leave scenes on both sides, got {len(areas) - len(chosen)} to train on "
            f"and {len(chosen)} to validate on. Split by blocks instead."
        )
    near = neighbors([place_of(area) for area in areas])
    for i in sorted(chosen):
        for j in near[i]:
            if j not in chosen and share_ground(areas[i], areas[j]):
                logger.warning(
                    "%s is validated on and %s is trained on, but they show the same labeled ground: "
                    "scores will be too good. Split by blocks, or keep them apart by aoi.",
                    areas[i].name,
                    areas[j].name,
                )
    return [
        AreaSplit(i not in chosen, _NOTHING, grid_windows(area, chip) if i in chosen else ())
        for i, area in enumerate(areas)
    ]


def block_split(
    areas: Sequence[Area], chip: tuple[int, int], settings: SplitSettings, parts: Sequence[str], seed: int
) -> list[AreaSplit]:
    """Square blocks of every area, drawn by the seed; training keeps ``buffer_px`` away from them.

    Ground that several areas show is on one side in all of them. An area too small for a block beside
    ground to train on is trained on whole.

    Raises
    ------
    InputError
        No block could be set aside anywhere.
    """
    places = [place_of(area) for area in areas]
    near = neighbors(places)
    splits: list[AreaSplit] = []
    held: list[NDArray[np.int64]] = []
    for index, (area, part) in enumerate(zip(areas, parts, strict=True)):
        # By number: a scene added at the end of the config leaves the blocks of the others where they are.
        rng = np.random.default_rng((seed, index))
        if part == "val":
            blocks = np.array([rect_of(area.truth.region())])
            splits.append(AreaSplit(False, _NOTHING, grid_windows(area, chip)))
        elif part == "train":
            blocks = _NOTHING
            splits.append(AreaSplit(True, _NOTHING, ()))
        else:
            # Only areas before this one have blocks yet; the later ones will take theirs from it.
            others = _carried(held, places, [j for j in near[index] if j < index], index)
            blocks = _draw_blocks(area, chip, settings, rng, others)
            splits.append(_split_area(area, chip, blocks, settings.buffer_px))
            # Blocks that left no room for training were dropped, so they bind no other area either.
            blocks = blocks if splits[-1].val else _NOTHING
        held.append(blocks)
    if not any(split.val for split in splits):
        raise InputError(
            f"a split by blocks must find a block of {settings.block_chips} x {settings.block_chips} chips "
            f"besides ground to train on, got areas of {', '.join(str(a.shape) for a in areas)} pixels. "
            "Use a smaller input_size or block_chips, or split by file."
        )
    wide = [_widened(blocks, settings.buffer_px) for blocks in held]
    return [
        _away(areas[i], chip, split, _carried(wide, places, near[i], i)) if near[i] else split
        for i, split in enumerate(splits)
    ]


def _carried(
    rects: Sequence[NDArray[np.int64]], places: Sequence[GeoBox | None], others: Sequence[int], index: int
) -> NDArray[np.int64]:
    """Rectangles of other areas in the pixels of one."""
    target = places[index]
    moved = [carry(rects[j], place, target) for j in others if (place := places[j]) is not None and target]
    return np.concatenate([_NOTHING, *moved])


def _away(area: Area, chip: tuple[int, int], split: AreaSplit, others: NDArray[np.int64]) -> AreaSplit:
    """A split whose training keeps away from what other areas of the same ground validate on."""
    if not (split.train and len(others)):
        return split
    rects = np.unique(np.concatenate([split.forbidden, others]), axis=0)
    if _leaves_room(area, chip, rects):
        return AreaSplit(True, rects, split.val)
    logger.warning(
        "%s is not trained on: nearly all of its ground is validated on, there or in another scene.",
        area.name,
    )
    return AreaSplit(False, rects, split.val)


def _widened(blocks: NDArray[np.int64], margin: int) -> NDArray[np.int64]:
    return blocks + np.array([-margin, -margin, margin, margin])


def _draw_blocks(
    area: Area,
    chip: tuple[int, int],
    settings: SplitSettings,
    rng: np.random.Generator,
    others: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Blocks (n, 4) to validate on; first where ``others`` lie, those of other areas."""
    region = area.truth.region()
    side = (chip[0] * settings.block_chips, chip[1] * settings.block_chips)
    blocks = [
        Window(
            row_off=piece.row_off + region.row_off,
            col_off=piece.col_off + region.col_off,
            height=piece.height,
            width=piece.width,
        )
        for piece in iter_chunks(region.height, region.width, side)
    ]
    # Rests at the edge that hold no whole chip, and blocks that are mostly unlabeled, would say little.
    shares = [known_share(area, block) for block in blocks]
    usable = [
        block
        for block, share in zip(blocks, shares, strict=True)
        if block.height >= chip[0] and block.width >= chip[1] and share >= 0.5
    ]
    if len(blocks) < 2 or not usable:
        return _NOTHING
    # Of the labeled ground: a share of all blocks between a few plots would take the plots whole.
    count = max(1, round(settings.val_fraction * sum(shares)))
    rects = np.array([rect_of(block) for block in usable], np.int64)
    order = rng.permutation(len(usable))
    low = np.maximum(rects[:, None, :2], others[None, :, :2])
    high = np.minimum(rects[:, None, 2:], others[None, :, 2:])
    common = np.maximum(high - low, 0).prod(axis=2).sum(axis=1)  # pixels that each shares with all others
    # Chance first, then a stable sort: among blocks that share no ground with another area chance decides.
    order = order[np.argsort(-common[order], kind="stable")]
    return rects[order[:count]]


def _split_area(area: Area, chip: tuple[int, int], blocks: NDArray[np.int64], margin: int) -> AreaSplit:
    rects = _widened(blocks, margin)
    if not len(blocks) or not _leaves_room(area, chip, rects):
        return AreaSplit(True, _NOTHING, ())
    insides = [Window(row_off=a, col_off=b, height=c - a, width=d - b) for a, b, c, d in blocks.tolist()]
    windows = tuple(window for block in insides for window in grid_windows(area, chip, block))
    return AreaSplit(True, rects, windows)


def touches(corners: NDArray[np.int64], chip: tuple[int, int], rects: NDArray[np.int64]) -> BoolArray:
    """Whether windows with these corners (n, 2) touch any rectangle (row, column, row end, column end)."""
    row, col = corners[:, :1], corners[:, 1:]
    inside = (row < rects[:, 2]) & (col < rects[:, 3])
    meets = inside & (row + chip[0] > rects[:, 0]) & (col + chip[1] > rects[:, 1])
    return np.asarray(meets.any(axis=1))


def _leaves_room(area: Area, chip: tuple[int, int], rects: NDArray[np.int64]) -> bool:
    """Whether a fair share of the windows, judged on a lattice of corners, touches no rectangle."""
    region = area.truth.region()
    spans = (region.height - chip[0], region.width - chip[1])
    rows, cols = (np.linspace(0, max(span, 0), 9).astype(np.int64) for span in spans)
    corners = np.stack(np.meshgrid(rows + region.row_off, cols + region.col_off), -1).reshape(-1, 2)
    points, share = labeled_points(area)
    if len(points) and share < 1:
        # Windows about labeled points: between plots there is room, and nothing to learn.
        limits = np.maximum(np.array(area.shape) - chip, 0)
        corners = np.clip(points - np.array(chip) // 2, 0, limits)
    # With fewer, drawing windows at random would nearly always hit a block.
    return float((~touches(corners, chip, rects)).mean()) > 0.05
