"""Which files are one picture, and where each lies in it: decided from their headers alone.

No decision here depends on the order in which the files were named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from pyproj import CRS

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.unions import roots, unite
from geoseg.raster.warped import warped_window
from geoseg.typing import IntArray, OnTop

__all__ = ["Picture", "SheetFacts", "common_grid", "find_pictures", "lay_out", "misfit", "pile"]

#: How far pixels may lie off the common grid, in pixels: what rounded headers make of whole numbers.
_OFF_PX = 0.05
#: Files that share more than this part of the smaller one show the same ground twice, as two dates do. They
#: are no neighbors in one picture. Where they state different dates, a smaller part tells enough; sheets
#: that are moved back flush with the edge of a delivery share much, too, but are of one date.
_REPEAT_SHARE, _DATED_SHARE = 0.9, 0.5


@dataclass(frozen=True)
class SheetFacts:
    """What decides whether a file belongs to a picture.

    Attributes
    ----------
    name
        Tells the file from others; the order of names is the order of files.
    geobox
        Where it lies.
    kind
        (what, value) pairs that all files of a picture have in common: bands, pixel type, ...
    acquired
        ISO date it was taken, where known.
    """

    name: str
    geobox: GeoBox
    kind: tuple[tuple[str, Hashable], ...] = ()
    acquired: str | None = None


@dataclass(frozen=True)
class Picture:
    """Files that are one scene.

    Attributes
    ----------
    members
        Positions in what was given, by name.
    apart
        Why they are not part of the largest picture; empty where there is nothing to tell.
    """

    members: tuple[int, ...]
    apart: str = ""


def find_pictures(files: Sequence[SheetFacts], *, warped: bool = False) -> list[Picture]:
    """Sort files into pictures: on one grid, of one kind, each touching or overlapping another.

    Files that show the same ground (90 % of the smaller one, or half of it and different dates) are no sheets
    of one picture: they are parted by date, and where the dates do not tell them apart each stays alone. So
    does a file that nothing places on the ground.

    Parameters
    ----------
    files
        In any order.

    warped
        Files off the grid are not set apart: their places on the grid of the largest part of them count. A
        file without a CRS still fits no grid but its own.

    Returns
    -------
    list of Picture
        In the order of their first names; each file is in exactly one.

    Examples
    --------
    >>> boxes = [GeoBox(Affine(1, 0, x, 0, -1, 0), None, 4, 4) for x in (10, 14, 18.5)]
    >>> pictures = find_pictures([SheetFacts(name, box) for name, box in zip("cab", boxes)])
    >>> [picture.members for picture in pictures], pictures[1].apart
    ([(1, 0), (2,)], 'its pixels lie 0.5 columns and 0 rows off')
    """
    grids = _by_grid(files)
    if warped:
        grids = _by_kind(files, grids)
    largest = max(grids, key=len, default=[])  # of equal ones the first by name
    pictures: list[Picture] = []
    for grid in grids:
        why = "" if grid is largest else misfit(files[grid[0]], files[largest[0]]) or ""
        pictures += _pictures_of(files, grid, why)
    if all(len(picture.members) == 1 for picture in pictures):  # no picture that one could be no part of
        pictures = [Picture(picture.members) for picture in pictures]
    return sorted(pictures, key=lambda picture: files[picture.members[0]].name)


def misfit(file: SheetFacts, other: SheetFacts) -> str | None:
    """Why a file is not on the grid of another, or of another kind; None where it fits.

    Examples
    --------
    >>> box = GeoBox(Affine(1, 0, 10, 0, -1, 0), None, 4, 4)
    >>> misfit(SheetFacts("a", box, (("bands", 3),)), SheetFacts("b", box, (("bands", 4),)))
    'it has bands 3, not 4'
    """
    for (what, value), (_, wanted) in zip(file.kind, other.kind, strict=True):
        if value != wanted:
            return f"it has {what} {_plain(value)}, not {_plain(wanted)}"
    mine, its = file.geobox.crs, other.geobox.crs
    if not _same_crs(mine, its):
        return f"its CRS is {_crs_name(mine)}, not {_crs_name(its)}"
    placed = _place(other.geobox, file.geobox)
    return placed if isinstance(placed, str) else None


def _place(grid: GeoBox, box: GeoBox) -> tuple[int, int] | str:
    """(row, column) of a box's first pixel on the grid of another, or why it is not on that grid."""
    if box.transform.is_identity:
        return "nothing places it on the ground"
    step: Affine = ~grid.transform * box.transform
    # At the far end of a file: a step that is off by a thousandth of a pixel adds up over thousands of them.
    drift = abs(step.a - 1) * box.width + abs(step.b) * box.height
    drift = max(drift, abs(step.e - 1) * box.height + abs(step.d) * box.width)
    if drift > _OFF_PX:
        return f"its pixels are {_step(box)}, not {_step(grid)}"
    col, row = round(step.c), round(step.f)
    if max(abs(step.c - col), abs(step.f - row)) > _OFF_PX:
        return f"its pixels lie {abs(step.c - col):.2g} columns and {abs(step.f - row):.2g} rows off"
    return row, col


