"""Files, folders and texts that appear whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias

from geoseg.errors import GeosegError, InputError, RunError
from geoseg.files.disk import write_error
from geoseg.files.locks import hold, scratch_folder
from geoseg.typing import PathLike

__all__ = ["Content", "Staged", "json_digest", "json_text", "place_bytes", "write_bytes", "write_text"]

#: What is written to a file: bytes, or what writes them to an open one.
Content: TypeAlias = bytes | Callable[[BinaryIO], object]


class Staged:
    """A file or a folder under a temporary name, with a lock on the name it will get.

    Made by :meth:`file` or :meth:`folder`. As a context manager it commits when the block ends well, and
    otherwise leaves nothing behind. Content reaches the disk before the name does, so that a power loss
    leaves what was there before, or the whole.

    Attributes
    ----------
    target
        What it becomes.
    path
        What to write.
    """

    def __init__(self, target: Path, *, is_folder: bool, sides: Sequence[str] = ()) -> None:
        self.target, self._is_folder, self._sides = target, is_folder, tuple(sides)
        self._open, self._committed = ExitStack(), False
        self._open.enter_context(hold(target))
        try:
            if not is_folder and target.is_dir():
                raise InputError(
                    f"output must be a file that can be written, got {target}: it is a folder. "
                    "Choose another name."
                )
            # Its name would be given to a plain file: /dev/null of a container whose user is root, for all.
            if not is_folder and target.exists() and not target.is_file():
                raise InputError(
                    f"output must be a plain file, got {target}, which is a device or a pipe. "
                    "Choose another name."
                )
            self._scratch = self._open.enter_context(scratch_folder(target))
        except BaseException:
            self._open.close()
            raise
        self.path = self._scratch if is_folder else self._scratch / target.name

    @classmethod
    def file(cls, target: PathLike, *, sides: Sequence[str] = ()) -> Staged:
        """Begin a file. It is written at ``path``, whose folder may be used for scratch files, too.

        Parameters
        ----------
        target
            Its final name.
        sides
            Suffixes of files that belong to it, as a shapefile has them: those that are there take their
            places before the file does, and those of an older file that are not are removed.

        Raises
        ------
        LockedError
            Another run is writing it.
        InputError
            It is a folder, a device or a pipe, or its folder can't be written to.
        RunError
            The disk is full.
        """
        return cls(Path(target), is_folder=False, sides=sides)

    @classmethod
    def folder(cls, target: PathLike) -> Staged:
        """Begin a folder; where ``target`` is a link, what it points to is made.

        Raises
        ------
        LockedError
            Another run is writing it.
        InputError
            Its parent can't be written to.
        RunError
            The disk is full.
        """
        target = Path(target)
        return cls(Path(os.path.realpath(target)) if target.is_symlink() else target, is_folder=True)

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()
        if isinstance(error, OSError) and not isinstance(error, GeosegError):
            name = error.filename
            # An error of a file that was read meanwhile tells nothing of what is written here.
            if not isinstance(name, str | os.PathLike) or self._scratch in Path(name).parents:
                raise write_error(self.target, error) from error

    def commit(self, *, replace: bool = False) -> Path:
        """Give it its name; twice is fine.

        Parameters
        ----------
        replace
            Whether a folder of that name may be replaced; an empty one always is, and so is a file.

        Raises
        ------
        RunError
            The disk is full; or a folder has that name by now, which must not be replaced.
        """
        if self._committed:
            return self.target
        try:
            if self._is_folder:
                self._commit_folder(replace)
            else:
                self._commit_file()
            _sync(self.target.parent)
        except OSError as error:
            self.discard()
            raise write_error(self.target, error) from error
        self._committed = True
        self.discard()
        return self.target

    def _commit_file(self) -> None:
        sides = [side for end in self._sides if (side := self.path.with_suffix(end)).exists()]
        for file in (*sides, self.path):
            _sync(file)
        if sides:  # killed in between, no file is better than one with another's sides
            self.target.unlink(missing_ok=True)
        for end in self._sides:
            self.target.with_suffix(end).unlink(missing_ok=True)
        # The file last: whoever sees it finds all that belongs to it.
        for file in (*sides, self.path):
            file.replace(self.target.with_name(file.name))

    def _commit_folder(self, replace: bool) -> None:
        target = self.target
        if os.path.lexists(target) and not replace and not (target.is_dir() and not any(target.iterdir())):
            raise RunError(
                f"{target} has been made by someone else meanwhile, so the result is not put there. "
                "Name another folder."
            )
        _sync_tree(self._scratch)
        old = self._scratch.with_suffix(".old")
        # Out of the way first, for a folder that holds something can't be renamed over.
        if target.exists():
            target.rename(old)
        try:
            self._scratch.rename(target)
        finally:
            if old.exists() and not target.exists():
                old.rename(target)
        if old.exists():
            old.rename(self._scratch)  # .old means: not replaced yet

    def discard(self) -> None:
        """Remove what is left under the temporary name, and let others have the target. Twice is fine."""
        self._open.close()


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    LockedError
        Another run is writing it.
    InputError
        Its folder can't be written to.
    RunError
        The disk is full.
    """
    with Staged.file(path) as staged:
        staged.path.write_bytes(content)


def place_bytes(path: Path, content: Content, aside: Path | None = None) -> None:
    """Write a file of a folder that this run holds; it appears whole, but is not forced to the disk.

    For the many files whose content is verified when they are read: waiting for the disk each time would cost
    more than writing again what a power loss took. The folder must exist; it is not made.

    ``content`` is bytes, or what writes them to an open file. ``aside`` is the name that the file has until
    it is whole, on the same disk; None: one beside ``path``.
    """
    part = path.with_name(f".{path.name}.part") if aside is None else aside
    try:
        with part.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 text whole or not at all; errors as in :func:`write_bytes`."""
    write_bytes(path, text.encode())


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON, readable where it can be: only text that is no Unicode is escaped.

    Examples
    --------
    >>> json_text(["caf\\xe9"]) == '["caf\\xe9"]', json_text(["half\\ud83d"])
    (True, '["half\\\\ud83d"]')
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def json_digest(value: Any) -> str:
    """SHA-256 of a value that JSON can hold: the same for equal values, in any process and version.

    Kept runs, caches and lists of results are known by it: what is written here stays as it is.

    Examples
    --------
    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    # A fingerprint may hold what JSON does not know, such as a path: its text stands for it.
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return  # other systems can't open folders
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Wait until all that a folder holds is on the disk."""
    if sys.platform == "linux":
        # One call for the file system: measured on 500 small files 0.02 s, a call for each file 3 s
        handle = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(handle):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        finally:
            os.close(handle)
        return
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))
