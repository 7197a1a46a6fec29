"""Web map services through GDAL's XML: tiles of a server, and what a description may not ask for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasters import noise
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.errors import MissingFileError, SceneError
from geoseg.geo.windows import Window
from geoseg.io.scene_lists import is_scene_list
from geoseg.io.sources import open_raster

HALF = 20037508.342789244
TILES = """<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>
<DataWindow><UpperLeftX>-{half}</UpperLeftX><UpperLeftY>{half}</UpperLeftY><LowerRightX>{half}</LowerRightX>
<LowerRightY>-{half}</LowerRightY><TileLevel>2</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY>
<YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX>
<BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount>{more}</GDAL_WMS>"""


@pytest.fixture
def tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, np.ndarray]]:
    """The XML of a server of 4 x 4 tiles, and the picture that they make."""
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    picture = noise(3, 1024, 1024)
    for x in range(4):
        for y in range(4):
            place = tmp_path / "served" / "2" / str(x) / f"{y}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            profile = {"driver": "PNG", "count": 3, "height": 256, "width": 256, "dtype": "uint8"}
            with (
                pytest.warns(rasterio.errors.NotGeoreferencedWarning),
                rasterio.open(place, "w", **profile) as out,
            ):
                out.write(picture[:, 256 * y : 256 * (y + 1), 256 * x : 256 * (x + 1)])
    # in a process of its own: GDAL reads with the interpreter locked, and would lock out a server
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "-d",
        str(tmp_path / "served"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(" port ")[1].split()[0]
        url = f"http://127.0.0.1:{port}"
        file = tmp_path / "tiles.xml"
        file.write_text(TILES.format(url=url, half=HALF, more="<Cache/>"))
        yield file, picture
        process.kill()


def test_tiles_are_a_scene(
    tiles: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, picture = tiles
    monkeypatch.chdir(tmp_path)
    source = open_raster(f"service:{file}")
    assert (source.name, source.geobox.shape, source.count) == ("tiles", (1024, 1024), 3)
    window = Window(row_off=200, col_off=500, height=100, width=80)
    np.testing.assert_array_equal(source.read(window), picture[:, window.rows, window.cols])
    assert source.fingerprint() == open_raster(f"service:{file}").fingerprint()
    assert (tmp_path / "cache" / "services").is_dir()
    assert not (tmp_path / "gdalwmscache").exists()


def test_a_description_alone_asks_no_server(tiles: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"must be asked for by the word service: before.* --bbox"):
        open_raster(tiles[0])
    assert not is_scene_list(f"service:{tiles[0]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TILES.format(url="file:///etc", half=HALF, more=""), "must lie on a web server, got file:///etc"),
        (TILES.format(url="/vsicurl/http://h", half=HALF, more=""), "must lie on a web server"),
        (
            TILES.format(url="http://h", half=HALF, more="<Cache><Path>/tmp/x</Path></Cache>"),
            "must not say where its cache lies, got /tmp/x",
        ),
        (
            TILES.format(url="http://h", half=HALF, more="<MaxConnections>64</MaxConnections>"),
            "at most 8 times at a time, got MaxConnections 64",
        ),
        ("<VRTDataset/>", "by GDAL_WMS or GDAL_WMTS, got .* with VRTDataset"),
        ("no xml", "by GDAL's XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><GDAL_WMS/>', "it declares entities"),
    ],
)
def test_descriptions_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(SceneError, match=message):
        open_raster(f"service:{tmp_path / 'a.xml'}")


def test_a_description_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="by an existing file"):
        open_raster(f"service:{tmp_path / 'a.xml'}")
    done = CliRunner().invoke(app, ["run", f"service:{tmp_path / 'a.xml'}", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
