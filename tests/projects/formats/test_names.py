"""Names and paths never lead out of their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geoseg.errors import InputError, MissingFileError
from geoseg.projects.formats.names import UniqueNames, list_images, safe_name
from geoseg.projects.project import check_name


@example("0.00000000000000000000. .")
@example("a .")
@given(st.text(max_size=30) | st.text("ab. /", min_size=150, max_size=200))
def test_safe_names_are_single_parts(name: str) -> None:
    try:
        legal = safe_name(name)
    except InputError:
        return
    assert Path(legal).name == legal
    assert not set(legal) & set('/\\<>:"|?*\0')
    assert legal not in {".", ".."}
    assert safe_name(legal) == legal
    assert check_name(legal, "image") == legal


@pytest.mark.parametrize("name", ["", "..", "../..", " . ", "///"])
def test_empty_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="name must"):
        safe_name(name)


def test_reserved_names_are_changed() -> None:
    assert safe_name("con.png") == "_con.png"


@given(st.lists(st.sampled_from(["a.png", "A.png", "x/a.png", "x_a.png", "a_2.png"]), max_size=12))
def test_names_are_unique_whatever_the_case(given_names: list[str]) -> None:
    names = UniqueNames()
    out = [Path(names(name)).stem.casefold() for name in given_names]
    assert len(set(out)) == len(out)


def test_list_images(tmp_path: Path) -> None:
    for name in ["b.PNG", "a.tif", "notes.txt", ".hidden.png", "a.tif.aux.xml"]:
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in list_images(tmp_path)] == ["a.tif", "b.PNG"]
    with pytest.raises(MissingFileError):
        list_images(tmp_path / "none")
