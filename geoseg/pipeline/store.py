"""The store of stitched probabilities: one zarr chunk a file, and a record that says which ones to trust.

Any zarr reader opens the array. geoseg reads its chunks itself, because a zarr reader takes a chunk that is
missing for one without data. Here a chunk counts only with a line in ``chunks.log``, which is written after
it and holds the checksum the chunk ends in: so a chunk that is missing, cut, changed, in the place of
another or left by another run is told from a good one, and predicted again.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError, StateMismatchError
from geoseg.files import (
    Depot,
    FolderDepot,
    Staged,
    checked_depot,
    depot_at,
    emptied,
    hold,
    json_digest,
    new_part,
    write_bytes,
    write_text,
)
from geoseg.geo.blocks import BlockPlan
from geoseg.geo.windows import Window
from geoseg.pipeline.chunk_files import CHUNKS, ChunkFiles, array_metadata
from geoseg.pipeline.chunk_log import ChunkRecord, ChunkRecords, checked_line, log_line, read_log
from geoseg.pipeline.salvage import sorted_failures
from geoseg.pipeline.store_state import (
    FORMAT,
    OWN,
    check_mounted,
    check_own,
    clear_elsewhere,
    discard_folder,
    has_chunks,
    is_same,
    read_state,
)
from geoseg.typing import Array, BoolArray, OnError

__all__ = ["FORMAT", "ProbStore"]

#: Chunks that are looked at together when a run goes on, and threads that do it where each is a request.
_LOOKED_AT, _REQUESTS = 1024, 16


class ProbStore:
    """Probabilities of one scene, (K, H, W) in chunks, and what they were made from.

    Use :meth:`open`. The folder holds ``state.json`` (the fingerprint, and the batch size), ``prob`` (the
    zarr array) and ``chunks.log`` (a line for each finished chunk). The array, and what workers exchange, may
    lie elsewhere; then ``state.json`` says where.

    Attributes
    ----------
    batch_size
        Windows of a batch: the ones it was begun with, unless others were asked for.
    damaged
        Chunks that were finished once and did not verify when the store was opened.
    kept_since
        Unix time at which an earlier run began the chunks that are kept of it; None without any.
    """

    def __init__(self, folder: Path, plan: BlockPlan, state: Mapping[str, Any]) -> None:
        self.folder, self.plan, self._held, self._log_open = folder, plan, ExitStack(), ExitStack()
        self.batch_size, self.classes = int(state["batch_size"]), int(state["classes"])
        depot = depot_at(state["store"]) if "store" in state else FolderDepot(folder)
        self.files = ChunkFiles(depot, plan, self.classes, state["dtype"])
        self._block_failures: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self._records = read_log(folder / "chunks.log", plan.n_chunks)
        # Every chunk is read when a run goes on, so that one which a disk or a copy spoiled is found while it
        # can still be predicted again.
        known, entries = len(self._records), iter(self._records.items())
        with ThreadPoolExecutor(_REQUESTS) as pool:
            # Threads wait for requests together; for files they would only take turns.
            mapped = pool.map if "store" in state else map
            while some := list(itertools.islice(entries, _LOOKED_AT)):
                for (chunk, _), good in zip(some, mapped(self._verified, some), strict=True):
                    if not good:
                        del self._records[chunk]
        self.damaged = known - len(self._records)
        begun = state.get("begun") or (folder / "prob" / "zarr.json").stat().st_mtime
        self.kept_since = begun if self._records else None
        # Written anew, so that a line that was cut by a kill is not continued by the next.
        with Staged.file(folder / "chunks.log") as staged, staged.path.open("wb") as file:
            file.writelines(log_line(*entry).encode() for entry in self._records.items())
            if self._records.failures:
                file.write(checked_line().encode())
        self._log = os.open(folder / "chunks.log", os.O_WRONLY | os.O_APPEND)
        self._log_open.callback(os.close, self._log)
        # All folders now, so that no write makes one anew that was removed meanwhile.
        for row in range(plan.n_chunks[0]):
            depot.inside(f"{CHUNKS}/{row}")
        self._check_place()

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
        store: str | None = None,
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
        store
            Folder, or address of fsspec, in which the array lies and workers meet, under a name of its own;
            None: here.

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
        with ExitStack() as held:
            held.enter_context(hold(folder))
            folder.mkdir(exist_ok=True)
            held.callback(_remove_empty, folder)  # where bad input ends it here
            check_own(folder)
            found = read_state(folder)
            kept = None if restart else found
            if kept is not None and keep_batch_size:
                batch_size = int(kept.get("batch_size", batch_size))
            # As JSON gives it back, or a tuple would differ from the list that state.json holds.
            wanted = json.loads(json.dumps(dict(fingerprint), default=str))
            state = {"format": FORMAT, **wanted, "dtype": dtype, "classes": classes, "batch_size": batch_size}
            begun = has_chunks(folder)
            if kept is None and not restart and begun:
                raise StateMismatchError(
                    f"{folder} holds a run of which nothing is known. Give --restart to begin again."
                )
            given = None if store is None else depot_at(store).address
            # Without a chunk there is nothing to mix, so a store that was only begun is begun anew.
            same = kept is not None and is_same(folder, kept, state, given, begun)
            metadata = array_metadata(plan, classes, dtype)
            own = [folder / "state.json", folder / "chunks.log"]
            if given is None:
                own.append(folder / "prob" / "zarr.json")
            else:
                # Under a new name, which no worker of an earlier call still writes to.
                new = {"store": f"{given}/{new_part(folder.stem)}", "begun": time.time()}
                state |= {key: kept.get(key) for key in new} if kept is not None and same else new
                if same and begun:
                    check_mounted(folder, state["store"])
                # First: a place that can't be written to is not remembered, and costs no kept run.
                checked_depot(state["store"], "prob", "zarr.json", metadata)
            if not same:
                # Before the state, which alone knows where they are.
                clear_elsewhere(found)
                for name in OWN:
                    FolderDepot(folder).remove(name)
            if not same or kept != state:
                write_text(
                    folder / "state.json", json.dumps({**state, "check": json_digest(state)}, indent=2)
                )
            if given is None:
                described = folder / "prob" / "zarr.json"
                if not described.is_file() or described.read_bytes() != metadata:
                    write_bytes(described, metadata)
            # Taking hold of a file removes what a killed writer of it left beside it; no more is needed.
            with hold(*own):
                pass
            opened = cls(folder, plan, state)
            # Held until close(), which may be hours from here; an error above lets go at once.
            opened._held = held.pop_all()
            return opened

    @staticmethod
    def known_classes(folder: Path, fingerprint: Mapping[str, Any]) -> int | None:
        """K of the store in ``folder``, if it was made from the same; nothing is opened or changed."""
        wanted = json.loads(json.dumps(dict(fingerprint), default=str))
        kept = read_state(folder)
        if kept is None or any(kept.get(key) != value for key, value in wanted.items()):
            return None
        return kept.get("classes")

    def close(self) -> None:
        """Let other runs have the folder."""
        self._log_open.close()
        self._held.close()

    def discard(self) -> None:
        """Remove the folder; it loses its name first, so that a kill leaves no half of it."""
        self._log_open.close()
        discard_folder(self.folder)

    def discard_if_empty(self) -> None:
        """Remove the folder if no chunk was finished."""
        if not self._records and not has_chunks(self.folder):
            self.discard()

    @property
    def records(self) -> ChunkRecords:
        """Records of the finished chunks."""
        return self._records

    def missing(self) -> BoolArray:
        """Which chunks (rows, columns) are not finished, or not there any more."""
        missing = np.ones(self.plan.n_chunks, np.bool_)
        for row, finished in enumerate(self._records.finished):
            for col in self.files.present(row):
                missing[row, col] = not finished[col]
        return missing

    def _verified(self, entry: tuple[tuple[int, int], ChunkRecord]) -> bool:
        """Whether a chunk is what was written; whatever lies there instead is removed."""
        chunk, record = entry
        name = self.files.name(*chunk)
        try:
            if record.unsealed(self.files.depot.get(name)) is not None:
                return True
        except OSError:  # it is gone, or is no file; that an object store can't be asked is another error
            pass
        self.files.depot.remove(name)
        return False

    @contextmanager
    def exchange(self) -> Iterator[Depot]:
        """A part of the store for what workers exchange in this call; its name is new.

        So what a worker of an earlier call still writes, of which a cluster knows nothing, is not read here.
        """
        with emptied(self.files.depot.inside("parts")) as parts:
            with suppress(OSError):  # the part below has a name of its own
                parts.clear()
            yield parts.inside(uuid.uuid4().hex)

    def lacking(self, on_error: OnError) -> BoolArray:
        """Which chunks (rows, columns) a run has to make.

        They are those that are missing, and with ``fail`` those with regions that could not be read.
        """
        lacking = self.missing()
        if on_error == "fail":  # holes of an earlier run that skipped them are no result now
            for chunk in self._records.failures:
                lacking[chunk] = True
        return lacking

    def check_complete(self) -> None:
        """Make sure that every chunk is there, before they are read.

        Raises
        ------
        RunError
            Something removed chunks, or the folder, during the run.
        """
        missing = self.missing()
        if missing.any():
            raise self.files.gone(f"{np.count_nonzero(missing)} of its {missing.size} chunks")

    def write(self, row: int, col: int, prob: Array, valid: BoolArray | None) -> None:
        """Write a finished chunk of probabilities (K, h, w); it appears whole or not at all.

        Raises
        ------
        ModelError
            A valid pixel has no finite value: it would pass for one without data.
        RunError
            The disk is full, the folder can't be written, or it was removed.
        """
        self._check_place()
        with self._writing(row, col):
            checksum = self.files.write(row, col, prob, valid)
        self.record(row, col, checksum)

    def record(self, row: int, col: int, checksum: int) -> None:
        """Note that a chunk is finished, after it was written.

        Raises
        ------
        RunError
            The disk is full, or the folder was removed.
        """
        lost = [self._block_failures.get(block, []) for block in self.plan.sources(row, col)]
        record = ChunkRecord(checksum, list(itertools.chain.from_iterable(lost)))
        self._check_place()
        with self._writing(row, col):
            # The chunk first, then its line: a kill between the two leaves a chunk that does not count. The
            # other way round there would be a line for a chunk that is missing.
            line = log_line((row, col), record).encode()
            if os.write(self._log, line) < len(line):
                raise OSError(None, "only a part of a line was written")
        self._records[row, col] = record

    def drop_failures(self) -> None:
        """Let chunks with regions that could not be read be made anew."""
        for chunk in list(self._records.failures):
            del self._records[chunk]

    def keep_failures(self) -> None:
        """Let regions that could not be read count in the next run: the scene was there to the end."""
        if self._records.failures:
            # Where that can't be noted they are read again, which costs time and no more.
            with suppress(OSError):
                os.write(self._log, checked_line().encode())

    @contextmanager
    def _writing(self, row: int, col: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._check_place()
            raise self.files.unwritten(row, col, error) from error

    def read(self, window: Window) -> Array:
        """What is stored of a window, (K, h, w).

        Raises
        ------
        RunError
            A chunk is missing, or is not what was written.
        """
        return self.files.read(window, self._records)

    def note_failures(self, block: tuple[int, int], failures: list[dict[str, Any]]) -> None:
        """Keep the list of regions that could not be read for a block, for the chunks that it goes into."""
        if failures:
            self._block_failures[block] = failures
        else:
            self._block_failures.pop(block, None)

    def failures(self) -> list[dict[str, Any]]:
        """Regions that could not be read, each once, row-major."""
        return sorted_failures(itertools.chain.from_iterable(self._records.failures.values()))

    def _check_place(self) -> None:
        """Notice a folder that was moved or removed, before more is predicted for nothing."""
        try:
            unmoved = os.path.samestat(os.fstat(self._log), (self.folder / "chunks.log").stat())
            unmoved &= (self.folder / "state.json").is_file()  # not a folder that was begun anew
        except OSError:
            unmoved = False
        if not unmoved:
            raise self.files.gone("the folder")


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
