"""The way in: a model by path, module or callable becomes a predictor."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.export import ExportedProgram

from geoseg.errors import InputError, MissingDependencyError, ModelError
from geoseg.files import write_bytes
from geoseg.models.bundle import Bundle, load_module, open_bundle, shipped_model
from geoseg.models.card import ModelCard
from geoseg.models.deepness import metadata_from_card, standardization
from geoseg.models.devices import resolve_device
from geoseg.models.digests import configuration_digest, module_digest
from geoseg.models.engines import (
    Engine,
    OnnxFileEngine,
    TorchEngine,
    choose_engine,
    export_onnx_bytes,
    first_tensor,
    make_engine,
)
from geoseg.models.exported import load_pt2
from geoseg.models.normalize import Normalize, fill_values
from geoseg.models.options import Activation
from geoseg.models.predictor import CallablePredictor, NetworkPredictor, Predictor, activate
from geoseg.models.scaling import Line
from geoseg.typing import PathLike, TestTime

__all__ = ["BundlePredictor", "as_predictor", "describe_model", "export_onnx", "load_model"]


class BundlePredictor(NetworkPredictor):
    """A predictor that came from a bundle. It pickles as its path, like a scene."""

    #: Path, device, engine and auxiliary it was loaded with.
    source: tuple[str, str, str, bool]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (*self.source, self.test_time)


def load_model(
    path: PathLike | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    test_time: TestTime | None = None,
    auxiliary: bool = False,
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
    if bundle.kind == "onnx":
        target = resolve_device("cpu" if device == "auto" else device)
        carrier, digest = _onnx_engine(bundle, target, engine)
    elif bundle.kind == "pt2":
        target = resolve_device(device)
        carrier, digest = _pt2_engine(bundle, target, engine)
    else:
        target = resolve_device(device)
        chosen = choose_engine(engine, target)
        network = load_module(bundle, auxiliary=auxiliary)
        if auxiliary:
            network = _WithActivation(network, bundle.card.activation, len(bundle.card.classes))
        digest = module_digest(network)
        carrier = make_engine(chosen, network, target, digest, strict=engine != "auto")
    predictor = _from_card(bundle.card, carrier, target, digest, auxiliary)
    predictor.source = (str(bundle.path.resolve()), str(target), engine, auxiliary)
    return predictor if test_time is None else predictor.with_test_time(test_time)


def _reload(path: str, device: str, engine: str, auxiliary: bool, test_time: TestTime) -> BundlePredictor:
    return load_model(path, device=device, engine=engine, test_time=test_time, auxiliary=auxiliary)


def _from_card(
    card: ModelCard, engine: Engine, device: torch.device, digest: str, auxiliary: bool
) -> BundlePredictor:
    architecture = card.options.architecture
    extra = json.dumps(architecture.model_dump(mode="json"), sort_keys=True) if architecture else ""
    return BundlePredictor(
        engine,
        Normalize.from_card(card),
        device,
        classes=(*card.classes, *(card.options.auxiliary if auxiliary else ())),
        activation="none" if auxiliary else card.activation,
        in_channels=card.in_channels,
        card=card,
        background=card.background,
        multiple=card.options.multiple,
        test_time=card.options.test_time,
        digest=digest + extra,
    )


def _onnx_engine(bundle: Bundle, device: torch.device, engine: str) -> tuple[Engine, str]:
    if engine not in ("auto", "onnxruntime"):
        raise InputError(f"engine must be auto or onnxruntime for an .onnx model, got {engine}")
    if device.type != "cpu":
        raise InputError(f"device must be cpu for an .onnx model, got {device}")
    content = bundle.weights()
    return OnnxFileEngine(content, bundle.label), hashlib.sha256(content).hexdigest()


def _pt2_engine(bundle: Bundle, device: torch.device, engine: str) -> tuple[Engine, str]:
    if engine not in ("auto", "torch", "compile"):
        raise InputError(f"engine must be one of auto, torch, compile for a .pt2 model, got {engine}")
    content = bundle.weights()
    program = load_pt2(content, bundle.label)
    batch, shape = _program_shape(program, bundle)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    carrier = TorchEngine(program.module(), device, compiled=engine == "compile", batch=batch, shape=shape)
    return carrier, hashlib.sha256(content).hexdigest()


def _program_shape(
    program: ExportedProgram, bundle: Bundle
) -> tuple[int | None, tuple[int | None, int | None]]:
    """What an exported program fixes of its input: (windows a call, (height, width))."""
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    if len(values) != 1 or values[0].ndim != 4:
        raise ModelError(f"{bundle.label} must take one input (N, C, h, w), got {len(values)} inputs")
    batch, channels, height, width = (size if isinstance(size, int) else None for size in values[0].shape)
    if channels not in (None, bundle.card.in_channels):
        raise ModelError(f"{bundle.label} takes {channels} bands, its card says {bundle.card.in_channels}")
    return batch, (height, width)


def as_predictor(
    model: Any,
    *,
    device: str = "auto",
    engine: str = "auto",
    test_time: TestTime | None = None,
    activation: Activation | Literal["auto"] = "auto",
    classes: Sequence[str] = (),
    in_channels: int | None = None,
) -> Predictor:
    """Make a predictor of whatever a caller has.

    Parameters
    ----------
    model
        A predictor (returned as it is), a path to a bundle, a ``torch.nn.Module``, or any callable from
        float32 (N, C, h, w) to (N, K, h, w).
    device, engine, test_time
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
        return load_model(model, device=device, engine=engine, test_time=test_time)
    if isinstance(model, nn.Module):
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
    if test_time is not None and isinstance(predictor, NetworkPredictor | CallablePredictor):
        return predictor.with_test_time(test_time)
    return predictor


