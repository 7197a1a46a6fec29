"""Model bundles: a folder or .zip that holds a card and weights.

Weights are safetensors (the card names the architecture), a program of ``torch.export`` (.pt2) or .onnx.
Pickled checkpoints are refused: unpickling runs whatever code the file brings along.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from geoseg.errors import InputError, MissingFileError, ModelError
from geoseg.files import Staged
from geoseg.models.archives import BundleFiles, multihash
from geoseg.models.card import Asset, ModelCard, card_text, parse_card
from geoseg.models.deepness import card_from_metadata
from geoseg.models.onnx_files import read_onnx
from geoseg.models.state import AGAIN, state_bytes
from geoseg.typing import PathLike

if TYPE_CHECKING:  # a card is read without torch, which takes seconds to load
    from torch import nn

__all__ = [
    "CARD_NAME",
    "Bundle",
    "open_bundle",
    "refuse_pickle",
    "shipped_model",
    "write_bundle",
]

CARD_NAME = "model.json"
#: Where a .pt2 file of geoseg's own keeps its card, below the archive's folder.
PT2_CARD = "extra/geoseg_card.json"

Kind = Literal["safetensors", "pt2", "onnx"]
_KINDS: dict[str, Kind] = {".safetensors": "safetensors", ".pt2": "pt2", ".onnx": "onnx"}
_PICKLES = {".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle", ".tar", ".joblib", ".h5"}
_ARTIFACT_TYPES = {"safetensors": "safetensors.torch.save_file", "pt2": "torch.export.save", "onnx": "onnx"}
_MEDIA_TYPES = {
    "safetensors": "application/octet-stream; framework=pytorch; profile=safetensors",
    "pt2": "application/octet-stream; framework=pytorch; profile=ExportedProgram",
    "onnx": "application/octet-stream; framework=onnx; profile=onnx",
}


@dataclass(frozen=True)
class Bundle:
    """A card and where its weights lie; weights are read when asked for.

    Attributes
    ----------
    path
        The folder, .zip or .onnx.
    card
        The model card.
    kind
        Format of the weights.
    files
        The bundle's files, or None for a bare .onnx.
    """

    path: Path
    card: ModelCard
    kind: Kind
    files: BundleFiles | None

    @cached_property
    def asset(self) -> Asset:
        """The file of weights."""
        return Asset(href=self.path.name) if self.files is None else self.card.model_asset()

    @property
    def label(self) -> str:
        """The file of weights, for messages."""
        return str(self.path) if self.files is None else f"{self.path}: {self.asset.href}"

    def weights(self) -> bytes:
        """Content of the file of weights, checked against the card's size and checksum.

        Raises
        ------
        ModelError
            Missing, or not what the card says.
        """
        content = self.path.read_bytes() if self.files is None else self.files.read(self.asset.href)
        if self.asset.size is not None and len(content) != self.asset.size:
            raise ModelError(f"{self.label} must hold {self.asset.size} bytes, got {len(content)}. {AGAIN}")
        # 1220 is SHA-256 of 32 bytes; other hashes of the multihash table are not checked.
        wanted = self.asset.checksum or ""
        if wanted.startswith("1220") and multihash(content) != wanted.lower():
            raise ModelError(f"{self.label} is corrupt: its checksum is not the card's. {AGAIN}")
        return content


def shipped_model() -> Path:
    """Folder of the building network that comes with the package."""
    return Path(__file__).parent / "weights" / "building"


def open_bundle(path: PathLike) -> Bundle:
    """Open a bundle folder, a .zip, or a bare .onnx with metadata.

    Raises
    ------
    MissingFileError
        Nothing there.
    ModelError
        Not a bundle, an impossible card, a pickled checkpoint.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"no such model: {path}. Give a bundle folder, a .zip or an .onnx file.")
    if path.is_file():
        refuse_pickle(path)
        if path.suffix.lower() == ".onnx":
            return Bundle(path, card_from_metadata(read_onnx(path.read_bytes(), str(path))), "onnx", None)
        if path.suffix.lower() == ".pt2" and (document := _card_in_pt2(path)) is not None:
            return Bundle(path, parse_card(document, source=f"{path}: {PT2_CARD}"), "pt2", None)
        if path.suffix.lower() in _KINDS:
            raise ModelError(
                f"{path} lacks a card. Give the folder or .zip that holds it beside its {CARD_NAME}."
            )
        if path.name == CARD_NAME:
            return open_bundle(path.parent)
        if not zipfile.is_zipfile(path) and path.suffix.lower() == ".zip":
            raise ModelError(f"{path} is no zip archive, or a damaged one. Get the bundle again.")
        if not zipfile.is_zipfile(path):
            raise ModelError(f"{path} is no model: give a bundle folder, a .zip or an .onnx file")
    files = BundleFiles(path)
    name = _card_name(files)
    try:
        # Editors on Windows begin files with a byte order mark.
        document = json.loads(files.read(name).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # depth without end is one, too
        raise ModelError(f"{files.path}: {name} is not valid JSON: {error}") from None
    card = parse_card(document, source=f"{path}: {name}")
    href = card.model_asset().href
    return Bundle(path, card, _kind(href, path), files)


def refuse_pickle(path: Path) -> None:
    """Refuse a file that only unpickling could read.

    Raises
    ------
    ModelError
        It is a pickle or a zip of ``torch.save``; the message says why and what to do.
    """
    suffix = path.suffix.lower()
    # These formats can't run code. A .pt2 file is a .zip like those of torch.save, so it is looked into.
    if suffix in _KINDS and suffix != ".pt2":
        return
    try:
        with path.open("rb") as file:
            head = file.read(2)
        torch_zip = zipfile.is_zipfile(path) and _holds_pickle(path)
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error}") from None
    if (
        suffix in _PICKLES
        or torch_zip
        # How pickles of protocols 2 to 5 begin, whatever the file is called.
        or (head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"))
    ):
        raise ModelError(
            f"{path} is a pickled checkpoint; loading one runs any code in it, so geoseg never does. "
            "In the project it comes from, load it and call geoseg.models.write_bundle(path, network, card), "
            "or save it as .onnx or .pt2 and put it beside a card (docs/model-bundle.md)."
        )


def _holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError):  # names that are no UTF-8 are ValueErrors
        return False


