"""The review page in a real browser: Debian's chromium, without a network."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from PIL import Image
from reviews_made import HOUSES, TRANSFORM, make_project, write_footprints, write_scene

from geoseg.projects.project import open_project


class Server:
    """``geoseg review`` as a person starts it."""

    def __init__(self, *arguments: object) -> None:
        self.command = [sys.executable, "-m", "geoseg", "review", *map(str, arguments)]
        self.command += ["--port", "0", "--no-browser", "--quiet"]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+", line)[0]  # type: ignore[index]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def serving(*arguments: object) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.end()


class Page:
    """A page, and a hand on it that points at pixels of the image."""

    def __init__(self, browser: Any, url: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.wait("() => window.review && review.state.image && !review.state.busy")

    def wait(self, condition: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.02)

    def state(self, expression: str) -> Any:
        return self.page.evaluate(f"() => {{ const state = review.state; return {expression}; }}")

    def look(self, left: float, top: float, right: float, bottom: float) -> None:
        self.page.evaluate(
            "(box) => { review.map.getView().fit([box[0], -box[3], box[2], -box[1]]);"
            "review.map.renderSync(); }",
            [left, top, right, bottom],
        )
        self.wait("() => !review.map.getView().getAnimating() && review.state.objects.size > 0")
        self.settled()

    def settled(self) -> None:
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 60)))")

    def at(self, x: float, y: float) -> tuple[float, float]:
        return tuple(  # type: ignore[return-value]
            self.page.evaluate(
                "([x, y]) => { const at = review.map.getPixelFromCoordinate([x, -y]);"
                "const box = document.getElementById('map').getBoundingClientRect();"
                "return [at[0] + box.left, at[1] + box.top]; }",
                [x, y],
            )
        )

    def click(self, x: float, y: float, **how: Any) -> None:
        self.page.mouse.move(*self.at(x, y))
        held = how.get("hold")
        if held:
            self.page.keyboard.down(held)
        self.page.mouse.click(*self.at(x, y), click_count=how.get("count", 1))
        if held:
            self.page.keyboard.up(held)

    def drag(self, *corners: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*corners[0]))
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*self.at(*corner), steps=4)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def edited(self, act: Callable[[], None]) -> int:
        """Do something, wait until the server has answered; the revision after it."""
        before = self.state("state.revision")
        act()
        self.wait(f"() => review.state.revision > {before} && !review.state.busy")
        self.settled()
        return self.state("state.revision")

    def corners(self, number: int) -> set[tuple[float, float]]:
        parts = self.state(f"state.objects.get({number}).parts")
        return {tuple(corner) for part in parts for ring in part for corner in ring}

    def objects(self) -> dict[str, Any]:
        text = self.state("JSON.stringify([...state.objects].map(([id, one]) => [id, {...one, mask: null}]))")
        return {str(number): one for number, one in json.loads(text)}


@pytest.fixture
def town(browser: Any, tmp_path: Path) -> Iterator[tuple[Page, Server, Path]]:
    scene, houses = write_scene(tmp_path / "town.tif", 400, 400), write_footprints(tmp_path / "houses.gpkg")
    before = write_footprints(tmp_path / "before.gpkg", houses=HOUSES[:2])
    arguments = [scene, "--footprints", houses, "--classes", "house,shed", "--before", before]
    with serving(*arguments) as server:
        page = Page(browser, server.url)
        page.look(0, 0, 120, 80)
        yield page, server, tmp_path
        assert not page.errors
        elsewhere = [url for url in page.asked if not url.startswith((server.url, "data:", "blob:"))]
        assert not elsewhere
        page.context.close()


def test_tools_on_footprints(town: tuple[Page, Server, Path]) -> None:
    page, _, _ = town
    start = page.objects()
    # A wall that two houses share, and a third that ends at it.
    page.press("m")
    page.edited(lambda: page.drag((30, 40), (33, 44)))
    moved = page.corners(1) & page.corners(2) & page.corners(3)
    assert len(moved) == 1
    assert np.allclose(next(iter(moved)), (33, 44), atol=0.2)
    # A corner on their wall by a click; away again by Alt and a click.
    page.edited(lambda: page.click(31.5, 27))
    assert len(page.corners(1) & page.corners(2)) == 3
    [added] = (page.corners(1) & page.corners(2)) - moved - {(30.0, 10.0)}
    page.edited(lambda: page.click(*added, hold="Alt"))
    assert len(page.corners(1) & page.corners(2)) == 2
    # A hole, the list of which grows; filled again.
    page.press("v")
    page.click(20, 20)
    assert page.state("[...state.selected]") == [1]
    page.press("c")
    for corner in ((15, 15), (22, 15), (22, 22)):
        page.click(*corner)
    page.edited(lambda: page.press("Enter"))
    assert page.state("state.objects.get(1).parts[0].length") == 2
    page.press("f")
    page.edited(lambda: page.click(20, 17))
    assert page.state("state.objects.get(1).parts[0].length") == 1
    # Split: the ends of the cut are corners of the neighbors, too.
    page.press("Escape", "Escape", "s")
    page.click(40, 3)
    page.edited(lambda: page.click(40, 75, count=2))
    assert page.state("state.objects.size") == 6
    ends = [corner for corner in page.corners(3) if abs(corner[0] - 40) < 0.3]
    assert len(ends) == 2
    # Merge what was split.
    page.press("v")
    page.click(35, 20)
    page.click(45, 20, hold="Shift")
    page.edited(lambda: page.press("g"))
    assert page.state("state.objects.size") == 5
    # Right angles, a class, an own house, a brush stroke, a house less.
    page.click(80, 30)
    page.edited(lambda: page.press("q"))
    page.edited(lambda: page.press("2"))
    assert page.state("state.objects.get(4).class") == "shed"
    page.press("d")
    for corner in ((60, 50), (66, 50), (66, 58)):
        page.click(*corner)
    page.edited(lambda: page.press("Enter"))
    page.press("b")
    page.edited(lambda: page.drag((64, 55), (70, 62)))
    page.press("v")
    page.click(20, 20)
    page.edited(lambda: page.press("Delete"))
    end = page.objects()
    assert "1" not in end
    # Back to the beginning, equal to the last bit, and forth again.
    while page.state("state.undo"):
        page.edited(lambda: page.press("Control+z"))
    assert page.objects() == start
    while page.state("state.redo"):
        page.edited(lambda: page.press("Control+y"))
    assert page.objects() == end


def test_the_list_by_keys_alone(town: tuple[Page, Server, Path]) -> None:
    page, _, folder = town
    total = page.state("state.total")
    assert total == 1
    page.edited(lambda: page.press("a"))
    assert page.state("state.places[0].status") == "accepted"
    page.edited(lambda: page.press("r"))
    page.edited(lambda: page.press("u"))
    assert page.state("state.places[0].status") == ""
    page.edited(lambda: page.press("a"))
    page.page.locator("#export").click()
    page.page.locator("#message", has_text="4 footprints written").wait_for()
    written = folder / "town.review" / "corrected.gpkg"
    old, new = gpd.read_file(folder / "houses.gpkg"), gpd.read_file(written)
    assert new.to_wkb().equals(old.to_wkb())
    assert len(gpd.read_file(written.with_name("qa.gpkg"))) == 1
    page.press("?")
    assert page.page.locator("#help").is_visible()
    assert page.page.locator("#help kbd").count() > 30


@pytest.fixture
def roads(browser: Any, tmp_path: Path) -> Iterator[tuple[Page, Server, Path]]:
    project = make_project(tmp_path / "roads")
    with serving(project) as server:
        page = Page(browser, server.url)
        page.page.evaluate("() => review.goTo(review.state.places.findIndex((one) => one.image === 0))")
        page.wait("() => review.state.objects.size > 0")
        yield page, server, project
        assert not page.errors
        page.context.close()


def test_a_list_longer_than_one_answer_is_loaded_to_its_end(roads: tuple[Page, Server, Path]) -> None:
    page, _, _ = roads
    # Answers of one place stand for those of 20,000; the first place is accepted between the first two.
    page.page.evaluate(
        """() => {
            const plain = window.fetch;
            let first = true;
            window.fetch = async (url, options) => {
                if (!String(url).includes('/api/places')) return plain(url, options);
                const short = new URL(url, location.href);
                short.searchParams.set('count', 1);
                if (first && short.searchParams.get('from') === '1') {
                    first = false;
                    await review.goTo(0);
                    await review.judge('accepted');
                }
                return plain(short, options);
            };
        }"""
    )
    page.page.evaluate("() => review.loadPlaces()")
    assert page.state("state.places.map((place) => [place.rank, place.status])") == [[0, "accepted"], [1, ""]]
    assert page.state("[state.total, state.accepted]") == [2, 1]
    page.page.evaluate("() => review.next()")
    assert page.state("state.place") == 1


def bitmap_of(project: Path, name: str, class_name: str) -> Any:
    """What a project holds for a class, as numpy sees it."""
    opened = open_project(project)
    [item] = [one for one in opened if one.name == name]
    canvas = np.zeros((60, 80), bool)
    for one in opened.annotation(item).objects:
        if one.class_name == class_name:
            (x, y), (height, width) = one.figure.origin, one.figure.shape
            canvas[y : y + height, x : x + width] |= one.figure.mask
    return canvas


def near(path: Any, size: int) -> Any:
    """Pixels of 60 x 80 within half a brush of a path, in floating point."""
    rows, cols = np.mgrid[:60, :80]
    hit = np.zeros((60, 80), bool)
    for start, end in zip(path, [*path[1:], path[-1]]):
        step = np.subtract(end, start)
        x, y = cols - start[0], rows - start[1]
        t = np.clip((x * step[0] + y * step[1]) / max(1, step @ step), 0, 1)
        hit |= np.hypot(x - t * step[0], y - t * step[1]) <= size / 2 + 1e-9
    return hit


def test_brush_and_eraser_on_photos(roads: tuple[Page, Server, Path]) -> None:
    page, server, project = roads
    before = bitmap_of(project, "a.png", "road")
    assert before.sum() == 4 * 30
    sent: list[Any] = []

    def note(request: Any) -> None:
        if request.url.endswith("/api/edit"):
            sent.append(request.post_data_json["op"])

    page.page.on("request", note)
    page.press("v")
    page.click(20.5, 13.5)
    page.press("b", "[", "[")
    page.edited(lambda: page.drag((10.5, 30.5), (33.2, 41.7), (70.1, 57.4)))
    size = sent[0]["size"]
    assert len(sent[0]["path"]) > 4
    expected = before | near(sent[0]["path"], size)
    assert np.array_equal(bitmap_of(project, "a.png", "road"), expected)
    # What the page shows is what the file holds, and what it drew while the hand moved.
    shown = page.state(
        "(() => { const mask = [...state.objects.values()].find((one) => one.class === 'road').mask;"
        "const out = []; for (let row = 0; row < 60; row += 1) for (let col = 0; col < 80; col += 1)"
        "out.push(mask.has(col, row)); return out; })()"
    )
    assert np.array_equal(np.reshape(shown, (60, 80)), expected)
    drawn = page.page.evaluate(
        "([path, size]) => { const mask = review.strokeMask(path, size, 80, 60); const out = [];"
        "for (let row = 0; row < 60; row += 1) for (let col = 0; col < 80; col += 1)"
        "out.push(mask.has(col, row)); return out; }",
        [sent[0]["path"], size],
    )
    assert np.array_equal(np.reshape(drawn, (60, 80)), near(sent[0]["path"], size))
    page.press("e")
    page.edited(lambda: page.drag((20.5, 13.5), (25.5, 13.5)))
    expected &= ~near(sent[1]["path"], size)
    assert np.array_equal(bitmap_of(project, "a.png", "road"), expected)
    page.edited(lambda: page.press("Control+z"))
    page.edited(lambda: page.press("Control+z"))
    assert np.array_equal(bitmap_of(project, "a.png", "road"), before)
    # A tag by its key, then accepted; then the photo before.
    page.press("Escape", "Escape")
    page.edited(lambda: page.press("Alt+1"))
    assert page.state("state.image.tags[0].name") == "checked"
    first = page.state("state.image.id")
    page.edited(lambda: page.press("a"))
    page.press("p")
    page.wait(f"() => review.state.image.id !== {first}")
    # Killed in the middle of work and started again: all is there.
    before_kill = page.state("state.revision")
    server.kill()
    server.start()
    page.page.goto(server.url)
    page.wait("() => window.review && review.state.image")
    assert page.state("state.revision") == before_kill
    assert page.state("state.accepted") == 1


@pytest.mark.slow
def test_a_hundred_thousand_footprints_on_a_scene_of_50000_pixels(browser: Any, tmp_path: Path) -> None:
    side = 50_000
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "SPARSE_OK": True}
    with rasterio.open(tmp_path / "city.tif", "w", **profile, crs="EPSG:32645", transform=TRANSFORM) as out:
        out.write(np.full((3, 512, 512), 90, np.uint8), window=((0, 512), (0, 512)))
    rows, cols = np.divmod(np.arange(100_000), 400)
    corner = np.array([[0, 0], [40, 0], [40, 30], [0, 30]])
    houses = np.stack([cols * 120 + 30, rows * 190 + 40], axis=1)[:, None] + corner
    write_footprints(tmp_path / "houses.parquet", "parquet", houses)
    start = time.monotonic()
    with serving(tmp_path / "city.tif", "--footprints", tmp_path / "houses.parquet") as server:
        served = time.monotonic()
        page = Page(browser, server.url)
        page.wait("() => review.state.objects.size > 0", 60)
        page.page.evaluate("() => new Promise((done) => review.map.once('rendercomplete', () => done()))")
        opened = time.monotonic()
        # 5.9 s on two busy cores, where 8 s are the aim: what is printed tells; a page that hangs fails.
        assert opened - served < 60, f"opened in {opened - served:.1f} s"
        # Panning: no frame may wait for long.
        longest = page.page.evaluate(
            "async () => { let last = performance.now(), longest = 0; const view = review.map.getView();"
            "const [x, y] = view.getCenter(); for (let i = 0; i < 60; i += 1) {"
            "view.setCenter([x + 40 * i, y - 30 * i]); await new Promise(requestAnimationFrame);"
            "const now = performance.now(); longest = Math.max(longest, now - last); last = now; }"
            "return longest; }"
        )
        assert longest < 10_000, f"a frame took {longest:.0f} ms"
        page.press("0")
        page.settled()
        assert page.state("review.map.getView().getResolution()") > 40
        memory = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096 / 2**20
        print(
            f"server up in {served - start:.1f} s, page in {opened - served:.1f} s, "
            f"longest frame {longest:.0f} ms, {memory:.0f} MB"
        )
        assert not page.errors
        page.context.close()


def test_swipe_full_disks_and_other_pages(town: tuple[Page, Server, Path]) -> None:
    page, server, _ = town

    def color(x: float, y: float) -> Any:
        left, top = page.at(x, y)
        clip = {"x": left - 20, "y": top - 20, "width": 40, "height": 40}
        return np.asarray(Image.open(io.BytesIO(page.page.screenshot(clip=clip))))[..., :3].mean(axis=(0, 1))

    # The house at 80, 30 is in one of the two predictions only.
    page.press("Escape")
    plain = color(80, 30)
    page.press("k")
    assert page.state("state.before.size") == 2
    page.press("w")
    assert page.page.locator("#swipe").is_visible()
    shares = []
    for share in ("0.99", "0.01"):
        page.page.locator("#swipe").fill(share)
        page.settled()
        shares.append(color(80, 30))
    assert np.abs(shares[0] - shares[1]).max() > 15
    page.press("w", "k")
    page.settled()
    assert np.abs(color(80, 30) - plain).max() < 5
    # A disk without room: the page says so, and shows what stands.
    full = {"error": "cannot write the journal: No space left on device. Check the free space."}
    page.page.route("**/api/edit", lambda route: route.fulfill(status=507, json=full))
    before = page.objects()
    page.press("v")
    page.click(80, 30)
    page.press("Delete")
    page.page.locator("#message.error", has_text="No space left").wait_for()
    assert page.objects() == before
    page.page.unroute("**/api/edit")
    # Another page was faster.
    op = {"op": "delete", "ids": [1]}
    revision = page.state("state.revision")
    request = {"revision": revision, "image": 0, "op": op}
    assert page.page.request.post(f"{server.url}api/edit", data=request).status == 200
    page.press("Delete")
    page.page.locator("#message.error", has_text="Another page").wait_for()
    page.wait("() => review.state.objects.size === 3 && !review.state.busy")
    page.edited(lambda: page.press("Delete"))
    assert page.state("state.objects.size") == 2
    # Objects that were on their way during an edit do not bring back what it took away.
    gone, kept = page.objects()
    page.page.evaluate(
        "async (id) => { const { fetch } = window; let edited = false; window.fetch = async (...request) => {"
        "const answer = await fetch(...request);"
        "if (!edited && request[0].startsWith('/api/objects')) {"
        "edited = true; await review.edit({ op: 'delete', ids: [id] }); }"
        "return answer; }; await review.loadObjects([0, 0, 400, 400]); window.fetch = fetch; }",
        int(gone),
    )
    assert list(page.objects()) == [kept]
