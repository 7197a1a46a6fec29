"""From what was set to what holds: parsing by name, the order of who decides, thresholds by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from geoseg.config.option import Caller, rule_of, settings_of
from geoseg.config.run import RunSettings, SuggestedSettings
from geoseg.config.values import Threshold
from geoseg.errors import ConfigError, InputError

__all__ = [
    "applicable",
    "class_thresholds",
    "footprint_settings",
    "kept_names",
    "origin_of",
    "parse_run_settings",
    "resolve",
]


def resolve(given: RunSettings, suggested: Mapping[str, Any]) -> RunSettings:
    """What the user gave, else what the model's card suggests, else the default.

    An overlap that nobody gave and that a small window can't have becomes a quarter of the window.

    Parameters
    ----------
    given
        From the user.
    suggested
        Settings by name, from the card.

    Examples
    --------
    >>> resolve(RunSettings(overlap=64), {"window": 256, "overlap": 32}).overlap
    (64, 64)
    >>> resolve(RunSettings(window=(96, 256)), {"overlap": 128}).overlap
    (24, 128)
    >>> resolve(RunSettings(simplify_m=0.5), {"regularize": True}).regularize
    False
    """
    given_names = given.model_fields_set
    chosen = RunSettings.model_validate({**applicable(given, suggested), **given.given()})
    # An overlap that the user gave is refused where it does not fit, rather than changed behind their back.
    if "overlap" in given_names:
        return chosen
    fitting = tuple(
        shared if shared < side else side // 4 for side, shared in zip(chosen.window, chosen.overlap)
    )
    return chosen if fitting == chosen.overlap else chosen.model_copy(update={"overlap": fitting})


def applicable(given: RunSettings, suggested: Mapping[str, Any]) -> dict[str, Any]:
    """Suggestions that fit what the user gave.

    Who asks for simple outlines gets them, also where the model would have them squared.

    Examples
    --------
    >>> applicable(RunSettings(simplify_m=0.5), {"regularize": True, "split": 0.3})
    {'split': 0.3}
    """
    names = given.model_fields_set
    simple = "simplify_m" in names and "regularize" not in names
    return {name: value for name, value in suggested.items() if not (simple and name == "regularize")}


def kept_names() -> tuple[str, ...]:
    """Settings that a raster of probabilities keeps, but for its sampling distance."""
    return (*settings_of(SuggestedSettings, "vectorize"), "connectivity")


def footprint_settings(
    chosen: RunSettings, thresholds: tuple[float, ...] | None, gsd: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Settings that decide what footprints are made of probabilities, and that a raster of them keeps.

    Parameters
    ----------
    chosen
        Settings of the run.
    thresholds
        One a class, as :func:`class_thresholds` gives them.
    gsd
        Meters per column and row of the raster, where its geobox states them for want of a CRS.
    """
    names = kept_names()
    kept = {name: value for name, value in chosen.given().items() if name in names}
    if gsd is not None:
        # A scene read at another resolution has whole columns and rows, so the two may differ a little. Their
        # geometric mean keeps areas right.
        kept["gsd"] = math.sqrt(gsd[0] * gsd[1])
    # By position: names of classes may be changed when footprints are made.
    return kept | ({} if thresholds is None else {"threshold": list(thresholds)})


def class_thresholds(
    threshold: Threshold | None, classes: Sequence[str], background: int | None
) -> tuple[float, ...] | None:
    """One threshold an object class, or a single one for all; None: none was set.

    Parameters
    ----------
    threshold
        As it was set. An object class that it does not name has to reach 0.5.
    classes
        Names of all outputs.
    background
        Index of the output that is background.

    Raises
    ------
    InputError
        It names other classes, or another number of them.

    Examples
    --------
    >>> class_thresholds({"road": 0.3}, ["background", "road", "tree"], 0)
    (0.3, 0.5)
    """
    objects = [name for k, name in enumerate(classes) if k != background]
    if isinstance(threshold, dict):
        if unknown := [name for name in threshold if name not in classes]:
            raise InputError(
                f"threshold must name classes of {', '.join(objects)}, got {', '.join(unknown)}."
            )
        return tuple(threshold.get(name, 0.5) for name in objects)
    thresholds = (threshold,) if isinstance(threshold, float) else threshold
    if thresholds is not None and len(thresholds) not in (1, len(objects)):
        raise InputError(
            f"threshold must be one number or one for each of {len(objects)} classes, got {len(thresholds)}."
        )
    return thresholds


def origin_of(name: str, given: RunSettings, suggested: Mapping[str, Any]) -> str:
    """Where the value of a setting comes from: ``given``, ``model`` or ``default``."""
    if name in given.model_fields_set:
        return "given"
    return "model" if name in applicable(given, suggested) else "default"


def parse_run_settings(
    values: Mapping[str, Any],
    *,
    caller: Caller | None = None,
    spelling: Callable[[str], str] = str,
) -> RunSettings:
    """Settings from what was given by name.

    Parameters
    ----------
    values
        Values by name; None counts as not given.
    caller
        Who takes them; None: all are taken.
    spelling
        From the name of a setting to how the user wrote it, for errors.

    Raises
    ------
    ConfigError
        One line for each mistake, "NAME must be ..., got ...".
    """
    known = settings_of(RunSettings, caller)
    # Here and not by pydantic, whose words for it are the same whoever the caller is.
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ConfigError(
            f"option must be one of {', '.join(sorted(known))}, got {', '.join(map(spelling, unknown))}."
        )
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        # One line a setting: pydantic reports each form that a value might have had.
        wrong = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
    raise ConfigError(
        "\n".join(
            f"{spelling(name)} must be {rule_of(*known[name])}, got {values[name]!r}." for name in wrong
        )
    )
