"""Folders and lists that imports and exports write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import InputError
from geoseg.files import Staged, json_text, write_failures
from geoseg.typing import PathLike

__all__ = ["Failure", "list_failures", "staged_folder", "write_json"]


@dataclass(frozen=True)
class Failure:
    """An image that could not be done, or samples of one.

    Attributes
    ----------
    image
        DATASET/NAME, after the project where there are several.
    reason
        What went wrong.
    samples
        How many samples of a graph it went wrong with.
    """

    image: str
    reason: str
    samples: int = 1


def list_failures(result: Path, failures: Sequence[Failure]) -> None:
    """Write RESULT.failures.json beside a result; without failures, remove that of an earlier run."""
    rows = [{"image": failure.image, "reason": failure.reason} for failure in failures]
    write_failures([result], rows)


@contextmanager
def staged_folder(path: PathLike) -> Iterator[Path]:
    """A temporary folder beside ``path`` that gets its name when the block ends well, else is removed.

    Raises
    ------
    InputError
        ``path`` is there and not an empty folder, or its parent can't be written.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"output must be a new folder, got {path}, which exists. Name another or remove it.")
    with Staged.folder(path) as staged:
        yield staged.path


def write_json(path: Path, value: object, *, indent: int | None = 2) -> None:
    """Write JSON as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(value, indent=indent) + "\n", encoding="utf-8")
