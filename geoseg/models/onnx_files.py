"""Networks that come as .onnx: looked through before a runtime sees them, and opened.

A file is one piece: weights that lie in other files are refused, since a path in it may name any file that
the user can read. It is made of standard operators and of functions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg.errors import MissingDependencyError, ModelError
from geoseg.models.runtimes import import_onnxruntime, missing_packages
from geoseg.typing import Array

__all__ = ["OnnxFile", "onnx_session", "read_onnx"]

#: ONNX's own operators read and write no files.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
#: Of ONNX Runtime's own operators, those that its optimizer and its quantizer put into a network.
_CONTRIBUTED_NAMES = """
    Attention BiasAdd BiasGelu BiasSplitGelu DequantizeLinear DynamicQuantizeMatMul FastGelu FusedConv
    FusedGemm FusedMatMul Gelu GridSample GroupNorm MatMulIntegerToFloat MatMulNBits MultiHeadAttention
    NhwcConv NhwcFusedConv NhwcMaxPool Pad QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat
    QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
    QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu SkipGroupNorm SkipLayerNormalization
    SkipSimplifiedLayerNormalization
"""
_CONTRIBUTED = frozenset(_CONTRIBUTED_NAMES.split())
_INPUT_TYPES = ("float32", "float16", "float64", "uint8", "uint16", "int8", "int16", "int32")
_OUTPUT_TYPES = ("float32", "float16", "float64")
#: More channels than any input has bands: tells (N, h, w, C) from (N, C, h, w) where no card says it.
_MANY = 32
#: Sides that a network is tried at, and what they may have to be multiples of.
_SIDES, _DIVISORS = (64, 128, 256, 512), (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class OnnxFile:
    """A checked network.

    Attributes
    ----------
    content
        The file.
    label
        What messages call it.
    dtype
        Type of its input.
    batch
        Windows that a call takes, or None for any number.
    channels
        Bands that it takes, or None for any number.
    shape
        Height and width that it takes, None where any will do.
    outputs
        Number of its outputs, or None where the file does not say.
    bands_last
        Whether arrays are (N, h, w, C), as networks from TensorFlow have it.
    metadata
        Texts that it carries.
    """

    content: bytes = field(repr=False)
    label: str
    dtype: str
    batch: int | None
    channels: int | None
    shape: tuple[int | None, int | None]
    outputs: int | None
    bands_last: bool
    metadata: Mapping[str, str]

    def open(self, *, threads: int = 0) -> Callable[[Array], Array]:
        """A function from float32 (N, C, h, w) to (N, K, h, w), on the CPU.

        Raises
        ------
        MissingDependencyError
            onnxruntime is not installed.
        ModelError
            The runtime does not take the file.
        """
        session = onnx_session(self.content, self.label, threads=threads)
        source, target = session.get_inputs()[0].name, session.get_outputs()[0].name

        def run(x: Array) -> Array:
            given = self._cast(np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if self.bands_last else x)
            try:
                out: Array = session.run([target], {source: given})[0]
            except Exception as error:  # noqa: BLE001  (the runtime's errors share no public base)
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise ModelError(f"{self.label} can't run on input {given.shape}: {reason}") from None
            # The output of some such networks has its classes in front all the same.
            if self.bands_last and out.ndim == 4 and out.shape[1:3] == given.shape[1:3]:
                return np.ascontiguousarray(out.transpose(0, 3, 1, 2))
            return out

        return run

    def divisor(self, run: Callable[[Array], Array]) -> int:
        """What the sides of the input must be multiples of, found by trying; 1 where they are fixed.

        A network halves its input several times and joins the halves again: other sides than multiples of
        2, 4, ... either fail or give an output of another size.

        Raises
        ------
        ModelError
            It runs on none of them.
        """
        sides = tuple(side for side in self.shape if side is not None)
        if len(sides) == 2:
            self._try(run, *sides)
            return 1
        reason: ModelError | None = None
        for side in _SIDES:
            try:
                self._try(run, side, side)
            except ModelError as error:
                reason = error
                continue
            return next(step for step in _DIVISORS if step == side or self._works(run, side + step))
        raise reason or ModelError(f"{self.label} can't run")

    def _works(self, run: Callable[[Array], Array], side: int) -> bool:
        try:
            self._try(run, side, side)
        except ModelError:
            return False
        return True

    def _try(self, run: Callable[[Array], Array], height: int, width: int) -> None:
        sides = (self.shape[0] or height, self.shape[1] or width)
        out = run(np.zeros((self.batch or 1, self.channels or 3, *sides), np.float32))
        if out.ndim != 4 or out.shape[-2:] != sides:
            raise ModelError(
                f"{self.label} must return (N, K, h, w) of its input's sides {sides}, got {out.shape}"
            )

    def _cast(self, x: Array) -> Array:
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return x.astype(kind, copy=False)
        limits = np.iinfo(kind)
        if x.size and (x.min() < limits.min or x.max() > limits.max):
            raise ModelError(
                f"{self.label} takes {self.dtype} pixels, got values from {x.min():g} to {x.max():g}. "
                "Scale the scene to that type first."
            )
        # Resampled pixels are not whole; cutting would darken them.
        return np.rint(x).astype(kind)


def onnx_session(content: bytes, name: str, *, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU.

    Raises
    ------
    MissingDependencyError
        onnxruntime is not installed.
    ModelError
        The file is broken.
    """
    if "onnxruntime" in missing_packages("onnxruntime"):
        raise MissingDependencyError(f"{name} needs onnxruntime. Install it with: pip install 'geoseg[onnx]'")
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # its errors come back as exceptions
    # Otherwise bytes that look like ONNX Runtime's own format would be read as that, past all checks.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  (the runtime's errors share no public base)
        raise ModelError(f"{name} is no sound ONNX network: {error}") from None


