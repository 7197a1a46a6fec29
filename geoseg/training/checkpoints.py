"""What a run leaves on disk: numbered checkpoints, and the state to go on from.

Layout of a run's folder::

    config.json             the resolved config
    facts.json              classes, bands, scaling: what the bundle's card needs
    checkpoints/00000000/   model.safetensors and checkpoint.json, one folder a validation
    checkpoints/index.json  all of them, the best marked
    last.ckpt               network, optimizer and progress, to resume from
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from geoseg.errors import InputError, MissingFileError
from geoseg.files import write_bytes, write_text
from geoseg.typing import PathLike

__all__ = ["RunFolder"]


class RunFolder:
    """The folder of a training run.

    Parameters
    ----------
    path
        The folder; made when first written to.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)

    def check_writable(self) -> None:
        """Refuse a path that no folder can be made at.

        Raises
        ------
        InputError
            A file is there or above it, or it may not be written to.
        """
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise InputError(f"--out must be a folder that can be written to, got {self.path}.")

    # ------------------------------------------------------------ documents

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON document."""
        write_text(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON document.

        Raises
        ------
        MissingFileError
            It is not there: not a run's folder.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MissingFileError(
                f"a run's folder must hold {name}, got {self.path} without it. Name the folder of --out."
            ) from None

    # ------------------------------------------------------------ state

    @property
    def state_path(self) -> Path:
        """The state to resume from."""
        return self.path / "last.ckpt"

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state to resume from."""
        # Into memory first: the file is then written whole or not at all, and a state half written never
        # replaces a good one.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_bytes(self.state_path, buffer.getvalue())

    def load_state(self) -> dict[str, Any]:
        """Read the state to resume from; tensors and plain values only, nothing is unpickled.

        Raises
        ------
        MissingFileError
            The run has none.
        """
        if not self.state_path.is_file():
            raise MissingFileError(f"a run to resume must hold last.ckpt, got {self.path} without it.")
        # To the CPU: the device it was saved on may be absent, and each process copies it to its own.
        return dict(torch.load(self.state_path, map_location="cpu", weights_only=True))

    # ------------------------------------------------------------ checkpoints

    def checkpoint_path(self, index: int) -> Path:
        """Folder of a checkpoint."""
        return self.path / "checkpoints" / f"{index:08d}"

    def list_checkpoints(self) -> list[dict[str, Any]]:
        """All checkpoints, by number."""
        path = self.path / "checkpoints" / "index.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def add_checkpoint(
        self, weights: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int | None
    ) -> None:
        """Write a checkpoint under its number and mark the best.

        Parameters
        ----------
        weights
            Tensors of the network.
        facts
            ``index``, ``epoch``, ``batches`` and the scores.
        keep
            Newest checkpoints whose weights are kept, the best besides; None keeps all.
        """
        # The index is written last. A kill before it leaves a folder that is not listed and is written anew.
        folder = self.checkpoint_path(int(facts["index"]))
        # safetensors refuses tensors whose memory is not in one piece, as those of channels-last networks.
        content = save({key: value.detach().cpu().contiguous() for key, value in weights.items()})
        write_bytes(folder / "model.safetensors", content)
        write_text(folder / "checkpoint.json", json.dumps(dict(facts), indent=2) + "\n")
        rows = [row for row in self.list_checkpoints() if row["index"] < facts["index"]] + [dict(facts)]
        self._write_index(rows)
        if keep is not None:
            # The index keeps the rows of what is removed: charts and numbers need no weights.
            for row in self.list_checkpoints()[:-keep]:
                if not row["best"]:
                    shutil.rmtree(self.checkpoint_path(row["index"]), ignore_errors=True)

    def _write_index(self, rows: list[dict[str, Any]]) -> None:
        # Of equal losses the earlier one, as the platform of the tutorials marks them.
        best = min(rows, key=lambda row: (row["loss"], row["index"]))["index"] if rows else None
        marked = [{**row, "best": row["index"] == best} for row in rows]
        write_text(self.path / "checkpoints" / "index.json", json.dumps(marked, indent=2) + "\n")

    def drop_after(self, validations: int) -> None:
        """Forget checkpoints from number ``validations`` on: the run goes on from before them."""
        rows = self.list_checkpoints()
        for row in rows[validations:]:
            shutil.rmtree(self.checkpoint_path(row["index"]), ignore_errors=True)
        # Rewritten even though folders are gone: the best may have been among them.
        if len(rows) > validations:
            self._write_index(rows[:validations])

    def best_index(self) -> int:
        """Number of the checkpoint with the lowest validation loss.

        Raises
        ------
        MissingFileError
            No validation was reached.
        """
        best = [int(row["index"]) for row in self.list_checkpoints() if row["best"]]
        if not best:
            raise MissingFileError(f"a run must have a checkpoint, got none in {self.path}.")
        return best[0]

    def load_checkpoint(self, index: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights and facts of a checkpoint.

        Raises
        ------
        InputError
            No such number; those that exist are named.
        """
        rows = {int(row["index"]): row for row in self.list_checkpoints()}
        path = self.checkpoint_path(index) / "model.safetensors"
        if index not in rows or not path.is_file():
            kept = ", ".join(
                str(i) for i in rows if (self.checkpoint_path(i) / "model.safetensors").is_file()
            )
            raise InputError(f"checkpoint must be one of {kept or 'none'}, got {index}. They count from 0.")
        return load_file(path), rows[index]
