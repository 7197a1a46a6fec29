"""A bundle's network as ONNX, and the check that an export computes what the network does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from geoseg.errors import MissingDependencyError, ModelError
from geoseg.files import write_bytes
from geoseg.models.bundle import open_bundle
from geoseg.models.deepness import metadata_from_card, standardization
from geoseg.models.engines import export_onnx_bytes, first_tensor
from geoseg.models.networks import activate
from geoseg.models.onnx_files import read_onnx
from geoseg.models.options import Activation
from geoseg.models.state import load_module
from geoseg.typing import PathLike

__all__ = ["WithActivation", "check_export", "export_onnx"]

#: Largest difference of an output between two runtimes, as a share of the largest output (at least 1).
_TOLERANCE = 1e-4


class WithActivation(nn.Module):
    """Probabilities of a network's first ``classes`` outputs (None: of all), then sigmoids of the others."""

    def __init__(self, network: nn.Module, activation: Activation, classes: int | None = None) -> None:
        super().__init__()
        self.network, self.activation, self.classes = network, activation, classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = first_tensor(self.network(x))
        # Auxiliary outputs are no classes: a softmax over all of them would mix the two.
        prob = activate(logits[:, : self.classes], self.activation)
        if self.classes is None:
            return prob
        return torch.cat([prob, logits[:, self.classes :].float().sigmoid()], 1)


def export_onnx(path: PathLike, out: PathLike) -> Path:
    """Write a bundle's network as one .onnx file with Deepness metadata, for QGIS and other tools.

    The file takes standardized pixels (divided by 255, minus mean, over deviation) and returns
    probabilities; the metadata say how, and carry the card.

    Parameters
    ----------
    path
        A bundle with safetensors weights.
    out
        The file to write.

    Raises
    ------
    ModelError
        The network does not export, or its scaling clips, which the metadata can't say.
    MissingDependencyError
        onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError(
            "export needs onnx. Install it with: pip install 'geoseg[onnx]'"
        ) from None
    bundle, out = open_bundle(path), Path(out)
    card = bundle.card
    if standardization(card) is None:
        raise ModelError(f"{path}: value_scaling must not clip to be exported for Deepness")
    network = WithActivation(load_module(bundle), card.activation)
    side = -(-max(card.options.window) // card.options.multiple) * card.options.multiple
    model = onnx.load_from_string(export_onnx_bytes(network, (1, card.in_channels, side, side)))
    finished = card.replace_options(
        activation="none", architecture=None, multiple=1, window=[side, side], auxiliary=[]
    )
    onnx.helper.set_model_props(model, metadata_from_card(finished))
    content = model.SerializeToString()
    # Read back as a user's file would be: whatever geoseg refuses there it must not write.
    run = read_onnx(content, str(out), card.in_channels).open(threads=torch.get_num_threads())
    check_export(network, (1, card.in_channels, side, side), lambda x: torch.from_numpy(run(x.numpy())))
    write_bytes(out, content)
    return out


def check_export(
    network: nn.Module, shape: tuple[int, ...], exported: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Run a network and its export on the same random numbers.

    Parameters
    ----------
    network
        The network.
    shape
        Of the input, (N, C, h, w).
    exported
        The export, called with such an input.

    Raises
    ------
    ModelError
        The outputs differ by more than rounding.
    """
    # Random numbers, for zeros pass through a wrong network, too.
    sample = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, got = first_tensor(network(sample)), first_tensor(exported(sample))
    if got.shape != wanted.shape:
        raise ModelError(
            f"the export must return {tuple(wanted.shape)} as the network does, got {tuple(got.shape)}"
        )
    difference = float((got - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))
    # Written this way round, NaN is refused as well.
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"the export must return what the network does, got a difference of {difference:.3g} of its range"
        )
