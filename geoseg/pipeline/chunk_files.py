"""The files of a store's chunks: written whole, read only where they are what the record says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Zstd

from geoseg.errors import ModelError, RunError
from geoseg.files import DiskFullError, is_full, os_reason, place_bytes
from geoseg.geo.blocks import BlockPlan
from geoseg.geo.windows import Window
from geoseg.pipeline.chunk_log import ChunkRecord, read_log
from geoseg.raster.classes import classify
from geoseg.raster.stitch import INVALID, to_bytes
from geoseg.typing import Array, BoolArray
from geoseg.vector.chunk import ChunkValues

__all__ = ["ZSTD_LEVEL", "ChunkFiles", "StoredClasses"]

#: The fastest level: stitched probabilities are written while the network waits for nothing else.
ZSTD_LEVEL = 1


@dataclass(frozen=True)
class ChunkFiles:
    """Where the chunks of a store lie, and how their pixels become bytes; it can be sent to other processes.

    Attributes
    ----------
    folder
        The store's folder.
    plan
        Blocks of the scene; its chunks are those of the store.
    classes
        K.
    dtype
        ``uint8`` or ``float32``, as :meth:`geoseg.pipeline.store.ProbStore.open` has it.
    """

    folder: Path
    plan: BlockPlan
    classes: int
    dtype: str

    def __getstate__(self) -> dict[str, Any]:
        # A worker may have started in another folder.
        return {**self.__dict__, "folder": self.folder.absolute()}

    def path(self, row: int, col: int) -> Path:
        """The file of a chunk."""
        return self.folder / "prob" / "c" / "0" / str(row) / str(col)

    def write(
        self, row: int, col: int, prob: Array, valid: BoolArray | None, aside: Path | None = None
    ) -> int:
        """Write a chunk of probabilities (K, h, w); it appears whole or not at all.

        Parameters
        ----------
        row, col
            The chunk.
        prob, valid
            Its pixels, and which of them have data; None: all.
        aside
            File to write first, on the same disk; None: one beside the chunk. Two processes that may write
            the same chunk need one each.

        Returns
        -------
        int
            The checksum by which the chunk is known.

        Raises
        ------
        ModelError
            A valid pixel has no finite value: it would pass for one without data.
        OSError
            The file can't be written.
        """
        window = self.plan.chunk_window(row, col)
        _check_finite(prob, valid, window)
        # Stated and not the machine's own: workers of a cluster may be of several kinds.
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if dtype == np.uint8:
            pixels: Array = to_bytes(prob, valid)
        else:
            pixels = prob if valid is None else np.where(valid, prob, np.nan)
        fill = INVALID if dtype == np.uint8 else np.nan
        # Chunks at the edge are filled up: zarr has them all of one size.
        values = np.full((self.classes, *self.plan.chunk_shape), fill, dtype)
        values[:, : window.height, : window.width] = pixels
        packed = bytes(Zstd(level=ZSTD_LEVEL).encode(values))
        record = ChunkRecord.of(packed, [])
        place_bytes(self.path(row, col), record.sealed(packed), aside)
        return record.checksum

    def read(self, window: Window, records: Mapping[tuple[int, int], ChunkRecord]) -> Array:
        """What is stored of a window, (K, h, w).

        Raises
        ------
        RunError
            A chunk is missing, or is not what was written.
        """
        tall, wide = self.plan.chunk_shape
        out = np.empty((self.classes, window.height, window.width), self.dtype)
        for row in range(window.row_off // tall, -(-window.row_end // tall)):
            for col in range(window.col_off // wide, -(-window.col_end // wide)):
                chunk = Window(row_off=row * tall, col_off=col * wide, height=tall, width=wide)
                part = chunk.intersection(window)
                target = part.shifted(-window.row_off, -window.col_off)
                source = part.shifted(-chunk.row_off, -chunk.col_off)
                values = self._read_chunk(row, col, records.get((row, col)))
                out[:, target.rows, target.cols] = values[:, source.rows, source.cols]
        return out

    def _read_chunk(self, row: int, col: int, record: ChunkRecord | None) -> Array:
        try:
            content = None if record is None else self.path(row, col).read_bytes()
        except OSError:
            content = None
        if record is None or content is None:
            raise self.gone(f"the chunk at {self.plan.chunk_window(row, col)}")
        # On every read: a disk may return other bytes than it was given.
        packed = record.unsealed(content)
        if packed is None:
            raise RunError(
                f"the chunk at {self.plan.chunk_window(row, col)} in {self.folder} is not what was written "
                "there. Give the same command again: it is predicted anew. If that happens twice, check "
                "the disk."
            )
        values = np.frombuffer(Zstd().decode(packed), np.dtype(self.dtype).newbyteorder("<"))
        return values.reshape(self.classes, *self.plan.chunk_shape)

    def unwritten(self, row: int, col: int, error: OSError) -> RunError:
        """The error of a chunk that could not be written."""
        kind = DiskFullError if is_full(error) else RunError
        return kind(
            f"the chunk at {self.plan.chunk_window(row, col)} can't be written to {self.folder}: "
            f"{os_reason(error)}. Finished chunks are kept: make room and give the same command again to go "
            "on."
        )

    def gone(self, what: str) -> RunError:
        """The error of something that vanished from the folder."""
        return RunError(
            f"{what} vanished from {self.folder} during the run: something removed or moved it. "
            "Give the same command again to predict what is missing."
        )


class StoredClasses:
    """Classes of the chunks of a store, which keeps probabilities: another threshold predicts nothing anew.

    Parameters
    ----------
    files, records
        Of a store whose chunks are all finished.
    background, thresholds
        As :func:`geoseg.raster.classes.classify` takes them.
    """

    def __init__(
        self,
        files: ChunkFiles,
        records: Mapping[tuple[int, int], ChunkRecord],
        background: int | None,
        thresholds: tuple[float, ...] | None,
    ) -> None:
        self.files, self.records = files, records
        self.background, self.thresholds = background, thresholds

    def __call__(self, window: Window) -> ChunkValues:
        """Pixels of a window."""
        prob = self.files.read(window, self.records)
        classes = classify(prob, background=self.background, thresholds=self.thresholds)
        return ChunkValues(classes.values, classes.prob, classes.invalid)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.files, self.background, self.thresholds

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.files, self.background, self.thresholds = state
        # Of a large scene they are many: another process reads them from the record, once.
        self.records = read_log(self.files.folder / "chunks.log", self.files.plan.n_chunks)


def _check_finite(prob: Array, valid: BoolArray | None, window: Window) -> None:
    # Two passes over the array instead of a boolean array of its size: NaN passes through min and max.
    if prob.size == 0 or np.isfinite((prob.min(), prob.max())).all():
        return
    good = np.isfinite(prob)
    bad = ~good.all(axis=0) if valid is None else ~good.all(axis=0) & valid
    if bad.any():
        raise ModelError(
            f"the model must give finite numbers, got others for {np.count_nonzero(bad)} pixels at {window}. "
            "Check its weights, its value scaling and its precision."
        )
