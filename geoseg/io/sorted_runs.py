"""Tables larger than memory in the order of a number: sorted pieces on disk, read a range at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["KEY", "SortedRuns"]

#: Column that rows are ordered by, uint32.
KEY = "key"
#: Rows are counted by the leading bits of their key: 2^20 counts of 8 bytes.
_SHIFT, _BINS = 12, 1 << 20


class SortedRuns:
    """Rows that are added in any order and read in the order of their keys; a column that some lack is null.

    Added rows wait in memory until there are ``rows`` of them, and go to a file of their own then, sorted.
    What is read of a range is a slice of each file, which is mapped and not loaded.

    Parameters
    ----------
    folder
        Where the files go; whoever made it removes it.
    rows
        In memory at a time.
    then
        Columns that order rows of one key.
    """

    def __init__(self, folder: Path, rows: int, then: Sequence[str] = ()) -> None:
        self._folder, self._rows = folder, rows
        self._order = [(name, "ascending") for name in (KEY, *then)]
        self._waiting: list[pa.Table] = []
        self._files: list[Path] = []
        self._counts = np.zeros(_BINS, np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def add(self, rows: pa.Table) -> None:
        """Take rows, with a key each."""
        keys = rows.column(KEY).to_numpy()
        self._counts += np.bincount(keys >> _SHIFT, minlength=_BINS)
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= self._rows:
            self._put_aside()

    def _put_aside(self) -> None:
        rows = pa.concat_tables(self._waiting, promote_options="permissive")
        self._waiting = []
        # One chunk, so that what is read back needs no copy.
        rows = rows.take(pc.sort_indices(rows, sort_keys=self._order)).combine_chunks()
        file = self._folder / f"{len(self._files)}.arrow"
        with pa.ipc.new_file(file, rows.schema) as out:
            out.write_table(rows)
        self._files.append(file)

    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of keys, [low, high), that hold about as many rows as are in memory at a time, in order.

        A range is one 2^20th of all keys or more, and holds more rows only where these share that.
        """
        filled = np.flatnonzero(self._counts)
        sums = self._counts[filled].cumsum()
        ranges, start, before = [], 0, 0
        while start < len(filled):
            stop = max(start + 1, int(np.searchsorted(sums, before + self._rows, "right")))
            ranges.append((int(filled[start]) << _SHIFT, (int(filled[stop - 1]) + 1) << _SHIFT))
            start, before = stop, int(sums[stop - 1])
        return ranges

    def between(self, low: int, high: int) -> pa.Table | None:
        """Rows with keys in [low, high), in order; None where there are none."""
        if self._waiting:
            self._put_aside()
        parts = []
        if low >= high or not self._counts[low >> _SHIFT : (high - 1 >> _SHIFT) + 1].any():
            return None
        for file in self._files:
            # Opened anew for each range: the files may be more than a process can hold open.
            with pa.memory_map(str(file)) as content:
                rows = pa.ipc.open_file(content).read_all()
                # As numbers of the column's own type: of others, all of it would be copied.
                keys = rows.column(KEY).to_numpy()
                first = np.searchsorted(keys, np.uint32(low))
                last = np.searchsorted(keys, np.uint32(high - 1), "right")
                if first < last:
                    parts.append(rows.slice(first, last - first))
        if not parts:
            return None
        rows = pa.concat_tables(parts, promote_options="permissive")
        return rows.take(pc.sort_indices(rows, sort_keys=self._order))
