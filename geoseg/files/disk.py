"""Why a file could not be written: a full disk told from all else, in the same words everywhere."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from geoseg.errors import RunError

__all__ = ["DiskFullError", "is_full", "os_reason", "stop_if_full", "write_error"]

#: What the system says of a disk, a quota or a file that takes no more. Windows has no quotas of this kind.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_PROBE = 256 * 1024


class DiskFullError(RunError):
    """Nothing more can be written: no reason to try the next one."""


def is_full(error: BaseException) -> bool:
    """Whether the system says that there is no room."""
    return isinstance(error, OSError) and error.errno in _FULL


def os_reason(error: BaseException) -> str:
    """The reason in the words of the operating system, or else of the library, on one line.

    Examples
    --------
    >>> os_reason(OSError(28, "No space left on device", "a.tif"))
    'No space left on device'
    >>> os_reason(ValueError("no\\n  such layer."))
    'no such layer'
    """
    text = getattr(error, "strerror", None) or str(error.__cause__ or error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


def write_error(path: Path, error: BaseException) -> RunError:
    """The error of a file or folder that could not be written."""
    kind = DiskFullError if is_full(error) else RunError
    return kind(
        f"cannot write {path}: {os_reason(error)}. Check the free space and the permissions of "
        f"{path.parent}; nothing half-written was left there."
    )


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
        if isinstance(failure, OSError) and is_full(failure) and _may_be_of(failure.filename, folder):
            raise failure
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
            file.flush()
            # A quota, or a disk on the network, may say no only when the bytes get there.
            os.fsync(file.fileno())
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"the disk of {folder} is full. Free some space, or name a folder on another disk."
            ) from error


def _may_be_of(name: object, folder: Path) -> bool:
    """Whether an error about a file may be about the disk of ``folder``; many errors name no file."""
    if not isinstance(name, str | bytes | os.PathLike):
        return True
    place = Path(os.fsdecode(name)).absolute()
    existing = next((path for path in (place, *place.parents) if path.exists()), None)
    return existing is None or _device(existing) == _device(folder)


def _device(path: Path) -> int:
    return path.stat().st_dev
