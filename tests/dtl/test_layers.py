"""What single layers do, by hand-made cases; each names the behavior it holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from affine import Affine
from dtl_projects import FIGURES, apply, array_sample, drawn, only
from pyproj import CRS

from geoseg.dtl.catalog import registry
from geoseg.errors import ConfigError, GeosegError, InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Grid, Window
from geoseg.projects.figures import ClassMeta, LabeledObject, ProjectMeta, Tag
from geoseg.projects.figures.necks import parts_at_necks
from geoseg.projects.figures.types import Bitmap, Line, Point, Polygon, Rectangle
from geoseg.raster.draw import draw_figures

BLACK = np.zeros((3, 40, 60), np.uint8)
SQUARE = Polygon(np.array([[2.0, 2], [9, 2], [9, 9], [2, 9]]))


def sample_of(*items, pixels=BLACK, **kwargs):
    return array_sample(pixels, [LabeledObject(name, figure) for name, figure in items], **kwargs)


def figures(sample, name=None):
    return [item.figure for item in sample.objects if name in (None, item.class_name)]


def meta(**classes):
    return ProjectMeta(tuple(ClassMeta(name, shape, (1, 2, 3)) for name, shape in classes.items()))


def settings_of(action, settings):
    return registry.find(action).settings.model_validate(settings)


def test_flip_vertical_mirrors_left_and_right():
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    sample = array_sample(
        pixels, [LabeledObject("r", Rectangle(1, 0, 2, 3)), LabeledObject("p", Point(0, 0))]
    )
    out = only("flip", {"axis": "vertical"}, sample)
    assert np.array_equal(out.pixels.read(), pixels[:, :, ::-1])
    assert figures(out) == [Rectangle(3, 0, 4, 3), Point(5, 0)]
    out = only("flip", {"axis": "horizontal"}, sample)
    assert np.array_equal(out.pixels.read(), pixels[:, ::-1])


def test_multiply_gives_n_in_total():
    assert len(apply("multiply", {"multiply": 5}, sample_of())) == 5


def test_sliding_window_is_the_grid_of_the_main_job():
    sample = array_sample(np.zeros((1, 1000, 1100), np.uint8))
    settings = {"window": {"width": 512, "height": 512}, "min_overlap": {"x": 0, "y": 0}}
    windows = [out.pixels.window for _, out in apply("sliding_window", settings, sample)]
    assert [(w.col_off, w.row_off) for w in windows] == [(x, y) for y in (0, 488) for x in (0, 512, 588)]
    settings = {"window": {"width": 370, "height": 370}, "min_overlap": {"x": 300, "y": 300}}
    sample = array_sample(np.zeros((1, 375, 1242), np.uint8))
    windows = [out.pixels.window for _, out in apply("sliding_window", settings, sample)]
    assert windows == list(Grid((375, 1242), (370, 370), (300, 300)))
    assert len(windows) == 28
    with pytest.raises(InputError, match="must not be larger"):
        apply(
            "sliding_window",
            {"window": {"width": 99, "height": 9}, "min_overlap": {"x": 0, "y": 0}},
            sample_of(),
        )


def test_background_is_first_and_twice_is_two():
    out = only("background", {"class": "bg"}, sample_of(("a", SQUARE)))
    assert [item.class_name for item in out.objects] == ["bg", "a"]
    assert drawn(out, "bg").all()
    assert len(only("background", {"class": "bg"}, out).objects) == 3
    with pytest.raises(InputError):
        settings_of("background", {"class": "a"}).plan_meta(meta(a="bitmap"))


def test_crop_percent_is_floored_and_ratio_is_kept():
    part = {"min_percent": 33.4, "max_percent": 33.4}
    out = only("crop", {"random_part": {"width": part, "height": part}}, sample_of())
    assert out.shape == (13, 20)
    part = {"min_percent": 10, "max_percent": 90}
    settings = {"random_part": {"width": part, "height": part, "keep_aspect_ratio": True}}
    for seed in range(9):
        height, width = only("crop", settings, sample_of(), seed).shape
        assert abs(width / 60 - height / 40) <= 1 / 40


def test_crop_of_nothing_gives_nothing_and_outside_is_an_error():
    zero = {"min_percent": 0, "max_percent": 0}
    assert apply("crop", {"random_part": {"width": zero, "height": zero}}, sample_of()) == []
    assert apply("crop", {"sides": {"left": "60px"}}, sample_of()) == []
    assert only("crop", {"sides": {"left": "50%", "bottom": "3px"}}, sample_of()).shape == (37, 30)
    with pytest.raises(GeosegError, match="inside the image"):
        apply("crop", {"sides": {"left": "-5px"}}, sample_of())


def test_crop_reaches_every_offset():
    whole = {"min_percent": 50, "max_percent": 50}
    sample = array_sample(np.zeros((1, 4, 4), np.uint8))
    settings = {"random_part": {"width": whole, "height": whole}}
    seen = {only("crop", settings, sample, seed).pixels.window.col_off for seed in range(60)}
    assert seen == {0, 1, 2}


def test_split_masks_is_eight_connected():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    item = LabeledObject("m", Bitmap((3, 4), mask), (Tag("t"),), "text")
    out = only("split_masks", {"classes": ["m", "absent"]}, array_sample(BLACK, [item]))
    parts = figures(out)
    assert [p.origin for p in parts] == [(3, 4), (6, 4), (6, 6)]
    assert [int(p.mask.sum()) for p in parts] == [2, 1, 1]
    assert all(o.tags == item.tags and o.description == "text" for o in out.objects)
    with pytest.raises(InputError, match="must be bitmap"):
        apply("split_masks", {"classes": ["a"]}, sample_of(("a", SQUARE)))


def test_split_masks_cuts_at_necks_where_told_to():
    """A house 6 pixels wide, a passage of 2, a house of 8; then a speck."""
    mask = np.zeros((10, 20), bool)
    mask[2:8, :6] = mask[4:6, 6:8] = mask[1:9, 8:16] = mask[0, 18] = True
    item = LabeledObject("m", Bitmap((3, 4), mask), (Tag("t"),))

    def sizes(**settings):
        out = only("split_masks", {"classes": ["m"], **settings}, array_sample(BLACK, [item]))
        assert all(o.tags == item.tags for o in out.objects)
        parts = figures(out)
        again = np.zeros_like(mask)
        for part in parts:  # each pixel is in one part
            x, y = part.origin[0] - 3, part.origin[1] - 4
            place = again[y : y + part.mask.shape[0], x : x + part.mask.shape[1]]
            assert not (place & part.mask).any()
            place |= part.mask
        assert np.array_equal(again, mask)
        return sorted(int(part.mask.sum()) for part in parts)

    assert sizes() == [1, 6 * 6 + 4 + 8 * 8]
    cut = sizes(neck=0.5)
    assert len(cut) == 3
    assert cut[1] - 36 + cut[2] - 64 == 4  # the passage is shared out
    # The passage is a third as wide as the narrower house; a neck must be at most that wide.
    assert len(sizes(neck=1 / 3)) == 3
    assert len(sizes(neck=0.3)) == 2
    with pytest.raises(ConfigError, match="neck"):
        sizes(neck=1)


@pytest.mark.parametrize("zoom", [1, 2, 5])
def test_necks_are_shares_and_not_pixels(zoom):
    mask = np.zeros((20, 44), bool)
    mask[:, :20] = mask[:, 24:] = mask[6:14] = True
    large = np.kron(mask, np.ones((zoom, zoom), bool))
    found = {neck: len(list(parts_at_necks(Bitmap((0, 0), large), neck))) for neck in (0.3, 0.5)}
    assert found == {0.3: 1, 0.5: 2}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_poly2bitmap_is_the_raster_of_training_targets(figure):
    sample = sample_of(("a", figure))
    out = only("poly2bitmap", {"classes_mapping": {"a": "b"}}, sample)
    assert np.array_equal(drawn(out), drawn(sample))
    assert figures(out)[0].kind == "bitmap"


def test_contours_and_back_is_the_same_mask():
    mask = np.kron(np.random.default_rng(5).random((8, 8)) < 0.6, np.ones((4, 4), bool))
    sample = sample_of(("m", Bitmap((4, 2), mask)))
    polygons = only("find_contours", {"classes_mapping": {"m": "p"}}, sample)
    assert {f.kind for f in figures(polygons)} == {"polygon"}
    assert any(f.holes for f in figures(polygons))
    assert np.array_equal(drawn(polygons), drawn(sample))


def test_bbox_ends_at_the_last_pixel():
    out = only(
        "bbox", {"classes_mapping": {"m": "b"}}, sample_of(("m", Bitmap((3, 4), np.ones((2, 5), bool))))
    )
    assert figures(out) == [Rectangle(3, 4, 7, 5)]
    out = only("bbox2poly", {"classes_mapping": {"b": "p"}}, out)
    assert figures(out)[0].exterior.tolist() == [[3, 4], [7, 4], [7, 5], [3, 5]]


def test_line2bitmap_draws_contours():
    out = only("line2bitmap", {"classes_mapping": {"a": "b"}, "width": 1}, sample_of(("a", SQUARE)))
    assert drawn(out).sum() == 28
    out = only("line2bitmap", {"classes_mapping": {"a": "b"}, "width": 3}, sample_of(("a", SQUARE)))
    assert drawn(out)[1:11, 1:11].sum() == drawn(out).sum() > 60


def test_bitmap2lines_follows_a_cross():
    mask = np.zeros((21, 21), bool)
    mask[10], mask[:, 8] = True, True
    out = only(
        "bitmap2lines",
        {"classes_mapping": {"m": "l"}, "min_points_cnt": 5},
        sample_of(("m", Bitmap((5, 5), mask))),
    )
    lengths = sorted((len(f.points) for f in figures(out)), reverse=True)
    assert all(f.kind == "line" for f in figures(out))
    assert lengths[0] >= 21
    assert sum(lengths) >= mask.sum() - 4
    covered = drawn(out)
    assert not (covered & ~drawn(sample_of(("m", Bitmap((5, 5), mask))))).any()


def test_rasterize_lets_later_objects_win_and_keeps_the_rest():
    sample = sample_of(
        ("a", Rectangle(0, 0, 9, 9)), ("keep", Point(50, 30)), ("b", Rectangle(5, 5, 14, 14)), ("a", SQUARE)
    )
    out = only("rasterize", {"classes_mapping": {"a": "x", "b": "y"}}, sample)
    assert [item.class_name for item in out.objects] == ["keep", "x", "y", "x"]
    masks = [draw_figures([f], [1], Window.whole(out.shape)) for f in figures(out)[1:]]
    assert sum(masks).max() == 1
    flat = sample.target({"a": 1, "b": 2})
    assert np.array_equal(out.target({"x": 1, "y": 2}), flat)


def test_bitwise_masks():
    one, two = Bitmap((0, 0), np.ones((4, 4), bool)), Bitmap((2, 2), np.ones((4, 4), bool))
    areas = {"and": 4, "or": 28, "nor": 24}
    for kind, area in areas.items():
        settings = {"type": kind, "class_mask": "mask", "classes_to_correct": ["m"]}
        out = only("bitwise_masks", settings, sample_of(("m", one), ("mask", two)))
        assert drawn(out, "m").sum() == area
        assert drawn(out, "mask").sum() == 16
    settings = {"type": "and", "class_mask": "none", "classes_to_correct": ["m"]}
    assert figures(only("bitwise_masks", settings, sample_of(("m", one)))) == [one]


def test_merge_masks():
    sample = sample_of(
        ("m", Bitmap((0, 0), np.ones((2, 2), bool))),
        ("a", SQUARE),
        ("m", Bitmap((5, 5), np.ones((2, 2), bool))),
    )
    out = only("merge_bitmap_masks", {"class": "m"}, sample)
    assert [item.class_name for item in out.objects] == ["a", "m"]
    assert drawn(out, "m").sum() == 8


def test_drop_noise_is_four_connected():
    mask = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    settings = {"classes": ["m"], "min_area": "2px", "src_type": "image"}
    assert drawn(only("drop_noise", settings, sample_of(("m", Bitmap((0, 0), mask))))).sum() == 4
    settings["min_area"] = "50%"
    settings["src_type"] = "bbox"
    assert figures(only("drop_noise", settings, sample_of(("m", Bitmap((0, 0), mask))))) == []


def test_lines():
    long, short = Line(np.array([[0.0, 5], [50, 5]])), Line(np.array([[0.0, 9], [3, 9]]))
    sample = sample_of(("l", long), ("l", short))
    keep = only("drop_lines_by_length", {"lines_class": "l", "min_length": 10}, sample)
    assert figures(keep) == [long]
    keep = only("drop_lines_by_length", {"lines_class": "l", "min_length": 10, "invert": True}, sample)
    assert figures(keep) == [short]
    settings = {"lines_class": "l", "min_length": 60, "resolution_compensation": True}  # 60 x 0.06
    assert figures(only("drop_lines_by_length", settings, sample)) == [long]
    cut = only(
        "drop_lines_under_polygon", {"lines_class": "l", "polygons_class": "p"},
        sample_of(("l", long), ("p", SQUARE), ("l", Line(np.array([[3.0, 3], [8, 3]])))),
    )  # fmt: skip
    assert [f.points.tolist() for f in figures(cut, "l")] == [[[0, 5], [2, 5]], [[9, 5], [50, 5]]]


def test_approx_vector_keeps_rings_that_would_vanish():
    rough = Polygon(
        np.array([[0.0, 0], [10, 1], [20, 0], [20, 20], [0, 20]]), (np.array([[5.0, 5], [7, 5], [6, 7]]),)
    )
    out = only("approx_vector", {"classes": ["a"], "epsilon": 3}, sample_of(("a", rough)))
    (figure,) = figures(out)
    assert len(figure.exterior) == 4
    assert len(figure.holes[0]) == 3
    with pytest.raises(InputError, match="polygon or line"):
        apply("approx_vector", {"classes": ["a"], "epsilon": 3}, sample_of(("a", Point(1, 1))))


def test_objects_filter():
    sample = sample_of(("a", SQUARE), ("a", Rectangle(0, 0, 50, 30)), ("b", Point(1, 1)))
    sizes = {
        "filtering_classes": ["a"],
        "area_size": {"percent": 10},
        "action": "delete",
        "comparator": "less",
    }
    assert len(only("objects_filter", {"filter_by": {"polygon_sizes": sizes}}, sample).objects) == 2
    sizes |= {
        "area_size": {"width": 20, "height": 9},
        "comparator": "greater",
        "action": {"remap_class": "big"},
    }
    names = [
        o.class_name for o in only("objects_filter", {"filter_by": {"polygon_sizes": sizes}}, sample).objects
    ]
    assert names == ["a", "big", "b"]
    assert len(only("objects_filter", {"filter_by": {"names": ["b"]}}, sample).objects) == 1


def test_hints_lie_inside_and_outside():
    settings = {"class": "a", "positive_class": "yes", "negative_class": "no", "min_points_number": 3}
    out = only("generate_hints", settings, sample_of(("a", SQUARE)), 4)
    inside = drawn(out, "a")
    assert len(figures(out, "yes")) >= 3
    assert all(inside[int(p.y), int(p.x)] for p in figures(out, "yes"))
    assert not any(inside[int(p.y), int(p.x)] for p in figures(out, "no"))


def test_contour_boxes_stay_inside():
    settings = {
        "box": {"width": "10px", "height": "10px"},
        "distance": "4px",
        "classes": ["a"],
        "box_class": "box",
    }
    boxes = figures(only("contour_sliding_box", settings, sample_of(("a", SQUARE))), "box")
    assert len(boxes) == 7
    assert all(0 <= b.left < b.right < 60 and 0 <= b.top < b.bottom < 40 for b in boxes)


def test_instances_crop():
    sample = sample_of(
        ("a", SQUARE), ("a", Rectangle(20, 20, 29, 24)), ("b", Rectangle(0, 0, 59, 39)), ("c", Point(3, 3))
    )
    settings = {"classes": ["a"], "pad": {"sides": {"left": "2px", "top": "50%"}}, "save_classes": ["b"]}
    first, second = (out for _, out in apply("instances_crop", settings, sample))
    assert first.shape == (10, 10)
    assert second.shape == (5 + 2, 10 + 2)
    assert [o.class_name for o in second.objects] == ["a", "b"]
    assert drawn(second, "b").all()


def test_resize_fits_inside_black():
    sample = array_sample(np.full((1, 20, 40), 200, np.uint8), [LabeledObject("a", Rectangle(0, 0, 39, 19))])
    out = only("resize", {"width": 30, "height": 30, "aspect_ratio": {"keep": True}}, sample)
    pixels = out.pixels.read()[0]
    assert pixels.shape == (30, 30)
    assert np.array_equal(pixels > 0, drawn(out))
    assert (pixels > 0).sum() == 30 * 15


def test_annotation_scale_there_and_back():
    sample = sample_of(("a", SQUARE), ("b", Rectangle(0, 0, 59, 39)))
    settings = {"width": 120, "height": 80, "aspect_ratio": {"keep": False}, "classes": ["a"]}
    scaled = only("resize_annotation", settings, sample)
    assert figures(scaled, "a")[0].exterior.max() > 18
    assert figures(scaled, "b") == figures(sample, "b")
    back = only("restore_annotation_scale", {"classes": ["a"]}, scaled)
    assert np.allclose(figures(back, "a")[0].exterior, SQUARE.exterior)
    assert scaled.pixels is sample.pixels


def test_objects_of_another_frame_are_drawn_whole_and_do_not_move():
    sample = sample_of(("a", Polygon(np.array([[30.0, 20], [55, 20], [55, 35], [30, 35]]))))
    double = {"width": 120, "height": 80, "aspect_ratio": {"keep": False}}
    scaled = only("resize_annotation", double, sample)
    drawn_large = only("poly2bitmap", {"classes_mapping": {"a": "m"}}, scaled)
    back = only("restore_annotation_scale", {}, drawn_large)
    assert back.target({"m": 1}).sum() == pytest.approx(sample.target({"a": 1}).sum(), rel=0.05)
    twice = only("resize_annotation", {**double, "width": 240, "height": 160}, scaled)
    back = only("restore_annotation_scale", {}, twice)
    assert np.allclose(figures(back, "a")[0].exterior, figures(sample, "a")[0].exterior)
    for action, settings in (
        ("flip", {"axis": "vertical"}),
        ("crop", {"sides": {"left": "10px"}}),
        ("resize", double),
    ):
        with pytest.raises(InputError, match="Put restore_annotation_scale before this layer"):
            only(action, settings, scaled)
        only(action, settings, only("restore_annotation_scale", {}, scaled))


def test_photometric_layers_keep_the_pixel_type():
    rng = np.random.default_rng(0)
    for array in (
        rng.integers(0, 65535, (5, 40, 60)).astype(np.uint16),
        rng.random((2, 40, 60)).astype(np.float32),
    ):
        sample = array_sample(array)
        for action, settings in (
            ("noise", {"mean": 0, "std": 3}),
            ("blur", {"name": "gaussian", "sigma": {"min": 1, "max": 1}}),
            ("contrast_brightness", {"contrast": {"min": 2, "max": 2}}),
            ("random_color", {}),
        ):
            out = only(action, settings, sample).pixels.read()
            assert out.dtype == array.dtype
            assert not np.array_equal(out, array)


def test_contrast_and_noise_by_numbers():
    sample = array_sample(np.full((1, 300, 300), 100, np.uint8))
    out = only(
        "contrast_brightness",
        {"contrast": {"min": 2, "max": 2, "center_grey": True}, "brightness": {"min": 5, "max": 5}},
        sample,
    )
    assert (out.pixels.read() == (100 - 128) * 2 + 128 + 5).all()
    noisy = only("noise", {"mean": 10, "std": 5}, sample).pixels.read().astype(float)
    assert abs(noisy.mean() - 110) < 0.2
    assert abs(noisy.std() - 5) < 0.1


def test_if_conditions():
    sample = sample_of(("a", SQUARE), ("b", Point(1, 1)), tags=["t"], name="austin12.tif")
    cases = [
        ({"probability": 0}, 1), ({"probability": 1}, 0),
        ({"tags": ["x", "t"]}, 0), ({"tags": ["x"]}, 1),
        ({"regex_names": ["^austin[0-9]+$"]}, 0), ({"regex_names": [r"\.tif"]}, 1),
        ({"project_datasets": ["p/ds"]}, 0), ({"project_datasets": ["*/ds"]}, 0),
        ({"project_datasets": ["q/*"]}, 1),
        ({"min_objects_count": 2}, 0), ({"min_objects_count": 3}, 1),
        ({"include_classes": ["b"]}, 0), ({"include_classes": ["c"]}, 1),
        ({"min_height": 40}, 0), ({"min_width": 61}, 1), ({"min_area": 2400}, 0),
        ({"sum_object_area": 49, "classes": ["a", "b"]}, 0),
        ({"sum_object_area": 50, "classes": ["a", "b"]}, 1),
        ({"class_share": 0.02, "classes": ["a"]}, 0), ({"class_share": 0.03, "classes": ["a"]}, 1),
        ({"min_valid_share": 1}, 0),
        ({"name_in_range": ["austin1", "austin2"], "frame_step": 1}, 0),
        ({"name_in_range": ["b", "c"], "frame_step": 1}, 1),
    ]  # fmt: skip
    for condition, branch in cases:
        assert apply("if", {"condition": condition}, sample)[0][0] == branch, condition


def test_if_probability_is_a_share():
    hits = sum(
        apply("if", {"condition": {"probability": 0.3}}, sample_of(), s)[0][0] == 0 for s in range(1000)
    )
    assert 250 < hits < 350


def test_tags_are_a_set():
    once = only("tag", {"tag": "t", "action": "add"}, sample_of(tags=["t"]))
    assert [t.name for t in once.annotation.tags] == ["t"]
    assert only("tag", {"tag": "t", "action": "delete"}, once).annotation.tags == ()
    known = settings_of("tag", {"tag": "t", "action": "add"}).plan_meta(ProjectMeta())
    assert settings_of("tag", {"tag": "t", "action": "delete"}).plan_meta(known).tags == ()


def test_data_puts_objects_in_order():
    out_of_image = Bitmap((55, 35), np.ones((10, 10), bool))
    bow = Polygon(np.array([[10.0, 10], [20, 20], [20, 10], [10, 20]]))
    sample = sample_of(
        ("m", out_of_image), ("m", Bitmap((0, 0), np.zeros((3, 3), bool))),
        ("p", Polygon(np.array([[1.0, 1], [2, 2]]))),
        ("p", bow), ("r", Rectangle(50, 30, 90, 90)), ("q", Point(99, 0)),
    )  # fmt: skip
    out = only(
        "data", {"classes_mapping": {"m": "mask", "q": "__ignore__", "__other__": "__default__"}}, sample
    )
    assert [item.class_name for item in out.objects] == ["mask", "p", "p", "r"]
    assert figures(out, "mask")[0].mask.shape == (5, 5)
    assert figures(out, "r") == [Rectangle(50, 30, 59, 39)]
    assert out.repaired == 1


def test_renamed_classes_go_to_the_end():
    before = meta(a="polygon", b="bitmap", c="polygon")
    after = settings_of("rename", {"classes_mapping": {"a": "z", "c": "z"}}).plan_meta(before)
    assert after.class_names == ("b", "z")
    with pytest.raises(InputError, match="one shape"):
        settings_of("rename", {"classes_mapping": {"a": "b"}}).plan_meta(before)
    dropped = settings_of("rename", {"classes_mapping": {"a": "__ignore__", "x": "__default__"}}).plan_meta(
        before
    )
    assert dropped.class_names == ("b", "c")


# layers for scenes


BOX = GeoBox(Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), CRS.from_epsg(32633), 40, 60)


def vector_file(path, epsg, rings, properties=({},)):
    features = [
        {"type": "Feature", "properties": p, "geometry": {"type": "Polygon", "coordinates": [r]}}
        for r, p in zip(rings, properties, strict=True)
    ]
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))


def test_rasterize_vector_is_gdal_s_center_rule(tmp_path):
    from rasterio.features import rasterize

    ring = [
        [500_002.3, 4_999_995.2],
        [500_020.1, 4_999_990.0],
        [500_010.7, 4_999_983.3],
        [500_002.3, 4_999_995.2],
    ]
    vector_file(tmp_path / "a.geojson", 32633, [ring])
    sample = array_sample(BLACK, box=BOX, root=tmp_path)
    out = only("rasterize_vector", {"file": "{name}.geojson", "class": "house"}, sample)
    expected = rasterize([({"type": "Polygon", "coordinates": [ring]}, 1)], (40, 60), transform=BOX.transform)
    assert np.array_equal(drawn(out), expected > 0)
    as_polygon = only("rasterize_vector", {"file": "a.geojson", "class": "house", "shape": "polygon"}, sample)
    assert np.array_equal(drawn(as_polygon), expected > 0)


def test_rasterize_vector_by_column_and_other_crs(tmp_path):
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True)
    ring = [
        [500_002, 4_999_995],
        [500_020, 4_999_995],
        [500_020, 4_999_985],
        [500_002, 4_999_985],
        [500_002, 4_999_995],
    ]
    moved = [list(to_degrees.transform(*point)) for point in ring]
    vector_file(tmp_path / "a.geojson", 4326, [moved, moved, moved], [{"k": "x"}, {"k": "y"}, {"k": None}])
    sample = array_sample(BLACK, box=BOX, root=tmp_path)
    settings = {"file": "a.geojson", "class_column": "k", "classes": ["x"], "class": "rest"}
    out = only("rasterize_vector", settings, sample)
    assert sorted(item.class_name for item in out.objects) == ["rest", "x"]
    assert drawn(out, "x").sum() == 36 * 20
    with pytest.raises(InputError, match="stay inside"):
        apply("rasterize_vector", {"file": "../a.geojson", "class": "house"}, sample)
    with pytest.raises(InputError, match="vector file must exist"):
        apply("rasterize_vector", {"file": "b.geojson", "class": "house"}, sample)
    assert (
        only("rasterize_vector", {"file": "b.geojson", "class": "h", "missing": "empty"}, sample).objects
        == ()
    )


def test_split_spatial_keeps_sides_apart():
    scene = array_sample(np.zeros((1, 400, 400), np.uint8))
    windows = {"window": {"width": 40, "height": 40}, "min_overlap": {"x": 20, "y": 20}}
    settings = {"block": 100, "val_share": 0.3, "buffer": 10}
    sides = {0: np.zeros((400, 400), bool), 1: np.zeros((400, 400), bool)}
    for _, crop in apply("sliding_window", windows, scene):
        for seed, variant in enumerate((crop, crop.mirrored(0), crop.turned(1))):
            for branch, _ in apply("split_spatial", settings, variant, seed):
                seen = crop.pixels.source_window
                sides[branch][seen.rows, seen.cols] = True
    assert sides[0].any()
    assert sides[1].any()
    from scipy.ndimage import distance_transform_edt

    assert distance_transform_edt(~sides[1])[sides[0]].min() > 10


def test_filter_valid():
    array = np.zeros((1, 40, 60), np.uint8)
    array[:, :, 15:] = 9
    sample = array_sample(array, nodata=0)
    assert len(apply("filter_valid", {"min_share": 0.75}, sample)) == 1
    assert apply("filter_valid", {"min_share": 0.76}, sample) == []


def test_resample_to_a_ground_resolution():
    sample = array_sample(BLACK, [LabeledObject("a", SQUARE)], box=BOX)
    out = only("resample", {"gsd_m": 1.0}, sample)
    assert out.shape == (20, 30)
    assert out.geobox.bounds() == pytest.approx(BOX.bounds())
    with pytest.raises(InputError, match="must have a CRS for resample"):
        apply("resample", {"gsd_m": 1.0}, sample_of())


def test_reproject_lands_in_the_right_place():
    array = np.zeros((1, 40, 60), np.uint8)
    array[0, 10:20, 15:40] = 250
    sample = array_sample(array, [LabeledObject("a", Bitmap((15, 10), np.ones((10, 25), bool)))], box=BOX)
    out = only("reproject", {"crs": "EPSG:4326"}, sample)
    assert out.geobox.crs.to_epsg() == 4326
    seen = out.pixels.read()[0] > 125
    assert (seen & drawn(out)).sum() / (seen | drawn(out)).sum() > 0.9
    back = only("reproject", {"crs": "EPSG:32633", "gsd": 0.5}, out)
    box = back.geobox
    column, row = (round(v) for v in ~box.transform * (BOX.transform * (15, 10)))
    assert abs(drawn(back).sum() - 250) < 30
    assert drawn(back)[row + 2 : row + 8, column + 2 : column + 23].all()


def test_a_layer_of_your_own():
    from geoseg.dtl.registry import LayerKind, LayerSettings, Registry

    def brighten(sample, settings, rng):
        """Brighten."""
        yield 0, sample

    mine = Registry()
    mine.add(LayerKind("brighten", LayerSettings, brighten))
    assert mine.find("brighten").summary == "Brighten."
    with pytest.raises(ConfigError, match="must be unique"):
        mine.add(LayerKind("brighten", LayerSettings, registry.find("flip").apply))
