"""The settings of a run that say what is read of which scenes, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from geoseg.config.option import Option
from geoseg.config.suggested import NETWORK, STORED, SuggestedSettings
from geoseg.config.values import Limit, Words, as_limits, as_tuple, check_order
from geoseg.typing import MosaicMode, OnTop

__all__ = ["SceneSettings"]


class SceneSettings(SuggestedSettings):
    """What is read, from where, and what of it counts."""

    bands: Annotated[
        Annotated[tuple[int, ...], Field(min_length=1)] | None,
        BeforeValidator(as_tuple),
        Option(
            help="Bands of the scene, counted from 1, such as 3,2,1.",
            takes=(*NETWORK, "vectorize"),
            panel="Scene",
            rule="numbers of bands, counted from 1",
            metavar="N[,N...]",
            keyword="int | Sequence[int]",
            unset="the first ones that are needed",
        ),
    ] = None
    stretch: Annotated[
        Literal["off"] | tuple[Limit, Limit] | None,
        BeforeValidator(as_limits),
        AfterValidator(check_order),
        Option(
            help="Values or percentiles of each band in the whole scene that become 0 and 255, such as "
            "0,3000 or P2,P98; off: pixels as stored.",
            takes=NETWORK,
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
            takes=NETWORK,
            panel="Scene",
            rule="one number of meters above 0, or native",
            metavar="M|native",
            keyword='float | Literal["native"]',
            unset="the model's",
        ),
    ] = None
    # Not "resolution": this says how large the pixels are, that one how large they are to become.
    gsd: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Option(
            help="Ground sampling distance of a scene without a CRS (a photo, a chip), in meters per pixel: "
            "it is then read at the network's, and areas are in square meters.",
            takes=(*NETWORK, "vectorize"),
            panel="Scene",
            rule="one number of meters above 0",
            metavar="M",
            unset="not known",
        ),
    ] = None
    # A network that has never seen such pixels gives noise and no error: that takes a decision.
    any_resolution: Annotated[
        bool,
        Option(
            help="Go on where the scene's pixels are over 4 times smaller or larger than the network knows.",
            takes=NETWORK,
            panel="Scene",
            same_bytes=True,
        ),
    ] = False
    # bbox reads a part as if it were the scene; aoi reads all and counts a part. So only the second leaves
    # the footprints inside as they are in the whole scene.
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Option(
            help="Only this part: minx,miny,maxx,maxy in the scene's CRS (in pixels where it has none).",
            takes=NETWORK,
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
            takes=STORED,
            panel="Scene",
            metavar="FILE",
            keyword="PathLike",
            unset="the whole scene",
        ),
    ] = None
    # A sheet cut off at its border would give half houses, so files of one grid are one scene by default.
    mosaic: Annotated[
        MosaicMode,
        Option(
            help="Of several files, those on one grid that touch or overlap are one scene (auto), those off "
            "the grid are resampled onto it (warp), or each is a scene of its own (off).",
            takes=("run",),
            panel="Scene",
            same_bytes=True,
        ),
    ] = "auto"
    # The last by name, as gdalbuildvrt lays them.
    on_top: Annotated[
        OnTop,
        Option(
            help="Where files of a mosaic overlap, use the last or first by name, or the newest by date.",
            takes=("run",),
            panel="Scene",
        ),
    ] = "last"
    # An item of Sentinel-2 has a dozen rasters: which of them a network is for, its card does not know.
    asset: Annotated[
        Words | None,
        Option(
            help="Assets of STAC items to read, by name or role; bands of several follow each other.",
            takes=("run",),
            panel="Scene",
            rule="names of assets",
            metavar="NAME[,NAME...]",
            keyword="str | Sequence[str]",
            unset="the only raster of data",
        ),
    ] = None
    # An item that states no share of clouds is left out with it: it may have any.
    max_cloud: Annotated[
        Annotated[float, Field(ge=0, le=100)] | None,
        Option(
            help="Leave out STAC items with more clouds than this, in percent.",
            takes=("run",),
            panel="Scene",
            rule="one number from 0 to 100",
            metavar="X",
            unset="take all",
            same_bytes=True,
        ),
    ] = None
    # As STAC writes it in a search.
    dates: Annotated[
        str | None,
        Option(
            help="Read STAC items of these dates only: one date, or two with / between.",
            takes=("run",),
            panel="Scene",
            metavar="DATE[/DATE]",
            unset="take all",
            same_bytes=True,
        ),
    ] = None
    # What a file names is not what the user typed: nothing is fetched that nobody asked for.
    remote: Annotated[
        bool,
        Option(
            help="Allow STAC items and tile indexes to be read from the network.",
            takes=("run",),
            panel="Scene",
            same_bytes=True,
        ),
    ] = False
