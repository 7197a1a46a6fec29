"""Scores over the run: a CSV file, one row a validation, and its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geoseg.files import write_text

__all__ = ["History"]


class History:
    """Rows of scores, kept in ``metrics.csv``.

    Parameters
    ----------
    path
        The file; read when it is there.
    keep
        Rows to keep of it: those with a smaller ``index``.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        if keep and path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                # Empty cells are values that a validation did not have.
                kept = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
            self.rows = [row for row in kept if row["index"] < keep]

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row and write the file; values that are no numbers are left out."""
        self.rows.append({k: float(v) for k, v in row.items() if isinstance(v, int | float)})
        # The whole file each time: a row may bring a column that the header lacks, and a kill leaves no half
        # row.
        write_text(self.path, self.text())

    def columns(self) -> list[str]:
        """Names of all values, in order of first use."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def text(self) -> str:
        """The rows as CSV."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.columns(), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            # repr keeps every bit of a number, so that a resumed run writes the same file.
            writer.writerow({name: repr(value).removesuffix(".0") for name, value in row.items()})
        return buffer.getvalue()

    def column(self, name: str) -> tuple[Sequence[float], Sequence[float]]:
        """Epochs and values of a column, where it has one."""
        points = [(row["epoch"], row[name]) for row in self.rows if name in row]
        return [epoch for epoch, _ in points], [value for _, value in points]
