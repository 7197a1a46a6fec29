"""Outlines on disk come back in order, whole, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoseg.errors import RunError
from geoseg.geo.windows import Window
from geoseg.io import spill as module
from geoseg.io.spill import OutlineSpill
from geoseg.pipeline.outlines import iter_outlines
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.rings import Outlines, concat_outlines


def batches(mask: np.ndarray, chunk: int) -> list[Outlines]:
    def read(window: Window) -> ChunkValues:
        return ChunkValues(mask[window.rows, window.cols])

    return list(iter_outlines(read, mask.shape, chunk, 8))


@pytest.mark.parametrize("limit", [3, 1 << 14])
def test_in_raster_order_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(module, "_BATCH_OBJECTS", limit)
    monkeypatch.setattr(module, "_BATCH_CORNERS", limit * 10)
    mask = (np.random.default_rng(0).random((60, 50)) < 0.4).astype(np.uint8)
    mask[-1] = 0  # so that one chunk gives all its objects at once, in order
    whole = concat_outlines(batches(mask, 60))
    with OutlineSpill(tmp_path) as spill:
        for batch in batches(mask, 7):
            spill.add(batch)
        assert spill.count == len(whole)
        found = [outlines for outlines, _ in spill.in_order()]
        assert max(map(len, found)) <= limit
        back = concat_outlines(found)
    for field in ("key", "value", "pixels", "prob_sum", "touches_edge"):
        np.testing.assert_array_equal(getattr(back, field), getattr(whole, field))
    for field in ("object_offsets", "part_offsets", "ring_offsets", "xy"):
        np.testing.assert_array_equal(getattr(back, field), getattr(whole, field))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["objects.bin", "rings.bin", "corners.bin"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_files_that_changed_are_noticed(tmp_path: Path, name: str, damage: str) -> None:
    with OutlineSpill(tmp_path) as spill:
        for batch in batches(np.eye(9, dtype=np.uint8), 4):
            spill.add(batch)
        assert len(list(spill.in_order())) == 1
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / name).write_bytes(content[:-1] if damage == "cut" else content)
        with pytest.raises(RunError, match="temporary files must stay as they were written"):
            list(spill.in_order())


def test_nothing(tmp_path: Path) -> None:
    with OutlineSpill(tmp_path) as spill:
        assert list(spill.in_order()) == []
        for batch in batches(np.zeros((4, 4), np.uint8), 4):
            spill.add(batch)
        assert list(spill.in_order()) == []
