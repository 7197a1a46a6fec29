"""Which runtimes there are, and their import without what they would send or leave behind."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any, Literal, TypeAlias, get_args

from geoseg.errors import InputError, MissingDependencyError

__all__ = [
    "ENGINES",
    "EngineName",
    "choose_engine",
    "import_onnxruntime",
    "import_openvino",
    "missing_packages",
    "require",
]

EngineName: TypeAlias = Literal["auto", "torch", "onnxruntime", "openvino", "compile"]
ENGINES: tuple[str, ...] = get_args(EngineName)

_PACKAGES = {"onnxruntime": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}


def choose_engine(name: str, device: str) -> str:
    """The engine to use: ``auto`` is ONNX Runtime on a CPU where it is installed, else PyTorch.

    Parameters
    ----------
    name
        One of :data:`ENGINES`.
    device
        ``cpu``, ``cuda:0`` and so on.

    Raises
    ------
    InputError
        Not an engine, or one that does not run on this device.
    MissingDependencyError
        Its package is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {name}")
    if name == "auto":
        # The runtimes for CPUs are left to CPUs: on a GPU PyTorch runs the network as it is.
        return "onnxruntime" if device == "cpu" and not missing_packages("onnxruntime") else "torch"
    if name in _PACKAGES and device != "cpu":
        raise InputError(f"engine {name} runs on the CPU, got device {device}. Use torch or compile there.")
    require(name)
    return name


def missing_packages(engine: str) -> list[str]:
    """Packages that an engine needs and that are not installed."""
    # Looked for, not imported: an import may take seconds, and write into the user's home.
    return [package for package in _PACKAGES.get(engine, ()) if importlib.util.find_spec(package) is None]


def require(engine: str) -> None:
    """Refuse an engine whose packages are missing.

    Raises
    ------
    MissingDependencyError
        The message names what to install.
    """
    if absent := missing_packages(engine):
        extra = "onnx" if engine == "onnxruntime" else engine
        raise MissingDependencyError(
            f"engine {engine} needs {' and '.join(absent)}. Install with: pip install 'geoseg[{extra}]'"
        )


def import_onnxruntime() -> Any:
    """ONNX Runtime with its telemetry off.

    Importing its newer versions writes an identifier of the device and a queue of events into the user's
    home. Whoever wants that sets ``ORT_DISABLE_TELEMETRY=0``.
    """
    # Before the import, which reads it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def import_openvino() -> Any:
    """OpenVINO with its telemetry off.

    It writes an identifier into the user's home at its first import and reports each conversion, where the
    package ``openvino_telemetry`` can be imported; a stub of its own serves where not. There is no setting.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    # A module of None makes the import fail, which openvino expects where the package is missing.
    hidden = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        importlib.import_module("openvino.tools.ovc")
        return importlib.import_module("openvino")
    finally:
        del sys.modules["openvino_telemetry"]
        if hidden is not None:
            sys.modules["openvino_telemetry"] = hidden
