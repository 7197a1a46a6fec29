"""The settings of a run, each declared once.

From the two classes here come the options of ``geoseg run``, ``predict`` and ``vectorize`` with their help
texts, the keyword arguments of :func:`geoseg.run`, ``segment``, ``predict`` and ``vectorize``, the keys of a
model's card that suggest a setting, the defaults, ``--config`` and ``--print-config``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Number
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from geoseg.config.option import Caller, Option, rule_of, settings_of
from geoseg.config.settings import Settings
from geoseg.errors import ConfigError, InputError
from geoseg.typing import Blend, Connectivity, OnError, TestTime

__all__ = [
    "CardSettings",
    "RunSettings",
    "Threshold",
    "class_thresholds",
    "footprint_settings",
    "origin_of",
    "parse_run_settings",
    "resolve",
]


def _pair(value: Any) -> Any:
    """One number stands for both axes; numpy's integers are integers too."""
    values = (value, value) if isinstance(value, Integral) else value
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        return value
    return tuple(int(side) if isinstance(side, Integral) else side for side in values)


def _several(value: Any) -> Any:
    """One value stands for a list of one; a text is split at its commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return (value,) if isinstance(value, Number) else value


def _limits(value: Any) -> Any:
    """Two limits as numbers or percentiles: a text is split at its comma, "p2" is "P2"."""
    if value == "off":
        return value
    ends = _several(value)
    if not isinstance(ends, Iterable):
        return value
    return tuple(end.strip().upper() if isinstance(end, str) else end for end in ends)


def _ordered(ends: Any) -> Any:
    if isinstance(ends, tuple):
        low, high = (float(end[1:]) if isinstance(end, str) else end for end in ends)
        if type(ends[0]) is not type(ends[1]) or low >= high:
            raise ValueError("must be of one kind and rise")
    return ends


Side: TypeAlias = Annotated[int, Field(gt=0)]
Length: TypeAlias = Annotated[int, Field(ge=0)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_several)]
#: One for all classes, one a class in the model's order, or by the name of the class.
Threshold: TypeAlias = Share | tuple[Share, ...] | dict[str, Share]

#: A value, or "P" and a percentile of the whole scene.
Limit: TypeAlias = (
    Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(pattern=r"^P(100|\d?\d)(\.\d+)?$")]
)

#: The four ways from a scene through a network.
_NETWORK: tuple[Caller, ...] = ("run", "predict", "segment", "array")
#: Those of them that keep what is done on the disk.
_STORED: tuple[Caller, ...] = ("run", "predict", "segment")
#: What ends in footprints.
_OUTLINES: tuple[Caller, ...] = ("run", "segment", "vectorize")
#: What takes the steps between outlines and file.
_STEPS: tuple[Caller, ...] = (*_OUTLINES, "polygonize")


#: Settings that ``auto`` leaves to the model, the device or the scene.
_AUTO = ("split", "stretch", "batch_size", "device", "engine")


class CardSettings(Settings):
    """Settings that a model's card may suggest; they are keys of its ``geoseg`` object as well."""

    window: Annotated[
        tuple[Side, Side],
        BeforeValidator(_pair),
        Option(
            help="Window that the network sees, in pixels.",
            takes=_NETWORK,
            panel="Network",
            rule="a whole number of pixels, or two (height, width)",
            metavar="N|W,H",
            keyword="int | tuple[int, int]",
            fingerprint=True,
        ),
    ] = (512, 512)
    overlap: Annotated[
        tuple[Length, Length],
        BeforeValidator(_pair),
        Option(
            help="Pixels that neighboring windows share.",
            takes=_NETWORK,
            panel="Network",
            rule="a whole number of pixels, or two (y, x)",
            metavar="N|X,Y",
            keyword="int | tuple[int, int]",
            fingerprint=True,
        ),
    ] = (128, 128)
    blend: Annotated[
        Blend,
        Option(
            help="Weights of overlapping windows: tapered to the rim (smooth), or all alike (uniform).",
            takes=_NETWORK,
            panel="Network",
            fingerprint=True,
        ),
    ] = "smooth"
    test_time: Annotated[
        TestTime,
        Option(
            help="Average over turned and mirrored copies: 4 (flips) or 8 (d4) times the work.",
            takes=_NETWORK,
            panel="Network",
        ),
    ] = "none"
    threshold: Annotated[
        Threshold | None,
        Option(
            help="Probability from which a pixel belongs to an object: one number, or one a class.",
            takes=_OUTLINES,
            panel="Footprints",
            rule="above 0 and at most 1, one number or one for each class",
            metavar="P[,P...]",
            keyword="float | Sequence[float] | Mapping[str, float]",
            unset="0.5, or more than the background where the network has that class",
        ),
    ] = None
    split: Annotated[
        Literal["off"] | Share,
        Option(
            help="Take touching objects apart where the probability between them falls by this share below "
            "both (of a mask: where it is narrow); auto: as the model says.",
            takes=_OUTLINES,
            panel="Footprints",
            rule="auto, off, or a share above 0 and at most 1",
            metavar="auto|off|SHARE",
            keyword='float | Literal["auto", "off"]',
        ),
    ] = "off"
    min_area_m2: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Option(
            help="Leave out smaller footprints, in square meters (in pixels without a CRS).",
            takes=_STEPS,
            panel="Footprints",
        ),
    ] = 0.0
    min_hole_m2: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Option(
            help="Fill smaller holes, in square meters (in pixels without a CRS).",
            takes=_STEPS,
            panel="Footprints",
        ),
    ] = 0.0
    regularize: Annotated[
        bool,
        Option(
            help="Draw outlines with right angles and straight walls; what does not agree with its pixels is "
            "simplified. Replaces --simplify-m.",
            takes=_STEPS,
            panel="Footprints",
        ),
    ] = False
    simplify_m: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Option(
            help="Simplify outlines within this tolerance in meters (in pixels without a CRS).",
            takes=_STEPS,
            panel="Footprints",
        ),
    ] = 0.0