def _card_in_pt2(path: Path) -> object:
    """The card inside a .pt2 file; None where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next((name for name in archive.namelist() if name.endswith(f"/{PT2_CARD}")), None)
            return None if inside is None else json.loads(archive.read(inside).decode())
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is broken: {error}. {AGAIN}") from None


def _card_name(files: BundleFiles) -> str:
    names = [name for name in files.names() if name.endswith(".json") and "/" not in name]
    if CARD_NAME in names:
        return CARD_NAME
    if len(names) == 1:
        return names[0]
    raise ModelError(f"{files.path} must hold a card, {CARD_NAME}; its JSON files are {names or 'none'}")


def _kind(href: str, path: Path) -> Kind:
    suffix = PurePosixPath(href).suffix.lower()
    if suffix in _PICKLES:
        raise ModelError(
            f"{path}: {href} is a pickled checkpoint, which geoseg never loads. Use .safetensors instead."
        )
    if suffix not in _KINDS:
        raise ModelError(f"{path}: weights must be one of {', '.join(_KINDS)}, got {href}")
    return _KINDS[suffix]


def write_bundle(
    path: PathLike,
    network: nn.Module | bytes,
    card: ModelCard,
    *,
    dtype: Literal["float16", "float32"] = "float32",
    kind: Kind = "safetensors",
    overwrite: bool = False,
) -> Path:
    """Write a bundle: a .zip when the name ends so, else a folder. Complete or not at all.

    Parameters
    ----------
    path
        Where to write.
    network
        The network whose weights are kept (``kind`` safetensors), or the bytes of a .pt2 or .onnx file.
    card
        Its card; size and checksum of the weights are filled in.
    dtype
        Type that floating-point weights are stored in.
    kind
        Format of the weights.
    overwrite
        Whether a bundle that is there may be replaced.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    InputError
        ``path`` exists and ``overwrite`` is not set, or it is a folder with other files.
    ModelError
        The card names no architecture for safetensors, or float16 can't hold the weights.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"path must not exist yet, got {path}. Remove it, or allow overwriting.")
    # Replacing a folder would lose what lies in it beside a card and weights.
    own = {CARD_NAME, *(f"model{suffix}" for suffix in _KINDS)}
    others = sorted({entry.name for entry in path.iterdir()} - own) if path.is_dir() else []
    if others:
        raise InputError(
            f"path must be a bundle to be overwritten, got {path} with {', '.join(others[:3])} in it. "
            "Choose another name."
        )
    content = network if isinstance(network, bytes) else state_bytes(network, card, dtype)
    href = f"model.{kind}"
    asset = Asset.model_validate(
        {
            "href": href,
            "title": f"Weights of {card.name}",
            "type": _MEDIA_TYPES[kind],
            "roles": ["mlm:model", "mlm:weights", "data"],
            "mlm:artifact_type": _ARTIFACT_TYPES[kind],
            "file:size": len(content),
            "file:checksum": multihash(content),
        }
    )
    files = {CARD_NAME: card_text(card.with_asset(asset)).encode(), href: content}
    if path.suffix.lower() == ".zip":
        with Staged.file(path) as staged, zipfile.ZipFile(staged.path, "w", zipfile.ZIP_STORED) as archive:
            for name, content in files.items():
                # A ZipInfo of its own has a fixed date: the same model gives the same bytes.
                archive.writestr(zipfile.ZipInfo(name), content)
    else:
        with Staged.folder(path) as staged:
            for name, content in files.items():
                (staged.path / name).write_bytes(content)
            staged.commit(replace=True)
    return path
