"""Arrays of .npz files where Python stumbles over other threads."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from geoseg.pipeline.npz import array_of


def archive() -> io.BytesIO:
    file = io.BytesIO()
    np.savez(file, a=np.arange(5))
    file.seek(0)
    return file


@pytest.mark.parametrize(("failures", "works"), [(0, True), (3, True), (7, True), (8, False)])
def test_an_array_is_read_again_where_parsing_its_header_failed(
    failures: int, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = npy.read_array, []

    def stumbling(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) <= failures:
            raise SystemError("AST constructor recursion depth mismatch (before=18, after=14)")
        return plain(*args, **options)

    monkeypatch.setattr(npy, "read_array", stumbling)
    with np.load(archive()) as content:
        if works:
            assert array_of(content, "a").tolist() == [0, 1, 2, 3, 4]
        else:
            with pytest.raises(SystemError, match="recursion depth"):
                array_of(content, "a")


def test_a_name_that_is_not_there() -> None:
    with np.load(archive()) as content, pytest.raises(KeyError, match="b"):
        array_of(content, "b")
