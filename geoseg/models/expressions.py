"""Shape expressions of an exported program: arithmetic on sizes, and nothing else that could be evaluated."""

from __future__ import annotations

import ast
import re

__all__ = ["plain_expression"]

# s27 is a free size; oo and int_oo are the infinities of sympy and torch.
_SYMBOL = re.compile(r"[a-z]{1,3}\d{1,6}|-?\d+(\.\d*)?|oo|int_oo|True|False")
_MAX_INTEGER, _MAX_EXPONENT, _MAX_POWERS = 2**63, 8, 4

#: Constructors that a shape expression may call: arithmetic, comparison, and the symbols themselves.
# fmt: off
_CALLS = frozenset({
    "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Equality", "Eq", "Float", "FloatPow",
    "FloatTrueDiv", "FloorDiv", "FloorToInt", "Ge", "GreaterThan", "Gt", "IntTrueDiv", "Integer", "Le",
    "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Piecewise",
    "Pow", "PowByNatural", "PythonMod", "Rational", "RoundToInt", "StrictGreaterThan", "StrictLessThan",
    "Symbol", "TruncToInt", "Unequality", "Where",
})
_POWERS = {"Pow", "PowByNatural", "FloatPow"}
# fmt: on
_PLAIN_NODES = (
    ast.Expression,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.keyword,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.Pow,
    ast.UnaryOp,
    ast.unaryop,
    ast.Compare,
    ast.cmpop,
    ast.BoolOp,
    ast.boolop,
)  # fmt: skip


def plain_expression(text: str) -> bool:
    """Whether sympy, which evaluates it, would see arithmetic on symbols and nothing else.

    Examples
    --------
    >>> plain_expression("Mul(Integer(32), Symbol('s27', positive=True, integer=True))")
    True
    >>> plain_expression("__import__('os').system('x')")
    False
    """
    # Python's own parser can be driven out of memory by depth.
    if len(text) >= 10_000:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    # A tower of powers would keep sympy busy for ever.
    powers = [exponent for node in nodes if (exponent := _exponent(node)) is not None]
    return (
        all(_plain_node(node) for node in nodes)
        and len(powers) <= _MAX_POWERS
        and all(_small(exponent) for exponent in powers)
    )


def _exponent(node: ast.AST) -> ast.AST | None:
    """The exponent where a node is a power; the node itself where it lacks one."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return node.right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _POWERS:
        return node.args[1] if len(node.args) == 2 else node
    return None


def _small(exponent: ast.AST) -> bool:
    if any(isinstance(node, ast.BinOp) for node in ast.walk(exponent)):
        return False  # small numbers make large ones: 8**8**8**8
    constants = [node.value for node in ast.walk(exponent) if isinstance(node, ast.Constant)]
    names = {node.id for node in ast.walk(exponent) if isinstance(node, ast.Name)}
    return (
        names <= {"Integer", "Rational", "Float"}
        and bool(constants)
        and all(isinstance(value, int | float) and abs(value) <= _MAX_EXPONENT for value in constants)
    )


def _plain_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _CALLS
    if isinstance(node, ast.Name):
        return node.id in _CALLS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _SYMBOL.fullmatch(node.value) is not None
        return not isinstance(node.value, int) or abs(node.value) < _MAX_INTEGER
    return isinstance(node, _PLAIN_NODES)
