"""What the server answers, and whom."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from reviews_made import write_scene
from starlette.testclient import TestClient

from geoseg.errors import InputError
from geoseg.files import DiskFullError
from geoseg.geo.windows import Window
from geoseg.io.pyramid import read_pyramid, read_shrunk, write_pyramid
from geoseg.io.sources import open_raster
from geoseg.review import Review, SceneTarget
from geoseg.review.ledger import Ledger
from geoseg.review.pictures import PendingError, Pictures
from geoseg.review.security import Guard
from geoseg.review.server import make_app

BASE = "http://127.0.0.1:8050"


@pytest.fixture
def client(review: Review) -> Iterator[TestClient]:
    with TestClient(make_app(review, Guard("127.0.0.1", 8050)), base_url=BASE) as opened:
        yield opened


def post(client: TestClient, path: str, document: Any, **headers: str) -> Any:
    return client.post(path, json=document, headers=headers)


def test_the_page_is_there_and_asks_nobody_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in page.text.replace("<!doctype html>", "")
    assert client.get("/static/app.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:8050"}, 403),
        ({"Host": "127.0.0.1:9999"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost:8050"}, 200),
        ({"Origin": BASE}, 200),
    ],
)
def test_foreign_hosts_and_origins_are_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/api/review", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2E/x", "/static/..%2f..%2fx", "/.."])
def test_names_that_lead_elsewhere_are_refused(client: TestClient, path: str) -> None:
    # A client would tidy the path before it asks.
    scope = {
        "type": "http", "method": "GET", "headers": [(b"host", b"127.0.0.1:8050")], "path": unquote(path),
        "raw_path": path.encode(),
    }  # fmt: skip
    assert Guard("127.0.0.1", 8050).refusal(scope) == (400, "a path must be without dots.")
    assert client.get("/static/server.py").status_code == 404


def test_only_json_is_taken(client: TestClient) -> None:
    text = '{"revision": 0, "image": 0, "op": {"op": "delete", "ids": [1]}}'
    assert client.post("/api/edit", content=text, headers={"Content-Type": "text/plain"}).status_code == 415
    assert (
        client.post("/api/edit", content="[1]", headers={"Content-Type": "application/json"}).status_code
        == 400
    )
    assert client.request("PUT", "/api/edit", json={}).status_code == 405
    assert client.get("/api/review").json()["revision"] == 0


@pytest.mark.parametrize("token", ["secret", "a.b~c", "!$'()*-./:=?@_~"])
def test_elsewhere_a_token_is_asked_for(review: Review, token: str) -> None:
    guard = Guard("0.0.0.0", 8050, token)
    with TestClient(make_app(review, guard), base_url="http://box.lan:8050") as client:
        assert client.get("/api/review").status_code == 403
        assert client.get("/?token=wrong").status_code == 403
        first = client.get(guard.address().replace("0.0.0.0", "box.lan"), follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/")
        assert "HttpOnly" in first.headers["set-cookie"]
        assert client.get("/api/review").status_code == 200
        assert client.get("/api/review", headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "token", ["", "my token", "a;b", "a,b", "a&b", "a+b", "a%b", "a#b", 'a"b', "schl\u00fcssel"]
)
def test_a_token_that_no_cookie_holds_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        Guard("0.0.0.0", 8050, token)


def test_an_edit_is_answered_with_what_changed(client: TestClient) -> None:
    about = client.get("/api/review").json()
    assert (about["title"], about["kind"], about["revision"]) == ("town", "scene", 0)
    assert [(one["name"], one["key"]) for one in about["classes"]] == [("house", "1"), ("shed", "2")]
    seen = client.get("/api/objects/0?box=0,0,45,45").json()
    assert [one["id"] for one in seen["objects"]] == [1, 2, 3]
    assert client.get("/api/objects/0?box=0,0,45,45&most=2").json() == {
        "revision": 0,
        "dense": True,
        "count": 3,
    }
    op = {"op": "move", "moves": [[[30, 10], [31, 12]]]}
    answer = post(client, "/api/edit", {"revision": 0, "image": 0, "op": op}).json()
    assert (answer["revision"], answer["gone"], answer["undo"], answer["redo"]) == (1, [1, 2], True, False)
    assert [31, 12] in answer["new"][0]["parts"][0][0]
    stale = post(client, "/api/edit", {"revision": 0, "image": 0, "op": op})
    assert (stale.status_code, stale.json()["revision"]) == (409, 1)
    assert client.get("/api/changes?since=0").json() == {"revision": 1, "images": [0]}
    undone = post(client, "/api/undo", {"revision": 1}).json()
    assert [30, 10] in undone["new"][0]["parts"][0][0]
    assert (undone["revision"], undone["undo"], undone["redo"]) == (2, False, True)
    refused = post(client, "/api/edit", {"revision": 2, "image": 0, "op": {"op": "merge", "ids": [1, 4]}})
    assert (refused.status_code, "touch" in refused.json()["error"]) == (422, True)
    assert post(client, "/api/edit", {"revision": "2", "image": 0, "op": op}).status_code == 422
    assert post(client, "/api/edit", {"revision": 2, "image": 7, "op": op}).status_code == 422
    assert client.get("/api/object/1").json()["values"]["scene"] == "town"
    assert client.get("/api/object/77").status_code == 422
    assert client.get("/api/objects/0?box=1,2,nan,4").status_code == 422


def test_huge_numbers_are_refused_and_fill_no_memory(client: TestClient) -> None:
    huge = 10**40
    assert client.get(f"/api/tiles/0/{huge}/0/0").status_code == 204
    assert client.get(f"/api/overlay/0/now/{huge}/0/0").status_code == 204
    assert client.get(f"/api/tiles/0/0/{huge}/{huge}").status_code == 204
    assert client.get(f"/api/tiles/{huge}/0/0/0").status_code == 422
    assert client.get(f"/api/object/{huge}").status_code == 422
    for op in ({"op": "delete", "ids": [huge]}, {"op": "mark", "place": huge, "status": "accepted"}):
        assert post(client, "/api/edit", {"revision": 0, "image": 0, "op": op}).status_code == 422


def test_a_body_in_chunks_is_refused_whatever_length_stands_beside(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "2", "Transfer-Encoding": "chunked"}
    assert client.post("/api/undo", content=b"{}", headers=headers).status_code == 413


def test_the_list_and_the_export(client: TestClient, review: Review) -> None:
    listed = client.get("/api/places?from=1&count=2").json()
    assert (listed["total"], [one["rank"] for one in listed["places"]]) == (6, [1, 2])
    place = listed["places"][0]
    op = {"op": "mark", "place": place["id"], "status": "accepted"}
    assert post(client, "/api/edit", {"revision": 0, "image": 0, "op": op}).json()["marks"] == [
        [place["id"], "", "accepted"]
    ]
    files = post(client, "/api/export", {}).json()["files"]
    assert Path(files["corrected"]).parent == review.folder
    assert client.get("/api/review").json()["accepted"] == 1


def test_a_full_disk_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise DiskFullError("cannot write: no space. Free some space.")

    monkeypatch.setattr(Ledger, "commit", full)
    answer = post(client, "/api/edit", {"revision": 0, "image": 0, "op": {"op": "delete", "ids": [1]}})
    assert (answer.status_code, answer.json()["error"]) == (507, "cannot write: no space. Free some space.")


def test_tiles_are_the_scene(client: TestClient, scene: Path) -> None:
    tile = client.get("/api/tiles/0/0/0/0")
    picture = np.asarray(Image.open(io.BytesIO(tile.content)))
    with rasterio.open(scene) as dataset:
        pixels = np.moveaxis(dataset.read(), 0, -1)
    assert picture.shape == (512, 512, 3)
    assert abs(picture[:100, :120].mean() - pixels.mean()) < 2
    half = np.asarray(Image.open(io.BytesIO(client.get("/api/tiles/0/1/0/0").content)))
    assert abs(half[:50, :60].mean() - pixels.mean()) < 2
    assert half[60:].max() < 10
    assert client.get("/api/tiles/0/0/1/0").status_code == 204
    assert client.get("/api/tiles/5/0/0/0").status_code == 422
    drawn = np.asarray(Image.open(io.BytesIO(client.get("/api/overlay/0/now/0/0/0").content)))
    assert drawn[10, 20, 3] == 255
    assert drawn[25, 20, 3] == 0


def test_a_scene_that_vanished_is_told_and_edits_go_on(client: TestClient, scene: Path) -> None:
    scene.rename(scene.with_suffix(".gone"))
    tile = client.get("/api/tiles/0/0/0/0")
    assert (tile.status_code, "town.tif" in tile.json()["error"]) == (503, True)
    op = {"op": "delete", "ids": [1]}
    assert post(client, "/api/edit", {"revision": 0, "image": 0, "op": op}).status_code == 200


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_pyramid_is_the_mean_of_the_scene(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 255, (3, 1100, 1300)).astype(dtype)
    pixels[:, :300, :200] = 0
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=1100, width=1300, count=3, dtype=dtype, nodata=0,
        transform=Affine.scale(2), crs="EPSG:32645", tiled=True,
    ) as out:  # fmt: skip
        out.write(np.maximum(pixels, pixels.any(axis=0)))
    source = open_raster(path)
    limits = None if dtype == "uint8" else [(0.0, 255.0)] * 3
    assert write_pyramid(source, tmp_path / "p.tif", [0, 1, 2], limits)
    whole = Window(row_off=0, col_off=0, height=1100, width=1300)
    values, valid = read_pyramid(tmp_path / "p.tif", whole, 8)
    assert values.shape == (3, 138, 163)
    assert not valid[:37, :25].any()
    block = np.maximum(pixels, pixels.any(axis=0))[0, 400:408, 800:808]
    assert abs(int(values[0, 50, 100]) - block.mean()) <= 1
    shrunk, _ = read_shrunk(source, whole, 8, [0, 1, 2], limits)
    assert np.array_equal(shrunk, values)
    assert read_pyramid(tmp_path / "p.tif", whole, 32)[0].shape == (3, 35, 41)
    assert not write_pyramid(source, tmp_path / "q.tif", [0], None, stopped=lambda: True)
    assert not (tmp_path / "q.tif").exists()


def test_a_large_scene_gets_its_pyramid_in_the_folder_of_the_review(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.review.pictures.TILE", 64)
    monkeypatch.setattr("geoseg.review.pictures._MOST_READ", 90_000)
    scene = write_scene(tmp_path / "large.tif", 600, 600)
    before = sorted(path.name for path in tmp_path.iterdir())
    with Review(tmp_path / "town.review", SceneTarget(open_raster(scene))) as review:
        pictures = Pictures(review)
        assert pictures.tile(0, 0, 0, 0) is not None
        assert not pictures._threads
        with pytest.raises(PendingError, match="being made"):
            pictures.tile(0, 3, 0, 0)
        [thread] = pictures._threads
        thread.join()
        assert (pictures.done, pictures._failures) == (1.0, {})
        assert pictures.tile(0, 3, 0, 0) is not None
        pictures.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "town.review"])


def test_tiles_of_an_image_follow_its_file(
    project_review: Review, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.review.pictures._MOST_READ", 1)
    monkeypatch.setattr("geoseg.review.pictures.TILE", 4)
    file = project / "ds" / "img" / "a.png"
    pictures = Pictures(project_review)

    def shown() -> int:
        while True:
            try:
                tile = pictures.tile(0, 3, 0, 0)
            except PendingError:
                time.sleep(0.01)
                continue
            assert tile is not None
            return int(np.asarray(Image.open(io.BytesIO(tile[0])).convert("L"))[0, 0])

    for value in (30, 200):
        with Image.open(file) as picture:
            size = picture.size
        Image.new("RGB", size, (value,) * 3).save(file)
        assert abs(shown() - value) <= 3
        pictures.stop()
        pictures = Pictures(project_review)
        assert len(list(project_review.folder.glob("pyramid-0-*.tif"))) == 1
