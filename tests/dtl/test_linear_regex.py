"""Patterns mean what they mean in Python, and none takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.dtl.linear_regex import LinearPattern
from geoseg.errors import InputError

PATTERNS = [
    "^austin[0-9]+$", "a|b", "(ab|c)*d", "a{2,3}b?", "[^a-c]", "^$", "x*", r"\bab\b", r"\w+_\d{2}", "(?i)AB",
    "a.c",
    "(?:ab)+?c", r"[\w-]+", "a$", r"\Aab\Z", r"\D\S", "(?s).", "[]a]", "", r"^(?P<n>a+)b",
]  # fmt: skip


@given(st.sampled_from(PATTERNS), st.text("abcxAB_-1 2\n", max_size=12))
@settings(max_examples=600)
def test_as_python_finds_it(pattern, text):
    assert LinearPattern(pattern).found_in(text) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}", "(a?){25}a{25}", "((a*)*)*$"])
def test_patterns_that_explode_do_not(pattern):
    begin = time.perf_counter()
    LinearPattern(pattern).found_in("a" * 250 + "!")
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "a{100000}", "*"])
def test_refused(pattern):
    with pytest.raises(InputError, match="pattern must"):
        LinearPattern(pattern)
