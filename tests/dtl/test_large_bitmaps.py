"""Layers do to large bitmaps, which are kept compressed, what they do to small ones."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from affine import Affine
from dtl_projects import apply, array_sample
from pyproj import CRS
from scipy import ndimage

from geoseg.dtl.layers.drawing import row_windows
from geoseg.dtl.save import painted
from geoseg.geo.geobox import GeoBox
from geoseg.projects.figures import Bitmap, LabeledObject, Line, Polygon, Rectangle, same_figure
from geoseg.projects.figures.stored import STRIP, StoredMask, store_mask
from geoseg.projects.figures.strips import made_of_rows
from geoseg.projects.figures.transform import transpose_figure
from geoseg.projects.formats.rings import figure_outline

SHAPE = (700, 90)
PLACE = GeoBox(Affine(0.5, 0, 400_000, 0, -0.5, 6_000_000), CRS.from_epsg(32636), *SHAPE)
SIDE = {"width": 150, "height": -1, "aspect_ratio": {"keep": True}}
CASES = [
    ("resize", SIDE),
    ("resize", {**SIDE, "width": 31}),
    ("resize_annotation", SIDE),
    ("rotate", {"rotate_angles": {"min_degrees": 20, "max_degrees": 70}, "black_regions": {"mode": "keep"}}),
    ("rotate", {"rotate_angles": {"min_degrees": 90, "max_degrees": 90}, "black_regions": {"mode": "keep"}}),
    ("reproject", {"crs": "EPSG:32637"}),
    ("resample", {"gsd_m": 0.35}),
    ("crop", {"sides": {"top": "270px", "left": "3px"}}),
    ("instances_crop", {"classes": ["a"], "pad": {"sides": {"top": "2px"}}, "save_classes": ["b"]}),
    ("poly2bitmap", {"classes_mapping": dict.fromkeys(("a", "area", "line", "box"), "mask")}),
    ("line2bitmap", {"classes_mapping": dict.fromkeys(("a", "area", "line", "box"), "mask"), "width": 5}),
    ("rasterize", {"classes_mapping": dict.fromkeys(("a", "b", "area"), "flat")}),
    ("find_contours", {"classes_mapping": {"a": "outline"}}),
    ("bitmap2lines", {"classes_mapping": {"thin": "lines"}, "min_points_cnt": 3}),
    *(
        ("bitwise_masks", {"type": t, "class_mask": "a", "classes_to_correct": ["b"]})
        for t in ("or", "and", "nor")
    ),
    ("drop_noise", {"classes": ["a", "b"], "min_area": "9px", "src_type": "image"}),
    ("merge_bitmap_masks", {"class": "b"}),
    ("split_masks", {"classes": ["a", "b"]}),
    ("skeletonize", {"classes": ["a", "b"], "method": "thinning"}),
    ("skeletonize", {"classes": ["a", "b"], "method": "skeletonization"}),
    ("skeletonize", {"classes": ["one"], "method": "medial_axis"}),
    (
        "generate_hints",
        {"class": "a", "positive_class": "yes", "negative_class": "no", "min_points_number": 9},
    ),
]


@pytest.fixture
def large(monkeypatch):
    """Bitmaps above a limit are large ones, and figures are drawn in strips of few rows."""

    def set_limit(limit=0):
        for name in ("stored", "types", "strips", "parts", "transform"):
            monkeypatch.setattr(f"geoseg.projects.figures.{name}.LARGE", limit)
        monkeypatch.setattr("geoseg.dtl.layers.masks.LARGE", limit)
        monkeypatch.setattr("geoseg.projects.formats.rings.LARGE", limit)
        monkeypatch.setattr("geoseg.raster.draw._AT_ONCE", 1000)
        monkeypatch.setattr("geoseg.dtl.layers.drawing._AT_ONCE", 1000)

    return set_limit


def figures():
    """Bitmaps that overlap and reach out of the image, and shapes with vertices."""
    rng = np.random.default_rng(1)
    blobs = ndimage.gaussian_filter(rng.standard_normal((650, 80)), 4) > 0.02
    noise = rng.random((610, 70)) < 0.45
    ring = np.stack([45 + 44 * np.cos(np.arange(40)), 350 + 340 * np.sin(np.arange(40))], axis=1)
    star = Polygon(
        ring * (1, 1.1) - (0.3, 20),
        tuple(np.array([[x, y], [x + 9, y], [x, y + 80]]) for x, y in ((20, 100), (40, 300), (30, 500))),
    )
    rows, cols = np.mgrid[:600, :60]
    one = (abs(rows - 10 * cols) < 40) | (abs(rows - 300) < 5)
    return [
        ("a", Bitmap((-5, 40), blobs)),
        ("b", Bitmap((30, 100), noise)),
        ("b", Bitmap((2, 3), blobs[::-1, ::-1])),
        ("b", Bitmap((80, 690), np.ones((30, 30), bool))),
        ("a", Bitmap((10, 20), noise[:300])),
        ("one", Bitmap((10, 20), one)),
        ("thin", Bitmap((1, 1), np.eye(640, 80, dtype=bool) | (rng.random((640, 80)) < 0.02))),
        ("area", star),
        ("line", Line(ring[::5])),
        ("box", Rectangle(3, 5, 80, 666)),
    ]  # fmt: skip


def sample_of(stored):
    objects = []
    for number, (name, figure) in enumerate(figures()):
        if stored and isinstance(figure, Bitmap):
            pixels = store_mask(figure.mask.T).transposed() if number % 2 else store_mask(figure.mask)
            figure = Bitmap(figure.origin, pixels)
        objects.append(LabeledObject(name, figure))
    return array_sample(np.zeros((1, *SHAPE), np.uint8), objects, box=PLACE)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_layers(large, name, settings):
    expected = [out for _, out in apply(name, settings, sample_of(stored=False))]
    large()
    outputs = [out for _, out in apply(name, settings, sample_of(stored=True))]
    assert len(outputs) == len(expected)
    for mine, other in zip(outputs, expected, strict=True):
        assert mine.shape == other.shape
        assert [item.class_name for item in mine.objects] == [item.class_name for item in other.objects]
        for item, same in zip(mine.objects, other.objects, strict=True):
            assert same_figure(item.figure, same.figure)
        values = {name: 1 + place for place, name in enumerate({item.class_name for item in other.objects})}
        np.testing.assert_array_equal(mine.target(values), other.target(values))


def grid(side):
    """Roads that join over a whole scene."""

    def rows(top, bottom):
        lines = (np.arange(side) % 200 < 8) & np.ones((bottom - top, 1), bool)
        return lines | (np.arange(top, bottom)[:, None] % 300 < 8)

    return made_of_rows((0, 0), (side, side), rows)


SCENE = 4000
WHOLE = Polygon(np.array([[0.0, 0], [SCENE, 300], [SCENE - 1, SCENE], [9, SCENE - 9]]))


@pytest.mark.parametrize(
    ("name", "settings", "share"),
    [
        ("resize", {"width": SCENE // 2, "height": -1, "aspect_ratio": {"keep": True}}, 0.3),
        ("poly2bitmap", {"classes_mapping": {"area": "mask"}}, 0.3),
        ("line2bitmap", {"classes_mapping": {"area": "mask"}, "width": 3}, 0.3),
        ("rasterize", {"classes_mapping": dict.fromkeys(("a", "area"), "flat")}, 0.5),
        ("merge_bitmap_masks", {"class": "a"}, 0.4),
        ("bitwise_masks", {"type": "nor", "class_mask": "one", "classes_to_correct": ["a"]}, 0.5),
        ("split_masks", {"classes": ["a"]}, 0.8),
        ("drop_noise", {"classes": ["a"], "min_area": "9px", "src_type": "image"}, 0.8),
    ],
)
def test_memory(large, name, settings, share):
    """Below a byte a pixel, though strips are a good part of so small a scene."""
    large(2**16)
    one = LabeledObject("one", Bitmap((70, 80), np.ones((9, 9), bool)))
    objects = [LabeledObject("a", grid(SCENE)), LabeledObject("area", WHOLE), one]
    sample = array_sample(np.zeros((1, SCENE, SCENE), np.uint8), objects)
    apply(name, settings, sample_of(stored=True))  # what is compiled or cached does not count
    tracemalloc.start()
    outputs = apply(name, settings, sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any(
        isinstance(item.figure, Bitmap) and isinstance(item.figure.pixels, StoredMask)
        for _, out in outputs
        for item in out.objects
    )
    assert peak < share * SCENE * SCENE


def test_strips_of_an_image(monkeypatch):
    monkeypatch.setattr("geoseg.dtl.layers.drawing._AT_ONCE", 130)
    strips = list(row_windows((3, 60)))
    assert [(strip.row_off, strip.height, strip.width) for strip in strips] == [(0, 2, 60), (2, 1, 60)]
    pixels = np.random.default_rng(0).integers(0, 3, (1, 40, 60)).astype(np.uint8)
    share = float((pixels != 0).mean())
    sample = array_sample(pixels, nodata=0)
    assert len(apply("filter_valid", {"min_share": share}, sample)) == 1
    assert len(apply("filter_valid", {"min_share": np.nextafter(share, 1)}, sample)) == 0


def test_painted_in_strips(large):
    colors = {"a": (9, 0, 200), "area": (1, 2, 3), "line": (7, 7, 7)}
    expected = painted(sample_of(stored=False), colors)
    large()
    for mine, other in zip(painted(sample_of(stored=True), colors), expected, strict=True):
        np.testing.assert_array_equal(mine, other)


HINTS = {"class": "a", "positive_class": "yes", "negative_class": "no", "min_points_number": 1}


@pytest.mark.parametrize(
    "draw",
    [
        lambda sample: painted(sample, {"a": (1, 2, 3)}),
        lambda sample: sample.target({"a": 1}),
        lambda sample: apply("generate_hints", HINTS, sample),
    ],
    ids=["painted", "target", "generate_hints"],
)
def test_a_bitmap_laid_by_columns_is_unpacked_few_times(large, monkeypatch, draw):
    side, calls = 2000, []
    large()
    for module in ("raster.draw", "dtl.layers.drawing"):
        monkeypatch.setattr(f"geoseg.{module}._AT_ONCE", side * STRIP)
    objects = [LabeledObject("a", transpose_figure(grid(side)))]
    sample = array_sample(np.zeros((1, side, side), np.uint8), objects)
    unpack = zlib.decompress
    monkeypatch.setattr(zlib, "decompress", lambda data: calls.append(len(data)) or unpack(data))
    draw(sample)
    assert len(calls) <= 4 * -(-side // STRIP)


def test_outlines_in_pixel_corners(large):
    bitmaps = [figures()[place][1] for place in (0, 3, 5)]
    expected = [figure_outline(figure).normalize() for figure in bitmaps]
    large()
    for figure, outline in zip(bitmaps, expected, strict=True):
        mine = figure_outline(Bitmap(figure.origin, store_mask(figure.mask)))
        assert mine.area == figure.mask.sum()
        assert mine.normalize() == outline
