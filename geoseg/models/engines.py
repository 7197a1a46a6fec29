"""Runtimes that carry a network out: eager or compiled PyTorch, ONNX Runtime, OpenVINO.

An engine maps a normalized float32 batch to the network's output, nothing else; normalization,
activation and padding are the predictor's (:mod:`geoseg.models.predictor`), the same for all.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.files.cache import cached_bytes
from geoseg.models.devices import amp_dtype
from geoseg.models.fold import fold_batch_norms
from geoseg.models.onnx_files import OnnxFile, onnx_session
from geoseg.models.packed import pack_convolutions
from geoseg.models.runtimes import import_onnxruntime, import_openvino, require

__all__ = [
    "Engine",
    "OnnxFileEngine",
    "OnnxRuntimeEngine",
    "OpenVinoEngine",
    "TorchEngine",
    "export_onnx_bytes",
    "make_engine",
]

_LOG = logging.getLogger(__name__)
# A scene has windows of one size; a few more leave room for scenes smaller than the window.
_KEPT_SHAPES = 4
# Enough to see which batch norm follows which convolution; a whole window would double the first run.
_CORNER = 128


class Engine(Protocol):
    """Runs a network."""

    name: str
    #: Windows that one call takes, or None for any number.
    batch: int | None
    #: Height and width that a call takes, None where any will do.
    shape: tuple[int | None, int | None]

    def __call__(self, x: Tensor) -> Tensor:
        """From (N, C, h, w) float32 to the network's output (N, K, h, w), on the same device."""


class TorchEngine:
    """PyTorch, eager or compiled: channels-last, batch norms folded, mixed precision on CUDA.

    Parameters
    ----------
    network
        A network in evaluation mode, on ``device``.
    device
        Where it runs.
    compiled
        Whether to compile it.
    batch, shape
        What the network fixes of its input.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Any],
        device: torch.device,
        *,
        compiled: bool = False,
        batch: int | None = None,
        shape: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.name = "compile" if compiled else "torch"
        self.batch, self.shape, self.device, self.compiled = batch, shape, device, compiled
        self.network = network
        # Prepared at the first batch, which shows the network a real input.
        self._run: Callable[[Tensor], Any] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Run the network."""
        if self._run is None:
            network = self.network
            if isinstance(network, nn.Module):
                network = fold_batch_norms(network, x[:1, :, :_CORNER, :_CORNER])
                # What is compiled packs its weights itself.
                if self.device.type == "cpu" and not self.compiled:
                    network = pack_convolutions(network)
            self._run = torch.compile(network) if self.compiled else network
        dtype = amp_dtype(self.device)
        mixed = torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()
        with torch.inference_mode(), mixed:
            return first_tensor(self._run(x.contiguous(memory_format=torch.channels_last))).float()

    def __getstate__(self) -> dict[str, Any]:
        # A compiled network does not pickle; the copy makes its own.
        return {**self.__dict__, "_run": None}


