"""A bundle's files, in a folder or in a .zip; nothing outside of it is ever touched."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path, PurePosixPath

from geoseg.errors import MissingFileError, ModelError
from geoseg.typing import PathLike

__all__ = ["BundleFiles", "inside", "multihash"]

#: Limits of a .zip: one file's size, number of files, and how far it may unfold.
# A small file that unfolds without end would fill memory; real weights hardly shrink at all.
MAX_FILE_BYTES = 8 * 2**30
MAX_FILES = 1000
MAX_RATIO = 1000


def multihash(content: bytes) -> str:
    """SHA-256 as multihash, as the File extension of STAC wants it.

    Examples
    --------
    >>> multihash(b"")[:12]
    '1220e3b0c442'
    """
    return "1220" + hashlib.sha256(content).hexdigest()


def inside(name: str, what: str = "path") -> PurePosixPath:
    """A relative path that stays in its folder.

    Raises
    ------
    ModelError
        It is absolute, names a drive or a URL, climbs out, or holds control characters.

    Examples
    --------
    >>> inside("weights/model.safetensors").name
    'model.safetensors'
    >>> inside("../model.onnx")
    Traceback (most recent call last):
    ...
    geoseg.errors.ModelError: path must stay inside its bundle, got '../model.onnx'
    """
    # As Windows would read the name, on every system: a bundle that is safe here must be safe there.
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts or ":" in name or not name.isprintable():
        raise ModelError(f"{what} must stay inside its bundle, got {name!r:.200}")
    return path


class BundleFiles:
    """Read-only view of a bundle's files.

    Parameters
    ----------
    path
        A folder or a .zip. In a .zip, one folder around everything is looked through.

    Raises
    ------
    MissingFileError, ModelError
        Nothing there; not a sound archive; a member leads outside or unfolds absurdly.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.is_zip = self.path.is_file()
        if self.is_zip:
            self._members = _zip_members(self.path)
        elif self.path.is_dir():
            self._members = {}
        else:
            raise MissingFileError(f"no such model: {self.path}")

    def names(self) -> list[str]:
        """Names of the files, relative, with forward slashes (a folder: its top level only)."""
        if self.is_zip:
            return sorted(self._members)
        return sorted(entry.name for entry in self.path.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        """Content of one file.

        Raises
        ------
        ModelError
            The file is missing, broken, or outside the bundle.
        """
        relative = inside(name, "asset href")
        where = f"{self.path}: {relative}"
        try:
            if self.is_zip:
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(self._members[str(relative)])
            target = (self.path / relative).resolve()
            # The name may be harmless and the file a link to anything that the user can read.
            if not target.is_relative_to(self.path.resolve()):
                raise ModelError(
                    f"asset href must stay inside its bundle, got {relative}, a link to {target}"
                )
            return target.read_bytes()
        except (KeyError, FileNotFoundError):
            raise ModelError(f"{where} is missing. The bundle is incomplete; get it again.") from None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ModelError(f"{where} can't be read: {error}") from None


def _zip_members(path: Path) -> dict[str, str]:
    """Name without the common folder -> member name."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (OSError, ValueError, zipfile.BadZipFile) as error:  # names that are no UTF-8 are ValueErrors
        raise ModelError(f"{path} is not a sound .zip: {error}") from None
    if len(infos) > MAX_FILES:
        raise ModelError(f"{path} must hold at most {MAX_FILES} files, got {len(infos)}")
    for info in infos:
        inside(info.filename, f"{path}: member")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ModelError(f"{path}: {info.filename} must be a plain file, got a link")
        # Against at least 1000 bytes, or a tiny file of blanks would count as absurd.
        if info.file_size > MAX_FILE_BYTES or info.file_size > MAX_RATIO * max(info.compress_size, 1000):
            raise ModelError(
                f"{path}: {info.filename} unfolds to {info.file_size} bytes, more than is sane for a model"
            )
    names = [str(inside(info.filename)) for info in infos]
    tops = {PurePosixPath(name).parts[0] for name in names}
    # Most programs that pack a folder put the folder itself into the archive.
    wrapped = len(tops) == 1 and all("/" in name for name in names)
    return {name.partition("/")[2] if wrapped else name: info.filename for name, info in zip(names, infos)}
