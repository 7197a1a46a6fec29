"""Regular expressions for names of images, in time linear in the name.

Python's own engine backtracks: a pattern such as ``(a+)+$`` takes it time exponential in the text, and graphs
and names may come from strangers. RE2 never backtracks, but reads a few things differently: its ``\\d``,
``\\w``, ``\\s`` and ``\\b`` know ASCII only, its ``$`` does not match before a final line break, it has no
``\\Z``, and takes ``{,3}`` for text. Patterns are rewritten so that they mean what they mean in Python. What
RE2 can't do (back-references, lookarounds, atomic groups) is refused, and so are the few names that a
rewritten pattern would read differently. Two differences are left, both under ``(?i)``: Python takes the
Turkish ``ı`` and ``İ`` for an ``i``, and RE2 takes the mark U+0345 for a letter in a set such as ``[\\w-]``.

References
----------
RE2, https://github.com/google/re2/wiki/Syntax, and Python's ``re``.
"""

from __future__ import annotations

import re

import re2

from geoseg.errors import InputError

__all__ = ["NamePattern"]

#: Members of Python's classes of characters, equal for every character of Unicode (a test goes through them).
_MEMBERS = {"d": r"\p{Nd}", "w": r"\p{L}\p{N}_", "s": r"\t-\r\x1c-\x1f\x85\p{Z}"}
#: What must be rewritten: a whole set (a first "]" is a member), an escape, "{,3}", "$".
_TOKENS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|\{,\d*\}|\$", re.DOTALL)


class NamePattern:
    """A pattern that is searched for in names.

    Raises
    ------
    InputError
        No regular expression, or one that can't be searched for in linear time.

    Examples
    --------
    >>> NamePattern("^austin[0-9]+$").found_in("austin12")
    True
    >>> NamePattern("(a+)+$").found_in("a" * 10_000 + "b")
    False
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._has_boundary = self._has_end = False
        try:
            re.compile(pattern)  # RE2 alone would take some patterns that Python refuses, like a**
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(
                f"pattern must be a regular expression, got {pattern[:80]!r}: {error}."
            ) from None
        options = re2.Options()
        options.log_errors = False  # they would go to stderr beside ours
        try:
            # Python has accepted the pattern, so every set has its end.
            rewritten = _TOKENS.sub(lambda token: self._rewritten(token[0]), pattern)
            self._compiled = re2.compile(rewritten, options)
        except (re2.error, UnicodeEncodeError) as error:
            reason = error.args[0] if isinstance(error, re2.error) else error
            reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
            raise InputError(
                f"pattern must be a regular expression that is searched for in linear time, got "
                f"{pattern[:80]!r}: {reason}. Leave out back-references, lookarounds, atomic groups and "
                "repetitions of more than 1000."
            ) from None

    def found_in(self, name: str) -> bool:
        """Whether the pattern matches anywhere in the name, as ``re.search`` finds it.

        Raises
        ------
        InputError
            The name has a letter beyond ASCII and the pattern a ``\\b``, or the name has several lines and
            the pattern a ``$``: RE2 would answer otherwise than Python.
        """
        if self._has_boundary and not name.isascii():
            raise InputError(
                rf"name must be ASCII where the pattern {self.pattern!r} asks for \b or \B, got {name!r}. "
                r"Write the pattern without them, with (^|\W) for example."
            )
        if self._has_end and "\n" in name[:-1]:
            raise InputError(
                f"name must be one line where the pattern {self.pattern!r} asks for $, got {name!r}. "
                r"Write \Z for the end of the name."
            )
        # Bytes of a file name that are not UTF-8 reach Python as lone surrogates, which RE2 can't encode.
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return self._compiled.search(text) is not None

    def _rewritten(self, token: str) -> str:
        if token[0] == "[":
            return "[" + re.sub(r"\\.|\[", self._member, token[1:], flags=re.DOTALL)
        if token[0] == "{":
            return "{0" + token[1:]
        if token == "$":
            self._has_end = True
            return "(?m:$)"  # equal to Python's in a name of one line
        if token in (r"\b", r"\B"):
            self._has_boundary = True
        members = _MEMBERS.get(token[1].lower())
        if members:
            # RE2 folds case in classes too: under (?i) the mark U+0345 would be a letter.
            return f"(?-i:[{'^' * token[1].isupper()}{members}])"
        return r"\z" if token == r"\Z" else token

    def _member(self, match: re.Match[str]) -> str:
        """An escape or a bracket inside a set; RE2 would read ``[:`` as the beginning of a POSIX class."""
        token = match[0]
        if token in (r"\W", r"\S"):
            raise InputError(
                f"pattern must do without {token} inside [...], got {self.pattern[:80]!r}. Write it as an "
                rf"alternative: ({token}|a)."
            )
        if token == "[":
            return r"\["
        return r"\P{Nd}" if token == r"\D" else _MEMBERS.get(token[1], token)
