"""Where workers meet: a place of named contents that are whole or absent, and how it is found."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from geoseg.errors import GeosegError, InputError, RunError
from geoseg.files.address_depot import PASSWORD, AddressDepot, refused_address
from geoseg.files.disk import os_reason
from geoseg.files.locks import NOTE
from geoseg.files.staging import Content, place_bytes

__all__ = [
    "Depot",
    "FolderDepot",
    "borrowed_depot",
    "checked_depot",
    "clear_borrowed",
    "depot_at",
    "emptied",
    "is_part",
    "new_part",
]

logger = logging.getLogger(__name__)

#: Seconds that a run waits for a store to remove what a killed one left there. Clients of object stores try
#: for minutes, at each start of a run of the same output.
_PATIENCE_S = 5.0
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class Depot(Protocol):
    """A place of contents by name, which threads, processes and machines put and get.

    Names are relative, with slashes. A content that is put again replaces the old one. No name is ever
    renamed: an object store can't do that.
    """

    @property
    def address(self) -> str:
        """By which :func:`depot_at` finds it again, from any folder and machine."""

    def put(self, name: str, content: Content, aside: str | None = None) -> None:
        """Put a content; it appears whole or not at all.

        ``aside`` is a name that a folder may write under first. Where two processes may put the same name,
        each needs one of its own; None: a name beside it.
        """

    def get(self, name: str) -> bytes:
        """A whole content; FileNotFoundError where there is none."""

    def open(self, name: str) -> BinaryIO:
        """A content of which a part is read; it can be sought in."""

    def names(self, part: str) -> Iterator[str]:
        """Names of all contents of a part, in any order; each begins with the part."""

    def remove(self, name: str) -> None:
        """Remove a content, where there is one."""

    def clear(self) -> None:
        """Remove all contents."""

    def inside(self, name: str) -> Depot:
        """A part of it, ready to take contents."""


@dataclass(frozen=True)
class FolderDepot:
    """A folder on a disk that all workers see; errors are those of the system."""

    folder: Path

    def __getstate__(self) -> dict[str, Any]:
        # A worker may have started in another folder.
        return {"folder": self.folder.absolute()}

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def address(self) -> str:
        """The absolute path."""
        return str(self.folder.absolute())

    def put(self, name: str, content: Content, aside: str | None = None) -> None:
        """See :class:`Depot`; folders on the way are not made anew, for somebody may have removed them."""
        place_bytes(self.folder / name, content, None if aside is None else self.folder / aside)

    def get(self, name: str) -> bytes:
        """See :class:`Depot`."""
        return (self.folder / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        """See :class:`Depot`."""
        return (self.folder / name).open("rb")

    def names(self, part: str) -> Iterator[str]:
        """See :class:`Depot`."""
        for folder, _, files in os.walk(self.folder / part):
            place = Path(folder).relative_to(self.folder)
            yield from ((place / name).as_posix() for name in files)

    def remove(self, name: str) -> None:
        """See :class:`Depot`; a folder goes with what it holds, of a link only the link."""
        path = self.folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """See :class:`Depot`; where not even the folder around it is there, nobody knows what is left."""
        if not self.folder.parent.is_dir():  # a disk that is not mounted
            raise FileNotFoundError(f"{self.folder.parent} isn't there")
        failed: list[OSError] = []

        def note(_action: object, _path: str, caught: tuple[type, BaseException, object]) -> None:
            # What somebody else removes meanwhile is removed.
            if isinstance(caught[1], OSError) and not isinstance(caught[1], FileNotFoundError):
                failed.append(caught[1])

        # It goes on after an error: what can be removed is gigabytes.
        shutil.rmtree(self.folder, onerror=note)
        if failed:
            raise failed[0]

    def inside(self, name: str) -> FolderDepot:
        """See :class:`Depot`."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return FolderDepot(folder)


def depot_at(address: str) -> Depot:
    """The depot at a path, or at an address of fsspec such as ``s3://bucket/folder``.

    Examples
    --------
    >>> depot_at("s3://bucket/folder/").address
    's3://bucket/folder'
    >>> type(depot_at("file:///data/store")).__name__
    'FolderDepot'
    """
    scheme = _SCHEME.match(address)
    if re.search(PASSWORD, address):
        # What is given here is kept in a file, printed, and sent to all workers.
        raise refused_address(address, "give credentials by the environment, not in the address")
    if "::" in address and "://" in address:
        raise refused_address(address, "chains of file systems can't be written to")
    if scheme is None:
        # A Windows drive has one letter.
        if re.match(r"[a-z][a-z0-9+.-]+:/", address, re.IGNORECASE):
            raise refused_address(address, "a scheme is followed by two slashes")
        return FolderDepot(Path(address))
    name, rest = scheme[1].lower(), address[scheme.end() :]
    if not rest.strip("/"):
        raise refused_address(address, "it names no place")
    if name in ("file", "local"):
        if not rest.startswith("/"):
            raise refused_address(address, "a file is on this machine: three slashes, and no host")
        # As a folder, in which a file gets its name when it is whole; fsspec writes it in place.
        return FolderDepot(Path(rest))
    return AddressDepot(f"{name}://{rest.rstrip('/')}")


