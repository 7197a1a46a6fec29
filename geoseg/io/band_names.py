"""Which bands of a file a model means: by what the file calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["band_names", "match_bands", "stored_names"]

#: Names of Sentinel-2's bands and of common tools for what STAC calls ``common_name``.
_ALIASES = {
    "b02": "blue", "b03": "green", "b04": "red", "b05": "rededge071", "b06": "rededge075",
    "b07": "rededge078", "b08": "nir", "b8a": "nir08", "b11": "swir16", "b12": "swir22",
    "r": "red", "g": "green", "b": "blue", "near infrared": "nir", "nir1": "nir", "near_infrared": "nir",
}  # fmt: skip
#: Without the zero: of Landsat 4 to 7 they mean other colors, and those files have a B1 that is blue.
_UNLESS_B1 = {"b2": "blue", "b3": "green", "b4": "red", "b8": "nir"}


def band_names(stored: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A name for each band of a file: of its description, else of its color; "" where neither says.

    Parameters
    ----------
    stored
        ``facts()["stored_bands"]`` of a source: description and color of each band.

    Examples
    --------
    >>> band_names([{"description": "B04"}, {"description": "NIR"}, {"description": "Red band"}])
    ('red', 'nir', 'red')
    >>> band_names([{"color": "blue"}, {"color": "undefined"}])
    ('blue', '')
    """
    described = [str(band.get("description") or "").strip().lower() for band in stored]
    aliases = _ALIASES if "b1" in described else _ALIASES | _UNLESS_B1
    names = []
    for text, band in zip(described, stored, strict=True):
        word = text.removesuffix("band").strip(" _-:")
        color = str(band.get("color") or "").lower()
        names.append(aliases.get(word, word) or ("" if color in ("undefined", "gray", "grey") else color))
    return tuple(names)


class _Stored(Protocol):
    def facts(self) -> dict[str, Any]: ...


def stored_names(source: _Stored) -> tuple[str, ...]:
    """Names of all bands that a source stores; of a palette image those of its colors."""
    facts = source.facts()
    return ("red", "green", "blue") if facts.get("palette") else band_names(facts.get("stored_bands", ()))


def match_bands(wanted: Sequence[str], found: Sequence[str]) -> tuple[int, ...] | None:
    """1-based bands of a file in the order that a model wants; None where the names don't settle it.

    Parameters
    ----------
    wanted
        Names of the model's bands.
    found
        From :func:`stored_names`.

    Examples
    --------
    >>> match_bands(("B04", "green", "Blue"), ["blue", "green", "red", "nir"])
    (3, 2, 1)
    >>> match_bands(("red", "nir"), ["red", "red", "nir"]) is None
    True
    """
    meant = band_names([{"description": name} for name in wanted])
    found = list(found)
    if not meant or any(found.count(name) != 1 for name in meant) or len(set(meant)) < len(meant):
        return None
    return tuple(found.index(name) + 1 for name in meant)
