"""Programs saved by ``torch.export`` (.pt2), read without ever running a pickle.

The format can carry pickles: weights of unusual tensor types, custom objects, and the sample inputs.
``torch.export.load`` runs them. So the archive is looked through first, and refused where it holds any
that is more than plain tensors.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch.export import ExportedProgram

from geoseg.errors import ModelError

__all__ = ["check_pt2", "load_pt2", "save_pt2"]

_SYMBOL = re.compile(r"[a-z]{1,3}\d+|-?\d+(\.\d*)?|oo|int_oo|True|False")
_CODE = {".pkl", ".so", ".py", ".o", ".cpp"}

#: Constructors that a shape expression may call: arithmetic, comparison, and the symbols themselves.
# fmt: off
_CALLS = frozenset({
    "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Equality", "Eq", "Float", "FloatPow",
    "FloatTrueDiv", "FloorDiv", "FloorToInt", "Ge", "GreaterThan", "Gt", "IntTrueDiv", "Integer", "Le",
    "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Piecewise",
    "Pow", "PowByNatural", "PythonMod", "Rational", "RoundToInt", "StrictGreaterThan", "StrictLessThan",
    "Symbol", "TruncToInt", "Unequality", "Where",
})
# fmt: on
_PLAIN_NODES = (
    ast.Expression,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.keyword,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
    ast.Compare,
    ast.cmpop,
    ast.BoolOp,
    ast.boolop,
)  # fmt: skip


def save_pt2(program: ExportedProgram) -> bytes:
    """An exported program as bytes of a .pt2 file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def load_pt2(content: bytes, name: str) -> ExportedProgram:
    """An exported program from the bytes of a .pt2 file.

    Raises
    ------
    ModelError
        Not a .pt2 file, broken, or holding anything that would have to be unpickled.
    """
    check_pt2(content, name)
    try:
        return torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise ModelError(f"{name} can't be loaded as an exported program: {error}") from error


def check_pt2(content: bytes, name: str) -> None:
    """Refuse a .pt2 archive that holds code or pickled objects.

    Raises
    ------
    ModelError
        It does, or it is no .pt2 archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if not any(member.endswith("archive_format") for member in names):
                raise ModelError(
                    f"{name} is no .pt2 file of torch.export. Save it with torch.export.save again."
                )
            for member in names:
                _check_member(name, member, archive)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{name} is broken: {error}. Get the bundle again.") from None


def _check_member(name: str, member: str, archive: zipfile.ZipFile) -> None:
    folder, _, base = member.rpartition("/")
    suffix = base[base.rfind(".") :] if "." in base else ""
    if suffix in _CODE or base.startswith(("custom_obj", "opaque_obj")):
        raise ModelError(f"{name} holds {member}, code or a pickled object, which geoseg never runs")
    if suffix == ".pt":
        _check_tensors(name, member, archive.read(member), sample="sample_inputs" in folder)
    elif suffix == ".json":
        _check_json(name, member, archive.read(member))


def _check_tensors(name: str, member: str, content: bytes, sample: bool) -> None:
    """Sample inputs are loaded by torch as they are: they must be tensors and containers alone."""
    if not sample:
        raise ModelError(
            f"{name} keeps {member} as a pickle, an old format. Save it with a newer torch.export.save."
        )
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # noqa: BLE001  (whatever is not plain is refused)
        raise ModelError(f"{name} holds {member}, a pickle of more than tensors: {error}") from None


def _check_json(name: str, member: str, content: bytes) -> None:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{name}: {member} is broken: {error}") from None
    for key, value in _walk(document):
        if key == "use_pickle" and value:
            raise ModelError(f"{name} keeps weights as a pickle ({member}), which geoseg never loads")
        if key == "expr_str" and not _plain_expression(str(value)):
            raise ModelError(
                f"{name}: {member} holds a shape expression that is no arithmetic: {str(value)[:60]}"
            )


def _walk(node: Any) -> Iterator[tuple[str, Any]]:
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield from node.items()
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _plain_expression(text: str) -> bool:
    """Whether sympy, which evaluates it, would see arithmetic on symbols and nothing else.

    Examples
    --------
    >>> _plain_expression("Mul(Integer(32), Symbol('s27', positive=True, integer=True))")
    True
    >>> _plain_expression("__import__('os').system('x')")
    False
    """
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return len(text) < 10_000 and all(_plain_node(node) for node in nodes)


def _plain_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _CALLS
    if isinstance(node, ast.Name):
        return node.id in _CALLS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or _SYMBOL.fullmatch(node.value) is not None
    return isinstance(node, _PLAIN_NODES)
