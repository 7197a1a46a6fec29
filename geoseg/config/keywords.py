"""Keyword arguments of a run, for editors and type checkers.

Written by ``python -m geoseg.config.signature`` from the settings in geoseg/config; a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from geoseg.typing import PathLike


class PolygonizeKeywords(TypedDict, total=False):
    """Settings that geoseg.polygonize takes."""

    min_area_m2: float | None
    min_hole_m2: float | None
    regularize: bool | None
    simplify_m: float | None


class PredictKeywords(TypedDict, total=False):
    """Settings that geoseg.predict takes."""

    bands: int | Sequence[int] | None
    stretch: Literal["auto", "off"] | str | Sequence[float | str] | None
    resolution: float | Literal["native"] | None
    gsd: float | None
    any_resolution: bool | None
    bbox: Sequence[float] | None
    window: int | tuple[int, int] | None
    overlap: int | tuple[int, int] | None
    blend: Literal["smooth", "uniform"] | None
    test_time: Literal["none", "flips", "d4"] | None
    batch_size: int | Literal["auto"] | None
    device: str | None
    engine: str | None


class VectorizeKeywords(PolygonizeKeywords, total=False):
    """Settings that geoseg.vectorize takes."""

    bands: int | Sequence[int] | None
    gsd: float | None
    threshold: float | Sequence[float] | Mapping[str, float] | None
    split: float | Literal["auto", "off"] | None
    min_confidence: float | None
    class_names: str | Sequence[str] | None
    connectivity: Literal[4, 8] | None
    formats: str | Sequence[str] | None
    style: bool | None
    overwrite: bool | None
    workers: int | None
    scheduler: str | None
    store: str | None
    chunk: int | None
    on_error: Literal["fail", "skip"] | None


class SegmentKeywords(PredictKeywords, PolygonizeKeywords, total=False):
    """Settings that geoseg.segment takes."""

    aoi: PathLike | None
    devices: str | Sequence[str] | None
    threshold: float | Sequence[float] | Mapping[str, float] | None
    split: float | Literal["auto", "off"] | None
    min_confidence: float | None
    connectivity: Literal[4, 8] | None
    workers: int | None
    scheduler: str | None
    store: str | None
    chunk: int | None
    on_error: Literal["fail", "skip"] | None


class RunKeywords(SegmentKeywords, total=False):
    """Settings that geoseg.run takes."""

    mosaic: Literal["auto", "off", "warp"] | None
    on_top: Literal["last", "first", "newest"] | None
    asset: str | Sequence[str] | None
    max_cloud: float | None
    dates: str | None
    remote: bool | None
    formats: str | Sequence[str] | None
    save_prob: bool | None
    save_mask: bool | None
    style: bool | None
    qgs: bool | None
    stac: bool | None
    report: bool | None
    save_valid: bool | None
    merge: str | Sequence[str] | None
    merge_crs: str | None
    overlaps: Literal["keep", "newest", "best"] | None
    update: PathLike | None
    update_iou: float | None
    overwrite: bool | None
    restart: bool | None
    retry_failed: bool | None
    max_failures: int | None
