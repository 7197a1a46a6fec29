"""The settings of a run that a model's card may suggest, each declared once; and who takes settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from geoseg.config.option import Caller, Option
from geoseg.config.settings import Settings
from geoseg.config.values import Length, Share, Side, Threshold, as_pair
from geoseg.typing import Blend, TestTime

__all__ = ["NETWORK", "OUTLINES", "STEPS", "STORED", "SuggestedSettings"]

#: The four ways from a scene through a network.
NETWORK: tuple[Caller, ...] = ("run", "predict", "segment", "array")
#: Those of them that keep what is done on the disk.
STORED: tuple[Caller, ...] = ("run", "predict", "segment")
#: What ends in footprints.
OUTLINES: tuple[Caller, ...] = ("run", "segment", "vectorize")
#: What takes the steps between outlines and file.
STEPS: tuple[Caller, ...] = (*OUTLINES, "polygonize")


class SuggestedSettings(Settings):
    """Settings that a model's card may suggest; they are keys of its ``geoseg`` object as well."""

    # Pairs are (height, width) here, as in arrays; the command line takes them as W,H and turns them round.
    window: Annotated[
        tuple[Side, Side],
        BeforeValidator(as_pair),
        Option(
            help="Window that the network sees, in pixels.",
            takes=NETWORK,
            panel="Network",
            rule="a whole number of pixels, or two (height, width)",
            metavar="N|W,H",
            keyword="int | tuple[int, int]",
            fingerprint=True,
        ),
    ] = (512, 512)
    # At the rim of a window the network sees little context. With a quarter shared, the middle of another
    # window decides there.
    overlap: Annotated[
        tuple[Length, Length],
        BeforeValidator(as_pair),
        Option(
            help="Pixels that neighboring windows share.",
            takes=NETWORK,
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
            takes=NETWORK,
            panel="Network",
            fingerprint=True,
        ),
    ] = "smooth"
    test_time: Annotated[
        TestTime,
        Option(
            help="Average over turned and mirrored copies: 4 (flips) or 8 (d4) times the work.",
            takes=NETWORK,
            panel="Network",
        ),
    ] = "none"
    # No number is the default: against an output for the background, 0.5 would lose what has 0.4 of it and
    # still is the most probable class.
    threshold: Annotated[
        Threshold | None,
        Option(
            help="Probability from which a pixel belongs to an object: one number, or one a class.",
            takes=OUTLINES,
            panel="Footprints",
            rule="above 0 and at most 1, one number or one for each class",
            metavar="P[,P...]",
            keyword="float | Sequence[float] | Mapping[str, float]",
            unset="0.5, or more than the background where the network has that class",
        ),
    ] = None
    # "auto" is not among its forms: it stands for not given, and is left out below.
    split: Annotated[
        Literal["off"] | Share,
        Option(
            help="Split touching objects where the probability between them drops by this share of its "
            "scale, such as 0.25 (of a mask: where it is narrow); auto: as the model suggests.",
            takes=OUTLINES,
            panel="Footprints",
            rule="auto, off, or a share above 0 and at most 1",
            metavar="auto|off|SHARE",
            keyword='float | Literal["auto", "off"]',
        ),
    ] = "off"
    # The mean and not the highest probability: a summit of a few pixels says little of what they belong to.
    min_confidence: Annotated[
        float,
        Field(ge=0, le=1),
        Option(
            help="Leave out footprints whose mean probability (the column confidence) is lower.",
            takes=OUTLINES,
            panel="Footprints",
            rule="a number from 0 to 1",
        ),
    ] = 0.0
    min_area_m2: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Option(
            help="Leave out smaller footprints, in square meters (in pixels without a CRS).",
            takes=STEPS,
            panel="Footprints",
        ),
    ] = 0.0
    min_hole_m2: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Option(
            help="Fill smaller holes, in square meters (in pixels without a CRS).",
            takes=STEPS,
            panel="Footprints",
        ),
    ] = 0.0
    # Off: right angles are a property of buildings, and a card of a network for buildings asks for them.
    regularize: Annotated[
        bool,
        Option(
            help="Draw outlines with right angles and straight walls; what does not agree with its pixels is "
            "simplified. Replaces --simplify-m.",
            takes=STEPS,
            panel="Footprints",
        ),
    ] = False
    simplify_m: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Option(
            help="Simplify outlines within this tolerance in meters (in pixels without a CRS).",
            takes=STEPS,
            panel="Footprints",
        ),
    ] = 0.0
