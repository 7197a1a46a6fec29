"""Options of the main job: what the user asked for, what the model's card suggests, what follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator

from geoseg.config import Settings
from geoseg.typing import Blend, Connectivity

__all__ = ["FORMATS", "Effective", "RunOptions", "resolve"]

#: Output formats and the suffix of their files.
FORMATS: dict[str, str] = {
    "geojson": ".geojson",
    "gpkg": ".gpkg",
    "parquet": ".parquet",
    "fgb": ".fgb",
    "shp": ".shp",
    "geojsonseq": ".geojsonl",
}

_DEFAULTS: dict[str, Any] = {
    "window": (512, 512),
    "overlap": (128, 128),
    "blend": "smooth",
    "min_area_m2": 0.0,
    "simplify_m": 0.0,
}


class RunOptions(Settings):
    """Options of :func:`geoseg.pipeline.run.run_scene`; None: as the model's card says, else the default.

    Attributes
    ----------
    formats
        Output formats, keys of ``FORMATS``.
    window, overlap
        Pixels (height, width) and (y, x); one number stands for both.
    blend
        ``smooth`` or ``uniform``.
    threshold
        Probability that makes a pixel an object, one or one a class.
    min_area_m2
        Smaller footprints are left out.
    simplify_m
        Tolerance of Douglas-Peucker simplification, meters on the ground; 0 keeps every pixel corner.
    connectivity
        Whether pixels that touch at a corner belong to one object (8) or not (4).
    batch_size
        Windows of a batch; None: by device and memory.
    device, engine
        Where and with what the network runs.
    chunk
        Wanted side of a chunk in pixels.
    bands
        1-based bands of the scene; None: the first ones that the model needs.
    resolution
        Ground meters per pixel to read at, or ``native``; None: the model's. A scene within 1 % of it is
        read as it is.
    bbox
        (min x, min y, max x, max y) in the scene's CRS.
    aoi
        Vector file; outside nothing is predicted, but the network sees the pixels there, so that the result
        inside is that of the whole scene.
    save_prob, save_mask
        Also write COGs.
    restart
        Throw away a kept run.
    on_error
        What to do about a region that can't be read.
    flips
        Test-time flips: average over the 8 flips and turns (8 times the network's work).
    """

    formats: tuple[Literal["geojson", "gpkg", "parquet", "fgb", "shp", "geojsonseq"], ...] = ("geojson",)
    window: tuple[int, int] | None = None
    overlap: tuple[int, int] | None = None
    blend: Blend | None = None
    threshold: float | tuple[float, ...] | None = None
    min_area_m2: float | None = Field(default=None, ge=0)
    simplify_m: float | None = Field(default=None, ge=0)
    connectivity: Connectivity = 8
    batch_size: int | None = Field(default=None, ge=1)
    device: str = "auto"
    engine: str = "auto"
    chunk: int = Field(default=1536, ge=64)
    bands: tuple[int, ...] | None = None
    resolution: float | Literal["native"] | None = None
    bbox: tuple[float, float, float, float] | None = None
    aoi: Path | None = None
    save_prob: bool = False
    save_mask: bool = False
    restart: bool = False
    on_error: Literal["fail", "skip"] = "fail"
    flips: bool = False

    @field_validator("window", "overlap", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value

    @field_validator("formats", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
        unknown = [name for name in names if name not in FORMATS]
        if unknown or not names:
            raise ValueError(
                f"must be among {', '.join(FORMATS)}, got {', '.join(map(repr, unknown)) or 'none'}"
            )
        return tuple(dict.fromkeys(names))

    @field_validator("threshold")
    @classmethod
    def _probability(cls, value: Any) -> Any:
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and not 0 < one <= 1:
                raise ValueError(f"threshold must be above 0 and at most 1, got {one}")
        return value

    @field_validator("resolution")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if isinstance(value, float) and value <= 0:
            raise ValueError(f"resolution must be above 0 meters, got {value}")
        return value


@dataclass(frozen=True)
class Effective:
    """What a run really uses.

    Attributes
    ----------
    window, overlap, blend, min_area_m2, simplify_m
        As in :class:`RunOptions`.
    thresholds
        One probability an object class, a single one for all, or None for the most probable class.
    gsd
        Ground meters per pixel to read at; None: as stored.
    """

    window: tuple[int, int]
    overlap: tuple[int, int]
    blend: Blend
    thresholds: tuple[float, ...] | None
    min_area_m2: float
    simplify_m: float
    gsd: float | None


class CardDefaults(NamedTuple):
    """What a model's card may suggest; None where it does not."""

    window: tuple[int, int] | None = None
    overlap: tuple[int, int] | None = None
    blend: Blend | None = None
    thresholds: tuple[float, ...] | None = None
    min_area_m2: float | None = None
    simplify_m: float | None = None
    gsd: float | None = None


def resolve(options: RunOptions, card: CardDefaults) -> Effective:
    """What the user asked for, else what the card says, else the default.

    An overlap that nobody asked for and that a small window can't have becomes a quarter of the window.

    Examples
    --------
    >>> resolve(RunOptions(overlap=64), CardDefaults(window=(256, 256), overlap=(32, 32))).overlap
    (64, 64)
    >>> resolve(RunOptions(window=(96, 256)), CardDefaults(overlap=(128, 128))).overlap
    (24, 128)
    """

    def choose(name: str) -> Any:
        for value in (getattr(options, name), getattr(card, name), _DEFAULTS[name]):
            if value is not None:
                return value
        return None

    given = options.threshold
    thresholds = card.thresholds if given is None else given if isinstance(given, tuple) else (given,)
    asked = options.resolution
    window, overlap = choose("window"), choose("overlap")
    if options.overlap is None:
        overlap = tuple(shared if shared < side else side // 4 for side, shared in zip(window, overlap))
    return Effective(
        window=window,
        overlap=overlap,
        blend=choose("blend"),
        thresholds=thresholds,
        min_area_m2=choose("min_area_m2"),
        simplify_m=choose("simplify_m"),
        gsd=card.gsd if asked is None else None if asked == "native" else asked,
    )