def _step(box: GeoBox) -> str:
    return f"{box.transform.a:.8g} x {box.transform.e:.8g}"


def _crs_name(crs: CRS | None) -> str:
    return "none" if crs is None else crs.to_string() if crs.to_authority() else crs.name


def _same_crs(one: CRS | None, other: CRS | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or one.equals(other, ignore_axis_order=True)


def _plain(value: Hashable) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(str(item) for item in values if item != "") or "nothing"


def _by_grid(files: Sequence[SheetFacts]) -> list[list[int]]:
    """Positions of files that share grid and kind, by name."""
    spellings: dict[str, CRS | None] = {}  # of one CRS there may be several, and comparing them takes long
    grids: dict[Hashable, list[list[int]]] = defaultdict(list)
    for index in sorted(range(len(files)), key=lambda i: files[i].name):
        box = files[index].geobox
        text = box.crs.to_wkt() if box.crs else ""
        if text not in spellings:
            known = (crs for crs in spellings.values() if _same_crs(crs, box.crs))
            spellings[text] = next(known, box.crs)
        same_kind = grids[files[index].kind, id(spellings[text])]
        for grid in same_kind:
            if not isinstance(_place(files[grid[0]].geobox, box), str):
                grid.append(index)
                break
        else:
            same_kind.append([index])
    return [grid for same_kind in grids.values() for grid in same_kind]


def _by_kind(files: Sequence[SheetFacts], grids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Grids of one kind together, where their files have a CRS to be carried from one to the other by."""
    kinds: dict[Hashable, list[int]] = defaultdict(list)
    for number, grid in enumerate(grids):
        first = files[grid[0]]
        kinds[first.kind, number if first.geobox.crs is None else -1].extend(grid)
    return [sorted(members, key=lambda index: files[index].name) for members in kinds.values()]


def common_grid(boxes: Sequence[GeoBox]) -> list[GeoBox]:
    """Boxes on one grid: those that are on it as they are, and the places of the others on it.

    Parameters
    ----------
    boxes
        By name. The grid is that of most of them, else of most of their pixels, else of the first names.

    Examples
    --------
    >>> boxes = [GeoBox(Affine(1, 0, x, 0, -1, 0), None, 4, 4) for x in (10, 14, 18.5)]
    >>> [(box.transform.c, box.width) for box in common_grid(boxes)]
    [(10.0, 4), (14.0, 4), (18.0, 5)]
    """
    grids = _by_grid([SheetFacts(f"{number:09d}", box) for number, box in enumerate(boxes)])
    sizes = [(len(grid), sum(boxes[k].height * boxes[k].width for k in grid)) for grid in grids]
    grid = boxes[grids[sizes.index(max(sizes))][0]]
    return [
        box
        if _same_crs(box.crs, grid.crs) and not isinstance(_place(grid, box), str)
        else grid.window(warped_window(box, grid))
        for box in boxes
    ]


def _pictures_of(files: Sequence[SheetFacts], grid: Sequence[int], why: str) -> list[Picture]:
    """Pictures among files on one grid."""
    _, windows = lay_out(common_grid([files[index].geobox for index in grid]))
    touching, repeated = _neighbors(windows, [files[index].acquired for index in grid])
    pictures = []
    for part in _connected(range(len(grid)), touching):
        if not len(_within(part, repeated)):
            pictures.append(Picture(tuple(grid[k] for k in part), why))
            continue
        dates: dict[str | None, list[int]] = defaultdict(list)
        for k in part:
            dates[files[grid[k]].acquired].append(k)
        for same_date in dates.values():
            alone = _repeating(_within(same_date, repeated))
            for k in sorted(alone):
                pictures.append(Picture((grid[k],), why or "it shows the same ground as another file"))
            rest = [k for k in same_date if k not in alone]
            for some in _connected(rest, touching):
                pictures.append(Picture(tuple(grid[k] for k in some), why or "it shows another date"))
    return pictures


def _repeating(pairs: IntArray) -> set[int]:
    """Files to set apart so that no pair (n, 2) of those that show the same ground is left."""
    apart: set[int] = set()
    while len(pairs):
        files, counts = np.unique(pairs, return_counts=True)
        # The whole picture beside its sheets repeats each of them, and without it they are one. Of two files
        # that repeat each other, nothing tells which belongs to the picture: both go.
        most = files[counts == counts.max()]
        apart |= set(most.tolist())
        pairs = pairs[~np.isin(pairs, most).any(axis=1)]
    return apart


def _neighbors(windows: Sequence[Window], dates: Sequence[str | None]) -> tuple[IntArray, IntArray]:
    """Pairs (n, 2) of windows that touch or overlap, and of those that show the same ground."""
    import shapely  # which the opening of a single file does without

    edges = np.array([(w.col_off, w.row_off, w.col_end, w.row_end) for w in windows], np.int64).reshape(-1, 4)
    boxes = shapely.box(*edges.T)
    pairs = shapely.STRtree(boxes).query(boxes, predicate="intersects").T
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]  # each once, and none with itself
    one, other = edges[pairs[:, 0]], edges[pairs[:, 1]]
    shared = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    smaller = np.minimum(*((e[:, 2:] - e[:, :2]).prod(axis=1) for e in (one, other)))
    known = {date: number for number, date in enumerate(sorted({date for date in dates if date}))}
    days = np.array([known.get(date, -1) for date in dates])[pairs]  # type: ignore[arg-type]
    dated = (days >= 0).all(axis=1) & (days[:, 0] != days[:, 1])
    limit = np.where(dated, _DATED_SHARE, _REPEAT_SHARE)
    return pairs, pairs[shared.prod(axis=1) > limit * smaller]


def _within(members: Iterable[int], pairs: IntArray) -> IntArray:
    """The pairs that have both ends among the members."""
    return pairs[np.isin(pairs, list(members)).all(axis=1)]


def _connected(members: Iterable[int], pairs: IntArray) -> list[list[int]]:
    """Members in groups that pairs connect; both keep their order."""
    members = list(members)
    ends = np.searchsorted(members, _within(members, pairs))
    numbers = np.arange(len(members))
    parent = numbers.copy()
    unite(parent, *np.ascontiguousarray(ends.T))
    groups: dict[int, list[int]] = defaultdict(list)
    for member, group in zip(members, roots(parent, numbers).tolist()):
        groups[group].append(member)
    return list(groups.values())


def lay_out(boxes: Sequence[GeoBox]) -> tuple[GeoBox, list[Window]]:
    """The geobox of a picture, and where each of its files lies in it.

    Parameters
    ----------
    boxes
        On one grid, by name.

    Returns
    -------
    GeoBox, list of Window
        From the first row and column of any file to the last.

    Examples
    --------
    >>> box, windows = lay_out([GeoBox(Affine(1, 0, x, 0, -1, 0), None, 4, 4) for x in (14, 10)])
    >>> box.transform.c, box.shape, [window.col_off for window in windows]
    (10.0, (4, 8), [4, 0])
    """
    first = boxes[0]
    steps = [~first.transform * box.transform for box in boxes]
    rows, cols = [round(step.f) for step in steps], [round(step.c) for step in steps]
    top, left = min(rows), min(cols)
    transform = first.transform * Affine.translation(left, top)
    if transform.is_rectilinear:
        # The very numbers of the files at the edge: of a scene cut to sheets, those of the scene
        a, b, _, d, e, _ = first.transform[:6]
        x, y = boxes[cols.index(left)].transform.c, boxes[rows.index(top)].transform.f
        transform = Affine(a, b, x, d, e, y)
    windows = [
        Window(row_off=row - top, col_off=col - left, height=box.height, width=box.width)
        for row, col, box in zip(rows, cols, boxes)
    ]
    height, width = max(w.row_end for w in windows), max(w.col_end for w in windows)
    return GeoBox(transform, first.crs, height, width), windows


def pile(names: Sequence[str], dates: Sequence[str | None], on_top: OnTop) -> list[int]:
    """Positions of files from the bottom to the top, where several show the same ground.

    Parameters
    ----------
    names, dates
        Of the files, in any order; a file without a date lies below those that have one.
    on_top
        Whose name comes first or last, or whose date is the newest (then by name).

    Examples
    --------
    >>> pile("cab", ["2020-01-01", None, "2019-01-01"], "newest"), pile("cab", [None] * 3, "first")
    ([1, 2, 0], [0, 2, 1])
    """
    order = sorted(range(len(names)), key=lambda i: names[i])
    if on_top == "first":
        return order[::-1]
    return sorted(order, key=lambda i: dates[i] or "") if on_top == "newest" else order
