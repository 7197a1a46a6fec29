"""HTML pages that geoseg writes: how one begins, by which it is told from other files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geoseg.errors import InputError
from geoseg.files.results import check_outputs
from geoseg.typing import PathLike

__all__ = ["check_page", "page_head"]


def page_head(maker: str) -> str:
    """The first characters of a page.

    Parameters
    ----------
    maker
        What writes it, such as "geoseg compare".
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{maker}">'
    )


def check_page(path: Path, inputs: Iterable[PathLike], maker: str) -> None:
    """Refuse, before any work is done, to write a page over an input or over what is no such page.

    Parameters
    ----------
    path
        The page to come.
    inputs
        What is read.
    maker
        What writes it.

    Raises
    ------
    InputError
        Something would be lost.
    """
    check_outputs([path], inputs)
    if not path.exists():
        return
    if path.is_file():
        head = page_head(maker).encode()
        with path.open("rb") as file:
            if file.read(len(head)) == head:
                return
    raise InputError(
        f"page must be a new file or an earlier page of {maker}, got {path}, which is neither. "
        "Choose another name, or move it."
    )
