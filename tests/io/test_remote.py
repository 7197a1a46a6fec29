"""Scenes on a server that stalls, fails, recovers, or gives another file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasters import noise, save
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.errors import MissingFileError, RunError, SceneError
from geoseg.geo.windows import Window
from geoseg.io.gdal_env import raster_env
from geoseg.io.sources import open_raster
from geoseg.raster.source import SceneReadError

ALL = Window(row_off=0, col_off=0, height=256, width=256)


@dataclass
class Server:
    """What it serves, and how: ``ok``, ``stall``, ``flaky`` (every other request fails), or a status."""

    url: str
    files: dict[str, bytes]
    mode: str | int = "ok"
    requests: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    path = save(tmp_path / "a.tif", noise(1, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    state = Server("", {"/a.tif": path.read_bytes()})

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            """Keep quiet."""

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            state.requests += 1
            content = state.files.get(self.path)
            if content is None or isinstance(state.mode, int):
                return self.send_error(404 if content is None else int(state.mode))
            if state.mode == "flaky" and state.requests % 2:
                return self.send_error(503)
            first, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(end + 1 - start))
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            self.end_headers()
            if body and state.mode == "stall":
                self.wfile.write(content[start : start + 10])
                self.wfile.flush()
                state.stop.wait(20)
            elif body:
                self.wfile.write(content[start : end + 1])
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        state.url = f"http://127.0.0.1:{http.server_port}/a.tif"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        for name, value in (("RETRY_DELAY", "0.02"), ("MAX_RETRY", "1"), ("LOW_SPEED_TIME", "1")):
            monkeypatch.setenv(f"GDAL_HTTP_{name}", value)
        yield state
        state.stop.set()
        http.shutdown()
        thread.join()


def test_a_server_that_recovers_is_waited_for(server: Server) -> None:
    server.mode = "flaky"
    np.testing.assert_array_equal(open_raster(server.url).read(ALL), noise(1, 256, 256))


@pytest.mark.parametrize(("mode", "words"), [(500, "HTTP response code: 500"), ("stall", "in time")])
def test_a_server_that_fails_is_not_called_a_damaged_file(server: Server, mode: Any, words: str) -> None:
    scene = open_raster(server.url)
    server.mode = mode
    start = time.monotonic()
    with pytest.raises(RunError, match=words) as caught:
        scene.read(ALL)
    assert time.monotonic() - start < 10
    assert "damaged" not in str(caught.value)
    assert "the same command goes on" in str(caught.value).lower()
    server.mode = "ok"
    np.testing.assert_array_equal(scene.read(ALL), noise(1, 256, 256))


def test_a_damaged_file_on_a_server_is_called_one(server: Server) -> None:
    content = bytearray(server.files["/a.tif"])
    scene = open_raster(server.url)
    server.files["/a.tif"] = bytes(content[: len(content) * 6 // 10])
    with pytest.raises(SceneReadError, match="damaged or cut short"):
        open_raster(server.url).read(ALL)
    assert scene.locate_damage(ALL) is None  # a server is not asked for each block


def test_a_run_stops_where_a_server_fails_and_goes_on(server: Server, tmp_path: Path) -> None:
    calls: list[int] = []

    class Network:
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            calls.append(len(batch))
            if len(calls) == 3:
                server.mode = 500
            return batch / 255

        def fingerprint(self) -> str:
            return "network"

    options = {"window": 64, "overlap": 0, "chunk": 64, "batch_size": 1, "on_error": "skip"}
    with pytest.raises(RunError, match="same command goes on from what is done"):
        geoseg.run(server.url, Network(), out=tmp_path, **options)
    server.mode = "ok"
    done = len(calls)
    summary = geoseg.run(server.url, Network(), out=tmp_path, **options)
    assert summary.failures == []
    assert summary.windows_run < summary.windows
    assert len(calls) - done == summary.windows_run


@pytest.mark.parametrize(
    ("mode", "path", "error", "words"),
    [
        ("ok", "/none.tif", MissingFileError, "scene must exist, .* 404. Check the address"),
        (403, "/a.tif", SceneError, "403. Check address and credentials"),
        (500, "/a.tif", RunError, "500. The server did not answer: try again later"),
        ("ok", "/text.tif", SceneError, "It is none that is read here"),
    ],
)
def test_why_a_scene_can_not_be_opened(
    server: Server, mode: Any, path: str, error: type[Exception], words: str
) -> None:
    server.files["/text.tif"] = b"no raster"
    server.mode = mode
    with pytest.raises(error, match=words):
        open_raster(server.url.replace("/a.tif", path))
    done = CliRunner().invoke(app, ["info", server.url.replace("/a.tif", path)])
    assert done.exit_code == (1 if error is RunError else 2)
    assert done.stderr.count("\n") == 1


def test_a_file_that_changed_on_the_server_is_seen_when_it_is_opened_anew(
    server: Server, tmp_path: Path
) -> None:
    scene = open_raster(server.url)
    before, pixels = scene.fingerprint(), scene.read(ALL)
    assert scene.fingerprint() == before
    other = save(tmp_path / "b.tif", noise(1, 256, 256, seed=1), tiled=True, blockxsize=64, blockysize=64)
    server.files["/a.tif"] = other.read_bytes()
    again = open_raster(server.url)
    assert again.fingerprint() != before
    assert (again.read(ALL) != pixels).any()


def test_the_user_s_own_settings_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import rasterio.env

    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "7")
    monkeypatch.delenv("GDAL_HTTP_MAX_RETRY", raising=False)
    with raster_env(remote=True):
        assert rasterio.env.get_gdal_config("GDAL_HTTP_MAX_RETRY") == 4
        assert "GDAL_HTTP_TIMEOUT" not in rasterio.env.getenv()
    with raster_env():
        assert "GDAL_HTTP_MAX_RETRY" not in rasterio.env.getenv()
