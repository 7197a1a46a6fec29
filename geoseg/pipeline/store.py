"""The store of stitched probabilities: one zarr file a chunk, so that a finished chunk is a fact on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from geoseg.errors import InputError, ModelError, RunError, StateMismatchError
from geoseg.files import os_reason, write_text
from geoseg.geo.blocks import BlockPlan
from geoseg.geo.windows import Window
from geoseg.pipeline.salvage import sorted_failures
from geoseg.raster.stitch import INVALID, to_bytes
from geoseg.typing import Array, BoolArray

__all__ = ["FORMAT", "ProbStore", "digest"]

#: Raised with every change of what a stored chunk holds for the same fingerprint.
FORMAT = 3
#: What a store's folder holds; whatever else lies in a folder of that name is somebody's.
_OWN = ("state.json", "state.tmp", "prob", "failures", "spill")


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class ProbStore:
    """Probabilities of one scene, (K, H, W) in chunks, and what they were made from.

    Use :meth:`open`. The folder holds ``state.json`` (the fingerprint, and the batch size), ``prob`` (the
    zarr array) and ``failures`` (regions that could not be read, one file a block).

    Attributes
    ----------
    batch_size
        Windows of a batch: the ones it was begun with, unless others were asked for.
    """

    def __init__(
        self, folder: Path, plan: BlockPlan, array: zarr.Array[Any], lock: int | None, batch_size: int
    ) -> None:
        self.folder, self.plan, self._array, self._lock = folder, plan, array, lock
        self.batch_size = batch_size

    @classmethod
    def open(
        cls,
        folder: Path,
        plan: BlockPlan,
        classes: int,
        fingerprint: Mapping[str, Any],
        *,
        dtype: str = "uint8",
        restart: bool = False,
        batch_size: int = 1,
        keep_batch_size: bool = True,
    ) -> ProbStore:
        """Open the store in ``folder``, or make it.

        Parameters
        ----------
        folder
            The store's folder; parents must exist.
        plan
            Blocks of the scene; chunks of the store are chunks of the plan.
        classes
            K.
        fingerprint
            Scene, model and options that decide the pixels; not the batch size.
        dtype
            ``uint8`` (bytes of :func:`geoseg.raster.stitch.to_bytes`) or ``float32`` (NaN: no data).
        restart
            Throw away what is there.
        batch_size
            Windows of a batch, where the store has none yet.
        keep_batch_size
            Whether the store's own number, when it has one, goes before ``batch_size``.

        Raises
        ------
        StateMismatchError
            The store was made from something else; says from what.
        InputError
            Another process is working on the store, or the folder is not one of ours.
        """
        if folder.exists() and not folder.is_dir():
            raise InputError(
                f"{folder} must be a folder to keep the run in, got a file. Move it, or give another --out."
            )
        folder.mkdir(exist_ok=True)
        lock = _lock(folder)
        try:
            _check_own(folder)
            kept = _read_state(folder)
            wanted = {**json.loads(json.dumps(dict(fingerprint), default=str)), "dtype": dtype}
            if kept is not None and keep_batch_size and not restart:
                batch_size = int(kept.get("batch_size", batch_size))
            array = _open_array(folder, plan, classes, kept, wanted, batch_size, restart)
        except BaseException:
            _unlock(lock)
            raise
        return cls(folder, plan, array, lock, batch_size)

    @staticmethod
    def known_classes(folder: Path, fingerprint: Mapping[str, Any]) -> int | None:
        """K of the store in ``folder``, if it was made from the same; nothing is opened or changed."""
        wanted = json.loads(json.dumps(dict(fingerprint), default=str))
        kept = _read_state(folder)
        if kept is None or any(kept.get(key) != value for key, value in wanted.items()):
            return None
        try:
            return int(json.loads((folder / "prob" / "zarr.json").read_text())["shape"][0])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def close(self) -> None:
        """Let other runs have the folder."""
        _unlock(self._lock)
        self._lock = None

    def discard_if_empty(self) -> None:
        """Remove the folder if no chunk was finished."""
        if not _has_chunks(self.folder):
            shutil.rmtree(self.folder)

    @property
    def classes(self) -> int:
        """K."""
        return int(self._array.shape[0])

    def has(self, row: int, col: int) -> bool:
        """Whether a chunk is finished."""
        return (self.folder / "prob" / "c" / "0" / str(row) / str(col)).exists()

    def missing(self) -> list[tuple[int, int]]:
        """Chunks that are not finished, row-major."""
        rows, cols = self.plan.n_chunks
        return [(row, col) for row in range(rows) for col in range(cols) if not self.has(row, col)]

    def write(self, row: int, col: int, prob: Array, valid: BoolArray | None) -> None:
        """Write a finished chunk of probabilities (K, h, w); it appears whole or not at all.

        Raises
        ------
        ModelError
            A valid pixel has no finite value: it would pass for one without data.
        RunError
            The disk is full, or the folder can't be written.
        """
        window = self.plan.chunk_window(row, col)
        _check_finite(prob, valid, window)
        if self._array.dtype == np.uint8:
            values: Array = to_bytes(prob, valid)
        else:
            values = prob if valid is None else np.where(valid, prob, np.nan)
        try:
            self._array[:, window.rows, window.cols] = values
        except OSError as error:
            raise RunError(
                f"the chunk at {window} can't be written to {self.folder}: {os_reason(error)}. "
                "Finished chunks are kept: make room and give the same command again to go on."
            ) from error

    def read(self, window: Window) -> Array:
        """What is stored of a window, (K, h, w)."""
        return np.asarray(self._array[:, window.rows, window.cols])

    def note_failures(self, block: tuple[int, int], failures: list[dict[str, Any]]) -> None:
        """Keep the list of regions that could not be read for a block."""
        folder = self.folder / "failures"
        folder.mkdir(exist_ok=True)
        write_text(folder / f"{block[0]}-{block[1]}.json", json.dumps(failures))

    def failures(self) -> list[dict[str, Any]]:
        """Regions that could not be read, each once, row-major."""
        return sorted_failures(list(self._iter_failures()))

    def _iter_failures(self) -> Iterator[dict[str, Any]]:
        for file in sorted((self.folder / "failures").glob("*.json")):
            yield from json.loads(file.read_text())


def _check_finite(prob: Array, valid: BoolArray | None, window: Window) -> None:
    if prob.size == 0 or np.isfinite((prob.min(), prob.max())).all():  # NaN passes through both
        return
    good = np.isfinite(prob)
    bad = ~good.all(axis=0) if valid is None else ~good.all(axis=0) & valid
    if bad.any():
        raise ModelError(
            f"the model must give finite numbers, got others for {np.count_nonzero(bad)} pixels at {window}. "
            "Check its weights, its value scaling and its precision."
        )


def _check_own(folder: Path) -> None:
    other = sorted(item.name for item in folder.iterdir() if item.name not in _OWN and item.name[0] != ".")
    if other:
        raise InputError(
            f"{folder} must hold a kept run and nothing else, got {', '.join(other[:3])} in it. "
            "Move that, or give another --out."
        )


def _read_state(folder: Path) -> dict[str, Any] | None:
    """What ``state.json`` says; None without one, or with a broken one."""
    try:
        state = json.loads((folder / "state.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _open_array(
    folder: Path,
    plan: BlockPlan,
    classes: int,
    kept: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    batch_size: int,
    restart: bool,
) -> zarr.Array[Any]:
    state = {"format": FORMAT, **wanted, "batch_size": batch_size}
    if kept is not None and not restart:
        differ = sorted(key for key in {*kept, *state} - {"batch_size"} if kept.get(key) != state.get(key))
        if not differ and (folder / "prob" / "zarr.json").exists():
            _remove_partial(folder)
            if kept != state:
                _write_state(folder, state)
            return zarr.open_array(folder / "prob", mode="r+")
        if differ and _has_chunks(folder):
            raise StateMismatchError(_differences(kept, state, differ, folder))
    elif _has_chunks(folder) and not restart:
        raise StateMismatchError(
            f"{folder} holds a run of which nothing is known. Give --restart to begin again."
        )
    _clear(folder)
    array = zarr.create_array(
        folder / "prob",
        shape=(classes, *plan.shape),
        chunks=(classes, *plan.chunk_shape),
        dtype=wanted["dtype"],
        fill_value=INVALID if wanted["dtype"] == "uint8" else np.nan,
        compressors=ZstdCodec(level=1),
        config={"write_empty_chunks": True},
        dimension_names=("class", "y", "x"),
    )
    _write_state(folder, state)
    return array


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    write_text(folder / "state.json", json.dumps(state, indent=2))


def _differences(
    kept: Mapping[str, Any], wanted: Mapping[str, Any], keys: Iterable[str], folder: Path
) -> str:
    details = ", ".join(f"{key} was {_short(kept.get(key))}, now {_short(wanted.get(key))}" for key in keys)
    hint = " A callable that is not known again needs a fingerprint() method." if "model" in keys else ""
    return (
        f"{folder} holds a run with another scene, model or options ({details}). "
        f"Give --restart to begin again, or another --out.{hint}"
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:36] + '..."'


def _remove_partial(folder: Path) -> None:
    for file in folder.rglob("*.partial"):
        file.unlink()


def _has_chunks(folder: Path) -> bool:
    return next((folder / "prob" / "c").rglob("*/*/*"), None) is not None


def _clear(folder: Path) -> None:
    for item in (folder / name for name in _OWN):
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink(missing_ok=True)


def _lock(folder: Path) -> int | None:
    """Take the folder for this process (released when it ends, however it ends); POSIX only."""
    if os.name != "posix":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"another run is working on {folder}. Wait for it, or give another --out.") from None
    return handle


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
