"""The way in: a model by path, module or callable becomes a predictor. Nothing here needs torch at once."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geoseg.errors import InputError, ModelError
from geoseg.models.bundle import Bundle, load_module, open_bundle, shipped_model
from geoseg.models.devices import device_name, resolve_device
from geoseg.models.exported import input_shape, load_pt2, plain_archive
from geoseg.models.onnx_files import read_onnx
from geoseg.models.options import Activation
from geoseg.models.predictor import CallablePredictor, Predictor, cpu_batch_size
from geoseg.models.runtimes import choose_engine
from geoseg.models.scaling import Line, band_lines, fill_values
from geoseg.typing import Array, FloatArray, PathLike, TestTime

if TYPE_CHECKING:
    import torch
    from torch import nn

    from geoseg.models.engines import Engine
    from geoseg.models.networks import NetworkPredictor

__all__ = ["BundlePredictor", "as_predictor", "describe_model", "load_model"]


class BundlePredictor:
    """A bundle as a predictor: all but its calls is known from the card and the weights' checksum.

    The network, and torch with it, is loaded at the first call or by :meth:`load`. It pickles as its path,
    like a scene.

    Parameters
    ----------
    bundle
        Its weights are read and checked at once.
    device, engine, test_time, auxiliary
        As in :func:`load_model`.
    """

    def __init__(
        self, bundle: Bundle, *, device: str, engine: str, test_time: TestTime | None, auxiliary: bool
    ) -> None:
        card = bundle.card
        self.bundle, self.card, self.auxiliary = bundle, card, auxiliary
        self.classes = (*card.classes, *(card.options.auxiliary if auxiliary else ()))
        self.background, self.in_channels = card.background, card.in_channels
        self.activation: Activation = "none" if auxiliary else card.activation
        self.test_time: TestTime = card.options.test_time if test_time is None else test_time
        self._wanted_engine = engine
        # A file of ONNX runs on the CPU alone, whatever the machine has.
        self.device = "cpu" if bundle.kind == "onnx" and device == "auto" else device_name(device)
        content = bundle.weights()
        self._digest = hashlib.sha256(content).hexdigest()
        self._engine, self._batch = self._settle(content)
        # Shared with the copies that with_test_time makes.
        self._loaded: list[NetworkPredictor] = []
        # Several threads may call a predictor, and each would load the network for itself.
        self._lock = threading.Lock()

    def _settle(self, content: bytes) -> tuple[str, int | None]:
        """Name of the engine, and the windows that one of its calls takes."""
        kind, label, engine = self.bundle.kind, self.bundle.label, self._wanted_engine
        if kind == "onnx":
            if engine not in ("auto", "onnxruntime"):
                raise InputError(f"engine must be auto or onnxruntime for an .onnx model, got {engine}")
            if self.device != "cpu":
                raise InputError(f"device must be cpu for an .onnx model, got {self.device}")
            file = read_onnx(content, label, self.in_channels)
            lines = band_lines(self.card.scaling, self.in_channels)
            if not file.dtype.startswith("float") and any(line != Line() for line in _uncentered(lines)):
                raise ModelError(
                    f"{label} takes {file.dtype} pixels as they are: its card must not state a value_scaling"
                )
            return "onnxruntime", file.batch
        if kind == "pt2":
            if engine not in ("auto", "torch", "compile"):
                raise InputError(f"engine must be one of auto, torch, compile for a .pt2 model, got {engine}")
            batch, channels, *_ = input_shape(plain_archive(content, label), label)
            if channels not in (None, self.in_channels):
                raise ModelError(f"{label} takes {channels} bands, its card says {self.in_channels}")
            return "compile" if engine == "compile" else "torch", batch
        if self.auxiliary and not self.card.options.auxiliary:
            raise ModelError(f"{self.bundle.path} must keep auxiliary outputs, got none in its card")
        chosen = choose_engine(engine, self.device)
        return chosen, 1 if chosen in ("onnxruntime", "openvino") else None

    def load(self) -> NetworkPredictor:
        """The network behind an engine, loaded once.

        Raises
        ------
        ModelError
            The weights are corrupt, changed meanwhile, or not those of the network that the card names.
        """
        with self._lock:
            if not self._loaded:
                self._loaded.append(_load(self))
            return self._loaded[0]

    def __call__(self, batch: Array, /) -> FloatArray:
        """From (N, C, h, w) in the scene's own type to (N, K, h, w) float32 probabilities."""
        return self.load().with_test_time(self.test_time)(batch)

    @property
    def engine(self) -> Engine:
        """What carries the network out; loads it."""
        return self.load().engine

    @property
    def notes(self) -> list[str]:
        """What a user should be told of the output so far, each once."""
        return self._loaded[0].notes if self._loaded else []

    @property
    def runtime(self) -> str:
        """What carries the network out, such as ``onnxruntime on cpu``; the last bits depend on it."""
        return f"{self._engine} on {self.device.partition(':')[0]}"

    def fill_values(self) -> FloatArray:
        """Raw value of each channel that stands for "no data", (C,) float32."""
        return fill_values(band_lines(self.card.scaling, self.in_channels), self.card.options.fill)

    def fingerprint(self) -> str:
        """Digest of weights, architecture, scaling, activation and turns; not of :attr:`runtime`."""
        options = self.card.options
        lines = [
            [line.gain, line.offset, line.low, line.high]
            for line in band_lines(self.card.scaling, self.in_channels)
        ]
        architecture = None if options.architecture is None else options.architecture.model_dump(mode="json")
        parts = [
            self._digest, architecture, lines, self.fill_values().tolist(), self.activation, options.multiple,
            self.test_time, self.auxiliary,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def batch_size_default(self, window: tuple[int, int]) -> int:
        """A good number of windows a batch."""
        if self._batch is not None:
            return 1
        if self.device == "cpu":
            return cpu_batch_size(window)
        # Only a GPU has to be asked how much memory it has left.
        return self.load().batch_size_default(window)

    def with_test_time(self, test_time: TestTime) -> BundlePredictor:
        """The same predictor with other test-time turns; the network is shared."""
        other = copy.copy(self)
        other.test_time = test_time
        return other

    def __copy__(self) -> BundlePredictor:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Absolute: a worker may start in another folder.
        path = str(self.bundle.path.resolve())
        return _reload, (path, self.device, self._wanted_engine, self.auxiliary, self.test_time)


def _reload(path: str, device: str, engine: str, auxiliary: bool, test_time: TestTime) -> BundlePredictor:
    return load_model(path, device=device, engine=engine, test_time=test_time, auxiliary=auxiliary, lazy=True)


def _uncentered(lines: Sequence[Line]) -> list[Line]:
    """Lines without the value in their middle, which only the filling of holes needs."""
    return [Line(line.gain, line.offset, line.low, line.high) for line in lines]


def _load(predictor: BundlePredictor) -> NetworkPredictor:
    """Build the network of a bundle and put it behind its engine."""
    import torch

    from geoseg.models.engines import OnnxFileEngine, TorchEngine, make_engine
    from geoseg.models.export import WithActivation
    from geoseg.models.networks import NetworkPredictor
    from geoseg.models.normalize import Normalize

    bundle, card = predictor.bundle, predictor.card
    device, digest = torch.device(predictor.device), predictor._digest
    content = bundle.weights()
    # The fingerprint of the run was taken from the weights as they were opened.
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"{bundle.label} changed since it was opened. Load the model again.")
    multiple, label = card.options.multiple, bundle.label
    engine: Engine
    if bundle.kind == "onnx":
        engine = OnnxFileEngine(read_onnx(content, label, card.in_channels))
        multiple = max(multiple, engine.multiple)
    elif bundle.kind == "pt2":
        batch, _, *sides = input_shape(plain_archive(content, label), label)
        program = load_pt2(content, label)
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        engine = TorchEngine(
            program.module(),
            device,
            compiled=predictor._engine == "compile",
            batch=batch,
            shape=(sides[0], sides[1]),
        )
    else:
        network = load_module(bundle, auxiliary=predictor.auxiliary)
        if predictor.auxiliary:
            network = WithActivation(network, card.activation, len(card.classes))
        # Auxiliary outputs and activation are part of the exported graph, so of its name in the cache.
        key = digest + json.dumps([predictor.classes, predictor.activation])
        engine = make_engine(
            # Who names an engine wants that one; "auto" may fall back to PyTorch.
            predictor._engine,
            network,
            device,
            key,
            strict=predictor._wanted_engine != "auto",
        )
    return NetworkPredictor(
        engine,
        Normalize.from_card(card),
        device,
        classes=predictor.classes,
        activation=predictor.activation,
        in_channels=card.in_channels,
        card=card,
        background=card.background,
        multiple=multiple,
        test_time=predictor.test_time,
        digest=digest,
    )


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
    lines = [Line()] * (channels or 1)
    return NetworkPredictor(
        carrier,
        Normalize(lines, fill_values(lines)),
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


def describe_model(path: PathLike | None = None) -> dict[str, Any]:
    """What ``geoseg info`` prints of a model: the card's content in plain words.

    Weights are verified; a graph that a bundle brings along (.pt2, .onnx) is looked through, and an .onnx
    file is tried on small images.

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
        "input": _describe_input(bundle, content),
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


def _describe_input(bundle: Bundle, content: bytes) -> str:
    """Type and sides of the arrays that the network takes."""
    multiple, dtype = bundle.card.options.multiple, "float32"
    sides: tuple[int | None, ...] = (None, None)
    if bundle.kind == "pt2":
        sides = input_shape(plain_archive(content, bundle.label), bundle.label)[2:]
    elif bundle.kind == "onnx":
        file = read_onnx(content, bundle.label, bundle.card.in_channels)
        multiple, dtype, sides = max(multiple, file.divisor(file.open())), file.dtype, file.shape
    if None not in sides:
        return f"{dtype}, {sides[0]} x {sides[1]} px"
    return f"{dtype}, sides are multiples of {multiple} px (others are padded)"
