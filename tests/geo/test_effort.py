"""Scenes that could not end in a month."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import geoseg
from geoseg.errors import InputError
from geoseg.geo.effort import NETWORK_MPX_S, TRACING_MPX_S, check_effort, shortest_days


@pytest.mark.parametrize(
    ("height", "width", "speed", "days"),
    [
        (0, 10, NETWORK_MPX_S, 0),
        (8_640_000, 1_000_000, NETWORK_MPX_S, 1),
        (8_640_000, 10_000_000, TRACING_MPX_S, 1),
        (10**9, 10**9, NETWORK_MPX_S, 10**18 / 1e8 / 86_400),
    ],
)
def test_shortest_days(height: int, width: int, speed: float, days: float) -> None:
    assert shortest_days(height, width, speed) == pytest.approx(days)


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (16_000_000, None),
        (17_000_000, "which takes at least 33 days"),
        (10**9, "which takes at least 317 years"),
    ],
)
def test_what_could_not_end_in_a_month_is_refused(side: int, words: str | None) -> None:
    if words is None:
        check_effort(side, side, NETWORK_MPX_S, "a.vrt")
        return
    with pytest.raises(InputError, match=words):
        check_effort(side, side, NETWORK_MPX_S, "a.vrt")


def test_a_vrt_that_declares_too_much_is_refused_at_once(tmp_path: Path) -> None:
    vrt = tmp_path / "a.vrt"
    vrt.write_text(
        "<VRTDataset rasterXSize='1000000000' rasterYSize='1000000000'>"
        "<VRTRasterBand dataType='Byte' band='1'/></VRTDataset>"
    )
    calls: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch

    with pytest.raises(InputError, match="at least 317 years"):
        geoseg.run(vrt, network, out=tmp_path / "out")
    with pytest.raises(InputError, match="at least 32 years"):
        geoseg.vectorize(vrt, tmp_path / "a.gpkg")
    with pytest.raises(InputError, match="at least 32 years"):
        geoseg.evaluate(vrt, vrt)
    assert calls == []