class RunSettings(CardSettings):
    """All settings of a run; see each one's ``help`` in its :class:`Option`.

    A value of None is as good as none: then the model's card decides, else the default.

    Examples
    --------
    >>> RunSettings(window=256, bands=None).given()
    {'window': (256, 256)}
    """

    formats: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)],
        BeforeValidator(_several),
        Option(
            help="Formats of the footprints, several with commas.",
            takes=("run", "vectorize"),
            panel="Files",
            rule="names of output formats",
            choices="geoseg.io.writers:FORMATS",
            metavar="NAME[,NAME...]",
            flag="--format",
            keyword="str | Sequence[str]",
        ),
    ] = ("geojson",)
    class_names: Annotated[
        Words | None,
        Option(
            help="Names of the values 1, 2, ... (or of the bands) with commas; one name for all.",
            takes=("vectorize",),
            panel="Footprints",
            rule="texts",
            metavar="NAME[,NAME...]",
            keyword="str | Sequence[str]",
            unset="as the raster says",
        ),
    ] = None
    connectivity: Annotated[
        Connectivity,
        Option(
            help="8: pixels that touch at a corner are one object; 4: they are not.",
            takes=_OUTLINES,
            panel="Footprints",
        ),
    ] = 8
    batch_size: Annotated[
        Annotated[int, Field(ge=1)] | None,
        BeforeValidator(lambda value: None if value == "auto" else value),
        Option(
            help="Windows of a batch.",
            takes=_NETWORK,
            panel="Network",
            rule="at least 1, one whole number, or auto",
            metavar="N",
            keyword='int | Literal["auto"]',
            unset="auto, by device and memory",
        ),
    ] = None
    device: Annotated[
        str,
        Option(
            help="Where the network runs: auto, cpu, cuda, cuda:N or mps.",
            takes=_NETWORK,
            panel="Network",
        ),
    ] = "auto"
    engine: Annotated[
        str,
        Option(
            help="What carries it out: auto, torch, onnxruntime, openvino or compile.",
            takes=_NETWORK,
            panel="Network",
        ),
    ] = "auto"
    chunk: Annotated[
        int,
        Field(ge=1),
        Option(
            help="Wanted side in pixels of the pieces that are stored and traced at a time.",
            takes=(*_STORED, "vectorize"),
            panel="Work",
        ),
    ] = 1536
    bands: Annotated[
        Annotated[tuple[int, ...], Field(min_length=1)] | None,
        BeforeValidator(_several),
        Option(
            help="Bands of the scene, counted from 1, such as 3,2,1.",
            takes=(*_NETWORK, "vectorize"),
            panel="Scene",
            rule="numbers of bands, counted from 1",
            metavar="N[,N...]",
            keyword="int | Sequence[int]",
            unset="the first ones that are needed",
        ),
    ] = None
    stretch: Annotated[
        Literal["off"] | tuple[Limit, Limit] | None,
        BeforeValidator(_limits),
        AfterValidator(_ordered),
        Option(
            help="Values or percentiles of each band in the whole scene that become 0 and 255, such as "
            "0,3000 or P2,P98; off: pixels as stored.",
            takes=_NETWORK,
            panel="Scene",
            rule="auto, off, two values or two percentiles (P2,P98), the lower first",
            metavar="auto|off|MIN,MAX",
            keyword='Literal["auto", "off"] | str | Sequence[float | str]',
            unset="auto: P2,P98 of wider pixels where the model is made for 8 bits",
        ),
    ] = None
    resolution: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["native"] | None,
        Option(
            help="Ground sampling distance to read at, in meters per pixel, or native: as stored. A scene "
            "within 1 % of it is read as stored.",
            takes=_NETWORK,
            panel="Scene",
            rule="one number of meters above 0, or native",
            metavar="M|native",
            keyword='float | Literal["native"]',
            unset="the model's",
        ),
    ] = None
    gsd: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Option(
            help="Ground sampling distance of a scene without a CRS (a photo, a chip), in meters per pixel: "
            "it is then read at the network's, and areas are in square meters.",
            takes=(*_NETWORK, "vectorize"),
            panel="Scene",
            rule="one number of meters above 0",
            metavar="M",
            unset="not known",
        ),
    ] = None
    any_resolution: Annotated[
        bool,
        Option(
            help="Go on where the scene's pixels are over 4 times smaller or larger than the network knows.",
            takes=_NETWORK,
            panel="Scene",
        ),
    ] = False
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Option(
            help="Only this part: minx,miny,maxx,maxy in the scene's CRS (in pixels where it has none).",
            takes=_NETWORK,
            panel="Scene",
            rule="four numbers: min x, min y, max x, max y",
            metavar="X,Y,X,Y",
            keyword="Sequence[float]",
            unset="the whole scene",
        ),
    ] = None
    aoi: Annotated[
        Path | None,
        Option(
            help="Vector file: what lies outside its polygons counts as without data. The network sees the "
            "pixels there, so that the result inside is that of the whole scene.",
            takes=_STORED,
            panel="Scene",
            metavar="FILE",
            keyword="PathLike",
            unset="the whole scene",
        ),
    ] = None
    dtype: Annotated[
        Literal["uint8", "float32"],
        Option(
            help="Pixels of the raster: probability * 254 with nodata 255 (uint8), or as it is (float32).",
            takes=("predict",),
            panel="Files",
        ),
    ] = "uint8"
    save_prob: Annotated[
        bool,
        Option(help="Also write NAME.prob.tif, the probabilities, a COG.", takes=("run",), panel="Files"),
    ] = False
    save_mask: Annotated[
        bool,
        Option(help="Also write NAME.mask.tif, the classes, a COG.", takes=("run",), panel="Files"),
    ] = False
    restart: Annotated[
        bool,
        Option(help="Throw away a kept run and begin again.", takes=("run", "predict"), panel="Work"),
    ] = False
    overwrite: Annotated[
        bool,
        Option(
            help="Write over files of these names that geoseg did not write. Its own are always replaced; a "
            "GeoPackage keeps its other layers.",
            takes=("run", "predict", "vectorize"),
            panel="Files",
        ),
    ] = False
    on_error: Annotated[
        OnError,
        Option(
            help="A region that can't be read: fail, or skip it and list it.",
            takes=(*_STORED, "vectorize"),
            panel="Work",
        ),
    ] = "fail"

    @model_validator(mode="before")
    @classmethod
    def _only_given(cls, values: Any) -> Any:
        """Leave out None and ``auto``, which choose nothing, and make plain numbers of numpy's."""
        if not isinstance(values, Mapping):
            return values
        return {
            name: value.tolist() if hasattr(value, "tolist") else value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and value == "auto" and name in _AUTO)
        }

    def given(self) -> dict[str, Any]:
        """The settings that somebody chose, without the defaults."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the stored pixels by themselves."""
        options = settings_of(type(self)).items()
        return {name: getattr(self, name) for name, (_, option) in options if option.fingerprint}


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
    if "simplify_m" in given_names and "regularize" not in given_names:
        # Who asks for simple outlines gets them, also where the model would have them squared
        suggested = {name: value for name, value in suggested.items() if name != "regularize"}
    chosen = RunSettings.model_validate({**suggested, **given.given()})
    if "overlap" in given.model_fields_set:
        return chosen
    fitting = tuple(
        shared if shared < side else side // 4 for side, shared in zip(chosen.window, chosen.overlap)
    )
    return chosen if fitting == chosen.overlap else chosen.model_copy(update={"overlap": fitting})


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
    names = settings_of(CardSettings, "vectorize")
    kept = {name: value for name, value in chosen.given().items() if name in names}
    if gsd is not None:  # whole columns and rows: the two may differ a little, and areas are to be right
        kept["gsd"] = math.sqrt(gsd[0] * gsd[1])
    # by position: names of classes may be changed when footprints are made
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
    return "given" if name in given.model_fields_set else "model" if name in suggested else "default"


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
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ConfigError(
            f"option must be one of {', '.join(sorted(known))}, got {', '.join(map(spelling, unknown))}."
        )
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        wrong = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
    raise ConfigError(
        "\n".join(
            f"{spelling(name)} must be {rule_of(*known[name])}, got {values[name]!r}." for name in wrong
        )
    )
