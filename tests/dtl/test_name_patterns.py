"""Patterns mean what they mean in Python, or are refused; none takes long."""

from __future__ import annotations

import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.dtl.name_patterns import NamePattern
from geoseg.errors import InputError

PATTERNS = [
    "^austin[0-9]+$", "a|b", "(ab|c)*d", "a{2,3}b?", "a{,2}b$", "[^a-c]", "^$", "x*", r"\w+_\d{2}", "(?i)AB",
    "a.c", "(?:ab)+?c", r"[\w-]+", "a$", r"\Aab\Z", r"\D\S", "(?s).", "[]a]", "[^]a]", "", r"^(?P<n>a+)b",
    r"[a[:]", r"[\]\d]_", r"(a$|b)\s", r"(?im)^b$", r"\W$", r"[^\D1]", r"\101", r"[\x41-c]é", r"a\$",
    "(?i)É|ß", "[$]", r"\\d", r"[\\d]", r"a{,}b",
]  # fmt: skip
ALPHABET = "abcdxABÉéß_-1 2٣$[\\"


def as_python(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(ALPHABET, max_size=8), end=st.sampled_from(["", "\n"]))
@settings(max_examples=60)
def test_as_python_finds_it(pattern, text, end):
    assert NamePattern(pattern).found_in(text + end) == as_python(pattern, text + end)


@given(st.text("ab_-1 ", max_size=8))
def test_boundaries_in_ascii_names(text):
    for pattern in (r"\bab\b", r"\Bb", r"[\d]\b"):
        assert NamePattern(pattern).found_in(text) == as_python(pattern, text)


@pytest.mark.parametrize("pattern", [r"\d", r"\W", r"\s", r"[\w]", r"(?i)\w", r"(?i)[k-s]"])
def test_every_character_is_in_the_class_it_is_in_for_python(pattern):
    # Characters without a name may be letters in one version of Unicode and nothing in another.
    known = "".join(
        c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")
    )
    assert NamePattern(pattern)._compiled.findall(known) == re.findall(pattern, known)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}", "(a?){25}a{25}", "((a*)*)*$"])
def test_patterns_that_explode_do_not(pattern):
    begin = time.perf_counter()
    NamePattern(pattern).found_in("a" * 250 + "!")
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    "pattern",
    ["(", r"(a)\1", "(?=a)", "(?<!a)b", "a{100000}", "(?:a{900}){900}", "*", "a**", "a++b", "(?>a+)b",
     "(?x) a",
     "(?a)b", r"\pL", "(?U)a", "\ud800"],
)  # fmt: skip
def test_refused(pattern):
    with pytest.raises(InputError, match="pattern must be a regular expression"):
        NamePattern(pattern)


def test_advice_for_what_is_refused_helps():
    with pytest.raises(InputError, match=r"inside \[\.\.\.\]"):
        NamePattern(r"[a\W]b")
    assert NamePattern(r"(a|\W)b").found_in("-b")
    with pytest.raises(InputError, match="must be ASCII"):
        NamePattern(r"\bab").found_in("é ab")
    assert NamePattern(r"(^|\W)ab").found_in("é ab")
    with pytest.raises(InputError, match="must be one line"):
        NamePattern("a$").found_in("a\nb")
    assert not NamePattern(r"a\Z").found_in("a\nb")


def test_bytes_that_are_not_utf_8_are_a_character():
    assert NamePattern("^a.b$").found_in(b"a\xffb".decode("utf-8", "surrogateescape"))