def new_part(name: str) -> str:
    """A name that is new in a place which several runs share; ``name`` tells people whose it is."""
    # Clients of object stores take some characters for patterns, and names of folders have an end.
    return f"{re.sub('[^A-Za-z0-9_-]', '_', name)[:80]}.geoseg-{uuid.uuid4().hex[:8]}"


def is_part(name: str) -> bool:
    """Whether :func:`new_part` gives such names.

    Examples
    --------
    >>> is_part(new_part("town [1]")), is_part("home")
    (True, False)
    """
    return re.fullmatch(r"[A-Za-z0-9_-]{0,80}\.geoseg-[0-9a-f]{8}", name) is not None


def checked_depot(store: str, part: str, name: str, content: bytes) -> Depot:
    """A part of the place that the user named, with its first content, after a look at whether that is there.

    Raises
    ------
    InputError
        It can't be written; the message says why.
    """
    try:
        depot = depot_at(store).inside(part)
        depot.put(name, content)
        written = depot.get(name)
        # Which chunks are there is asked later, when a run that can't ask has lost time.
        for _ in depot.names("parts"):
            break
    except InputError:
        raise
    except (RunError, OSError) as error:
        refused = isinstance(error.__cause__, PermissionError)
        # What is allowed to whom is said by the whole of it.
        reason = str(error).partition(" Finished chunks")[0].rstrip(".") if refused else os_reason(error)
    else:
        if written == content:
            return depot
        reason = "what was written is not what is read"
    raise InputError(
        f"store must be a place that can be written to, got {store} ({reason}). Check the address, the "
        "credentials and the permissions, or give another --store."
    )


@contextmanager
def borrowed_depot(store: str | None, name: str, scratch: Path) -> Iterator[Depot | None]:
    """A depot for one job in the place that ``store`` names, removed in the end; None without a place.

    Its address is noted in ``scratch``, by which the next run knows of this one, should it be killed.
    """
    if store is None:
        yield None
        return
    part = new_part(name)
    # Before there is anything to be left.
    (scratch / NOTE).write_text(f"{depot_at(store).address}/{part}", encoding="utf-8")
    with emptied(depot_at(store).inside(part), scratch / NOTE) as depot:
        yield depot


def clear_borrowed(scratch: Path) -> bool:
    """Remove what a killed job left in the depot that it had borrowed, as its folder tells.

    Returns whether nothing is left there; else a warning says what is.
    """
    try:
        address = (scratch / NOTE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return True  # it had borrowed none, or a power loss took the note
    except OSError as error:
        logger.warning("temporary files of an earlier run may be left, which %s", os_reason(error))
        return False
    # What has no such name is none of ours, whoever wrote it there.
    if not is_part(address.rpartition("/")[2]):
        return True
    caught: list[Exception] = []

    def clear() -> None:
        try:
            depot_at(address).clear()
        except (GeosegError, OSError, ValueError) as error:
            caught.append(error)

    # It may go on while the run does its work, and ends with it.
    thread = threading.Thread(target=clear, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    if not thread.is_alive() and not caught:
        return True
    reason = str(caught[0]).rstrip(".") if caught else f"no answer within {_PATIENCE_S:g} seconds"
    logger.warning(
        "temporary files of an earlier run are left in %s: %s. The next run of the same output tries again.",
        address,
        reason,
    )
    return False


@contextmanager
def emptied(depot: Depot, note: Path | None = None) -> Iterator[Depot]:
    """A depot whose contents are removed in the end, after an error as far as they can be.

    ``note`` is a file that tells others of it, and goes with them.
    """

    def clear() -> None:
        depot.clear()
        if note is not None:
            note.unlink(missing_ok=True)

    try:
        yield depot
    except BaseException:
        # What ended the job is told; that the store can't be reached either would hide it.
        with suppress(RunError, OSError):
            clear()
        raise
    try:
        clear()
    except (RunError, OSError) as error:
        # What can't be removed now takes room, and no more.
        logger.warning("temporary files are left in %s: %s", depot, error)
