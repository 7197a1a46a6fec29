"""Scenes on a server that stalls, fails, recovers, or gives another file."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio.env
from affine import Affine
from PIL import Image
from rasters import NORTH_UP, noise, save
from servers import Server, served
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.errors import MissingFileError, RunError, SceneError
from geoseg.geo.windows import Window
from geoseg.io.gdal_env import raster_env
from geoseg.io.sources import open_raster
from geoseg.raster.source import SceneReadError

ALL = Window(row_off=0, col_off=0, height=256, width=256)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    save(folder / "a.tif", noise(1, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    (folder / "text.tif").write_text("no raster")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    with served(folder) as server:
        yield server


def test_a_server_that_recovers_is_waited_for(server: Server) -> None:
    server.behave("flaky")
    np.testing.assert_array_equal(open_raster(server.url).read(ALL), noise(1, 256, 256))


@pytest.mark.parametrize("compress", ["none", "deflate", "jpeg"])
@pytest.mark.parametrize("mode", ["drop3", "cut3"])
def test_connections_that_break_are_not_taken_for_the_end_of_a_file(
    server: Server, mode: str, compress: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "4")
    file = server.folder / "b.tif"
    save(file, noise(3, 512, 512), tiled=True, blockxsize=128, blockysize=128, compress=compress)
    whole = Window(row_off=0, col_off=0, height=512, width=512)
    expected, fingerprint = open_raster(file).read(whole), open_raster(f"{server.root}/b.tif").fingerprint()
    server.behave(mode)
    scene = open_raster(f"{server.root}/b.tif")
    for row, col in itertools.product(range(0, 512, 128), repeat=2):
        window = Window(row_off=row, col_off=col, height=128, width=128)
        np.testing.assert_array_equal(scene.read(window), expected[:, window.rows, window.cols])
    assert scene.fingerprint() == fingerprint


@pytest.mark.parametrize("mode", ["drop3", "cut3"])
def test_a_picture_that_comes_in_parts_is_read_from_its_begin_again(
    server: Server, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "4")
    file = server.folder / "b.jpg"
    Image.fromarray(np.moveaxis(noise(3, 150, 150), 0, -1)).save(file, quality=90)
    assert 16_384 < file.stat().st_size < 32_768  # two requests
    whole = Window(row_off=0, col_off=0, height=150, width=150)
    expected = open_raster(file).read(whole)
    server.behave(mode)
    for _ in range(4):
        np.testing.assert_array_equal(open_raster(f"{server.root}/b.jpg").read(whole), expected)


@pytest.mark.parametrize("mode", ["drop1", "cut1"])
def test_a_server_that_answers_no_more_makes_no_hole_in_a_result(
    server: Server, mode: str, tmp_path: Path
) -> None:
    calls: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 3:
            server.behave(mode)
        return batch / 255

    options = {"window": 64, "overlap": 0, "chunk": 64, "batch_size": 1, "on_error": "skip"}
    with pytest.raises(RunError, match=r"try again later.* same command goes on"):
        geoseg.run(server.url, network, out=tmp_path, **options)


@pytest.mark.parametrize(("mode", "words"), [("500", "HTTP response code: 500"), ("stall", "in time")])
def test_a_server_that_fails_is_not_called_a_damaged_file(
    server: Server, mode: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_raster(server.url)
    server.behave(mode)
    start = time.monotonic()
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    with pytest.raises(RunError, match=words) as caught:
        scene.read(ALL)
    monkeypatch.delenv("GDAL_HTTP_LOW_SPEED_TIME")
    assert time.monotonic() - start < 15  # without a limit the server would be waited for 20 s and more
    assert "damaged" not in str(caught.value)
    assert "the same command goes on" in str(caught.value).lower()
    server.behave("ok")
    np.testing.assert_array_equal(scene.read(ALL), noise(1, 256, 256))


@pytest.mark.parametrize("status", [503, 429, 403])
@pytest.mark.parametrize("again", [False, True])
def test_a_server_that_gives_the_header_alone_is_not_called_a_damaged_file(
    server: Server, status: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "6" if again else "0")
    scene = open_raster(server.url)
    server.behave(f"late{status}")
    if again:
        np.testing.assert_array_equal(scene.read(ALL), noise(1, 256, 256))
    else:
        advice = "renew the credentials" if status == 403 else "try again later"
        with pytest.raises(RunError, match=f"{status}.*{advice}.* same command goes on"):
            scene.read(Window(row_off=128, col_off=128, height=64, width=64))


def test_a_picture_of_which_a_server_refuses_the_end_is_not_called_damaged(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    Image.fromarray(np.moveaxis(noise(3, 300, 300), 0, -1)).save(server.folder / "b.jpg", quality=90)
    scene = open_raster(f"{server.root}/b.jpg")
    server.behave("late403")
    with pytest.raises(RunError, match=r"403.* renew the credentials.* same command goes on"):
        scene.read(Window(row_off=0, col_off=0, height=300, width=300))


@pytest.fixture
def zarr_store(server: Server) -> np.ndarray:
    """Pixels (1, 256, 256) of ``b.zarr`` on the server, of 16 chunks; the last is not there, and so is 7."""
    pixels = 8 + noise(1, 256, 256) // 2
    pixels[:, 192:, 192:] = 7
    save(server.folder / "b.zarr", pixels, driver="Zarr", nodata=7, BLOCKSIZE="64,64")
    assert not (server.folder / "b.zarr" / "b" / "3.3").exists()
    return pixels


CHUNK = Window(row_off=64, col_off=64, height=64, width=64)


def test_a_zarr_store_on_a_server(
    server: Server, zarr_store: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    for address in ("{}/b.zarr", "{}/b.zarr/", "/vsicurl/{}/b.zarr", "ZARR:{}/b.zarr", 'ZARR:"{}/b.zarr"'):
        scene = open_raster(address.format(server.root))
        assert scene.geobox.transform == NORTH_UP
        np.testing.assert_array_equal(scene.read(ALL), zarr_store)
        assert scene.fingerprint() == scene.fingerprint()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("chunks403", "403.* renew the credentials"),
        ("chunks500", "500.* try again later"),
        ("403", "403. Check address and credentials"),
        ("404", "scene must exist.* 404"),
        ("503", "503.* try again later"),
        ("drop1", "no answer.* try again later"),
        ("stall", "Operation too slow.* try again later"),
    ],
)
def test_chunks_of_a_zarr_store_that_are_not_given_are_not_taken_for_empty(
    server: Server, zarr_store: np.ndarray, mode: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_raster(f"{server.root}/b.zarr")
    scene.read(Window(row_off=0, col_off=0, height=64, width=64))
    server.behave(mode)
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    with pytest.raises(RunError, match=f"{words}.* same command goes on"):
        scene.read(CHUNK)
    server.behave("ok")
    np.testing.assert_array_equal(scene.read(ALL), zarr_store)


def test_an_empty_chunk_of_a_zarr_store_is_looked_into_once(server: Server, zarr_store: np.ndarray) -> None:
    scene = open_raster(f"{server.root}/b.zarr")
    empty = Window(row_off=192, col_off=192, height=64, width=64)
    for window in (empty, CHUNK):  # GDAL keeps the last chunk alone
        scene.read(window)
    sent = server.sent()
    np.testing.assert_array_equal(scene.read(empty), zarr_store[:, empty.rows, empty.cols])
    assert server.sent() == sent
    corner = Window(row_off=128, col_off=128, height=128, width=128)
    np.testing.assert_array_equal(scene.read(corner), zarr_store[:, corner.rows, corner.cols])
    chunks = [server.folder / "b.zarr" / "b" / name for name in ("2.2", "2.3", "3.2")]
    assert server.sent() == sent + sum(chunk.stat().st_size for chunk in chunks)
    # A store that was there a moment ago vouches for no chunk that is asked for now.
    server.behave("404")
    other = Window(row_off=0, col_off=0, height=64, width=64)
    with pytest.raises(RunError, match=r"404.* same command goes on"):
        scene.read(other)
    server.behave("ok")
    np.testing.assert_array_equal(scene.read(ALL), zarr_store)


def test_a_run_stops_where_access_to_a_zarr_store_ends_and_goes_on(
    server: Server, zarr_store: np.ndarray, tmp_path: Path
) -> None:
    calls: list[int] = []

    class Network:
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            calls.append(len(batch))
            if len(calls) == 3:
                server.behave("chunks403")
            return batch / 255

        def fingerprint(self) -> str:
            return "network"

    options = {
        "window": 64,
        "overlap": 0,
        "chunk": 64,
        "batch_size": 1,
        "on_error": "skip",
        "save_prob": True,
    }
    with pytest.raises(RunError, match=r"renew the credentials.* same command goes on from what is done"):
        geoseg.run(f"{server.root}/b.zarr", Network(), out=tmp_path, **options)
    server.behave("ok")
    summary = geoseg.run(f"{server.root}/b.zarr", Network(), out=tmp_path, **options)
    assert summary.windows_run < summary.windows
    probabilities = open_raster(summary.files["prob"])
    assert probabilities.read_valid(ALL).sum() == 256 * 256 - 64 * 64  # 7 is the nodata value


def test_a_damaged_file_on_a_server_is_called_one(server: Server) -> None:
    content = (server.folder / "a.tif").read_bytes()
    scene = open_raster(server.url)
    (server.folder / "a.tif").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(SceneReadError, match="damaged or cut short"):
        open_raster(server.url).read(ALL)
    assert scene.locate_damage(ALL) is None  # a server is not asked for each block


def test_a_run_stops_where_a_server_fails_and_goes_on(server: Server, tmp_path: Path) -> None:
    calls: list[int] = []

    class Network:
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            calls.append(len(batch))
            if len(calls) == 3:
                server.behave("500")
            return batch / 255

        def fingerprint(self) -> str:
            return "network"

    options = {"window": 64, "overlap": 0, "chunk": 64, "batch_size": 1, "on_error": "skip"}
    with pytest.raises(RunError, match="same command goes on from what is done"):
        geoseg.run(server.url, Network(), out=tmp_path, **options)
    server.behave("ok")
    done = len(calls)
    summary = geoseg.run(server.url, Network(), out=tmp_path, **options)
    assert summary.failures == []
    assert summary.windows_run < summary.windows
    assert len(calls) - done == summary.windows_run


@pytest.mark.parametrize(
    ("mode", "path", "error", "words"),
    [
        ("ok", "/none.tif", MissingFileError, "scene must exist, .* 404. Check the address"),
        ("403", "/a.tif", SceneError, "403. Check address and credentials"),
        ("500", "/a.tif", RunError, "500. The server did not answer: try again later"),
        ("ok", "/text.tif", SceneError, "It is none that is read here"),
    ],
)
def test_why_a_scene_can_not_be_opened(
    server: Server, mode: str, path: str, error: type[Exception], words: str
) -> None:
    server.behave(mode)
    with pytest.raises(error, match=words):
        open_raster(server.url.replace("/a.tif", path))
    done = CliRunner().invoke(app, ["info", server.url.replace("/a.tif", path)])
    assert done.exit_code == (1 if error is RunError else 2)
    assert done.stderr.count("\n") == 1


def test_windows_of_a_file_on_a_server_are_read_alone(server: Server) -> None:
    save(server.folder / "b.tif", noise(3, 2048, 2048), tiled=True, blockxsize=256, blockysize=256)
    size = (server.folder / "b.tif").stat().st_size
    before = server.sent()
    window = Window(row_off=300, col_off=900, height=100, width=60)
    pixels = open_raster(f"{server.root}/b.tif").read(window)
    np.testing.assert_array_equal(pixels, noise(3, 2048, 2048)[:, window.rows, window.cols])
    assert server.sent() - before < size / 8


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as a private store that speaks S3, as MinIO does."""
    (server.folder / "bucket").mkdir()
    (server.folder / "a.tif").rename(server.folder / "bucket" / "a.tif")
    (server.folder / "bucket" / "b.tif").write_bytes((server.folder / "bucket" / "a.tif").read_bytes())
    endpoint = {
        "AWS_S3_ENDPOINT": server.root.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": "minio",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    for name, value in endpoint.items():
        monkeypatch.setenv(name, value)
    return server


def test_a_bucket(bucket: Server) -> None:
    np.testing.assert_array_equal(open_raster("s3://bucket/a.tif").read(ALL), noise(1, 256, 256))
    save(bucket.folder / "bucket" / "b.zarr", noise(1, 256, 256), driver="Zarr")
    np.testing.assert_array_equal(open_raster("s3://bucket/b.zarr").read(ALL), noise(1, 256, 256))
    bucket.behave("403")
    with pytest.raises(SceneError, match="Check address and credentials: AWS_ACCESS_KEY_ID and"):
        open_raster("s3://bucket/b.tif")


def test_a_bucket_that_may_not_be_listed(bucket: Server) -> None:
    """S3 then refuses what is not there; what is there is read all the same."""
    bucket.behave("unlisted")
    np.testing.assert_array_equal(open_raster("s3://bucket/a.tif").read(ALL), noise(1, 256, 256))
    store = bucket.folder / "bucket" / "b.zarr"
    save(store, noise(1, 256, 256), driver="Zarr")
    np.testing.assert_array_equal(open_raster("s3://bucket/b.zarr").read(ALL), noise(1, 256, 256))
    with pytest.raises(
        SceneError, match=r"none.tif: .*It may not be there: without s3:ListBucket, that is ref"
    ):
        open_raster("s3://bucket/none.tif")
    chunk, *_ = (path for path in store.rglob("*") if path.is_file() and not path.name.startswith("."))
    chunk.unlink()
    with pytest.raises(RunError, match=r"refused to clients that may not list \(s3:ListBucket\)"):
        open_raster("s3://bucket/b.zarr").read(ALL)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://bucket/a.tif", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, .* AWS_NO_SIGN_REQUEST=YES"),
        ("gs://bucket/a.tif", "Set GOOGLE_APPLICATION_CREDENTIALS, or GS_NO_SIGN_REQUEST=YES"),
        ("az://bucket/a.tif", "Set AZURE_STORAGE_ACCOUNT and .* AZURE_NO_SIGN_REQUEST=YES"),
    ],
)
def test_without_credentials(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if re.match("AWS_|GS_|GOOGLE_|AZURE_", name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "TRUE")
    monkeypatch.setenv("CPL_GCE_SKIP", "YES")
    with pytest.raises(SceneError, match=f"got {address} without credentials. {words}"):
        open_raster(address)


def test_sheets_on_a_server_are_a_mosaic(server: Server, tmp_path: Path) -> None:
    for k in range(2):
        place = NORTH_UP * Affine.translation(256 * k, 0)
        save(server.folder / f"s{k}.tif", noise(1, 256, 256, seed=k), transform=place, tiled=True)
    (tmp_path / "sheets.txt").write_text(f"{server.root}/s1.tif\n{server.root}/s0.tif\n")
    mosaic = open_raster(tmp_path / "sheets.txt")
    assert mosaic.geobox.shape == (256, 512)
    window = Window(row_off=10, col_off=200, height=50, width=100)
    both = np.concatenate([noise(1, 256, 256, seed=k) for k in range(2)], axis=2)
    np.testing.assert_array_equal(mosaic.read(window), both[:, window.rows, window.cols])
    assert mosaic.fingerprint() == open_raster(tmp_path / "sheets.txt").fingerprint()


def test_a_file_that_changed_on_the_server_is_seen_when_it_is_opened_anew(server: Server) -> None:
    scene = open_raster(server.url)
    before, pixels = scene.fingerprint(), scene.read(ALL)
    assert scene.fingerprint() == before
    save(server.folder / "a.tif", noise(1, 256, 256, seed=1), tiled=True, blockxsize=64, blockysize=64)
    again = open_raster(server.url)
    assert again.fingerprint() != before
    assert (again.read(ALL) != pixels).any()


def test_the_user_s_own_settings_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "7")
    monkeypatch.delenv("GDAL_HTTP_MAX_RETRY", raising=False)
    with raster_env(remote=True):
        assert rasterio.env.get_gdal_config("GDAL_HTTP_MAX_RETRY") == 4
        assert "GDAL_HTTP_TIMEOUT" not in rasterio.env.getenv()
    with raster_env():
        assert "GDAL_HTTP_MAX_RETRY" not in rasterio.env.getenv()
