"""``geoseg info``: scenes and models in plain words."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasters import noise, save
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.cli.info import is_model
from geoseg.errors import InputError
from geoseg.io.cog import write_cog
from geoseg.io.describe import describe
from geoseg.io.sources import open_raster
from geoseg.io.validity import ValidityRule, validity_sources
from geoseg.io.writers import FORMATS, FootprintBatch, open_writer

RGBA = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def test_georeferenced(tmp_path: Path) -> None:
    tags = {"TIFFTAG_DATETIME": "2021:03:04 05:06:07"}
    path = save(tmp_path / "a.tif", noise(4, 20, 30), colorinterp=RGBA, tags=tags)
    told = describe(path)
    assert (told["width"], told["height"], told["bands"], told["dtype"]) == (30, 20, 3, "uint8")
    assert told["crs"] == "EPSG:32645 (WGS 84 / UTM zone 45N)"
    assert told["ground_resolution_m"] == pytest.approx([0.5, 0.5], rel=1e-3)
    assert told["validity"] == ["alpha band 4"]
    assert told["acquired"] == "2021-03-04"
    assert told["orientation"] == "north-up"
    assert [band["color"] for band in told["stored_bands"]] == ["red", "green", "blue", "alpha"]
    json.dumps(told)


def test_cog(tmp_path: Path) -> None:
    pixels = noise(1, 1100, 1100)
    box = open_raster(save(tmp_path / "a.tif", pixels)).geobox
    path = tmp_path / "b.tif"
    write_cog(path, lambda w: pixels[:, w.rows, w.cols], box, dtype="uint8", scale=0.5, nodata=255)
    told = describe(tmp_path / "b.tif")
    assert told["overviews"] == [2, 4]
    assert (told["scales"], told["nodata"], told["block"]) == ([0.5], 255, [512, 512])


@pytest.mark.parametrize(
    ("transform", "crs", "orientation"),
    [
        (None, None, "pixels"),
        (Affine(1, 0, 0, 0, 1, 9), 32645, "south-up"),
        (Affine.rotation(20), 32645, "rotated"),
    ],
)
def test_orientation(transform: Affine | None, crs: int | None, orientation: str, tmp_path: Path) -> None:
    told = describe(save(tmp_path / "a.tif", np.ones((1, 4, 4), "uint8"), transform=transform, crs=crs))
    assert told["orientation"] == orientation
    assert (told["ground_resolution_m"] is None) == (crs is None)


@pytest.mark.parametrize(
    ("rule", "anything", "sources"),
    [
        (ValidityRule(), False, []),
        (ValidityRule(), True, ["palette"]),
        (ValidityRule(mask=(1,), finite=True), True, ["mask", "NaN"]),
        (ValidityRule(nodata=(0, None, -9999)), True, ["nodata -9999, 0"]),
    ],
)
def test_validity_sources(rule: ValidityRule, anything: bool, sources: list[str]) -> None:
    assert validity_sources(rule, anything) == sources


def test_models_by_name(tmp_path: Path) -> None:
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / ".zarray").write_text("{}")
    (tmp_path / "bundle").mkdir()
    assert not is_model(str(tmp_path / "bundle"))  # of scenes, as far as one can see
    (tmp_path / "bundle" / "model.json").write_text("{}")
    assert all(map(is_model, ("a.zip", "a.ONNX", "a.pt2", "a.pth")))
    assert not any(map(is_model, ("a.tif", "a", "a.json")))
    assert is_model(str(tmp_path / "bundle"))
    assert not is_model(str(tmp_path / "store.zarr"))


def test_command(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(3, 20, 30))
    run = CliRunner().invoke(app, ["info", str(path), "--json"])
    assert run.exit_code == 0
    assert json.loads(run.stdout) == json.loads(json.dumps(describe(path)))
    run = CliRunner().invoke(app, ["info", str(path)])
    assert run.exit_code == 0
    assert "EPSG:32645" in run.stdout
    assert "north-up" in run.stdout


@pytest.mark.parametrize("name", ["none.tif", "none.zip", "text.tif", "text.pth"])
def test_command_refuses_in_one_line(name: str, tmp_path: Path) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("text")
    run = CliRunner().invoke(app, ["info", str(tmp_path / name)])
    assert run.exit_code == 2
    assert run.stdout == ""
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1


def test_odd_tags_are_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(3, 20, 30))
    content = bytearray(path.read_bytes())
    texts = content.index(struct.pack("<HH", 34737, 2))  # the tag that holds the texts of a GeoTIFF's keys
    content[texts + 4 : texts + 8] = bytes(4)  # which has no letters now
    content[content.index(struct.pack("<HH", 33550, 12))] = 0  # and there is no size of a pixel
    path.write_bytes(content)
    run = CliRunner().invoke(app, ["info", str(path)])
    assert run.exit_code == 2
    assert "scene must have a header that can be read" in run.stderr
    assert "GeoAsciiParams" in run.stderr
    assert run.stderr.count("\n") == 1


def test_footprints_of_each_kind(tmp_path: Path) -> None:
    batch = FootprintBatch(
        shapely.box([350_000, 350_010], 3_056_000, [350_005, 350_015], 3_056_005), {"id": np.array([1, 2])}
    )
    schema, crs, origin = pa.schema([("id", pa.int64())]), CRS.from_epsg(32645), {"geoseg": "0.1.0"}
    for format, suffix in FORMATS.items():
        path = tmp_path / f"houses{suffix}"
        with open_writer(format, path, schema=schema, crs=crs, provenance=origin) as writer:
            writer.write(batch)
        told = describe(path)
        assert told["provenance"] == origin
        assert set(told["columns"]) - {"bbox"} == {"id"}
        if format == "pmtiles":
            assert (told["layers"], told["zooms"]) == (["houses"], [11, 16])
            continue
        assert told["features"] == 2
        assert told["crs"] == (
            "EPSG:4326 (WGS 84)" if format.startswith("geojson") else "EPSG:32645 (WGS 84 / UTM zone 45N)"
        )
    with pytest.raises(InputError, match=r"gsd must be given for a scene"):
        describe(tmp_path / "houses.fgb", 0.3)
    (tmp_path / "houses.pmtiles").write_bytes(b"no tiles at all")
    with pytest.raises(InputError, match=r"a \.pmtiles file must be one of vector tiles"):
        describe(tmp_path / "houses.pmtiles")


def test_a_raster_in_a_geopackage_is_a_scene(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    profile = {"driver": "GPKG", "count": 3, "height": 20, "width": 30, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:3857", transform=Affine(2, 0, 10, 0, -2, 10), **profile) as out:
        out.write(np.ones((3, 20, 30), np.uint8))
    assert describe(path)["width"] == 30
