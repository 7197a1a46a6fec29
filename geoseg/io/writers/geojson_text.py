"""Polygons as GeoJSON text, at the speed of a compiled loop: the same characters as ``json.dumps`` gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import BoolArray
from geoseg.vector.area import ring_areas
from geoseg.vector.ragged import RaggedPolygons

__all__ = ["geometry_texts"]

#: A number of at most 15 digits is the shortest decimal of its double, which is what ``repr`` writes.
_EXACT = 10**15
_NUMBER_BYTES, _FEATURE_BYTES = 26, 64
#: Corners whose text is made in one go, of a batch or a feature that has more.
_PIECE_CORNERS = 1 << 20
_HEADS = tuple(
    np.frombuffer(b'{"type": "%s", "coordinates": ' % kind, np.uint8)
    for kind in (b"Polygon", b"MultiPolygon")
)


def geometry_texts(shapes: RaggedPolygons, decimals: int) -> Iterator[Iterable[memoryview]]:
    """The ``geometry`` member of each feature, ASCII; of a large one piece by piece.

    Parameters
    ----------
    shapes
        Features with finite coordinates. Shells are written counterclockwise, holes clockwise.
    decimals
        Digits after the point, 1 to 15; coordinates are rounded as by ``numpy.round``.

    Examples
    --------
    >>> triangle = np.array([[0, 0], [1.25, 0], [0, 1e-5], [0, 0]])
    >>> one, no = np.array([0, 1]), np.array([False])
    >>> shapes = RaggedPolygons(triangle, np.array([0, 4]), one, one, no)
    >>> [b"".join(pieces) for pieces in geometry_texts(shapes, 7)]
    [b'{"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.25, 0.0], [0.0, 1e-05], [0.0, 0.0]]]}']
    """
    # RFC 7946 wants shells counterclockwise and holes clockwise, whatever the transform has made of them.
    is_shell = np.zeros(shapes.rings.size - 1, np.bool_)
    is_shell[shapes.polygons[:-1]] = True
    backward = (ring_areas(shapes.xy, shapes.rings) > 0) != is_shell
    if len(shapes.xy) <= _PIECE_CORNERS:
        yield from ((text,) for text in _texts(shapes, backward, decimals))
        return
    for feature in range(len(shapes)):
        yield _pieces(shapes, backward, decimals, feature)


def _pieces(shapes: RaggedPolygons, backward: BoolArray, decimals: int, feature: int) -> Iterator[memoryview]:
    """The text of one feature, some rings at a time: that of millions of holes is larger than they are."""
    several = bool(shapes.several[feature])
    yield memoryview(_HEADS[int(several)].tobytes() + b"[" * several)
    first, last = shapes.features[feature], shapes.features[feature + 1]
    for polygon in range(first, last):
        yield memoryview(b", [" if polygon > first else b"[")
        ring, end = shapes.polygons[polygon], shapes.polygons[polygon + 1]
        while ring < end:
            fits = np.searchsorted(shapes.rings, shapes.rings[ring] + _PIECE_CORNERS, side="right") - 1
            stop = min(max(fits, ring + 1), end)
            some = RaggedPolygons(
                shapes.xy[shapes.rings[ring] : shapes.rings[stop]],
                shapes.rings[ring : stop + 1] - shapes.rings[ring],
                np.array([0, stop - ring]),
                np.array([0, 1]),
                np.array([False]),
            )
            (text,) = _texts(some, backward[ring:stop], decimals)
            yield text[_HEADS[0].size + 1 : -2]  # the rings alone, out of a polygon of these rings
            ring = stop
            if ring < end:
                yield memoryview(b", ")
        yield memoryview(b"]")
    yield memoryview(b"]" * several + b"}")


def _texts(shapes: RaggedPolygons, backward: BoolArray, decimals: int) -> list[memoryview]:
    """The texts of all features, in one buffer."""
    xy, rings, polygons, features = shapes.xy, shapes.rings, shapes.polygons, shapes.features
    if xy.size and np.rint(max(-xy.min(), xy.max()) * 10.0**decimals) >= _EXACT:
        # Numbers of more digits are left to json, one by one: pixels of a huge raster, or meters to the
        # micron.
        points = (np.rint(xy * 10.0**decimals) / 10.0**decimals).tolist()
        loops = [points[a:b] for a, b in pairwise(rings.tolist())]
        loops = [loop[::-1] if turn else loop for loop, turn in zip(loops, backward, strict=True)]
        nested = [loops[a:b] for a, b in pairwise(polygons.tolist())]
        members = [
            {"type": "MultiPolygon", "coordinates": nested[a:b]}
            if multi
            else {"type": "Polygon", "coordinates": nested[a]}
            for (a, b), multi in zip(pairwise(features.tolist()), shapes.several, strict=True)
        ]
        return [memoryview(json.dumps(member).encode()) for member in members]
    # Room for the longest number everywhere, and for brackets and commas: the kernel never has to ask for
    # more.
    size = xy.size * _NUMBER_BYTES + 4 * (rings.size + polygons.size) + _FEATURE_BYTES * features.size
    buffer = np.empty(size, np.uint8)
    ends = np.empty(features.size, np.int64)
    _write(
        np.ascontiguousarray(xy, np.float64),
        decimals,
        rings,
        polygons,
        features,
        shapes.several,
        backward,
        _HEADS,
        buffer,
        ends,
    )
    text = buffer.data
    return [text[start:end] for start, end in pairwise(ends.tolist())]


# Numba counts references to arrays at every call, which costs more than a character does: so one function
# writes them all.
@kernel
def _write(  # type: ignore[no-untyped-def]
    xy,
    decimals,
    rings,
    polygons,
    features,
    several,
    backward,
    heads,
    out,
    ends,
):
    # Coordinates as whole numbers of the last digit: from here on nothing is rounded.
    one, scale = 10**decimals, 10.0**decimals
    digits = np.empty(20, np.uint8)
    p = 0
    ends[0] = 0
    for f in range(features.size - 1):
        head = heads[int(several[f])]
        for k in range(head.size):
            out[p] = head[k]
            p += 1
        if several[f]:
            out[p] = 91  # [
            p += 1
        for q in range(features[f], features[f + 1]):
            if q > features[f]:
                out[p], out[p + 1] = 44, 32  # comma, space
                p += 2
            out[p] = 91
            p += 1
            for r in range(polygons[q], polygons[q + 1]):
                if r > polygons[q]:
                    out[p], out[p + 1] = 44, 32
                    p += 2
                out[p] = 91
                p += 1
                first, count = rings[r], rings[r + 1] - rings[r]
                for c in range(count):
                    corner = first + count - 1 - c if backward[r] else first + c
                    if c > 0:
                        out[p], out[p + 1] = 44, 32
                        p += 2
                    out[p] = 91
                    p += 1
                    for axis in range(2):
                        if axis == 1:
                            out[p], out[p + 1] = 44, 32
                            p += 2
                        unit = np.rint(xy[corner, axis] * scale)
                        value = np.int64(abs(unit))
                        if unit < 0 or (unit == 0 and np.signbit(unit)):  # -0.0 too
                            out[p] = 45  # minus
                            p += 1
                        if 0 < value < one // 10000:  # below 1e-4: as 1.2e-05
                            exponent = decimals
                            while value % 10 == 0:
                                value //= 10
                                exponent -= 1
                            n = 0
                            while value > 0:
                                digits[n] = 48 + value % 10
                                value //= 10
                                n += 1
                            exponent -= n - 1
                            out[p] = digits[n - 1]
                            p += 1
                            if n > 1:
                                out[p] = 46  # point
                                p += 1
                            for k in range(n - 1):
                                out[p] = digits[n - 2 - k]
                                p += 1
                            out[p], out[p + 1] = 101, 45  # e-
                            out[p + 2], out[p + 3] = 48 + exponent // 10, 48 + exponent % 10
                            p += 4
                            continue
                        whole, rest = value // one, value % one
                        n = 0
                        while whole > 0 or n == 0:
                            digits[n] = 48 + whole % 10
                            whole //= 10
                            n += 1
                        for k in range(n):
                            out[p] = digits[n - 1 - k]
                            p += 1
                        out[p] = 46
                        p += 1
                        for k in range(decimals):
                            digits[k] = 48 + rest % 10
                            rest //= 10
                        n = 0  # zeros at the end
                        while n < decimals - 1 and digits[n] == 48:
                            n += 1
                        for k in range(decimals - n):
                            out[p] = digits[decimals - 1 - k]
                            p += 1
                    out[p] = 93  # ]
                    p += 1
                out[p] = 93
                p += 1
            out[p] = 93
            p += 1
        if several[f]:
            out[p] = 93
            p += 1
        out[p] = 125  # }
        p += 1
        ends[f + 1] = p
