"""Splits of scenes that show the same ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from geoseg.data.ground import carry, neighbors, share_ground
from geoseg.data.sampler import WindowEpochs
from geoseg.data.settings import SamplerSettings, SplitSettings
from geoseg.data.splits import block_split, file_split
from geoseg.geo.geobox import GeoBox

CHIP = (32, 32)
UTM, LONLAT = CRS.from_epsg(32645), CRS.from_epsg(4326)


@dataclass(frozen=True)
class PlacedPixels:
    """Pixels that nobody reads, somewhere on Earth."""

    geobox: GeoBox
    count: int = 3
    dtype: str = "uint8"


@pytest.fixture
def place(make_area):
    """An area whose upper left corner lies at (x, y) meters of UTM 45N."""

    def make(name, x=500_000.0, y=3_000_000.0, step=1.0, size=256, crs=UTM, aoi=None):
        if crs == LONLAT:
            x, y = Transformer.from_crs(UTM, LONLAT, always_xy=True).transform(x, y)
            step /= 111_000
        box = GeoBox(Affine(step, 0, x, 0, -step, y), crs, size, size)
        return replace(make_area(name, size, size, aoi=aoi), pixels=PlacedPixels(box))

    return make


def ground_of(place: GeoBox, rects) -> shapely.Geometry:
    """Rectangles (row, column, row end, column end) on the ground, in UTM."""
    flat = [shapely.segmentize(shapely.box(c, r, d, e), 4) for r, c, e, d in rects]
    to_utm = Transformer.from_crs(place.crs, UTM, always_xy=True)

    def move(xy):
        a, b, c, d, e, f = place.transform[:6]
        x, y = a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f
        return np.stack(to_utm.transform(x, y), -1)

    return shapely.union_all(shapely.transform(flat, move))


@pytest.mark.parametrize(
    "second",
    [{}, {"x": 500_037.5, "y": 2_999_900.25, "step": 0.7}, {"crs": LONLAT}, {"y": 3_000_000.0 - 256}],
    ids=["same grid", "shifted and finer", "another CRS", "next to it"],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ground_is_on_one_side_in_all_scenes(place, second, seed):
    areas = [place("a"), place("b", **second)]
    parts = block_split(areas, CHIP, SplitSettings(val_fraction=0.2, buffer_px=8), ["auto"] * 2, seed)
    settings = SamplerSettings(chips_per_epoch=300, foreground=0)
    drawn = WindowEpochs.of(areas, parts, CHIP, settings, seed).batches(0, 4, 1)
    trained = [
        ground_of(areas[ref.area].pixels.geobox, [(ref.row, ref.col, ref.row + 32, ref.col + 32)])
        for batch in drawn
        for ref in batch
    ]
    windows = [
        ground_of(a.pixels.geobox, [(w.row_off, w.col_off, w.row_end, w.col_end) for w in p.val])
        for a, p in zip(areas, parts, strict=True)
    ]
    validated = shapely.union_all([w for w in windows if not w.is_empty])
    assert validated.area > 64 * 64
    assert shapely.distance(trained, validated).min() >= 8 * 0.7 - 0.1


def test_the_same_blocks_are_held_in_scenes_of_the_same_ground(place):
    parts = block_split([place(n) for n in "abcd"], CHIP, SplitSettings(), ["auto"] * 4, 0)
    assert len({frozenset(p.val) for p in parts}) == 1
    assert all(p.train for p in parts)


def test_a_scene_to_validate_on_keeps_its_ground(place, caplog):
    areas = [place("a"), place("b"), place("c", x=500_128.0)]
    parts = block_split(areas, CHIP, SplitSettings(buffer_px=0), ["val", "train", "train"], 0)
    assert [p.train for p in parts] == [False, False, True]
    assert parts[2].forbidden.tolist() == [[0, -128, 256, 128]]
    assert "b is not trained on" in caplog.text


def test_shared_ground_of_files_is_told(place, caplog):
    west, east = (shapely.box(0, 0, 120, 256),), (shapely.box(136, 0, 256, 256),)
    file_split([place("a", aoi=west), place("b", aoi=east)], CHIP, SplitSettings(val=("b",)), ["auto"] * 2, 0)
    assert not caplog.text
    file_split([place("a"), place("b", aoi=east)], CHIP, SplitSettings(val=("b",)), ["auto"] * 2, 0)
    assert "b is validated on and a is trained on, but they show the same labeled ground" in caplog.text


def test_scenes_apart_or_without_a_place_have_no_neighbors(place, make_area):
    here, far = place("a"), place("b", x=700_000.0)
    assert neighbors([here.pixels.geobox, None, far.pixels.geobox]) == [(), (), ()]
    assert neighbors([]) == []
    assert neighbors([None]) == [()]
    assert carry(np.array([[0, 0, 9, 9]]), here.pixels.geobox, far.pixels.geobox).shape == (0, 4)
    assert not share_ground(here, far)
    assert not share_ground(here, make_area("plain", 9, 9))
