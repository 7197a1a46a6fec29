"""A bundle in another form: a bundle again, or an ONNX or .pt2 file that was run beside the network."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

from geoseg.errors import InputError, ModelError
from geoseg.files import write_bytes
from geoseg.models.bundle import PT2_CARD, open_bundle, write_bundle
from geoseg.models.card import card_text
from geoseg.models.state import load_module
from geoseg.typing import PathLike

__all__ = ["convert_model"]


def convert_model(source: PathLike, out: PathLike, *, overwrite: bool = False) -> Path:
    """Write a model in the form that the name asks for.

    Parameters
    ----------
    source
        A bundle; for .onnx and .pt2 its weights are safetensors.
    out
        ``NAME.onnx``: probabilities of standardized pixels, with the metadata of Deepness, for QGIS and
        others. ``NAME.pt2``: a program of ``torch.export``, with the card inside. ``NAME.zip`` or a folder: a
        bundle. geoseg reads all of them.
    overwrite
        Whether what is there may be replaced.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        ``out`` is there already, or ends in something else.
    ModelError
        The network can't be exported, or the export computes something else.
    """
    path, suffix = Path(out), Path(out).suffix.lower()
    if suffix not in ("", ".zip", ".onnx", ".pt2"):
        raise InputError(f"output must end in .onnx, .pt2 or .zip, or be a folder, got {path}.")
    if path.exists() and not overwrite:
        raise InputError(f"output must not exist yet, got {path}. Remove it, or allow overwriting.")
    bundle = open_bundle(source)
    if suffix in (".onnx", ".pt2") and bundle.kind != "safetensors":
        raise ModelError(
            f"{source} must keep its weights as safetensors to become {suffix}, got {bundle.kind}."
        )
    if suffix == ".onnx":
        from geoseg.models.export import export_onnx

        return export_onnx(source, path)
    if suffix == ".pt2":
        write_bytes(path, _pt2_bytes(source))
        return path
    return write_bundle(path, bundle.weights(), bundle.card, kind=bundle.kind, overwrite=overwrite)


def _pt2_bytes(source: PathLike) -> bytes:
    """The network as a program for any number of windows of the card's size.

    A free height and width would be kinder, but tracing them takes more than ten minutes for encoders that
    pad by the size of their input, EfficientNet among them.
    """
    import torch

    from geoseg.models.export import check_export
    from geoseg.models.exported import load_pt2, save_pt2

    bundle = open_bundle(source)
    options = bundle.card.options
    # The window rounded up to what the network can take.
    side = -(-max(options.window) // options.multiple) * options.multiple
    network = load_module(bundle)
    example = (torch.zeros(2, bundle.card.in_channels, side, side),)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Only the number of windows is free.
            program = torch.export.export(network, example, dynamic_shapes=({0: torch.export.Dim("n")},))
    except Exception as error:
        raise ModelError(f"{source}: the network can't be exported: {error}") from error
    card = bundle.card.replace_options(architecture=None, auxiliary=[], multiple=1, window=[side, side])
    content = save_pt2(program)
    # Three windows: neither the number that it was traced with nor one, which torch treats apart.
    check_export(network, (3, *example[0].shape[1:]), load_pt2(content, str(source)).module())
    buffer = io.BytesIO(content)
    # Stored as torch stores its own members: a compressed one is refused on reading.
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(zipfile.ZipInfo(f"{root}/{PT2_CARD}"), card_text(card))
    return buffer.getvalue()
