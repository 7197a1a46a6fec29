"""Pictures of footprints over their scene."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import InputError, MissingFileError
from geoseg.geo.windows import Window
from geoseg.report.drawing import Ink, to_rgb
from geoseg.report.picture import footprint_picture

CRS = "EPSG:32645"
ORIGIN = (366000.0, 3058000.0)
YELLOW = np.array((255, 214, 10))
GRAY = 90


def write_scene(path: Path, pixels: np.ndarray, crs: str | None = CRS, **extra: Any) -> Path:
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": pixels.dtype, "count": len(pixels),
                               "height": pixels.shape[1], "width": pixels.shape[2]}  # fmt: skip
    if crs is not None:
        profile |= {"crs": crs, "transform": Affine(0.5, 0, ORIGIN[0], 0, -0.5, ORIGIN[1])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile, **extra) as target:
            target.write(pixels)
    return path


def write_polygons(path: Path, shapes: list[Any], crs: str | None = CRS) -> Path:
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(s)} for s in shapes
    ]
    document: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs is not None:
        name = crs.replace("EPSG:", "urn:ogc:def:crs:EPSG::")
        document["crs"] = {"type": "name", "properties": {"name": name}}
    path.write_text(json.dumps(document))
    return path


def placed(col: float, row: float, side: float) -> Any:
    """A square of ``side`` pixels in the scene's CRS."""
    x, y = ORIGIN[0] + col * 0.5, ORIGIN[1] - row * 0.5
    return shapely.box(x, y - side * 0.5, x + side * 0.5, y)


@pytest.fixture
def gray_scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "gray.tif", np.full((3, 300, 400), GRAY, np.uint8))