def _from_module(
    network: nn.Module,
    device: str,
    engine: str,
    activation: Activation | Literal["auto"],
    classes: tuple[str, ...],
    in_channels: int | None,
) -> NetworkPredictor:
    target = resolve_device(device)
    chosen = "torch" if engine == "auto" else choose_engine(engine, target)
    network = copy.deepcopy(network).eval()
    digest = module_digest(network)
    carrier = make_engine(chosen, network, target, digest)
    channels = in_channels or first_channels(network)
    if activation == "auto":
        activation = (
            "sigmoid" if (len(classes) or count_outputs(network, target, channels)) == 1 else "softmax"
        )
    lines = [Line()] * (channels or 1)
    return NetworkPredictor(
        carrier,
        Normalize(lines, fill_values(lines)),
        target,
        classes=classes,
        activation=activation,
        in_channels=channels,
        background=0 if activation == "softmax" else None,
        digest=digest + configuration_digest(network),
    )


def first_channels(network: nn.Module) -> int | None:
    """Input channels of a network's first convolution, or None where it has none."""
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
    for side in (64, 512):
        try:
            with torch.inference_mode():
                return first_tensor(network(torch.zeros(1, channels or 3, side, side, device=device))).shape[
                    1
                ]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = error
    raise ModelError(f"the network's outputs can't be counted: {reason}. Name its classes.")


def describe_model(path: PathLike | None = None) -> dict[str, Any]:
    """What ``geoseg info`` prints of a model: the card's content in plain words. Weights are verified.

    Raises
    ------
    MissingFileError, ModelError
        As :func:`load_model`.
    """
    bundle = open_bundle(shipped_model() if path is None else path)
    card, options = bundle.card, bundle.card.options
    content = bundle.weights()
    extra = card.properties.model_extra or {}
    return {
        "name": card.name,
        "description": extra.get("description"),
        "path": str(bundle.path),
        "weights": {
            "format": bundle.kind,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
        "architecture": card.properties.architecture,
        "parameters": extra.get("mlm:total_parameters"),
        "bands": list(card.bands) or card.in_channels,
        "dtype": card.dtype,
        "scaling": None
        if card.scaling is None
        else [step and step.model_dump(mode="json") for step in card.scaling],
        "classes": list(card.classes),
        "background": None if card.background is None else card.classes[card.background],
        "activation": card.activation,
        "license": extra.get("license"),
        **options.model_dump(mode="json", exclude={"version", "activation", "architecture"}),
    }


class _WithActivation(nn.Module):
    """Probabilities of a network's first ``classes`` outputs (None: of all), then sigmoids of the others."""

    def __init__(self, network: nn.Module, activation: Activation, classes: int | None = None) -> None:
        super().__init__()
        self.network, self.activation, self.classes = network, activation, classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = first_tensor(self.network(x))
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
    network = _WithActivation(load_module(bundle), card.activation)
    side = -(-max(card.options.window) // card.options.multiple) * card.options.multiple
    model = onnx.load_from_string(export_onnx_bytes(network, (1, card.in_channels, side, side)))
    finished = card.replace_options(
        activation="none", architecture=None, multiple=1, window=[side, side], auxiliary=[]
    )
    onnx.helper.set_model_props(model, metadata_from_card(finished))
    write_bytes(out, model.SerializeToString())
    return out
