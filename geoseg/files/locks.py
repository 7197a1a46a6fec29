"""One writer a target: locks, and the removal of what killed runs left beside it."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from geoseg.errors import InputError
from geoseg.files.disk import is_full, os_reason, write_error
from geoseg.typing import PathLike

__all__ = ["NOTE", "LockedError", "hold", "is_held", "remove_folder", "scratch_folder", "side_folder"]

#: In a folder for temporary files: where else some lie.
NOTE = "elsewhere.txt"
#: Told by the kernel, anew at each start; containers on one computer share it.
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: What a file system without locks says. Runs on it are kept apart by their names alone.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
#: Bytes of a target's name in the names beside it: file systems take 255, and the marks need some sixty.
_LONGEST = 180
#: Folders that this process is writing in.
_alive: set[Path] = set()


class LockedError(InputError):
    """Another run is writing the same target (exit status 2)."""


@contextmanager
def hold(*targets: PathLike) -> Iterator[None]:
    """Keep files and folders for this run: whoever else wants to write one of them is refused at once.

    Each target has a lock file beside it for as long as it is held; the system releases the lock when the
    process ends, however it ends. The thread that holds a target may hold it again; another thread may not.

    Parameters
    ----------
    targets
        Files or folders to come, or there already. Missing parents are made.

    Raises
    ------
    LockedError
        Another run holds one of them.
    InputError
        No file can be made beside one.
    """
    with ExitStack() as held:
        for target in dict.fromkeys(map(_place, targets)):
            held.enter_context(_hold_one(target))
        yield


def is_held(target: PathLike) -> bool:
    """Whether a run is writing a file or folder now."""
    place = _place(target)
    # Not held where there is no lock: to try it would refuse a run that begins in this moment.
    if not _beside(place, ".lock").exists():
        return False
    try:
        with hold(place):
            return False
    except LockedError:
        return True
    except InputError:  # a folder that can only be read: nobody here is at work in it
        return False


def _place(target: PathLike) -> Path:
    """The target by one name, whatever links lead to its folder."""
    target = Path(target)
    return Path(os.path.realpath(target.parent)) / target.name


@contextmanager
def _hold_one(target: Path) -> Iterator[None]:
    # Loaded here: it takes 50 ms that commands which write nothing must not wait for
    from filelock import FileLock, Timeout

    file = _beside(target, ".lock")
    lock = FileLock(file, timeout=0, is_singleton=True)  # the same lock, so that its thread can take it again
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"another run is working on {target}. Wait for it, or give another output."
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter from older releases, for a lack of locks
        if is_full(error):
            raise write_error(target, error) from error
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise InputError(
                f"output must be a place that can be written to, got {target}: {os_reason(error)}. "
                "Choose another folder, or change its permissions."
            ) from error
    try:
        if lock.lock_counter == 1:  # not taken again, and not a file system without locks
            _clear_dead(target)
        yield
    finally:
        if lock.lock_counter == 1:
            # While it is held: who opened it meanwhile finds that its name is gone, and is refused
            with suppress(OSError):
                file.unlink()
        lock.release()


def side_folder(target: Path) -> Path:
    """A free name beside ``target`` for a folder of this run; if it is killed, the next run removes it.

    Locks of some file systems that computers share are seen by one computer only. So the name tells whose
    folder it is, and those of other computers are left alone.
    """
    marks = f"{'-'.join(_computer())}-{os.getpid()}-{secrets.token_hex(4)}"
    return _beside(target, f".run-{marks}.part")


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target``, which this run holds, for temporary files; it is removed in the end.

    Raises
    ------
    RunError
        The disk is full, or the folder can't be made.
    """
    folder = side_folder(_place(target))
    _alive.add(folder)
    try:
        try:
            folder.mkdir()  # with the rights that a folder the user makes has
        except OSError as error:
            raise write_error(target, error) from error
        yield folder
    finally:
        _remove_scratch(folder, keep_note=(folder / NOTE).exists())
        _alive.discard(folder)


def _remove_scratch(folder: Path, *, keep_note: bool) -> None:
    """Remove a folder for temporary files, but for a note: it alone tells what lies elsewhere."""
    if not keep_note:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != NOTE:
            with suppress(OSError):
                path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder; it loses its name first, so that no half of it is ever seen under that name."""
    gone = side_folder(_place(folder))
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _beside(target: Path, end: str) -> Path:
    name = target.name
    if len(os.fsencode(name)) > _LONGEST:
        name = f"{name[:40]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
    return target.with_name(f".{name}{end}")


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


def _clear_dead(target: Path) -> None:
    """Remove what killed runs left beside it and had borrowed; put back what one was about to replace.

    Only for who holds the target: then no other run of this computer lives that could be writing in them.
    """
    from geoseg.files.depot import clear_borrowed  # which needs this module

    head = _beside(target, ".run-").name
    name = re.compile(rf"{re.escape(head)}(\w{{8}})-(\w{{8}})-\d+-\w{{8}}\.(part|old)")
    with os.scandir(target.parent) as entries:
        marked = sorted(entry.name for entry in entries if entry.name.startswith(head))
    for folder in map(target.with_name, marked):
        match = name.fullmatch(folder.name)
        if match is None or folder in _alive:
            continue
        if match[1] != _computer()[0] and match[2] != _computer()[1]:
            continue
        # Killed between moving the old result aside and giving the new one its name: the old one is all there
        # is.
        if folder.suffix == ".old" and not os.path.lexists(target):
            folder.rename(target)
        else:
            _remove_scratch(folder, keep_note=not clear_borrowed(folder))
