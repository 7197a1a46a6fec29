"""A bundle as a predictor, which needs torch only when it is called."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError, ModelError
from geoseg.files import json_digest
from geoseg.models.bundle import Bundle, open_bundle
from geoseg.models.devices import device_name
from geoseg.models.exported import input_shape, load_pt2, plain_archive
from geoseg.models.onnx_files import read_onnx
from geoseg.models.options import Activation
from geoseg.models.predictor import cpu_batch_size
from geoseg.models.runtimes import choose_engine
from geoseg.models.scaling import Ramp, band_ramps, fill_values
from geoseg.models.state import load_module
from geoseg.typing import Array, FloatArray, TestTime

if TYPE_CHECKING:
    from geoseg.models.engines import Engine
    from geoseg.models.networks import NetworkPredictor

__all__ = ["BundlePredictor"]


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
            # Without the value in their middle, which only the filling of holes needs.
            ramps = [
                Ramp(ramp.gain, ramp.offset, ramp.low, ramp.high)
                for ramp in band_ramps(self.card.scaling, self.in_channels)
            ]
            if not file.dtype.startswith("float") and any(ramp != Ramp() for ramp in ramps):
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
        return fill_values(band_ramps(self.card.scaling, self.in_channels), self.card.options.fill)

    def fingerprint(self) -> str:
        """Digest of weights, architecture, scaling, activation and turns; not of :attr:`runtime`."""
        options = self.card.options
        ramps = [
            [ramp.gain, ramp.offset, ramp.low, ramp.high]
            for ramp in band_ramps(self.card.scaling, self.in_channels)
        ]
        architecture = None if options.architecture is None else options.architecture.model_dump(mode="json")
        parts = [
            self._digest, architecture, ramps, self.fill_values().tolist(), self.activation, options.multiple,
            self.test_time, self.auxiliary,
        ]  # fmt: skip
        return json_digest(parts)

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

    def on_device(self, device: str) -> BundlePredictor:
        """The same predictor on another device, with a network of its own."""
        return _reopened(str(self.bundle.path), device, self._wanted_engine, self.auxiliary, self.test_time)

    def __copy__(self) -> BundlePredictor:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Absolute: a worker may start in another folder.
        path = str(self.bundle.path.resolve())
        return _reopened, (path, self.device, self._wanted_engine, self.auxiliary, self.test_time)


def _reopened(path: str, device: str, engine: str, auxiliary: bool, test_time: TestTime) -> BundlePredictor:
    bundle = open_bundle(path)
    return BundlePredictor(bundle, device=device, engine=engine, test_time=test_time, auxiliary=auxiliary)


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
