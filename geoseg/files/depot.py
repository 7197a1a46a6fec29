"""Where workers meet: a folder, or a part of an object store, of named contents that are whole or absent."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar

from geoseg.errors import InputError, MissingDependencyError, RunError
from geoseg.files.disk import DiskFullError, is_full, os_reason
from geoseg.files.staging import place_bytes

__all__ = [
    "AddressDepot",
    "Content",
    "Depot",
    "FolderDepot",
    "borrowed_depot",
    "checked_depot",
    "depot_at",
    "emptied",
    "is_part",
    "new_part",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: What is put: bytes, or what writes them to an open file.
Content: TypeAlias = bytes | Callable[[BinaryIO], object]

#: Seconds between the tries of a request that failed. Clients of object stores try again by themselves, but
#: not after each kind of fault, and one lost request in some hundred thousand must not end a run.
_WAITS = (0.5, 2.0, 8.0)
#: Bytes that are asked for at a time where a part of a content is read: with fewer, the round trips take
#: longer than the bytes.
_READ_BYTES = 8 << 20
#: A user and a password; a name before an @ is no secret, and in Azure that of a container.
_PASSWORD = r"//(?!(?:[^/@:]*@)?[^/@:]*:\d+/)[^/:]*:[^@]*@"
#: File systems with folders of their own. Object stores have none, and asked for one they may make a bucket,
#: which a slip of the pen has named.
_WITH_FOLDERS = frozenset({"ftp", "hdfs", "sftp", "smb", "ssh", "webhdfs"})
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
        """See :class:`Depot`."""
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


@dataclass(frozen=True)
class AddressDepot:
    """A part of an object store, by an address of fsspec.

    Object stores put a content whole or not at all. Other file systems may show half of one, so contents
    carry a checksum of their own, which is looked at when they are read.

    Whatever goes wrong, but for a content that is not there, is a :class:`geoseg.errors.RunError`: it says
    nothing about the contents, and so must not be taken for a changed one.
    """

    address: str

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address}  # connections stay here

    def __str__(self) -> str:
        return self.address

    @cached_property
    def _system(self) -> tuple[Any, str]:
        """The file system, and the path in it."""
        import fsspec  # takes 40 ms that most runs need not wait for

        try:
            return fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            raise MissingDependencyError(
                f"store {self.address} needs a package that is not installed ({error}). Install "
                "it on all machines, with pip install s3fs, gcsfs or adlfs."
            ) from error
        except Exception as error:
            raise _refused(self.address, os_reason(error)) from error

    def _asked(self, action: str, name: str, request: Callable[[Any, str], T]) -> T:
        """What a request gives; tried again after faults that may pass."""
        system, root = self._system
        waits = iter(_WAITS)
        while True:
            try:
                return request(system, f"{root}/{name}" if name else root)
            except FileNotFoundError:
                raise
            except Exception as error:
                wait = None if isinstance(error, PermissionError) or is_full(error) else next(waits, None)
                if wait is None:
                    kind = DiskFullError if is_full(error) else RunError
                    raise kind(
                        f"cannot {action} {self.address}/{name}: {os_reason(error)}. Check the network, the "
                        "credentials and the space there. Finished chunks are kept: the same command goes on."
                    ) from error
                time.sleep(wait)

    def put(self, name: str, content: Content, aside: str | None = None) -> None:
        """See :class:`Depot`."""
        if not isinstance(content, bytes):
            buffer = io.BytesIO()
            content(buffer)
            content = buffer.getvalue()

        def put(system: Any, path: str) -> None:
            try:
                system.pipe_file(path, content)
            except FileNotFoundError:
                # These make none by themselves.
                if self.address.partition("://")[0] not in _WITH_FOLDERS:
                    raise
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.pipe_file(path, content)

        try:
            self._asked("write", name, put)
        except FileNotFoundError as error:  # of the bucket
            raise RunError(f"cannot write {self.address}/{name}: {os_reason(error)}.") from error

    def get(self, name: str) -> bytes:
        """See :class:`Depot`."""
        return self._asked("read", name, lambda system, path: system.cat_file(path))

    def open(self, name: str) -> BinaryIO:
        """See :class:`Depot`."""
        size = self._asked("read", name, lambda system, path: int(system.info(path)["size"]))

        def part(start: int, end: int) -> bytes:
            # By name: some file systems have a version before these.
            return self._asked("read", name, lambda system, path: system.cat_file(path, start=start, end=end))

        return io.BufferedReader(_Parts(size, part), _READ_BYTES)

    def names(self, part: str) -> Iterator[str]:
        """See :class:`Depot`."""

        def found(system: Any, path: str) -> list[str]:
            # Clients keep listings, and others have written since.
            system.invalidate_cache()
            listed = system.find(path)
            system.invalidate_cache()
            return [f"{part}{one[len(path) :]}" for one in listed]

        yield from self._asked("list", part, found)

    def remove(self, name: str) -> None:
        """See :class:`Depot`."""
        try:
            self._asked("remove", name, lambda system, path: system.rm_file(path))
        except FileNotFoundError:
            return

    def clear(self) -> None:
        """See :class:`Depot`."""

        def cleared(system: Any, path: str) -> None:
            system.invalidate_cache()
            # Not all of them fail alike where there is nothing.
            if system.find(path):
                try:
                    system.rm(path, recursive=True)
                except FileNotFoundError as error:  # somebody else removes it, too
                    raise OSError(f"not removed: {error}") from error
            system.invalidate_cache()

        self._asked("remove", "", cleared)

    def inside(self, name: str) -> AddressDepot:
        """See :class:`Depot`."""
        return AddressDepot(f"{self.address}/{name}")


class _Parts(io.RawIOBase):
    """A content that is read by parts, so that each request is made again where it fails.

    Files of fsspec would ask for parts when nobody listens to their errors any more.
    """

    def __init__(self, size: int, part: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self.size, self.part, self.at = size, part, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Byte that is read next."""
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence])
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Read what fits into a buffer."""
        end = min(self.at + len(buffer), self.size)
        content = self.part(self.at, end) if end > self.at else b""
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)


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
    if re.search(_PASSWORD, address):
        # What is given here is kept in a file, printed, and sent to all workers.
        raise _refused(address, "give credentials by the environment, not in the address")
    if "::" in address and "://" in address:
        raise _refused(address, "chains of file systems can't be written to")
    if scheme is None:
        # A Windows drive has one letter.
        if re.match(r"[a-z][a-z0-9+.-]+:/", address, re.IGNORECASE):
            raise _refused(address, "a scheme is followed by two slashes")
        return FolderDepot(Path(address))
    name, rest = scheme[1].lower(), address[scheme.end() :]
    if not rest.strip("/"):
        raise _refused(address, "it names no place")
    if name in ("file", "local"):
        if not rest.startswith("/"):
            raise _refused(address, "a file is on this machine: three slashes, and no host")
        # As a folder, in which a file gets its name when it is whole; fsspec writes it in place.
        return FolderDepot(Path(rest))
    return AddressDepot(f"{name}://{rest.rstrip('/')}")


def _refused(address: str, reason: str) -> InputError:
    # A password may hold an @, too.
    address = re.sub(_PASSWORD + r"([^/]*@)?", "//***@", address)
    return InputError(
        f"store must be a folder, or an address such as s3://bucket/folder, got {address} ({reason}). Give "
        "another --store."
    )


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
    except InputError:
        raise
    except (RunError, OSError) as error:
        reason = os_reason(error.__cause__ or error)
    else:
        if written == content:
            return depot
        reason = "what was written is not what is read"
    raise InputError(
        f"store must be a place that can be written to, got {store} ({reason}). Check the address, the "
        "credentials and the permissions, or give another --store."
    )


@contextmanager
def borrowed_depot(store: str | None, name: str) -> Iterator[Depot | None]:
    """A depot for one job in the place that ``store`` names, removed in the end; None without a place."""
    if store is None:
        yield None
        return
    with emptied(depot_at(store).inside(new_part(name))) as depot:
        yield depot


@contextmanager
def emptied(depot: Depot) -> Iterator[Depot]:
    """A depot whose contents are removed in the end, after an error as far as they can be."""
    try:
        yield depot
    except BaseException:
        # What ended the job is told; that the store can't be reached either would hide it.
        with suppress(RunError, OSError):
            depot.clear()
        raise
    try:
        depot.clear()
    except OSError as error:
        # What can't be removed now takes room, and no more.
        logger.warning("temporary files are left in %s: %s", depot, error)
