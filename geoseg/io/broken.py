"""Files that are damaged or cut short: where exactly, without decoding the same bytes over and over."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from geoseg.geo.storage import storage_parts
from geoseg.geo.windows import Window
from geoseg.io.local_files import file_stamp
from geoseg.raster.source import SceneReadError

__all__ = ["IN_ORDER", "known_break", "locate_damage", "note_break"]

#: Formats whose rows are decoded from the first on: behind the first broken row nothing can be read.
IN_ORDER = ("JPEG", "PNG")

#: Files, after which the oldest is forgotten: a process that goes on for weeks does not grow.
_REMEMBERED = 64
_breaks: OrderedDict[tuple[str, int, int], tuple[int, str]] = OrderedDict()
_lock = threading.Lock()


def note_break(path: str, row_end: int, reason: str) -> None:
    """Remember that a file decoded in order can't be read down to (not including) a row.

    Each further attempt to read that far would decode it from the beginning, only to fail again.
    """
    stamp = file_stamp(path)
    if stamp[1] == 0:  # a URL, which may answer the next time
        return
    with _lock:
        if stamp not in _breaks or row_end < _breaks[stamp][0]:
            _breaks[stamp] = row_end, reason
        while len(_breaks) > _REMEMBERED:
            _breaks.popitem(last=False)


def known_break(path: str, row_end: int) -> str | None:
    """Why a file decoded in order is known not to be readable down to a row; None: that is not known."""
    with _lock:
        first, reason = _breaks.get(file_stamp(path), (row_end + 1, ""))
    return reason if row_end >= first else None


def locate_damage(
    path: str,
    shape: tuple[int, int],
    block: tuple[int, int],
    window: Window,
    read: Callable[[Window], object],
) -> SceneReadError | None:
    """Read a window again, block by block of its file, to say which is the first that can't be read.

    Parameters
    ----------
    path
        Of the file, for the message.
    shape, block
        (height, width) of the file and of its storage blocks.
    window
        Pixels of the file, of which some can't be read.
    read
        Reads a window of the file, or raises SceneReadError.

    Returns
    -------
    SceneReadError or None
        Names the first broken block in pixels of the file, and how many there are under the window; None
        where each block can be read after all.
    """
    # All blocks are tried, not the first ones only, so that the message tells how much is lost.
    broken: list[tuple[Window, str]] = []
    count = 0
    for part, unit in storage_parts(window, block, shape):
        count += 1
        try:
            read(part)
        except SceneReadError as error:
            broken.append((unit, error.reason))
    if not broken:
        return None
    unit, reason = broken[0]
    what = "its only block" if block[0] >= shape[0] and block[1] >= shape[1] else "a block of the file"
    extent = "" if count == 1 else f" {len(broken)} of the {count} blocks under {window} can't be read."
    message = f"cannot read {unit} of {path}, {what}: {reason}. The file is damaged or cut short there."
    return SceneReadError(message + extent, path, window, reason)
