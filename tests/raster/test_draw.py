"""The raster rule of figures against hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.features import rasterize

from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, Line, Point, Polygon, Rectangle
from geoseg.raster.draw import draw_figures, figure_mask, paint_mask, stroke_mask
from geoseg.raster.fill import fill_rings

WHOLE = Window(row_off=0, col_off=0, height=7, width=8)


def show(figure, window=WHOLE):
    """The figure as lines of text."""
    canvas = draw_figures([figure], [1], window)
    return ["".join(".#"[v] for v in row) for row in canvas]


def test_border_is_inclusive():
    square = Polygon(np.array([[1.0, 1], [4, 1], [4, 3], [1, 3]]))
    assert show(square)[:5] == ["........", ".####...", ".####...", ".####...", "........"]


def test_outline_of_a_hole_stays_object():
    ring = Polygon(
        np.array([[0.0, 0], [6, 0], [6, 6], [0, 6]]), (np.array([[1.0, 1], [5, 1], [5, 5], [1, 5]]),)
    )
    assert show(ring) == ["#######.", "#######.", "##...##.", "##...##.", "##...##.", "#######.", "#######."]


def test_a_hole_as_thin_as_its_outline_vanishes():
    ring = Polygon(
        np.array([[0.0, 0], [6, 0], [6, 6], [0, 6]]), (np.array([[2.0, 2], [3, 2], [3, 4], [2, 4]]),)
    )
    assert show(ring) == ["#######."] * 7


def test_triangle_by_hand():
    assert show(Polygon(np.array([[0.0, 0], [6, 0], [0, 6]]))) == [
        "#######.",
        "######..",
        "#####...",
        "####....",
        "###.....",
        "##......",
        "#.......",
    ]


def test_self_crossing_by_even_odd():
    assert show(Polygon(np.array([[0.0, 0], [6, 6], [6, 0], [0, 6]]))) == [
        "#.....#.",
        "##...##.",
        "###.###.",
        "#######.",
        "###.###.",
        "##...##.",
        "#.....#.",
    ]


def test_vertices_are_rounded_half_up():
    assert show(Point(0.5, 1.4))[1] == ".#......"
    assert show(Rectangle(0.4, 0.5, 2.5, 1.4))[:3] == ["........", "####....", "........"]


def test_line_is_eight_connected_and_one_wide():
    assert show(Line(np.array([[0.0, 0], [7, 3]])))[:4] == ["##......", "..##....", "....##..", "......##"]


def test_polygon_of_one_point_and_of_two():
    assert show(Polygon(np.array([[2.0, 1]])))[1] == "..#....."
    assert show(Polygon(np.array([[2.0, 1], [4, 1]])))[1] == "..###..."


@pytest.mark.parametrize("seed", range(20))
def test_a_window_shows_what_the_whole_shows(seed):
    rng = np.random.default_rng(seed)
    figure = Polygon(rng.uniform(-20, 60, (rng.integers(3, 9), 2)), (rng.uniform(0, 40, (3, 2)),))
    whole = draw_figures([figure], [1], Window(row_off=-30, col_off=-30, height=100, width=100))
    part = Window(row_off=int(rng.integers(-30, 60)), col_off=int(rng.integers(-30, 60)), height=9, width=9)
    expected = whole[part.row_off + 30 : part.row_end + 30, part.col_off + 30 : part.col_end + 30]
    assert np.array_equal(draw_figures([figure], [1], part), expected)


@pytest.mark.parametrize("seed", range(10))
def test_fill_alone_is_the_center_rule_of_gdal(seed):
    rng = np.random.default_rng(seed)
    ring = rng.uniform(0, 30, (6, 2))
    mask = np.zeros((30, 30), bool)
    fill_rings(mask, [ring], (0, 0))
    corners = [tuple(v) for v in ring + 0.5]
    expected = rasterize([({"type": "Polygon", "coordinates": [[*corners, corners[0]]]}, 1)], (30, 30))
    assert np.array_equal(mask, expected > 0)


def test_figures_agree_with_opencv():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(1)
    for _ in range(200):
        ring = rng.integers(0, 40, (int(rng.integers(3, 7)), 2))
        expected = np.zeros((40, 40), np.uint8)
        cv2.fillPoly(expected, [ring.astype(np.int32)], 1)
        got = draw_figures(
            [Polygon(ring.astype(float))], [1], Window(row_off=0, col_off=0, height=40, width=40)
        )
        assert np.array_equal(got, expected)


def test_later_is_on_top_and_bitmaps_paste():
    figures = [Rectangle(0, 0, 3, 3), Bitmap((2, 2), np.array([[1, 0], [1, 1]], bool))]
    canvas = draw_figures(figures, [1, 2], WHOLE)
    assert canvas[:5, :5].tolist() == [
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 2, 1, 0],
        [1, 1, 2, 2, 0],
        [0] * 5,
    ]


def test_huge_coordinates_take_no_time_or_memory():
    far = Polygon(
        np.array([[-(2.0**30), -(2.0**30)], [2.0**30, -(2.0**30)], [2.0**30, 2.0**30], [-(2.0**30), 2.0**30]])
    )
    assert figure_mask(far, WHOLE)[1].all()
    assert figure_mask(Point(99, 99), WHOLE) is None


def test_thick_lines():
    box, mask = stroke_mask([np.array([[1.0, 3], [6, 3]])], 3, WHOLE)
    assert (box.row_off, box.height) == (1, 5)
    assert mask[1:4, 1:7].all()
    assert not mask[0].any()
    thin = stroke_mask([np.array([[1.0, 3], [6, 3]])], 1, WHOLE)
    assert thin[1].sum() == 6


@pytest.mark.parametrize("dtype", [bool, "uint8", "int32", "float64"])
def test_paint_is_assignment_by_a_mask(dtype):
    rng = np.random.default_rng(0)
    mask = rng.random((9, 11)) > 0.5
    mask.flags.writeable = False
    for view in (slice(None), slice(None, None, -1)):
        canvas = np.zeros((2, 20, 30), dtype)[1, 3:12, 5:16]
        expected = canvas.copy()
        expected[mask[:, view]] = 1
        paint_mask(canvas, mask[:, view], 1)
        assert np.array_equal(canvas, expected)


def test_paint_refuses_what_does_not_fit():
    canvas = np.zeros((2, 2), np.uint8)
    with pytest.raises(OverflowError):
        paint_mask(canvas, np.ones((2, 2), bool), 300)
    with pytest.raises(ValueError, match="shape"):
        paint_mask(canvas, np.ones((3, 2), bool), 3)
