"""Folders that appear complete or not at all; what a killed run left beside them is cleared."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from geoseg.errors import RunError

__all__ = ["DiskFullError", "StagedFolder", "stop_if_full"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_PROBE = 256 * 1024
_TRIES = 16
#: Told by the kernel, anew at each start; containers on one computer share it.
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class DiskFullError(RunError):
    """Nothing more can be written: no reason to try the next one."""


def stop_if_full(failure: BaseException, folder: Path) -> None:
    """Tell a full disk from other reasons why a file could not be written.

    Libraries that write images do not say why they failed, and a quota does not show in the free space: so
    another file is written to see. It also decides where a file of another disk found no room.

    Parameters
    ----------
    failure
        What was raised.
    folder
        A folder on the disk that is written to.

    Raises
    ------
    DiskFullError
        The disk is full.
    """
    try:
        if isinstance(failure, OSError) and failure.errno in _FULL and _may_be_of(failure.filename, folder):
            raise failure
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"the disk of {folder} is full. Free some space, or name a folder on another disk."
            ) from error


def _may_be_of(name: object, folder: Path) -> bool:
    """Whether an error about a file may be about the disk of ``folder``; many errors name no file."""
    if not isinstance(name, str | bytes | os.PathLike):
        return True
    place = Path(os.fsdecode(name)).absolute()
    there = next((path for path in (place, *place.parents) if path.exists()), None)
    return there is None or _device(there) == _device(folder)


def _device(path: Path) -> int:
    return path.stat().st_dev


@dataclass
class StagedFolder:
    """A temporary folder beside the one it becomes, from :meth:`beside`.

    On POSIX systems it is locked for as long as its process lives, however that ends. So the next run of the
    same target knows which folders belong to nobody any more, and removes them. Some file systems that
    computers share keep locks to each computer: so the name tells whose folder it is, and those of other
    computers are left alone.

    Attributes
    ----------
    target
        What it becomes; where that is a symbolic link, what it points to.
    path
        The folder.
    """

    target: Path
    path: Path
    _lock: int | None = None

    @classmethod
    def beside(cls, target: Path) -> StagedFolder:
        """Make a folder beside ``target``, after those that killed runs left.

        Raises
        ------
        OSError
            No folder can be made there.
        """
        if target.is_symlink():
            target = Path(os.path.realpath(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_dead(target)
        for _ in range(_TRIES):
            path = target.with_name(f".{target.name}.run-{_own_mark()}-{secrets.token_hex(4)}.part")
            try:
                path.mkdir()  # with the rights that a folder the user makes has
            except FileExistsError:
                continue
            mine, lock = _try_lock(path)
            if mine:
                return cls(target, path, lock)
            # another run that started at the same moment took it for a dead one, or it can't be locked
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
        raise OSError(f"no folder beside {target} can be locked")

    def commit(self, *, replace: bool = False) -> Path:
        """Give the folder its name.

        Parameters
        ----------
        replace
            Whether what has that name may be replaced; an empty folder always is.

        Raises
        ------
        RunError
            Something has that name by now, which must not be replaced.
        """
        there = os.path.lexists(self.target)
        if there and not replace and not (self.target.is_dir() and not any(self.target.iterdir())):
            raise RunError(
                f"{self.target} has been made by someone else meanwhile, so the result is not put there. "
                "Name another folder."
            )
        old, lock = self.path.with_suffix(".old"), None
        if self.target.exists():
            _, lock = _try_lock(self.target)
            self.target.rename(old)
        try:
            self.path.rename(self.target)
        finally:
            if old.exists() and not self.target.exists():
                old.rename(self.target)
        if old.exists():
            old.rename(self.path)  # .old means: not replaced yet
            shutil.rmtree(self.path, ignore_errors=True)
        _release(lock)
        self._let_go()
        return self.target

    def discard(self) -> None:
        """Remove it with all it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._let_go()

    def _let_go(self) -> None:
        _release(self._lock)
        self._lock = None


@cache
def _computer() -> tuple[str, str]:
    """Marks of this computer by its name and by its last start, eight characters each.

    Locks are seen by all that has one of them in common: what runs on one kernel, in whichever container, or
    ran on this computer before it was started anew.
    """
    try:
        boot = _BOOT.read_text().strip()
    except OSError:  # not Linux
        boot = platform.node()
    name, start = (hashlib.sha256(text.encode()).hexdigest()[:8] for text in (platform.node(), boot))
    return name, start


def _own_mark() -> str:
    return f"{'-'.join(_computer())}-{os.getpid()}"


def _clear_dead(target: Path) -> None:
    """Remove folders that runs left which were killed; put back what one of them was about to replace."""
    name = re.compile(rf"\.{re.escape(target.name)}\.run-(\w{{8}})-(\w{{8}})-\d+-\w{{8}}\.(part|old)")
    for folder in sorted(target.parent.iterdir()):
        found = name.fullmatch(folder.name)
        if found and (found[1] == _computer()[0] or found[2] == _computer()[1]) and folder.is_dir():
            mine, lock = _try_lock(folder)
            if mine and lock is not None:
                if folder.suffix == ".old" and not target.exists():
                    folder.rename(target)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
            _release(lock)


def _try_lock(folder: Path) -> tuple[bool, int | None]:
    """Whether the folder is there and no other process holds it, and the lock where the system has any."""
    if os.name != "posix":
        return True, None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # gone, or another user's
        return False, None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False, None
    except OSError:  # a file system without locks
        os.close(handle)
        return True, None
    if not folder.exists():  # removed by another process, which held it a moment ago
        os.close(handle)
        return False, None
    return True, handle


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
