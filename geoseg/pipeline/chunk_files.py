"""The files of a store's chunks: written whole, read only where they are what the record says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numcodecs import Zstd

from geoseg.errors import ModelError, RunError
from geoseg.files import Depot, DiskFullError, is_full, os_reason
from geoseg.geo.blocks import BlockPlan
from geoseg.geo.windows import Window
from geoseg.pipeline.chunk_log import ChunkRecord
from geoseg.raster.classes import classify
from geoseg.raster.stitch import INVALID, to_bytes
from geoseg.typing import Array, BoolArray
from geoseg.vector.chunk import ChunkValues

__all__ = ["CHUNKS", "ChunkFiles", "StoredClasses", "array_metadata"]

#: The fastest level: stitched probabilities are written while the network waits for nothing else.
_ZSTD_LEVEL = 1
#: Where the chunks of a zarr array of three dimensions lie whose first one has a single chunk.
CHUNKS = "prob/c/0"


@dataclass(frozen=True)
class ChunkFiles:
    """Where the chunks of a store lie, and how their pixels become bytes; it can be sent to other processes.

    Attributes
    ----------
    depot
        Where they lie.
    plan
        Blocks of the scene; its chunks are those of the store.
    classes
        K.
    dtype
        ``uint8`` or ``float32``, as :meth:`geoseg.pipeline.store.ProbStore.open` has it.
    """

    depot: Depot
    plan: BlockPlan
    classes: int
    dtype: str

    def name(self, row: int, col: int) -> str:
        """Name of a chunk, as zarr has it."""
        return f"{CHUNKS}/{row}/{col}"

    def present(self, row: int) -> Iterator[int]:
        """Columns of the chunks of a row that are there."""
        part = f"{CHUNKS}/{row}"
        names = (name.removeprefix(f"{part}/") for name in self.depot.names(part))
        cols = (int(name) for name in names if name.isdecimal())  # other names are not ours
        yield from (col for col in cols if col < self.plan.n_chunks[1])

    def write(
        self, row: int, col: int, prob: Array, valid: BoolArray | None, aside: str | None = None
    ) -> int:
        """Write a chunk of probabilities (K, h, w); it appears whole or not at all.

        Parameters
        ----------
        row, col
            The chunk.
        prob, valid
            Its pixels, and which of them have data; None: all.
        aside
            Name that a folder writes under first; None: one beside the chunk. Two processes that may write
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
        packed = bytes(Zstd(level=_ZSTD_LEVEL).encode(values))
        record = ChunkRecord.of(packed, [])
        self.depot.put(self.name(row, col), record.sealed(packed), aside)
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
            content = None if record is None else self.depot.get(self.name(row, col))
        except OSError:
            content = None
        if record is None or content is None:
            raise self.gone(f"the chunk at {self.plan.chunk_window(row, col)}")
        # On every read: a disk may return other bytes than it was given.
        packed = record.unsealed(content)
        if packed is None:
            raise RunError(
                f"the chunk at {self.plan.chunk_window(row, col)} in {self.depot} is not what was written "
                "there. Give the same command again: it is predicted anew. If that happens twice, check "
                "the disk."
            )
        values = np.frombuffer(Zstd().decode(packed), np.dtype(self.dtype).newbyteorder("<"))
        return values.reshape(self.classes, *self.plan.chunk_shape)

    def unwritten(self, row: int, col: int, error: OSError) -> RunError:
        """The error of a chunk that could not be written."""
        kind = DiskFullError if is_full(error) else RunError
        return kind(
            f"the chunk at {self.plan.chunk_window(row, col)} can't be written to {self.depot}: "
            f"{os_reason(error)}. Finished chunks are kept: make room and give the same command again to go "
            "on."
        )

    def gone(self, what: str) -> RunError:
        """The error of something that vanished from the folder."""
        return RunError(
            f"{what} vanished from {self.depot} during the run: something removed or moved it. "
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


def array_metadata(plan: BlockPlan, classes: int, dtype: str) -> bytes:
    """The ``zarr.json`` of a store's array; parameters as those of :class:`ChunkFiles`."""
    # The text that zarr itself writes. To load zarr takes a sixth of a run that has nothing to predict.
    chunk = {"chunk_shape": [classes, *plan.chunk_shape]}
    endian = {} if dtype == "uint8" else {"configuration": {"endian": "little"}}
    metadata = {
        "shape": [classes, *plan.shape],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": chunk},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": INVALID if dtype == "uint8" else "NaN",
        "codecs": [
            {"name": "bytes", **endian},
            {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}},
            {"name": "crc32c"},
        ],
        "attributes": {},
        "dimension_names": ["class", "y", "x"],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    return json.dumps(metadata, indent=2).encode()


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
