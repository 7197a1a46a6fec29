"""What a model is, as a hash: kept results are used again only where it is the same.

Two models that differ must never share a digest, for the second would be given the results of the first.
So whatever a callable can depend on is looked at: its code, defaults, closure and the globals it names,
the state of the object it belongs to. What can't be looked into (a session of another runtime) counts as
new in every process: a run with it is refused rather than continued by mistake. A method ``fingerprint()``
on the callable settles it.

``dask.base.tokenize`` is no replacement, though it is shorter: it tells a function by its pickle, where a
function of a module is its name alone. A function whose code changed, or a global that it reads, keeps its
token, and a run would go on with another model's windows (tests/models/test_digests.py shows it).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["callable_digest", "configuration_digest", "module_digest"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, PurePath)
#: Objects that no result depends on.
_IRRELEVANT = (logging.Logger, logging.Handler, type(threading.Lock()), type(threading.RLock()))
_Seen: TypeAlias = dict[int, tuple[int, Any]]
_numbers = itertools.count()
_opaque: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def module_digest(network: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of a network's state, and the kind of network."""
    digest = hashlib.sha256(f"{type(network).__module__}.{type(network).__qualname__}".encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(_tensor_bytes(value))
    return digest.hexdigest()


def configuration_digest(network: nn.Module) -> str:
    """SHA-256 over what a network's weights do not tell: its layers, their settings and code."""
    return _sha256(_of_modules(network, {}))


def callable_digest(function: Callable[..., Any]) -> str:
    """Digest of a callable: its own ``fingerprint()`` where it has one, else of all it is made of.

    Examples
    --------
    >>> def above(limit):
    ...     return lambda batch: batch > limit
    >>> callable_digest(above(1)) == callable_digest(above(1))
    True
    >>> callable_digest(above(1)) == callable_digest(above(2))
    False
    """
    own = getattr(function, "fingerprint", None)
    if callable(own):
        return str(own())
    return _sha256(_of(function, {}))


def _sha256(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # The length first: "ab", "c" and "a", "bc" must not be one.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _tensor_bytes(value: torch.Tensor) -> Any:
    import torch

    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _of(item: Any, seen: _Seen) -> Iterator[bytes]:
    """Bytes that stand for anything a callable may hold."""
    # 1, 1.0 and True are equal and need not give equal results.
    yield type(item).__qualname__.encode()
    torch: Any = sys.modules.get("torch")  # what nobody has imported made none of the objects
    if isinstance(item, _PLAIN) or (torch is not None and isinstance(item, torch.device | torch.dtype)):
        yield repr(item).encode()
        return
    # Objects may hold each other in a ring.
    if id(item) in seen:
        yield str(seen[id(item)][0]).encode()
        return
    seen[id(item)] = len(seen), item  # kept alive, so that no other object takes its id
    if isinstance(item, np.ndarray) and not item.dtype.hasobject:
        yield f"{item.dtype} {item.shape}".encode()
        yield np.ascontiguousarray(item).tobytes()
    elif torch is not None and isinstance(item, torch.Tensor):
        yield f"{item.dtype} {tuple(item.shape)}".encode()
        yield _tensor_bytes(item).tobytes()
    elif torch is not None and isinstance(item, torch.nn.Module):
        yield module_digest(item).encode()
        yield from _of_modules(item, seen)
    elif isinstance(item, Mapping):
        # Order of insertion changes no result, and differs between processes.
        for key in sorted(item, key=repr):
            yield from _of(key, seen)
            yield from _of(item[key], seen)
    elif isinstance(item, list | tuple | set | frozenset):
        # The order of a set depends on the seed of hashes, which is new in each process.
        for part in sorted(item, key=repr) if isinstance(item, set | frozenset) else item:
            yield from _of(part, seen)
    elif not isinstance(item, _IRRELEVANT):
        yield from _of_code(item, seen)


def _of_code(item: Any, seen: _Seen) -> Iterator[bytes]:
    """Functions, methods, classes and objects."""
    if isinstance(item, functools.partial):
        for part in (item.func, item.args, item.keywords):
            yield from _of(part, seen)
    elif isinstance(item, types.MethodType):
        yield from _of(item.__func__, seen)
        yield from _of(item.__self__, seen)
    elif isinstance(item, types.FunctionType):
        yield from _of_function(item, seen)
    elif isinstance(item, type | types.ModuleType | types.BuiltinFunctionType | np.ufunc):
        yield f"{getattr(item, '__module__', '')}.{item.__name__}".encode()
    elif hasattr(item, "__dict__") and type(item).__module__ != "builtins":
        yield from _of_object(item, seen)
    else:
        yield from _of_extension(item, seen)


def _of_function(function: types.FunctionType, seen: _Seen) -> Iterator[bytes]:
    yield f"{function.__module__}.{function.__qualname__}".encode()
    yield from _of_bytecode(function.__code__)
    for part in (function.__defaults__, function.__kwdefaults__):
        yield from _of(part, seen)
    for cell in function.__closure__ or ():
        try:
            yield from _of(cell.cell_contents, seen)
        except ValueError:  # a name that has no value yet
            yield b"empty"
    # A global that code names is as much a part of the result as an argument.
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if value is None:
            continue
        yield name.encode()
        if isinstance(value, types.FunctionType) and value.__module__ != function.__module__:
            yield f"{value.__module__}.{value.__qualname__}".encode()  # a library's: by name
        else:
            yield from _of(value, seen)


def _of_bytecode(code: types.CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _of_bytecode(constant)
        else:
            ordered = sorted(constant, key=repr) if isinstance(constant, frozenset) else constant
            yield repr(ordered).encode()


def _names(code: types.CodeType) -> list[str]:
    """Global names that code and the code inside it use, sorted."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_names(constant))
    return sorted(names)


def _of_object(item: Any, seen: _Seen) -> Iterator[bytes]:
    """An object by its class, the code that is called, and its attributes."""
    kind = type(item)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    call = getattr(kind, "__call__", None)  # noqa: B004
    if isinstance(call, types.FunctionType):
        yield from _of_function(call, seen)
    for name in sorted(vars(item)):
        yield name.encode()
        yield from _of(vars(item)[name], seen)


def _of_modules(network: nn.Module, seen: _Seen) -> Iterator[bytes]:
    from torch import nn

    # Of every module: its weights, which the digest of the module covers, and torch's own books.
    common = frozenset(vars(nn.Module()))
    for name, module in network.named_modules():
        kind = type(module)
        yield f"{name} {kind.__module__}.{kind.__qualname__}".encode()
        if not kind.__module__.startswith("torch.") and isinstance(kind.forward, types.FunctionType):
            yield from _of_function(kind.forward, seen)
        for key in sorted(set(vars(module)) - common):
            yield key.encode()
            yield from _of(vars(module)[key], seen)


def _of_extension(item: Any, seen: _Seen) -> Iterator[bytes]:
    """An object of compiled code: by what it would be pickled as, or as one that is not known again."""
    try:
        parts = item.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - whatever it raises, it does not pickle
        yield _token(item).encode()
        return
    yield from _of(parts, seen)


def _token(item: Any) -> str:
    """A name for what can't be looked into: the same for the same object, and never again after."""
    try:
        return _opaque.setdefault(item, _fresh())
    except TypeError:  # it takes no weak references
        return _fresh()


def _fresh() -> str:
    return f"{os.urandom(8).hex()} {next(_numbers)}"
