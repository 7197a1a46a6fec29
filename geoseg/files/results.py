"""Where results go: made when missing, never on top of an input, one clear error when it is impossible."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geoseg.errors import GeosegError, InputError, RunError
from geoseg.files.disk import is_full, os_reason
from geoseg.files.staging import json_text, write_text
from geoseg.typing import PathLike

__all__ = [
    "check_outputs",
    "failures_file",
    "plain_stem",
    "relative_path",
    "results_folder",
    "write_failures",
]


def plain_stem(name: str) -> str:
    """What files made of a scene are called: its name without anything that leads to another folder.

    Examples
    --------
    >>> plain_stem("banepa 13cm.v2"), plain_stem("../../etc/passwd"), plain_stem('a.nc":band')
    ('banepa 13cm.v2', '_.._etc_passwd', 'a.nc__band')
    >>> plain_stem("..")
    'scene'
    """
    # What Windows refuses, too: results travel between systems.
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).lstrip(". ").rstrip(" ") or "scene"


def check_outputs(outputs: Iterable[Path], inputs: Iterable[PathLike]) -> None:
    """Refuse, before anything is done, to write over an input or a folder.

    Parameters
    ----------
    outputs
        Files to come.
    inputs
        Files that are read; names of what is no file are fine.

    Raises
    ------
    InputError
        An output is an input, or is a folder.
    """
    read = [path for path in map(Path, inputs) if _exists(path)]
    for output in outputs:
        if output.is_dir():
            raise InputError(f"output must be a file, got {output}, which is a folder. Choose another name.")
        if any(_exists(output) and output.samefile(path) for path in read):
            raise InputError(
                f"output must not be an input, got {output}, which would be overwritten. "
                "Choose another folder or name."
            )


def relative_path(path: PathLike, folder: PathLike) -> str:
    """A path as files of a folder name it: from there, with slashes; as it is where it is on another drive.

    Examples
    --------
    >>> relative_path("out/a.tif", "out"), relative_path("a.tif", "out")
    ('./a.tif', '../a.tif')
    """
    try:
        relative = os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:
        return os.fspath(path)
    return relative if relative.startswith("../") else f"./{relative}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL: no file
        return False


@contextmanager
def results_folder(folder: Path) -> Iterator[None]:
    """Make the folder; a run that fails leaves no empty folders behind that it made.

    Raises
    ------
    InputError
        It can't be made, or not be written to.
    RunError
        The disk fails under the run: it is full, or gone.
    """
    # Innermost first, as they have to be removed again.
    made = [parent for parent in (folder, *folder.parents) if not _exists(parent)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} can't be made or written to: {os_reason(error)}. Give another --out."
        ) from None
    try:
        _try_to_write(folder)
        yield
    except OSError as error:
        _remove_empty(made)
        if isinstance(error, GeosegError):
            raise
        where = error.filename or folder
        raise RunError(
            f"{where} can't be written or read: {os_reason(error)}. "
            "Put that right and give the same command again."
        ) from error
    except BaseException:  # Ctrl-C as well
        _remove_empty(made)
        raise


def _try_to_write(folder: Path) -> None:
    """Make a file that nobody sees: permissions alone do not tell on each file system."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if is_full(error):
            raise
        raise InputError(f"{folder} can't be written to: {os_reason(error)}. Give another --out.") from None


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        # The first that holds something ends it: those around it are not empty either.
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def failures_file(result: Path) -> Path:
    """The list of what is missing from a result, beside it.

    Examples
    --------
    >>> failures_file(Path("out/scene.gpkg")).name
    'scene.gpkg.failures.json'
    """
    return result.with_name(f"{result.name}.failures.json")


def write_failures(results: Iterable[Path], failures: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Write the list of what could not be done beside each result; without any, remove lists of earlier runs.

    Each result has a list of its own, named after it: ``scene.tif`` as GeoPackage may lack what ``scene.tif``
    as GeoJSON, of another run into the same folder, does not.

    Write the lists before the results get their names, and remove old ones after: a run that is killed
    between the two leaves a list without a result, which its next start replaces, and never a result without
    its list.

    Returns
    -------
    dict
        The list of the first result under the name ``failures``; empty without failures.
    """
    lists = [failures_file(result) for result in results]
    if not failures:
        for path in lists:
            path.unlink(missing_ok=True)
        return {}
    text = json_text([dict(failure) for failure in failures], indent=2) + "\n"
    for path in lists:
        write_text(path, text)
    return {"failures": lists[0]}
