"""The way in: a model by path, module or callable becomes a predictor. Nothing here needs torch at once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geoseg.errors import InputError, ModelError
from geoseg.models.bundle import open_bundle, shipped_model
from geoseg.models.bundled import BundlePredictor
from geoseg.models.devices import resolve_device
from geoseg.models.options import Activation
from geoseg.models.predictor import CallablePredictor, Predictor
from geoseg.models.runtimes import choose_engine
from geoseg.models.scaling import Ramp, fill_values
from geoseg.typing import PathLike, TestTime

if TYPE_CHECKING:
    import torch
    from torch import nn

    from geoseg.models.networks import NetworkPredictor

__all__ = ["as_predictor", "load_model"]


def load_model(
    path: PathLike | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    test_time: TestTime | None = None,
    auxiliary: bool = False,
    lazy: bool = False,
) -> BundlePredictor:
    """Load a model bundle.

    Parameters
    ----------
    path
        A bundle folder, a .zip, or an .onnx file with metadata; None: the building network that ships.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    engine
        ``auto``, ``torch``, ``onnxruntime``, ``openvino`` or ``compile``.
    test_time
        ``none``, ``flips`` or ``d4``: turned and mirrored copies averaged (1, 4 or 8 runs); None: as the
        card says.
    auxiliary
        Return the auxiliary outputs of the card (boundary, contact, distance) after the classes, each by its
        own sigmoid; the predictor's ``classes`` name them all.
    lazy
        Check the card and the weights' checksum only; the network, and torch, is loaded at the first call.

    Returns
    -------
    BundlePredictor
        Callable: (N, C, h, w) in the scene's own type to (N, K, h, w) float32 probabilities.

    Raises
    ------
    MissingFileError
        No such model.
    ModelError
        An impossible card, missing or corrupt weights, a pickled checkpoint.
    InputError, MissingDependencyError
        The device or engine is not there.
    """
    bundle = open_bundle(shipped_model() if path is None else path)
    if auxiliary and not (bundle.kind == "safetensors" and bundle.card.options.auxiliary):
        raise ModelError(f"{bundle.path} must keep auxiliary outputs in safetensors weights, got none")
    predictor = BundlePredictor(
        bundle, device=device, engine=engine, test_time=test_time, auxiliary=auxiliary
    )
    if not lazy:
        predictor.load()
    return predictor


def as_predictor(
    model: Any,
    *,
    device: str = "auto",
    engine: str = "auto",
    test_time: TestTime | None = None,
    activation: Activation | Literal["auto"] = "auto",
    classes: Sequence[str] = (),
    in_channels: int | None = None,
    lazy: bool = False,
) -> Predictor:
    """Make a predictor of whatever a caller has.

    Parameters
    ----------
    model
        A predictor (returned as it is), a path to a bundle, a ``torch.nn.Module``, or any callable from
        float32 (N, C, h, w) to (N, K, h, w).
    device, engine, test_time, lazy
        As in :func:`load_model`; a callable ignores device and engine, and a module of ``engine="auto"``
        runs eagerly. A module is copied: the caller's keeps its mode and its device.
    activation
        What to apply to a module's output; ``auto``: sigmoid for one output, else softmax (the module
        is run once on zeros to count its outputs where ``classes`` does not say). A bundle's card and a
        callable decide for themselves.
    classes
        Names of the outputs.
    in_channels
        Number of bands, for a clear error when a scene has another.

    Raises
    ------
    InputError
        ``model`` is none of these.
    """
    if model is None or isinstance(model, str | Path):
        return load_model(model, device=device, engine=engine, test_time=test_time, lazy=lazy)
    torch: Any = sys.modules.get("torch")  # where it is not imported yet, the model is no module of it
    if torch is not None and isinstance(model, torch.nn.Module):
        predictor: Predictor = _from_module(model, device, engine, activation, tuple(classes), in_channels)
    elif isinstance(model, Predictor):
        predictor = model
    elif callable(model):
        predictor = CallablePredictor(model, classes=classes, in_channels=in_channels)
    else:
        raise InputError(
            f"model must be a bundle's path, a torch.nn.Module or a callable, got {type(model).__name__}. "
            "See geoseg.load_model."
        )
    if test_time is not None and hasattr(predictor, "with_test_time"):
        turned: Predictor = predictor.with_test_time(test_time)
        return turned
    return predictor


def _from_module(
    network: nn.Module,
    device: str,
    engine: str,
    activation: Activation | Literal["auto"],
    classes: tuple[str, ...],
    in_channels: int | None,
) -> NetworkPredictor:
    from geoseg.models.digests import configuration_digest, module_digest
    from geoseg.models.engines import make_engine
    from geoseg.models.networks import NetworkPredictor
    from geoseg.models.normalize import Normalize

    target = resolve_device(device)
    chosen = "torch" if engine == "auto" else choose_engine(engine, str(target))
    # A copy: the engine moves and rearranges its weights.
    network = copy.deepcopy(network).eval()
    digest = module_digest(network)
    carrier = make_engine(chosen, network, target, digest)
    channels = in_channels or first_channels(network)
    if activation == "auto":
        activation = (
            "sigmoid" if (len(classes) or count_outputs(network, target, channels)) == 1 else "softmax"
        )
    ramps = [Ramp()] * (channels or 1)
    return NetworkPredictor(
        carrier,
        Normalize(ramps, fill_values(ramps)),
        target,
        classes=classes,
        activation=activation,
        in_channels=channels,
        background=0 if activation == "softmax" else None,
        # Weights do not tell what code runs them; a bundle's card does.
        digest=digest + configuration_digest(network),
    )


def first_channels(network: nn.Module) -> int | None:
    """Input channels of a network's first convolution, or None where it has none."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return None


def count_outputs(network: nn.Module, device: torch.device, channels: int | None) -> int:
    """Number of outputs of a network, found by running it on zeros of 64, else 512 pixels a side.

    Raises
    ------
    ModelError
        It runs on neither.
    """
    import torch

    from geoseg.models.engines import first_tensor

    # 64 is quick; networks that halve their input often, or that take one size, want more.
    for side in (64, 512):
        sample = torch.zeros(1, channels or 3, side, side, device=device)
        try:
            with torch.inference_mode():
                return first_tensor(network(sample)).shape[1]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = error
    raise ModelError(f"the network's outputs can't be counted: {reason}. Name its classes.")
