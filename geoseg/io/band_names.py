"""Which bands of a file a model means: by what the file calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from geoseg.errors import InputError

__all__ = ["band_names", "check_names", "match_bands", "sensor_of", "stored_names"]

#: What the numbered bands of a sensor are, as STAC's ``common_name``. Landsat 4 to 7 number the same colors
#: otherwise than Landsat 8 and Sentinel-2, so that a B4 may be red or near infrared.
_NUMBERED = {
    "sentinel-2": {
        "b1": "coastal", "b2": "blue", "b3": "green", "b4": "red", "b5": "rededge071", "b6": "rededge075",
        "b7": "rededge078", "b8": "nir", "b8a": "nir08", "b9": "nir09", "b10": "cirrus", "b11": "swir16",
        "b12": "swir22",
    },
    "landsat-8": {
        "b1": "coastal", "b2": "blue", "b3": "green", "b4": "red", "b5": "nir", "b6": "swir16",
        "b7": "swir22", "b8": "pan", "b9": "cirrus", "b10": "lwir11", "b11": "lwir12",
    },
    "landsat-7": {
        "b1": "blue", "b2": "green", "b3": "red", "b4": "nir", "b5": "swir16", "b6": "lwir", "b7": "swir22",
        "b8": "pan",
    },
}  # fmt: skip
#: The bands of 10 m of Sentinel-2: a file of these and no others is of no Landsat, whose B8 has other pixels.
_TEN_METERS = {"b2", "b3", "b4", "b8"}
_ALIASES = {
    "r": "red", "g": "green", "b": "blue", "near infrared": "nir", "nir1": "nir", "near_infrared": "nir",
}  # fmt: skip
#: What a band may be called whose meaning is known.
_KNOWN = {"red", "green", "blue", *(name for bands in _NUMBERED.values() for name in bands.values())}
_NUMBER = re.compile(r"(?:sr_|st_)?b(0?)([1-9]\d?a?)")
#: Tags that name the satellite or its instrument.
_SENSOR_TAGS = (
    "SPACECRAFT_ID", "SPACECRAFT_NAME", "SPACECRAFT", "SATELLITE", "SATELLITEID", "PLATFORM", "MISSION",
    "SENSOR", "SENSOR_ID", "SENSOR_NAME", "INSTRUMENT", "INSTRUMENTS",
)  # fmt: skip
#: What such a tag says, and how the names of products begin.
_SENSORS = {
    "sentinel-2": (re.compile(r"sentinel[-_ ]?2|\bS2[ABC]\b|\bMSI\b", re.I), re.compile(r"S2[ABC]_MSI")),
    "landsat-8": (re.compile(r"landsat[-_ ]?0?[89]\b|\bOLI", re.I), re.compile(r"L[CO]0?[89][_\d]")),
    "landsat-7": (
        re.compile(r"landsat[-_ ]?0?[4-7]\b|\bE?TM\b|\bETM\+", re.I),
        re.compile(r"L(T0?[45]|E0?7)[_\d]"),
    ),
}


def sensor_of(tags: Mapping[str, str], name: str) -> str:
    """Whose bands a file holds, as far as their numbers are concerned; "" where that is not known.

    Parameters
    ----------
    tags
        Metadata of the file.
    name
        Of the file, which products of Landsat and Sentinel-2 begin with their satellite.

    Examples
    --------
    >>> sensor_of({"SPACECRAFT_ID": "LANDSAT_7"}, "a"), sensor_of({}, "LC09_L2SP_141041_20230101")
    ('landsat-7', 'landsat-8')
    >>> sensor_of({"note": "as Sentinel-2"}, "a"), sensor_of({"PLATFORM": "Sentinel-2A, Landsat 9"}, "a")
    ('', '')
    """
    stated = [value for tag, value in tags.items() if tag.upper() in _SENSOR_TAGS]
    sensors = [
        sensor
        for sensor, (satellite, product) in _SENSORS.items()
        if product.match(name) or any(map(satellite.search, stated))
    ]
    return sensors[0] if len(sensors) == 1 else ""


def band_names(stored: Sequence[Mapping[str, Any]], sensor: str = "") -> tuple[str, ...]:
    """A name for each band of a file: of its description, else of its color; "" where neither says.

    Parameters
    ----------
    stored
        ``facts()["stored_bands"]`` of a source: description and color of each band.
    sensor
        From :func:`sensor_of`. Without one a numbered band stays what it is called, unless it is the same
        color of all sensors that have the file's bands.

    Examples
    --------
    >>> band_names([{"description": "B04"}, {"description": "NIR"}, {"description": "Red band"}])
    ('red', 'nir', 'red')
    >>> band_names([{"color": "blue"}, {"color": "undefined"}])
    ('blue', '')
    >>> [band_names([{"description": "B4"}], sensor) for sensor in ("", "landsat-7", "landsat-8")]
    [('b4',), ('nir',), ('red',)]
    """
    words = [
        str(band.get("description") or "").strip().lower().removesuffix("band").strip(" _-:")
        for band in stored
    ]
    numbers = {word: f"b{match[2]}" for word in words if (match := _NUMBER.fullmatch(word))}
    sensors = [sensor] if sensor in _NUMBERED else list(_NUMBERED)
    if not sensor and "b8" in numbers.values() and set(numbers.values()) <= _TEN_METERS:
        sensors = ["sentinel-2"]
    if any(match[1] for word in numbers if (match := _NUMBER.fullmatch(word))):
        sensors = [one for one in sensors if one != "landsat-7"]  # whose bands nobody writes as B04
    sensors = [one for one in sensors if set(numbers.values()) <= _NUMBERED[one].keys()]
    names = []
    for word, band in zip(words, stored, strict=True):
        meanings = {_NUMBERED[one][numbers[word]] for one in sensors} if word in numbers else set()
        color = str(band.get("color") or "").lower()
        name = meanings.pop() if len(meanings) == 1 else _ALIASES.get(word, word)
        names.append(name or ("" if color in ("undefined", "gray", "grey") else color))
    return tuple(names)


class _Stored(Protocol):
    def facts(self) -> dict[str, Any]: ...


def stored_names(source: _Stored) -> tuple[str, ...]:
    """Names of all bands that a source stores; of a palette image those of its colors."""
    facts = source.facts()
    if facts.get("palette"):
        return ("red", "green", "blue")
    return band_names(facts.get("stored_bands", ()), facts.get("sensor") or "")


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


def check_names(
    wanted: Sequence[str], found: Sequence[str], name: str, advice: str | None = None
) -> str | None:
    """A note where a file calls its first bands otherwise than the model that is to read them.

    Parameters
    ----------
    wanted, found
        As for :func:`match_bands`, which did not settle it.
    name
        Of the file.
    advice
        What to do; None: choose them with ``--bands``.

    Raises
    ------
    InputError
        They have numbers, which mean other colors of other satellites.

    Examples
    --------
    >>> check_names(("red", "green", "blue"), ("", "", ""), "a")
    >>> check_names(("red", "green"), ("nir", "red", "green"), "a")
    'a calls its bands nir, red, the network wants red, green: expect poor results. --bands chooses others'
    """
    meant = band_names([{"description": one} for one in wanted])
    pairs = [
        (one, other)
        for one, other in zip(meant, found)
        if one != other and (one in _KNOWN or _NUMBER.fullmatch(one))
    ]
    called = ", ".join(found[: len(meant)])
    if any(_NUMBER.fullmatch(other) for _, other in pairs):
        raise InputError(
            f"bands of {name} must be known by their colors, got {called}, other colors of Landsat 4 to "
            "7 than of Landsat 8 and Sentinel-2. "
            + (advice or f"Name those that are {', '.join(wanted)} with --bands.")
        )
    if any(other in _KNOWN for _, other in pairs):
        return (
            f"{name} calls its bands {called}, the network wants {', '.join(wanted)}: expect poor "
            f"results. {advice or '--bands chooses others'}"
        )
    return None