def read_onnx(content: bytes, label: str, channels: int | None = None) -> OnnxFile:
    """Look through an .onnx file.

    Parameters
    ----------
    content
        The file.
    label
        What messages call it.
    channels
        Bands that a card states.

    Raises
    ------
    MissingDependencyError
        onnx is not installed.
    ModelError
        It is broken, keeps weights elsewhere, has operators of other packages, or does not map one image to
        another.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError(
            f"{label} needs onnx. Install it with: pip install 'geoseg[onnx]'"
        ) from None
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # noqa: BLE001  (protobuf has errors of its own in each version)
        raise ModelError(f"{label} is no sound ONNX network: {error}") from None
    if not model.graph.node:
        raise ModelError(f"{label} is no sound ONNX network: it has no nodes")
    _check_parts(model, label)
    # Old files list weights among their inputs.
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    if len(inputs) != 1 or not model.graph.output:
        raise ModelError(f"{label} must map one (N, C, h, w) input to (N, K, h, w), got {len(inputs)} inputs")
    output = model.graph.output[0]
    if not output.type.tensor_type.HasField("shape"):
        inferred = onnx.shape_inference.infer_shapes(model).graph.output[0]
        output = inferred if inferred.type.tensor_type.HasField("shape") else output
    shape, out_shape = _dimensions(inputs[0]), _dimensions(output)
    if len(shape) != 4 or len(out_shape) not in (0, 4):
        raise ModelError(
            f"{label} must map one (N, C, h, w) input to (N, K, h, w), "
            f"got {_text(shape)} to {_text(out_shape)}"
        )
    last = _bands_last(shape, channels)
    batch, bands, height, width = (shape[axis] for axis in ((0, 3, 1, 2) if last else (0, 1, 2, 3)))
    if channels is not None and bands not in (None, channels):
        raise ModelError(f"{label} takes {bands} bands, its card says {channels}")
    _data_type(output, "return probabilities or logits as", _OUTPUT_TYPES, label)
    return OnnxFile(
        content,
        label,
        dtype=_data_type(inputs[0], "take pixels as", _INPUT_TYPES, label),
        batch=batch,
        channels=bands or channels,
        shape=(height, width),
        outputs=out_shape[3 if last else 1] if out_shape else None,
        bands_last=last,
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _check_parts(model: Any, label: str) -> None:
    """Refuse weights in other files and operators of other packages, at any depth."""
    # A runtime takes its own operator before a function of the same name.
    own = {
        (function.domain, function.name)
        for function in model.functions
        if not function.domain.startswith(("ai.onnx", "com.microsoft", "com.ms"))
    }
    for part in _messages(model):
        kind = part.DESCRIPTOR.name
        if kind == "TensorProto" and (part.data_location or len(part.external_data)):
            raise ModelError(
                f"{label} keeps weights in another file, which a bundle never reads. Save it in one piece: "
                "onnx.save_model(onnx.load(path), path, save_as_external_data=False)"
            )
        if kind == "NodeProto" and part.domain not in _DOMAINS:
            contributed = part.domain == "com.microsoft" and part.op_type in _CONTRIBUTED
            if not contributed and (part.domain, part.op_type) not in own:
                raise ModelError(
                    f"{label} must be built of ONNX's own operators, got {part.domain}.{part.op_type}. "
                    "Export the network without it."
                )


def _messages(message: Any) -> Iterator[Any]:
    """A message and all that it holds: graphs in graphs, functions, attributes, tensors."""
    # A stack: subgraphs may lie deeper than Python's recursion goes.
    stack = [message]
    while stack:
        message = stack.pop()
        yield message
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None:
                stack.extend([value] if hasattr(value, "ListFields") else value)


def _dimensions(value: Any) -> list[int | None]:
    return [
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None
        for size in value.type.tensor_type.shape.dim
    ]


def _text(shape: list[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "no shape"


def _bands_last(shape: list[int | None], channels: int | None) -> bool:
    """Whether an input is (N, h, w, C)."""
    second, last = shape[1], shape[3]
    if channels is not None:
        # (N, 3, h, 3) is taken for bands first, PyTorch's order.
        return last == channels and second != channels
    return last is not None and last < _MANY and (second is None or second >= _MANY)


def _data_type(value: Any, does: str, allowed: tuple[str, ...], label: str) -> str:
    from onnx import TensorProto, helper

    number = value.type.tensor_type.elem_type
    try:
        name = str(helper.tensor_dtype_to_np_dtype(number)) if number else "nothing"
    except KeyError:
        name = f"the unknown type {number}"
    if name not in allowed or number == TensorProto.BFLOAT16:
        raise ModelError(f"{label} must {does} {', '.join(allowed)}, got {name}")
    return name
