"""What lies in a store's folder, and says what it was made from and where its chunks are."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoseg.errors import GeosegError, InputError, StateMismatchError
from geoseg.files import depot_at, hold, is_part, json_digest, remove_folder

__all__ = [
    "FORMAT",
    "OWN",
    "array_place",
    "check_mounted",
    "check_own",
    "clear_elsewhere",
    "discard_folder",
    "has_chunks",
    "is_same",
    "place_of",
    "read_state",
    "remove_store",
]

_LOG = logging.getLogger(__name__)

#: What a store's folder holds, in this format or an older one; whatever else lies there is somebody's.
OWN = ("state.json", "state.tmp", "chunks.log", "prob", "failures", "spill", "run.json", "parts")
#: What is put first into a place elsewhere.
_FIRST = "prob/zarr.json"
#: Raised with every change of what a stored chunk holds for the same fingerprint.
FORMAT = 4


def read_state(folder: Path) -> dict[str, Any] | None:
    """What ``state.json`` says; None without one, or with one that was changed since."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(state, dict):
        return None
    check = state.pop("check", None)
    # A store of an older format has no check, and is refused for its format.
    return state if check == json_digest(state) or state.get("format") != FORMAT else None


def place_of(state: Mapping[str, Any] | None) -> str | None:
    """Where ``--store`` was when a run was begun; None: it was not given.

    Examples
    --------
    >>> place_of({"store": "s3://bucket/work/town.geoseg-0123abcd"})
    's3://bucket/work'
    """
    place, _, name = str((state or {}).get("store", "")).rpartition("/")
    # A folder of somebody else's may say what it likes: nothing but what has such a name is ever removed.
    return place if is_part(name) else None


def array_place(folder: Path) -> str:
    """Where the zarr array of the store in a folder lies: a path, or an address of fsspec."""
    state = read_state(folder)
    if state is None or place_of(state) is None:
        return str(folder / "prob")
    return depot_at(state["store"]).address + "/prob"


def clear_elsewhere(state: Mapping[str, Any] | None) -> None:
    """Remove what a store keeps elsewhere; where that fails, a warning names it."""
    if state is None or place_of(state) is None:
        return
    # Nothing depends on it any more, and a place that is gone must not keep a run from a new one.
    try:
        depot = depot_at(state["store"])
        depot.get(_FIRST)  # of a disk that is not mounted nothing would be removed, without an error
        depot.clear()
    except FileNotFoundError:
        _LOG.warning("chunks of an earlier run are not removed: %s isn't there now", state["store"])
    except (GeosegError, OSError) as error:
        _LOG.warning("chunks of an earlier run are left in %s: %s", state["store"], error)


def discard_folder(folder: Path) -> None:
    """Remove the folder of a store, and what it keeps elsewhere."""
    # First, while the folder knows where it is.
    clear_elsewhere(read_state(folder))
    remove_folder(folder)


def remove_store(folder: Path) -> None:
    """Throw away a kept run, where there is one.

    Raises
    ------
    InputError
        Another process is working on it, or the folder is not one of ours.
    """
    if folder.is_dir():
        with hold(folder):
            check_own(folder)
            discard_folder(folder)


def is_same(
    folder: Path, kept: Mapping[str, Any], state: Mapping[str, Any], place: str | None, begun: bool
) -> bool:
    """Whether a kept run is of a state and in a place.

    Parameters
    ----------
    folder
        The store's.
    kept, state
        What was kept, and what it must be.
    place
        What ``--store`` is now.
    begun
        Whether chunks are kept.

    Raises
    ------
    StateMismatchError
        It is another one, and chunks of it are kept.
    """
    # A run may go on with another batch size; see the fingerprint of a job.
    keys = {*kept, *state} - {"batch_size", "store", "begun"}
    differ = sorted(key for key in keys if kept.get(key) != state.get(key))
    if differ and begun:
        details = ", ".join(
            f"{key} was {_short(kept.get(key))}, now {_short(state.get(key))}" for key in differ
        )
        hint = " A callable that is not known again needs a fingerprint() method."
        raise StateMismatchError(
            f"{folder} holds a run with another scene, model or options ({details}). Give "
            f"--restart to begin again, or another --out.{hint if 'model' in differ else ''}",
            tuple(differ),
        )
    before = place_of(kept)
    if before != place and begun:
        way = "leave out --store" if before is None else f"give --store {before}"
        raise StateMismatchError(
            f"{folder} holds a run whose chunks lie in {before or 'that folder'}, not in {place or 'it'}. "
            f"To go on, {way}; --restart begins again.",
            ("store",),
        )
    return not differ and before == place


def check_own(folder: Path) -> None:
    """Refuse a folder that holds what is no part of a kept run."""
    other = sorted(x.name for x in folder.iterdir() if x.name not in OWN and x.name[0] != ".")
    if other:
        raise InputError(
            f"{folder} must hold a kept run and nothing else, got {', '.join(other[:3])} in it. "
            "Move that, or give another --out."
        )


def check_mounted(folder: Path, store: str) -> None:
    """Refuse a place that is not there: a disk that is not mounted looks like a store without chunks."""
    try:
        depot_at(store).get(_FIRST)
    except OSError:
        raise InputError(
            f"{folder} holds a run whose chunks lie in {store}, which isn't there now. Mount it and give the "
            "same command again, or give --restart to begin again."
        ) from None


def has_chunks(folder: Path) -> bool:
    """Whether a run was begun, by what lies there: its state may be damaged."""
    log = folder / "chunks.log"
    if log.is_file() and log.stat().st_size > 0:
        return True
    return next((folder / "prob" / "c").rglob("*/*/*"), None) is not None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:36] + '..."'
