"""Regular expressions whose time is linear in the text, for patterns and names that strangers wrote.

Python's own engine backtracks, and a pattern such as ``(a+)+$`` takes it time exponential in the text. Here a
pattern is parsed by Python, so it means the same, and then run as a non-deterministic automaton that keeps
all its states at once. Back-references and lookarounds have no such automaton and are refused.

References
----------
Thompson, K. (1968). Regular expression search algorithm. Communications of the ACM 11 (6), 419-422.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import _parser  # type: ignore[attr-defined]
from typing import Any, TypeAlias

from geoseg.errors import InputError

__all__ = ["LinearPattern"]

_MAX_STATES = 20_000
Test: TypeAlias = Callable[[str], bool]
#: ("char", test), ("at", name), ("split", first, second), ("match",)
Instruction: TypeAlias = tuple[Any, ...]

_CATEGORIES: dict[str, Test] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
}


class LinearPattern:
    """A pattern that is searched for in a text.

    Raises
    ------
    InputError
        No regular expression, one with back-references or lookarounds, or one that expands to more than
        20,000 states.

    Examples
    --------
    >>> LinearPattern("^austin[0-9]+$").found_in("austin12")
    True
    >>> LinearPattern("(a+)+$").found_in("a" * 10_000 + "b")
    False
    """

    def __init__(self, pattern: str) -> None:
        try:
            tree = _parser.parse(pattern)
        except (re.error, RecursionError, OverflowError, TypeError) as error:
            raise InputError(f"pattern must be a regular expression, got {pattern!r}: {error}.") from None
        self.pattern = pattern
        self._flags = tree.state.flags
        self._program: list[Instruction] = []
        self._build(tree)
        self._emit("match")

    def found_in(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the text, as ``re.search`` finds it."""
        current: set[int] = set()
        for index in range(len(text) + 1):
            self._follow(0, text, index, current)
            if any(self._program[state][0] == "match" for state in current):
                return True
            if index == len(text):
                return False
            after: set[int] = set()
            for state in current:
                op = self._program[state]
                if op[0] == "char" and op[1](text[index]):
                    self._follow(state + 1, text, index + 1, after)
            current = after
        return False

    def _follow(self, start: int, text: str, index: int, states: set[int]) -> None:
        """Add a state and all that are reached from it without a character."""
        waiting = [start]
        while waiting:
            state = waiting.pop()
            if state in states:
                continue
            states.add(state)
            op = self._program[state]
            if op[0] == "split":
                waiting += op[1:]
            elif op[0] == "at" and _holds(op[1], text, index, bool(self._flags & re.MULTILINE)):
                waiting.append(state + 1)

    def _emit(self, *op: Any) -> int:
        if len(self._program) >= _MAX_STATES:
            raise InputError(
                f"pattern must expand to at most {_MAX_STATES} states, got {self.pattern[:80]!r}."
            )
        self._program.append(op)
        return len(self._program) - 1

    def _build(self, tree: Any) -> None:
        for op, value in tree:
            name = str(op)
            if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
                self._repeat(*value)
            elif name == "BRANCH":
                self._branch(value[1])
            elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
                self._build(value[-1] if name == "SUBPATTERN" else value)
            elif name == "AT":
                self._emit("at", str(value))
            elif name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
                self._emit("char", self._test(name, value))
            else:
                raise InputError(f"pattern must do without {name.lower()}, got {self.pattern!r}.")

    def _repeat(self, low: int, high: Any, body: Any) -> None:
        for _ in range(low):
            self._build(body)
        if high == _parser.MAXREPEAT:
            split = self._emit("split", 0, 0)
            self._build(body)
            back = self._emit("split", split, split)
            self._program[split] = ("split", split + 1, back + 1)
            return
        splits = []
        for _ in range(int(high) - low):
            splits.append(self._emit("split", 0, 0))
            self._build(body)
        for split in splits:
            self._program[split] = ("split", split + 1, len(self._program))

    def _branch(self, options: list[Any]) -> None:
        ends = []
        for option in options[:-1]:
            split = self._emit("split", 0, 0)
            self._build(option)
            ends.append(self._emit("split", 0, 0))
            self._program[split] = ("split", split + 1, len(self._program))
        self._build(options[-1])
        for end in ends:
            self._program[end] = ("split", len(self._program), len(self._program))

    def _test(self, name: str, value: Any) -> Test:
        if name == "ANY":
            dot_all = bool(self._flags & re.DOTALL)
            return lambda c: dot_all or c != "\n"
        items = value if name == "IN" else [(name.removeprefix("NOT_"), value)]
        negate = name == "NOT_LITERAL" or (name == "IN" and str(value[0][0]) == "NEGATE")
        tests = [_item_test(str(op), arg) for op, arg in items if str(op) != "NEGATE"]
        fold = bool(self._flags & re.IGNORECASE)

        def test(c: str) -> bool:
            forms = {c, c.lower(), c.upper()} if fold else (c,)
            return any(t(form) for t in tests for form in forms) != negate

        return test


def _item_test(op: str, value: Any) -> Test:
    if op == "LITERAL":
        literal = chr(value)
        return lambda c: c == literal
    if op == "RANGE":
        low, high = value
        return lambda c: low <= ord(c) <= high
    name = str(value)
    test = _CATEGORIES[name.replace("_NOT_", "_")]
    return (lambda c: not test(c)) if "_NOT_" in name else test


def _holds(place: str, text: str, index: int, multiline: bool) -> bool:
    """Whether an anchor holds before character ``index``."""
    if place in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return index == 0 or (multiline and place == "AT_BEGINNING" and text[index - 1] == "\n")
    if place == "AT_END_STRING":
        return index == len(text)
    if place == "AT_END":
        return index == len(text) or text[index:] == "\n" or (multiline and text[index] == "\n")
    word = _CATEGORIES["CATEGORY_WORD"]
    inside = [word(text[i]) if 0 <= i < len(text) else False for i in (index - 1, index)]
    return (inside[0] != inside[1]) == (place == "AT_BOUNDARY")
