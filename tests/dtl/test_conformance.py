"""What every layer of the registry must hold."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from affine import Affine
from dtl_projects import FIGURES, apply, array_sample
from pyproj import CRS

from geoseg.config import parse_settings
from geoseg.dtl.catalog import registry
from geoseg.dtl.graph import graph_schema, parse_graph
from geoseg.errors import ConfigError, GeosegError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, ClassMeta, LabeledObject, ProjectMeta
from geoseg.projects.figures.stored import store_mask

RANDOM_PART = {
    "width": {"min_percent": 40, "max_percent": 80},
    "height": {"min_percent": 40, "max_percent": 80},
}
SIDES = {"sides": {"left": "3px", "top": "10%", "right": "0px"}}
SIZE = {"width": 30, "height": 50, "aspect_ratio": {"keep": False}}

#: Settings that fit the sample below, for each layer.
EXAMPLES: dict[str, list[dict]] = {
    "approx_vector": [{"classes": ["polygon", "line"], "epsilon": 2}],
    "background": [{"class": "bg"}],
    "bbox": [{"classes_mapping": {"bitmap": "box", "polygon": "box"}}],
    "bbox2poly": [{"classes_mapping": {"rectangle": "four"}}],
    "bitmap2lines": [{"classes_mapping": {"bitmap": "lines"}, "min_points_cnt": 2}],
    "bitwise_masks": [{"type": "and", "class_mask": "bitmap", "classes_to_correct": ["bitmap"]}],
    "blur": [{"name": "gaussian", "sigma": {"min": 0.5, "max": 2}}, {"name": "median", "kernel": 3}],
    "color_class": [{"classes_color_mapping": {"bitmap": "#102030"}}],
    "contour_sliding_box": [
        {
            "box": {"width": "5px", "height": "10%"},
            "distance": "6px",
            "classes": ["polygon"],
            "box_class": "new",
        }
    ],
    "contrast_brightness": [{"contrast": {"min": 0.5, "max": 2}, "brightness": {"min": -50, "max": 50}}],
    "crop": [{"random_part": RANDOM_PART}, {"sides": SIDES["sides"]}],
    "crop_annotation": [{"random_part": RANDOM_PART}, {"sides": SIDES["sides"]}],
    "data": [{"classes_mapping": "default"}],
    "dataset": [{"rule": "save_original"}, {"name": "new"}],
    "drop_lines_by_length": [{"lines_class": "line", "min_length": 10}],
    "drop_lines_under_polygon": [{"lines_class": "line", "polygons_class": "polygon"}],
    "drop_noise": [{"classes": ["bitmap"], "min_area": "2px", "src_type": "image"}],
    "drop_obj_by_class": [{"classes": ["point"]}],
    "dummy": [{}, {"anything": 1}],
    "duplicate_objects": [{"classes_mapping": {"line": "line2"}}],
    "filter_valid": [{"min_share": 0.1}],
    "find_contours": [{"classes_mapping": {"bitmap": "outline"}}],
    "flip": [{"axis": "vertical"}, {"axis": "horizontal"}],
    "generate_hints": [
        {"class": "polygon", "positive_class": "yes", "negative_class": "no", "min_points_number": 2}
    ],
    "if": [{"condition": {"probability": 0.5}}, {"condition": {"min_valid_share": 0.5}}],
    "instances_crop": [{"classes": ["polygon"], "pad": SIDES, "save_classes": ["line"]}],
    "line2bitmap": [{"classes_mapping": {"line": "thick", "polygon": "thick"}, "width": 3}],
    "merge_bitmap_masks": [{"class": "bitmap"}],
    "multiply": [{"multiply": 3}],
    "noise": [{"mean": 1, "std": 10}],
    "objects_filter": [
        {
            "filter_by": {
                "polygon_sizes": {
                    "filtering_classes": ["polygon"],
                    "area_size": {"percent": 1},
                    "action": "delete",
                    "comparator": "less",
                }
            }
        },
        {"filter_by": {"names": ["polygon"]}},
    ],
    "poly2bitmap": [{"classes_mapping": {"polygon": "mask", "rectangle": "mask"}}],
    "random_color": [{"strength": 0.5}, {}],
    "rasterize": [{"classes_mapping": {"polygon": "flat", "bitmap": "flat"}}],
    "rasterize_vector": [{"file": "labels.geojson", "class": "house"}],
    "rename": [{"classes_mapping": {"polygon": "area", "point": "__ignore__"}}],
    "reproject": [{"crs": "EPSG:3857"}],
    "resample": [{"gsd_m": 2.0}],
    "resize": [SIZE, {"width": 30, "height": -1, "aspect_ratio": {"keep": True}}],
    "resize_annotation": [SIZE],
    "restore_annotation_scale": [{}],
    "rotate": [
        {"rotate_angles": {"min_degrees": 10, "max_degrees": 40}, "black_regions": {"mode": mode}}
        for mode in ("keep", "crop", "preserve_size")
    ],
    "save": [{"images": True, "annotations": False}],
    "save_masks": [
        {
            "images": True,
            "annotations": True,
            "masks_machine": True,
            "masks_human": False,
            "gt_machine_color": {"polygon": [1, 2, 3]},
        }
    ],
    "skeletonize": [
        {"classes": ["bitmap"], "method": m} for m in ("skeletonization", "medial_axis", "thinning")
    ],
    "sliding_window": [{"window": {"width": 25, "height": 20}, "min_overlap": {"x": 5, "y": 0}}],
    "split_masks": [{"classes": ["bitmap", "absent"]}, {"classes": ["bitmap"], "neck": 0.6}],
    "split_spatial": [{"block": 20, "val_share": 0.5, "buffer": 2}],
    "supervisely": [{}, {"anything": 1}],
    "tag": [{"tag": "t", "action": "add"}, {"tag": {"name": "t", "value": 3}, "action": "add"}],
}
CASES = [
    pytest.param(name, settings, id=f"{name}-{i}")
    for name, all_ in EXAMPLES.items()
    for i, settings in enumerate(all_)
]
META = ProjectMeta(tuple(ClassMeta(name, name, (1, 2, 3)) for name in FIGURES))


def test_every_layer_has_an_example():
    assert {kind.name for kind in registry.kinds()} == set(EXAMPLES)


@pytest.fixture
def folder(tmp_path):
    """A folder with a vector file that lies on the sample."""
    ring = [[500_010, 4_999_990], [500_030, 4_999_990], [500_030, 4_999_970], [500_010, 4_999_990]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    document = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (tmp_path / "labels.geojson").write_text(json.dumps(document))
    return tmp_path


def make(folder, size=(40, 60), figures=FIGURES):
    pixels = np.random.default_rng(1).integers(1, 255, (3, *size), np.uint8)
    box = GeoBox(Affine(1, 0, 500_000, 0, -1, 5_000_000), CRS.from_epsg(32633), *size)
    objects = [LabeledObject(name, figure) for name, figure in figures.items()]
    return array_sample(pixels, objects, box=box, root=folder)


def fingerprint(sample):
    """All that a sample is, as comparable values."""
    return (
        sample.pixels.read().tobytes(),
        sample.pixels.valid().tobytes(),
        json.dumps(sample.annotation.to_json(), sort_keys=True),
        tuple(sample.geobox.transform),
        sample.dataset,
    )


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_layer(name, settings, folder):
    sample = make(folder)
    before = fingerprint(sample)
    first, second = (apply(name, settings, sample, seed=7) for _ in range(2))
    assert [(b, fingerprint(s)) for b, s in first] == [(b, fingerprint(s)) for b, s in second]
    assert fingerprint(sample) == before
    kind = registry.find(name)
    parsed = parse_settings(kind.settings, settings)
    least, most = parsed.plan_count(sample.shape)
    assert least <= len(first) <= (len(first) if most is None else most)
    meta = parsed.plan_meta(META)
    planned = parsed.plan_shape(sample.shape)
    for branch, out in first:
        assert 0 <= branch < kind.settings.branches
        assert out.annotation.shape == out.shape == out.pixels.read().shape[1:]
        assert out.pixels.valid().shape == out.shape
        assert planned in (None, out.shape)
        assert out.geobox.shape == out.shape
        assert not out.objects or {o.class_name for o in out.objects} <= set(meta.class_names)
        for item in out.objects:
            assert meta.find_class(item.class_name).shape == item.figure.kind
            assert not isinstance(item.figure, Bitmap) or item.figure.tight() is item.figure


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_part_is_read_as_the_whole_is(name, settings, folder):
    for _, out in apply(name, settings, make(folder), seed=3)[:2]:
        whole = out.pixels.read()
        height, width = out.shape
        rng = np.random.default_rng(0)
        for _ in range(5):
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            bottom, right = int(rng.integers(top, height)) + 1, int(rng.integers(left, width)) + 1
            window = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
            assert np.array_equal(out.pixels.read(window), whole[:, top:bottom, left:right])
            assert np.array_equal(out.pixels.valid(window), out.pixels.valid()[top:bottom, left:right])


def with_arrays(sample):
    """The sample with all its bitmaps as arrays."""
    return sample.with_objects(
        item.with_figure(Bitmap(item.figure.origin, item.figure.mask))
        if isinstance(item.figure, Bitmap)
        else item
        for item in sample.objects
    )


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_masks_may_be_compressed(name, settings, folder):
    stored = Bitmap(FIGURES["bitmap"].origin, store_mask(FIGURES["bitmap"].mask))
    outs = [
        [fingerprint(with_arrays(out)) for _, out in apply(name, settings, make(folder, figures=figures))]
        for figures in (FIGURES, {**FIGURES, "bitmap": stored})
    ]
    assert outs[0] == outs[1]


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("size", [(40, 60), (1, 1)])
def test_empty_and_tiny_images_pass_or_are_refused(name, settings, size, folder):
    sample = make(folder, size, {})
    outputs = []
    with contextlib.suppress(GeosegError):  # any other exception fails
        outputs = apply(name, settings, sample)
    for _, out in outputs:
        assert out.pixels.read().shape[1:] == out.shape
        assert min(out.shape) >= 1


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_settings_round_trip(name, settings):
    kind = registry.find(name)
    parsed = parse_settings(kind.settings, settings)
    again = parse_settings(
        kind.settings, json.loads(parsed.model_dump_json(by_alias=True, exclude_unset=True))
    )
    assert again == parsed


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_unknown_settings_are_refused_with_their_path(name):
    if name in ("dummy", "supervisely"):
        pytest.skip("takes any settings, as it always did")
    kind = registry.find(name)
    layers = [
        {"action": "data", "src": ["p/*"], "dst": "$a", "settings": {"classes_mapping": "default"}},
        {"action": "save", "src": ["$b"], "dst": "out", "settings": {"images": True, "annotations": True}},
    ]
    settings = {**EXAMPLES[name][0], "no_such_key": 1}
    dst = ["$b", "$c"] if kind.settings.branches == 2 else "$b"
    if kind.role == "data":
        layers[0]["settings"] = settings
        at = 0
    elif kind.role == "save":
        layers[1] = {"action": name, "src": ["$a"], "dst": "out", "settings": settings}
        at = 1
    else:
        layers.insert(1, {"action": name, "src": ["$a"], "dst": dst, "settings": settings})
        at = 1
    with pytest.raises(ConfigError) as caught:
        parse_graph(layers)
    assert f"layer {at + 1} ({name}): $[{at}].settings.no_such_key" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_schema_accepts_the_examples():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(graph_schema())
    validator.check_schema(validator.schema)
    for name, all_ in EXAMPLES.items():
        for settings in all_:
            dst = ["$b", "$c"] if registry.find(name).settings.branches == 2 else "$b"
            entry = {"action": name, "src": ["$a"], "dst": dst, "settings": settings}
            assert validator.is_valid([entry, entry]), name
    assert not validator.is_valid(
        [{"action": "flip", "src": ["$a"], "dst": "$b", "settings": {"axis": "x"}}] * 2
    )


MOVERS = [
    *(("flip", s) for s in EXAMPLES["flip"]),
    *(("crop", s) for s in EXAMPLES["crop"]),
    ("sliding_window", EXAMPLES["sliding_window"][0]),
    ("rotate", {"rotate_angles": {"min_degrees": 90, "max_degrees": 90}, "black_regions": {"mode": "keep"}}),
    (
        "rotate",
        {"rotate_angles": {"min_degrees": 180, "max_degrees": 180}, "black_regions": {"mode": "crop"}},
    ),
    (
        "rotate",
        {
            "rotate_angles": {"min_degrees": -90, "max_degrees": -90},
            "black_regions": {"mode": "preserve_size"},
        },
    ),
    ("resize", {"width": 120, "height": 120, "aspect_ratio": {"keep": True}}),
]


@pytest.mark.parametrize(("name", "settings"), MOVERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_bitmap_moves_exactly_with_its_pixels(name, settings, seed):
    mask = np.random.default_rng(seed).random((40, 60)) < 0.5
    if name == "resize":  # exact where no pixel is mixed
        mask = np.kron(mask[:20, :30], np.ones((2, 2), bool))
    sample = array_sample(mask[None].astype(np.uint8) * 255, [LabeledObject("m", Bitmap((0, 0), mask))])
    for _, out in apply(name, settings, sample, seed):
        pixels = out.pixels.read()[0]
        if name == "resize":
            clear = (pixels == 0) | (pixels == 255)
            assert clear.mean() > 0.2
        else:
            clear = np.ones(pixels.shape, bool)
        assert np.array_equal(out.target({"m": 255})[clear], pixels[clear])


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
@pytest.mark.parametrize("action", ["resize", "rotate", "resample", "reproject"])
def test_any_figure_moves_with_its_pixels(figure, action, folder):
    settings = {
        "resize": {"width": 150, "height": 90, "aspect_ratio": {"keep": False}},
        "rotate": {
            "rotate_angles": {"min_degrees": 20, "max_degrees": 20},
            "black_regions": {"mode": "keep"},
        },
        "resample": {"gsd_m": 0.5},
        "reproject": {"crs": "EPSG:3857"},
    }[action]
    if action == "rotate" and figure.kind == "rectangle":
        pytest.skip("becomes the upright rectangle around the turned one")
    mask = array_sample(np.zeros((3, 40, 60), np.uint8), [LabeledObject("m", figure)]).target({"m": 255})
    sample = make(folder, figures={"m": figure})
    sample = array_sample(mask[None], sample.objects, box=sample.geobox)
    out = apply(action, settings, sample)[0][1]
    seen, drawn = out.pixels.read()[0] > 127, out.target({"m": 1}) > 0
    if figure.kind in ("line", "point"):
        rows, cols = np.nonzero(drawn)
        near = out.pixels.read()[0] > 0
        assert near[rows, cols].mean() > 0.8
    else:
        assert (seen & drawn).sum() / (seen | drawn).sum() > 0.8  # a mask of noise is all edges
