"""Labels drawn window by window are the labels of the whole, cut."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.data.auxiliary import AuxiliarySettings, auxiliary_targets, distance_target
from geoseg.data.chips import Area, cut_chip, fit_chip
from geoseg.data.mask_codes import REFUSED, MaskCodes
from geoseg.data.truth import AoiTruth, FigureTruth, MaskTruth, VectorTruth, cell_anchors
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, Polygon, Rectangle
from geoseg.raster.classes import IGNORE


def window(row, col, height, width):
    return Window(row_off=row, col_off=col, height=height, width=width)


def blobs(seed=0, count=40, size=200):
    """Polygons with holes and concave sides, some over the edge."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        x, y = rng.uniform(-5, size + 5, 2)
        around = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
        radius = rng.uniform(4, 18, len(around))
        ring = np.column_stack([x + radius * np.cos(around), y + radius * np.sin(around)])
        shape = shapely.make_valid(shapely.Polygon(ring))
        parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
        hole = shapely.Point(x, y).buffer(2.2)
        found.append(shapely.union_all(parts).difference(hole))
    return np.array([f for f in found if not f.is_empty], object)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_burning_agrees_with_gdal_on_pixel_centers(seed):
    shapes = blobs(seed)
    truth = VectorTruth(200, 200, shapes, np.ones(len(shapes), np.uint8))
    burned = truth.burn(window(0, 0, 200, 200))
    oracle = rasterio.features.rasterize(
        [(s, i + 1) for i, s in enumerate(shapes)], out_shape=(200, 200), dtype="int32"
    )
    assert np.array_equal(burned.ids, oracle)
    assert np.array_equal(burned.target, (oracle > 0).astype(np.uint8))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 180), st.integers(0, 180), st.integers(1, 60), st.integers(1, 60))
def test_a_window_of_the_burning_is_the_burning_of_the_window(row, col, height, width):
    shapes = blobs(3)
    classes = (np.arange(len(shapes)) % 3 + 1).astype(np.uint8)
    aoi = np.array([shapely.box(20.3, 30.7, 150.2, 190.1)], object)
    truth = AoiTruth(VectorTruth(200, 200, shapes, classes), 200, 200, aoi)
    place = window(row, col, height, width).clipped(200, 200)
    whole, part = truth.burn(window(0, 0, 200, 200)), truth.burn(place)
    assert np.array_equal(part.target, whole.target[place.rows, place.cols])
    assert np.array_equal(part.ids, whole.ids[place.rows, place.cols])


def test_later_shapes_win_and_neutral_and_unlabeled_ground_is_unknown():
    shapes = np.array([shapely.box(0, 0, 6, 4), shapely.box(3, 0, 9, 4), shapely.box(5, 0, 6, 1)], object)
    aoi = np.array([shapely.box(0, 0, 8, 4)], object)
    truth = AoiTruth(VectorTruth(4, 10, shapes, np.array([2, 1, IGNORE], np.uint8)), 4, 10, aoi)
    target = truth.burn(window(0, 0, 4, 10)).target
    assert target[0].tolist() == [2, 2, 2, 1, 1, IGNORE, 1, 1, IGNORE, IGNORE]
    assert target[1].tolist() == [2, 2, 2, 1, 1, 1, 1, 1, IGNORE, IGNORE]
    assert truth.region() == window(0, 0, 4, 8)
    assert truth.present() == {1, 2}


def test_anchors_lie_on_their_objects_and_spread_over_large_ones():
    shapes = np.array([shapely.box(10, 10, 20, 20), shapely.box(100, 50, 900, 500)], object)
    truth = VectorTruth(600, 1000, shapes, np.array([1, 2], np.uint8))
    anchors = truth.anchors()
    target = truth.burn(window(0, 0, 600, 1000)).target
    assert (target[anchors[:, 0], anchors[:, 1]] == anchors[:, 2]).all()
    assert (anchors[:, 2] == 2).sum() > 50
    assert np.ptp(anchors[anchors[:, 2] == 2][:, 1]) > 600


def test_truth_survives_pickling(make_area):
    area = make_area("a", 50, 60, [shapely.box(5, 5, 20, 30)])
    place = window(0, 0, 50, 60)
    area.truth.burn(place)
    again = pickle.loads(pickle.dumps(area.truth))  # as data workers get it
    assert np.array_equal(again.burn(place).target, area.truth.burn(place).target)


# ------------------------------------------------------------------ masks


def mask_truth(array_pixels, values, height, width, to_mask, codes=None):
    table = MaskCodes(codes or {0: 0, 1: 1, 2: 2, 9: IGNORE}, REFUSED, REFUSED)
    return MaskTruth(height, width, array_pixels(values[None]), to_mask, table)


def test_mask_on_a_finer_shifted_grid_is_read_by_nearest(array_pixels):
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 3, (60, 80)).astype(np.uint8)
    # Pixels of the area are 4 x 4 of the mask, and the area starts at its row 8, column 12.
    truth = mask_truth(array_pixels, fine, 10, 12, Affine.translation(12, 8) * Affine.scale(4))
    target = truth.burn(window(0, 0, 10, 12)).target
    assert np.array_equal(target, fine[10:50:4, 14:62:4])
    assert np.array_equal(truth.burn(window(3, 2, 4, 5)).target, target[3:7, 2:7])