def detail_panel(picture: Path, height: int) -> np.ndarray:
    """The right panel without its frame."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    right = pixels.shape[1] - 12
    return pixels[12 + 3 : 12 + height - 3, right - height + 3 : right - 3]


def test_outlines_lie_where_the_footprints_are(gray_scene: Path, tmp_path: Path) -> None:
    ring = placed(100, 80, 60).difference(placed(120, 100, 20))
    truth = write_polygons(tmp_path / "a.geojson", [ring])
    summary = footprint_picture(
        gray_scene, truth, tmp_path / "a.png", height=300, detail_px=100, center=(130, 110)
    )  # fmt: skip
    assert summary.detail == Window(row_off=60, col_off=80, height=100, width=100)
    assert summary.footprints == 1
    panel = detail_panel(tmp_path / "a.png", 300)  # 3 pixels for one of the scene, from row 61 and column 81

    def at(row: float, col: float) -> np.ndarray:
        return panel[round((row - 61) * 3), round((col - 81) * 3)]

    for row, col in ((80, 130), (140, 130), (110, 100), (110, 160), (100, 130), (110, 120)):
        assert np.abs(at(row, col) - YELLOW).max() < 60, (row, col)
    assert np.abs(at(66, 130) - GRAY).max() < 3  # outside
    assert np.abs(at(110, 130) - GRAY).max() < 3  # in the courtyard
    inside = at(90, 130)
    assert inside[0] > GRAY + 8  # faintly filled
    assert inside[2] < GRAY


def test_the_whole_is_painted_and_the_busiest_place_is_chosen(gray_scene: Path, tmp_path: Path) -> None:
    shapes = [placed(310 + 9 * i, 210 + 9 * j, 6) for i in range(6) for j in range(6)] + [placed(20, 20, 30)]
    truth = write_polygons(tmp_path / "a.geojson", shapes)
    summary = footprint_picture(gray_scene, truth, tmp_path / "a.png", height=300, detail_px=80)
    window = summary.detail
    assert window.col_off <= 330 < window.col_end
    assert window.row_off <= 230 < window.row_end
    pixels = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    assert pixels.shape == (summary.height, summary.width, 3)
    square = pixels[12 + 35, 12 + 35]
    assert square[0] > 150 > 80 > square[2]


def test_footprints_in_degrees_give_the_same_picture(gray_scene: Path, tmp_path: Path) -> None:
    shapes = [placed(50 + 30 * i, 60 + 20 * i, 18) for i in range(8)]
    back = Transformer.from_crs(CRS, 4326, always_xy=True)
    degrees = shapely.transform(shapes, lambda x, y: back.transform(x, y), interleaved=False)
    for name, these, crs in (("a", shapes, CRS), ("b", list(degrees), None)):
        truth = write_polygons(tmp_path / f"{name}.geojson", these, crs)
        footprint_picture(gray_scene, truth, tmp_path / f"{name}.png", height=300, title="x")
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in "ab")
    assert np.abs(first - second).mean() < 0.2
    assert first.std() > 20


def test_no_footprints_and_no_data(tmp_path: Path) -> None:
    pixels = np.full((3, 120, 90), 50, np.uint8)
    pixels[:, :60] = 255
    scene = write_scene(tmp_path / "s.tif", pixels, nodata=255)
    truth = write_polygons(tmp_path / "a.geojson", [])
    summary = footprint_picture(scene, truth, tmp_path / "a.png", height=240)
    shown = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    assert summary.footprints == 0
    assert shown[12 + 60, 12 + 90].tolist() == [226, 228, 230]
    assert shown[12 + 180, 12 + 90].tolist() == [50, 50, 50]


def test_pixel_coordinates_and_other_types(tmp_path: Path) -> None:
    ramp = np.linspace(300, 4000, 200 * 200).reshape(1, 200, 200).astype(np.uint16)
    scene = write_scene(tmp_path / "s.tif", ramp, crs=None)
    truth = write_polygons(tmp_path / "a.geojson", [shapely.box(90, 90, 400, 300)], crs=None)
    footprint_picture(
        scene, truth, tmp_path / "a.png", height=200, center=(100, 100), detail_px=60, colors=64
    )
    picture = Image.open(tmp_path / "a.png")
    assert picture.mode == "P"
    assert len(np.unique(np.asarray(picture))) <= 64
    shown = np.asarray(picture.convert("L")).astype(int)
    assert shown[12 + 30, 12 + 100] < shown[12 + 80, 12 + 100]


def test_very_long_scenes_fit_the_page(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", np.full((3, 2, 3000), GRAY, np.uint8))
    truth = write_polygons(tmp_path / "a.geojson", [placed(5, 0, 2)])
    summary = footprint_picture(scene, truth, tmp_path / "a.png", height=200)
    assert summary.width < 200 * 3


def test_bad_input(gray_scene: Path, tmp_path: Path) -> None:
    truth = write_polygons(tmp_path / "a.geojson", [placed(0, 0, 9)])
    with pytest.raises(MissingFileError):
        footprint_picture(tmp_path / "none.tif", truth, tmp_path / "a.png")
    with pytest.raises(MissingFileError):
        footprint_picture(gray_scene, tmp_path / "none.geojson", tmp_path / "a.png")
    plain = write_scene(tmp_path / "plain.tif", np.full((3, 50, 50), GRAY, np.uint8), crs=None)
    with pytest.raises(InputError, match="coordinates"):
        footprint_picture(plain, truth, tmp_path / "a.png")
    with pytest.raises(InputError, match="suffix"):
        footprint_picture(gray_scene, truth, tmp_path / "a.xyz")
    assert not (tmp_path / "a.png").exists()


def test_stretch_ignores_invalid_pixels() -> None:
    values = np.array([[[np.nan, 0.0, 5.0, 10.0, 1e9]]], np.float32)
    valid = np.array([[False, True, True, True, False]])
    shown = to_rgb(values, valid)
    assert shown[0, 1, 0] < shown[0, 2, 0] < shown[0, 3, 0]
    assert shown[0, 0].tolist() == shown[0, 4].tolist() == [226, 228, 230]
    assert to_rgb(values, np.zeros((1, 5), bool)).shape == (1, 5, 3)


def test_ink_covers_in_proportion() -> None:
    ink = Ink(10, 10, line=1)
    ink.draw([shapely.box(2, 2, 8, 8), shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]), shapely.Polygon()])
    black = np.zeros((10, 10, 3), np.uint8)
    shown = ink.blend(black, (200, 0, 0), area=0.5, line=0.5)[..., 0]
    assert shown[5, 5] == 100
    assert shown[5, 0] == 0
