"""Where workers meet in an object store, or another file system of fsspec."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, Literal, TypeAlias, TypeVar

from geoseg.errors import InputError, MissingDependencyError, RunError
from geoseg.files.disk import DiskFullError, is_full, os_reason
from geoseg.files.staging import Content

__all__ = ["PASSWORD", "AddressDepot", "refused_address"]

T = TypeVar("T")
Action: TypeAlias = Literal["write", "read", "list", "remove"]

#: Seconds between the tries of a request that failed. Clients of object stores try again by themselves, but
#: not after each kind of fault, and one lost request in some hundred thousand must not end a run.
_WAITS = (0.5, 2.0, 8.0)
#: Bytes that are asked for at a time where a part of a content is read: with fewer, the round trips take
#: longer than the bytes.
_READ_BYTES = 8 << 20
#: A user and a password; a name before an @ is no secret, and in Azure that of a container.
PASSWORD = r"//(?!(?:[^/@:]*@)?[^/@:]*:\d+/)[^/:]*:[^@]*@"
#: What S3 calls the permission that a request takes. Without that to list, it refuses what is not there, too,
#: so that nobody could tell a chunk that is missing from one that is kept from us.
_PERMISSIONS: dict[Action, str] = {
    "write": "s3:PutObject",
    "read": "s3:GetObject and s3:ListBucket",
    "list": "s3:ListBucket",
    "remove": "s3:DeleteObject and s3:ListBucket",
}
#: File systems with folders of their own. Object stores have none, and asked for one they may make a bucket,
#: which a slip of the pen has named.
_WITH_FOLDERS = frozenset({"ftp", "hdfs", "sftp", "smb", "ssh", "webhdfs"})


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
            raise refused_address(self.address, os_reason(error)) from error

    def _asked(self, action: Action, name: str, request: Callable[[Any, str], T]) -> T:
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
                    advice = "Check the network, the credentials and the space there."
                    if isinstance(error, PermissionError):
                        on_s3 = f" (on S3, {_PERMISSIONS[action]})"
                        advice = f"Let the credentials {action} there{on_s3}."
                    raise kind(
                        f"cannot {action} {self.address}/{name}: {os_reason(error)}. {advice} Finished "
                        "chunks are kept: the same command goes on."
                    ) from error
                time.sleep(wait)

    def put(self, name: str, content: Content, aside: str | None = None) -> None:
        """See :class:`geoseg.files.Depot`."""
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
        """See :class:`geoseg.files.Depot`."""
        return self._asked("read", name, lambda system, path: system.cat_file(path))

    def open(self, name: str) -> BinaryIO:
        """See :class:`geoseg.files.Depot`."""
        size = self._asked("read", name, lambda system, path: int(system.info(path)["size"]))

        def part(start: int, end: int) -> bytes:
            # By name: some file systems have a version before these.
            return self._asked("read", name, lambda system, path: system.cat_file(path, start=start, end=end))

        return io.BufferedReader(_Parts(size, part), _READ_BYTES)

    def names(self, part: str) -> Iterator[str]:
        """See :class:`geoseg.files.Depot`."""

        def found(system: Any, path: str) -> list[str]:
            # Clients keep listings, and others have written since.
            system.invalidate_cache()
            listed = system.find(path)
            system.invalidate_cache()
            return [f"{part}{one[len(path) :]}" for one in listed]

        yield from self._asked("list", part, found)

    def remove(self, name: str) -> None:
        """See :class:`geoseg.files.Depot`."""
        try:
            self._asked("remove", name, lambda system, path: system.rm_file(path))
        except FileNotFoundError:
            return

    def clear(self) -> None:
        """See :class:`geoseg.files.Depot`."""

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
        """See :class:`geoseg.files.Depot`."""
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


def refused_address(address: str, reason: str) -> InputError:
    """The error of an address that can't be used; it names no password."""
    # A password may hold an @, too.
    address = re.sub(PASSWORD + r"([^/]*@)?", "//***@", address)
    return InputError(
        f"store must be a folder, or an address such as s3://bucket/folder, got {address} ({reason}). Give "
        "another --store."
    )