def test_an_area_of_interest_limits_a_mask_too(array_pixels):
    values = np.zeros((20, 20), np.uint8)
    values[2:18, 2:18] = 1
    values[0:2, :] = 2
    values[19, 19] = 77  # of no class, outside
    whole = mask_truth(array_pixels, values, 20, 20, Affine.identity())
    ring = shapely.box(5, 4, 15, 12) - shapely.box(7, 6, 10, 8)
    parts = shapely.MultiPolygon([shapely.box(5, 14, 9, 16), shapely.box(11, 14, 12, 16)])
    truth = AoiTruth(whole, 20, 20, np.array([ring, parts], object))
    truth = pickle.loads(pickle.dumps(truth))  # as data workers get it
    burned = truth.burn(window(0, 0, 20, 20))
    inside = np.zeros((20, 20), bool)
    inside[4:12, 5:15] = inside[14:16, 5:9] = inside[14:16, 11] = True
    inside[6:8, 7:10] = False
    assert np.array_equal(burned.target, np.where(inside, values, IGNORE))
    with pytest.raises(InputError, match="got 77"):
        whole.burn(window(0, 0, 20, 20))
    assert len(set(burned.ids[inside])) == 3  # pieces of what is left
    assert not burned.ids[~inside].any()
    assert truth.region() == window(4, 5, 12, 10)
    assert truth.present() == {1}  # class 2 lies outside
    assert all(inside[row, col] for row, col, _ in truth.anchors())
    assert "_anchors" not in truth.__getstate__()
    rows, cols = np.indices((20, 20)).reshape(2, -1)
    assert np.array_equal(truth.known(rows, cols).reshape(20, 20), inside)


def test_mask_smaller_than_its_scene_leaves_the_rest_unknown(array_pixels):
    truth = mask_truth(array_pixels, np.ones((5, 5), np.uint8), 10, 10, Affine.identity())
    target = truth.burn(window(0, 0, 10, 10)).target
    assert (target[:5, :5] == 1).all()
    assert (target[5:] == IGNORE).all()
    assert (truth.burn(window(6, 6, 3, 3)).target == IGNORE).all()


def test_unknown_mask_values_are_named(array_pixels):
    values = np.array([[0, 1], [7, 9]], np.uint8)
    truth = mask_truth(array_pixels, values, 2, 2, Affine.identity())
    with pytest.raises(InputError, match="values of a mask must belong to a class, got 7"):
        truth.burn(window(0, 0, 2, 2))


def test_objects_of_a_mask_are_its_pieces(array_pixels):
    values = np.array([[1, 0, 2, 2], [0, 1, 0, 2], [9, 0, 0, 0]], np.uint8)
    burned = mask_truth(array_pixels, values, 3, 4, Affine.identity()).burn(window(0, 0, 3, 4))
    assert burned.target.tolist() == [[1, 0, 2, 2], [0, 1, 0, 2], [IGNORE, 0, 0, 0]]
    assert burned.ids.tolist() == [[1, 0, 2, 2], [0, 1, 0, 2], [0, 0, 0, 0]]


