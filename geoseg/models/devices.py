"""Which device to run on, and how to make the C library keep big buffers."""

from __future__ import annotations

import ctypes
import platform
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from geoseg.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["amp_dtype", "available_devices", "device_name", "resolve_device", "tune_malloc"]

#: One of these is there wherever Linux has a GPU that torch could use: NVIDIA's, AMD's, that of Windows.
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8


def available_devices() -> tuple[str, ...]:
    """Names of the devices of this machine, ``cpu`` first."""
    import torch

    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return (*names, "mps") if torch.backends.mps.is_available() else tuple(names)


def resolve_device(name: str = "auto", *, missing: Literal["error", "cpu"] = "error") -> torch.device:
    """A device by name.

    Parameters
    ----------
    name
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    missing
        What to do when the machine has no such device: raise, or warn and take the CPU.

    Raises
    ------
    InputError
        The name means nothing, or the device is not there and ``missing`` is ``error``.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    have = available_devices()
    if name == "auto":
        return torch.device(have[1] if len(have) > 1 and have[1].startswith("cuda") else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted in have:
        return torch.device(wanted)
    known = name == "mps" or name == "cuda" or (name.startswith("cuda:") and name[5:].isdigit())
    message = f"device must be one of auto, {', '.join(have)} on this machine, got {name}."
    if missing == "error" or not known:
        raise InputError(f"{message} Use auto to take what is there.")
    # A config written on a machine with GPUs must run on one without.
    warnings.warn(f"{message} Going on with the CPU.", RuntimeWarning, stacklevel=2)
    return torch.device("cpu")


def device_name(name: str = "auto") -> str:
    """Name of a device as :func:`resolve_device` has it; torch is imported only where it has to be asked.

    Raises
    ------
    InputError
        As :func:`resolve_device`.

    Examples
    --------
    >>> device_name("cpu")
    'cpu'
    """
    # Looked for in the file system: to ask torch takes seconds, which geoseg --help and a run by ONNX Runtime
    # do not have to spend.
    without = sys.platform == "darwin" or (
        sys.platform == "linux" and not any(Path(file).exists() for file in _GPU_FILES)
    )
    return "cpu" if name == "cpu" or (name == "auto" and without) else str(resolve_device(name))


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Type for mixed precision: bfloat16 or float16 on CUDA, None elsewhere."""
    if device.type != "cuda":
        return None
    import torch

    # Ampere (8.0) was the first with bfloat16, which never overflows where float32 does not.
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def tune_malloc() -> bool:
    """Make glibc keep freed memory instead of giving it back and faulting it in again.

    The activations of a network are large and short-lived; by default each is mapped afresh and every
    page of it faulted in. One arena serves all threads, so that what one frees the others can use. Works
    for the whole process, so it is meant for programs (the command line), not for libraries. Call it
    before the first big allocation.

    Returns
    -------
    bool
        Whether anything was changed: False unless the C library is glibc on Linux.

    References
    ----------
    mallopt(3), M_ARENA_MAX, M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    done = [mallopt(_M_ARENA_MAX, 1), mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)]
    return all(done)