class _ByShape(ABC):
    """Base of engines that convert the network for each input shape, one window a call."""

    name: str
    batch: int | None = 1
    shape: tuple[int | None, int | None] = (None, None)

    def __init__(self, network: nn.Module, key: str) -> None:
        self.network, self.key = network.eval(), key
        self._runners: OrderedDict[tuple[int, ...], Callable[[Tensor], Tensor]] = OrderedDict()

    def __call__(self, x: Tensor) -> Tensor:
        """Run one window with the runner of its shape, made when the shape is new."""
        size = tuple(x.shape)
        if size not in self._runners:
            # The one that was not used for the longest time goes.
            while len(self._runners) >= _KEPT_SHAPES:
                self._runners.popitem(last=False)
            self._runners[size] = self.convert(size)
        self._runners.move_to_end(size)
        return self._runners[size](x.contiguous())

    @abstractmethod
    def convert(self, size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        """A runner for inputs of exactly this shape."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_runners": OrderedDict()}


class OnnxRuntimeEngine(_ByShape):
    """ONNX Runtime on the CPU; the exported network is kept in the user's cache folder.

    Parameters
    ----------
    network
        Any torch network that exports.
    key
        Digest of its weights, the cache's key.
    fallback
        What to run when the network does not export; None: raise.
    """

    name = "onnxruntime"

    def __init__(self, network: nn.Module, key: str, fallback: Engine | None = None) -> None:
        super().__init__(network, key)
        self.fallback = fallback

    def convert(self, size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        """Export for this shape (or take the kept export) and open a session."""
        try:
            session = self._session(size)
            source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
            return lambda x: torch.from_numpy(session.run([target], {source: x.contiguous().numpy()})[0])
        except ModelError as error:
            if self.fallback is None:
                raise
            _LOG.warning("%s; going on with PyTorch", error)
            return self.fallback

    def _session(self, size: tuple[int, ...]) -> Any:
        # Another torch may export another graph.
        text = f"{self.key} {size} {torch.__version__}"
        key = f"engines/{hashlib.sha256(text.encode()).hexdigest()[:40]}.onnx"
        threads = torch.get_num_threads()
        try:
            return onnx_session(
                cached_bytes(key, lambda: export_onnx_bytes(self.network, size)), key, threads=threads
            )
        except ModelError:
            _LOG.info("kept export %s is broken; making it again", key)
        content = cached_bytes(key, lambda: export_onnx_bytes(self.network, size), fresh=True)
        return onnx_session(content, key, threads=threads)


class OnnxFileEngine:
    """ONNX Runtime on a network that came as .onnx.

    Parameters
    ----------
    file
        The network, checked.
    """

    name = "onnxruntime"

    def __init__(self, file: OnnxFile) -> None:
        self.batch, self.shape = file.batch, file.shape
        self._run = file.open(threads=torch.get_num_threads())
        #: What the sides of the input must be multiples of.
        self.multiple = file.divisor(self._run)

    def __call__(self, x: Tensor) -> Tensor:
        """Run the session."""
        return torch.from_numpy(self._run(x.contiguous().numpy()))


class OpenVinoEngine(_ByShape):
    """OpenVINO on the CPU, in float32."""

    name = "openvino"

    def convert(self, size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        """Convert and compile for this shape."""
        openvino = import_openvino()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = openvino.convert_model(
                    self.network, example_input=torch.zeros(size), input=[list(size)]
                )
            # By default OpenVINO takes bfloat16 where the processor has it, and results would depend on the
            # machine.
            hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            compiled = openvino.Core().compile_model(model, "CPU", hints)
        except Exception as error:
            raise ModelError(f"the network can't be converted for OpenVINO: {_first_line(error)}") from error
        # A copy: the next call writes into the same buffer.
        return lambda x: torch.from_numpy(compiled(x.numpy())[0].copy())


def export_onnx_bytes(network: nn.Module, size: tuple[int, ...]) -> bytes:
    """The network as ONNX for inputs of exactly this shape.

    Raises
    ------
    MissingDependencyError
        onnxscript, which the exporter needs, is not installed.
    ModelError
        The network does not export.
    """
    require("onnxruntime")
    import_onnxruntime()  # before the exporter does
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (torch.zeros(size),),
                input_names=["input"],
                output_names=["output"],
                dynamo=True,
                verbose=False,
            )
            cast(Any, program).save(buffer)
    except Exception as error:
        raise ModelError(f"the network can't be exported to ONNX: {_first_line(error)}") from error
    return buffer.getvalue()


def make_engine(
    name: str, network: nn.Module, device: torch.device, key: str, *, strict: bool = True
) -> Engine:
    """An engine by its (chosen) name.

    Parameters
    ----------
    name
        From :func:`choose_engine`.
    network
        The torch network.
    device
        Where to run.
    key
        Digest of the weights.
    strict
        Whether a network that does not export is an error; otherwise PyTorch runs it.
    """
    if name == "onnxruntime":
        fallback = None if strict else make_engine("torch", network, device, key)
        return OnnxRuntimeEngine(network, key, fallback)
    if name == "openvino":
        return OpenVinoEngine(network, key)
    # Convolutions of PyTorch are faster with channels last in memory.
    network = network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchEngine(network, device, compiled=name == "compile")


def first_tensor(output: Any) -> Tensor:
    """The main output of a network that may return several."""
    # torchvision's networks give {"out": ..., "aux": ...}.
    if isinstance(output, dict):
        output = output.get("out", next(iter(output.values())))
    while isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise ModelError(f"the network must return a tensor (N, K, h, w), got {type(output).__name__}")
    return output


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