def test_cell_anchors_find_every_class_of_every_cell():
    rng = np.random.default_rng(1)
    target = (rng.random((130, 70)) < 0.01).astype(np.uint8) * rng.integers(1, 4, (130, 70)).astype(np.uint8)
    found = cell_anchors(target, 0, 0, 32)
    assert (target[found[:, 0], found[:, 1]] == found[:, 2]).all()
    expected = {(r // 32, c // 32, int(target[r, c])) for r, c in zip(*np.nonzero(target), strict=True)}
    assert {(r // 32, c // 32, k) for r, c, k in found.tolist()} == expected
    assert len(found) == len(expected)


# ------------------------------------------------------------------ figures


def test_figures_draw_in_order_with_background_and_neutral():
    figures = (
        Rectangle(0, 0, 9, 7),
        Polygon(np.array([[1.0, 1], [5, 1], [5, 4], [1, 4]])),
        Bitmap((4, 3), np.ones((3, 3), bool)),
        Rectangle(0, 6, 9, 7),
    )
    truth = FigureTruth(8, 10, figures, np.array([0, 1, 2, IGNORE], np.uint8))
    target = truth.burn(window(0, 0, 8, 10)).target
    assert target[1].tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert target[3].tolist() == [0, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    assert (target[6:] == IGNORE).all()
    assert truth.present() == {1, 2}
    part = truth.burn(window(2, 3, 5, 6))
    assert np.array_equal(part.target, target[2:7, 3:9])


# ------------------------------------------------------------------ auxiliary targets


def brute_distance(ids: np.ndarray, reach: int) -> np.ndarray:
    found = np.zeros(ids.shape)
    for number in np.unique(ids[ids > 0]):
        padded = np.pad(ids == number, 1, mode="edge")
        eroded = ids == number
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & eroded
        depth = ndimage.distance_transform_edt(inner)
        found[eroded] = np.minimum((depth[eroded] + 1) / reach, 1)
    return found


def test_distance_treats_touching_objects_apart():
    ids = np.zeros((30, 40), np.int32)
    ids[5:25, 4:18], ids[5:25, 18:36] = 1, 2
    assert np.allclose(distance_target(ids, 6), brute_distance(ids, 6), atol=1e-6)
    assert distance_target(ids, 6)[15, 17] == pytest.approx(1 / 6)


def test_auxiliary_targets_of_a_chip_do_not_depend_on_where_it_is_cut(make_area):
    area = make_area("a", 120, 130, blobs(4, 30, 120))
    chosen = AuxiliarySettings(kinds=("boundary", "contact", "distance"), distance_px=9)
    whole = cut_chip(area, window(0, 0, 120, 130), chosen).auxiliary
    part = cut_chip(area, window(37, 41, 40, 50), chosen).auxiliary
    assert np.array_equal(part, whole[:, 37:77, 41:91], equal_nan=True)
    assert whole.shape[0] == 3
    assert set(np.unique(whole[0])) == {0.0, 1.0}


def test_a_gap_parts_touching_objects_and_nothing_else(make_area):
    touching = [
        shapely.box(4, 4, 12, 12),
        shapely.box(12, 4, 20, 12),  # at a side
        shapely.box(20, 12, 26, 18),  # at a corner
        shapely.box(30, 30, 36, 36),  # alone
    ]
    area = make_area("a", 40, 40, touching)
    with_gap = cut_chip(area, window(0, 0, 40, 40), gap=True).target
    without = cut_chip(area, window(0, 0, 40, 40)).target
    assert ndimage.label(with_gap, np.ones((3, 3)))[1] == 4
    assert ndimage.label(without, np.ones((3, 3)))[1] == 2
    taken = (with_gap != without) & (without == 1)
    assert taken.sum() == (with_gap != without).sum() == 9
    cut = cut_chip(area, window(2, 0, 20, 12), gap=True).target  # an edge between the two at the right
    assert np.array_equal(cut, with_gap[2:22, :12])


def test_unknown_ground_has_no_auxiliary_target():
    chosen = AuxiliarySettings(kinds=("distance",))
    known = np.array([[True, False]])
    found = auxiliary_targets(np.array([[1, 1]], np.int32), known, chosen)
    assert np.isnan(found[0, 0, 1])
    assert not np.isnan(found[0, 0, 0])


def test_labels_that_do_not_part_houses_teach_nothing_about_walls(make_area):
    known = make_area("a", 20, 20, [shapely.box(2, 2, 18, 18)])
    blocks = replace(known, instances=False)
    chosen = AuxiliarySettings(kinds=("boundary", "distance"))
    chip, blank = (cut_chip(area, window(0, 0, 20, 20), chosen) for area in (known, blocks))
    assert not np.isnan(chip.auxiliary).any()
    assert np.isnan(blank.auxiliary).all()
    assert np.array_equal(blank.target, chip.target)


# ------------------------------------------------------------------ chips


def test_invalid_pixels_teach_nothing_and_hold_the_fill(make_area, array_pixels):
    area = make_area("a", 20, 20, [shapely.box(0, 0, 20, 20)])
    valid = np.ones((20, 20), bool)
    valid[:5] = False
    holed = Area("a", array_pixels(area.pixels.values, valid), area.truth)
    chip = cut_chip(holed, window(0, 0, 20, 20), fill=(10, 20, 30))
    assert (chip.target[:5] == IGNORE).all()
    assert (chip.target[5:] == 1).all()
    assert (chip.image[:, :5] == np.array([10, 20, 30])[:, None, None]).all()
    assert np.array_equal(chip.image[:, 5:], area.pixels.values[:, 5:])


def test_ground_outside_the_area_is_reflected_and_unknown(make_area):
    area = make_area("a", 10, 12, [shapely.box(0, 0, 12, 10)])
    chip = cut_chip(area, window(0, 0, 16, 16), AuxiliarySettings(kinds=("boundary",)))
    assert chip.image.shape == (3, 16, 16)
    assert (chip.target[10:] == IGNORE).all()
    assert (chip.target[:, 12:] == IGNORE).all()
    assert (chip.target[:10, :12] == 1).all()
    assert np.array_equal(chip.image[:, 10:, :12], area.pixels.values[:, 9:3:-1])
    assert np.isnan(chip.auxiliary[:, 10:]).all()


def test_fitting_stretches_targets_by_nearest(make_area):
    area = make_area("a", 8, 8, [shapely.box(0, 0, 4, 8)])
    chip = fit_chip(cut_chip(area, window(0, 0, 8, 8)), 16, 4)
    assert chip.image.shape == (3, 16, 4)
    assert chip.image.dtype == np.uint8
    assert chip.target.tolist() == [[1, 1, 0, 0]] * 16
