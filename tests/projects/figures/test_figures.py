"""Figures: codecs, and moving with the pixels under them."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.projects.figures import (
    Annotation,
    ClassMeta,
    LabeledObject,
    ProjectMeta,
    Tag,
    TagMeta,
    decode_mask,
    encode_mask,
    figure_from_json,
    figure_to_json,
)
from geoseg.projects.figures.transform import (
    affine_figure,
    clip_figure,
    crop_figure,
    even_odd,
    mirror_figure,
    repair_polygon,
    scale_figure,
    to_shapely,
    transpose_figure,
)
from geoseg.projects.figures.types import Bitmap, Line, Point, Polygon, Rectangle, figure_area, same_figure
from geoseg.raster.draw import draw_figures, figure_mask

masks = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.tuples(st.integers(1, 12), st.integers(1, 12)).map(
        lambda shape: np.random.default_rng(seed).random(shape) < 0.4
    )
)


def full(figure, height, width):
    """The figure on a whole image."""
    canvas = np.zeros((height, width), bool)
    drawn = figure_mask(figure, Window(row_off=0, col_off=0, height=height, width=width))
    if drawn is not None:
        box, mask = drawn
        canvas[box.rows, box.cols] = mask
    return canvas


@given(masks)
def test_mask_text_round_trip(mask):
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def _pack(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_masks_of_other_writers():
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 3] = mask * 7
    images = [Image.fromarray(rgba), Image.fromarray(mask.astype(np.uint8) * 255), Image.fromarray(mask)]
    for image in images:
        png = _pack(image)
        assert np.array_equal(decode_mask(base64.b64encode(zlib.compress(png)).decode()), mask)
        assert np.array_equal(decode_mask(base64.b64encode(png).decode()), mask)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!!!",
        "AAAA",
        base64.b64encode(zlib.compress(b"no png at all, but long enough to look")).decode(),
        None,
        5,
    ],
)
def test_broken_mask_is_refused(text):
    with pytest.raises(InputError, match="bitmap data"):
        decode_mask(text)


def test_truncated_png_is_refused():
    png = _pack(Image.fromarray(np.random.default_rng(0).random((50, 50)) < 0.5))
    with pytest.raises(InputError, match="bitmap data"):
        decode_mask(base64.b64encode(zlib.compress(png[:-40])).decode())


def test_huge_header_is_refused_before_memory_is_taken():
    png = bytearray(_pack(Image.new("1", (1, 1))))
    png[16:24] = b"\x7f\xff\xff\xff\x7f\xff\xff\xff"
    with pytest.raises(InputError, match="pixels"):
        decode_mask(base64.b64encode(zlib.compress(bytes(png))).decode())


def test_a_mask_must_be_in_proportion_to_its_image():
    text = encode_mask(np.zeros((6000, 6000), bool))
    entry = {"classTitle": "a", "geometryType": "bitmap", "bitmap": {"origin": [0, 0], "data": text}}
    document = {"size": {"height": 40, "width": 60}, "objects": [entry]}
    with pytest.raises(InputError, match=r"\$\.objects\[0\]: bitmap data must have 1 to .* got 6000 x 6000"):
        Annotation.from_json(document)
    document["size"] = {"height": 6000, "width": 6000}
    assert Annotation.from_json(document).objects[0].figure.mask.shape == (6000, 6000)


@pytest.mark.parametrize("value", [5, 1.5, True, "x", {"a": 1}])
@pytest.mark.parametrize("key", ["tags", "objects", "object tags", "interior"])
def test_what_must_be_a_list_is_one(key, value):
    ring = {"exterior": [[0, 0], [5, 0], [5, 5]], "interior": []}
    entry = {"classTitle": "a", "geometryType": "polygon", "points": ring, "tags": []}
    document = {"size": {"height": 40, "width": 60}, "objects": [entry], "tags": []}
    Annotation.from_json(document)
    {"object tags": entry, "interior": ring}.get(key, document)[key.rpartition(" ")[2]] = value
    with pytest.raises(InputError, match="must be a list"):
        Annotation.from_json(document)


FIGURES = [
    Polygon(np.array([[1.0, 1], [7, 2], [5, 8]]), (np.array([[3.0, 3], [5, 3], [4, 5]]),)),
    Bitmap((2, 1), np.array([[1, 0, 1], [0, 1, 1]], bool)),
    Rectangle(1, 2, 4, 6),
    Line(np.array([[0.0, 0], [3, 5], [8, 5]])),
    Point(4, 7),
]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.kind)
@pytest.mark.parametrize("legacy", [False, True])
def test_figure_json_round_trip(figure, legacy):
    assert same_figure(figure, figure_from_json(figure.kind, figure_to_json(figure, legacy=legacy)))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.kind)
@pytest.mark.parametrize("axis", [0, 1])
def test_mirror_moves_the_drawn_pixels(figure, axis):
    size = (12, 10)[axis]
    expected = np.flip(full(figure, 10, 12), axis=1 - axis)
    got = full(mirror_figure(figure, size, axis), 10, 12)
    if figure.kind in ("bitmap", "rectangle", "point"):
        assert np.array_equal(got, expected)
    else:  # ties of slanted lines may fall to the other side
        assert (got ^ expected).sum() <= 3
    assert same_figure(mirror_figure(mirror_figure(figure, size, axis), size, axis), figure)


@given(masks, st.integers(1, 20), st.integers(1, 20), st.integers(-3, 8), st.integers(-3, 8))
@settings(max_examples=60)
def test_bitmap_is_resized_as_its_pixels(mask, height, width, x, y):
    canvas = np.zeros((14, 15), bool)
    figure = Bitmap((x, y), mask)
    canvas = full(figure, 14, 15)
    rows = ((2 * np.arange(height) + 1) * 14) // (2 * height)
    cols = ((2 * np.arange(width) + 1) * 15) // (2 * width)
    inside = clip_figure(figure, Window(row_off=0, col_off=0, height=14, width=15))
    scaled = scale_figure(inside[0], (14, 15), (height, width)) if inside else None
    got = full(scaled, height, width) if scaled else np.zeros((height, width), bool)
    assert np.array_equal(got, canvas[np.ix_(rows, cols)])


@given(masks, st.integers(0, 3))
def test_right_angles_by_affine_are_exact(mask, quarter):
    height, width = 16, 14
    figure = Bitmap((1, 2), mask)
    turned = np.rot90(full(figure, height, width), quarter)
    forward = {
        0: Affine.identity(),
        1: Affine(0, 1, 0, -1, 0, width),
        2: Affine(-1, 0, width, 0, -1, height),
        3: Affine(0, -1, height, 1, 0, 0),
    }[quarter]
    moved = affine_figure(figure, forward, turned.shape)
    got = full(moved, *turned.shape) if moved else np.zeros(turned.shape, bool)
    assert np.array_equal(got, turned)


@given(masks, st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.integers(-2, 9))
def test_crop_of_a_bitmap_is_the_crop_of_its_pixels(mask, row, col, height, width, x):
    figure = Bitmap((x, 3), mask)
    window = Window(row_off=row, col_off=col, height=height, width=width)
    pieces = crop_figure(figure, window)
    got = full(pieces[0], height, width) if pieces else np.zeros((height, width), bool)
    assert np.array_equal(got, full(figure, 30, 30)[window.rows, window.cols])


def test_crop_cuts_a_polygon_into_pieces():
    comb = Polygon(np.array([[0.0, 0], [9, 0], [9, 9], [6, 9], [6, 2], [3, 2], [3, 9], [0, 9]]))
    pieces = crop_figure(comb, Window(row_off=4, col_off=0, height=6, width=10))
    assert len(pieces) == 2
    drawn = full(pieces[0], 6, 10) | full(pieces[1], 6, 10)
    assert np.array_equal(drawn, full(comb, 10, 10)[4:10])


def test_crop_drops_what_only_touches():
    square = Polygon(np.array([[2.0, 2], [5, 2], [5, 5], [2, 5]]))
    assert crop_figure(square, Window(row_off=0, col_off=5, height=9, width=9)) == []
    assert crop_figure(square, Window(row_off=0, col_off=6, height=9, width=9)) == []
    assert len(crop_figure(square, Window(row_off=0, col_off=4, height=9, width=9))) == 1
    assert len(crop_figure(square, Window(row_off=0, col_off=3, height=9, width=1))) == 1


@given(seed=st.integers(0, 2**32 - 1), holed=st.booleans())
def test_crops_of_valid_polygons_are_valid(seed, holed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
    ring = 12 + np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(2, 12, (len(angles), 1))
    hole = 12 + 0.3 * (ring[::-1] - 12)
    polygon = Polygon(ring, (hole,) if holed else ())
    if not to_shapely(polygon).is_valid:
        return
    window = Window(row_off=int(rng.integers(0, 12)), col_off=int(rng.integers(0, 12)), height=9, width=9)
    for piece in crop_figure(polygon, window):
        assert to_shapely(piece).is_valid
        assert 0 < figure_area(piece) <= 64


def test_what_falls_flat_on_the_edge_of_a_crop_is_left_out():
    # between the edge's pixel centers and its border this polygon has a spike
    ring = np.array([[-0.2, 7.4], [-0.4, 8.1], [-3.0, 2], [5, 5], [2, 9]])
    (piece,) = crop_figure(Polygon(ring), Window(row_off=0, col_off=0, height=12, width=12))
    assert to_shapely(piece).is_valid


def test_self_crossing_polygon_is_repaired_by_the_even_odd_rule():
    bow = Polygon(np.array([[0.0, 0], [8, 8], [8, 0], [0, 8]]))
    pieces = repair_polygon(bow)
    assert pieces is not None
    assert sum(figure_area(p) for p in pieces) == pytest.approx(32)
    assert repair_polygon(pieces[0]) is None
    assert crop_figure(bow, Window(row_off=0, col_off=0, height=4, width=9))


def test_a_hole_that_reaches_the_edge_of_a_crop_stays_a_hole():
    square = np.array([[0.0, 0], [30, 0], [30, 30], [0, 30]])
    ring = Polygon(square, (np.array([[8.0, 10], [20, 10], [20, 22], [8, 22]]),))
    whole = draw_figures([ring], [1], Window.whole((31, 31)), dtype=np.uint8)
    # The rows and columns of the hole's edges among them, where it shares them with the outline of the crop.
    for first in range(12):
        window = Window(row_off=first, col_off=2, height=20, width=16)
        pieces = crop_figure(ring, window)
        drawn = draw_figures(pieces, [1] * len(pieces), Window.whole((20, 16)), dtype=np.uint8)
        # But for the hole's own edge, which is object in the whole and open in the crop.
        assert (drawn != whole[window.rows, window.cols]).sum() <= 20


def test_a_hole_on_the_outline_is_none_of_the_polygon():
    square = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    notched = Polygon(square, (np.array([[4.0, 0], [8, 0], [8, 5], [4, 5]]),))
    pieces = repair_polygon(notched)
    assert pieces is not None
    assert sum(figure_area(piece) for piece in pieces) == pytest.approx(80)


def test_rings_of_a_polygon_are_joined_in_pairs(monkeypatch):
    """One by one, a polygon of 1,600 holes took a minute."""
    left, top = (axis.ravel() * 10.0 for axis in np.meshgrid(np.arange(15), np.arange(15)))
    courts = [box.exterior for box in shapely.box(left + 3, top + 3, left + 7, top + 7)]
    over_the_edge = shapely.box(146, 20, 154, 22).exterior
    joined, join = [], shapely.symmetric_difference
    monkeypatch.setattr(shapely, "symmetric_difference", lambda a, b: joined.append(np.size(a)) or join(a, b))
    block = shapely.box(0, 0, 150, 150).exterior
    assert even_odd(shapely.Polygon(block, courts)).area == 150**2 - 225 * 16
    assert not joined
    crossing = even_odd(shapely.Polygon(block, [*courts, over_the_edge]))
    assert crossing.is_valid
    # What the last ring holds of the block is cut out of it, the rest is added.
    assert crossing.area == 150**2 - 225 * 16 - 4 * 2 + 4 * 2
    assert len(joined) == 8


def test_a_polygon_without_area_is_repaired_to_nothing():
    flat = Polygon(np.zeros((5, 2)), (np.array([[0.0, 0], [1, 1], [1, 0]]),))
    assert repair_polygon(flat) == []
    assert repair_polygon(Polygon(np.array([[0.0, 0], [1, 1], [3, 3]]))) == []


def test_transpose():
    for figure in FIGURES:
        assert same_figure(transpose_figure(transpose_figure(figure)), figure)


def test_both_annotation_forms():
    meta = ProjectMeta(
        (ClassMeta("road", "polygon", (255, 0, 0)), ClassMeta("mask", "bitmap", (0, 255, 0))),
        (TagMeta("train"),),
    )
    objects = (
        LabeledObject("road", FIGURES[0], (Tag("t"),), "text", {"id": 7}),
        LabeledObject("mask", FIGURES[1]),
    )
    annotation = Annotation(10, 12, objects, (Tag("train", 3),), extra={"customBigData": {}})
    for legacy in (False, True):
        back = Annotation.from_json(
            annotation.to_json(legacy=legacy), ProjectMeta.from_json(meta.to_json(legacy=legacy))
        )
        assert back.shape == (10, 12)
        assert back.has_tag("train")
        assert all(same_figure(a.figure, b.figure) for a, b in zip(back.objects, objects, strict=True))
        assert back.objects[0].description == "text"
    assert annotation.to_json()["objects"][0]["id"] == 7
    assert annotation.to_json()["customBigData"] == {}
    assert set(annotation.to_json(legacy=True)["objects"][1]) == {
        "classTitle",
        "type",
        "description",
        "tags",
        "points",
        "bitmap",
    }


def test_shape_of_the_class_decides_how_an_object_is_read():
    entry = {"classTitle": "a", "type": "polygon", "points": {"exterior": [[5, 6], [1, 2]], "interior": []}}
    meta = ProjectMeta.from_json({"classes": [{"title": "a", "shape": "rectangle"}]})
    assert LabeledObject.from_json(entry, meta).figure == Rectangle(1, 2, 5, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classTitle": "nobody"}, r"\$\.objects\[0\].*nobody"),
        ({"points": {"exterior": [[1, "x"]]}}, "pairs"),
        ({"points": {"exterior": [[1, 2, 3]]}}, "pairs"),
        ({"points": {"exterior": [[1, float("nan")], [1, 1], [2, 2]]}}, "finite"),
        ({"points": None}, "must have points"),
    ],
)
def test_bad_objects_are_named(change, message):
    entry = {
        "classTitle": "a",
        "geometryType": "polygon",
        "points": {"exterior": [[0, 0], [1, 0], [1, 1]]},
        **change,
    }
    meta = ProjectMeta.from_json([{"title": "a", "shape": "polygon"}])
    with pytest.raises(InputError, match=message):
        Annotation.from_json({"size": {"height": 5, "width": 5}, "objects": [entry]}, meta)


def test_meta_of_2018_and_today():
    old = ProjectMeta.from_json({"classes": [], "tags_images": ["a", "b"], "tags_objects": ["b", "c"]})
    assert [(t.name, t.applies_to) for t in old.tags] == [
        ("a", "imagesOnly"),
        ("b", "all"),
        ("c", "objectsOnly"),
    ]
    assert old.to_json(legacy=True)["tags_objects"] == ["b", "c"]
    assert ProjectMeta.from_json(old.to_json()) == old


def test_meta_refuses_twins_and_shape_changes():
    with pytest.raises(InputError, match="unique"):
        ProjectMeta.from_json([{"title": "a"}, {"title": "a"}])
    meta = ProjectMeta((ClassMeta("a", "polygon", (0, 0, 0)),))
    with pytest.raises(InputError, match="must keep one shape"):
        meta.with_class(ClassMeta("a", "bitmap", (0, 0, 0)))
