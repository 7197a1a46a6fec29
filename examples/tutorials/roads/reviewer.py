"""A person's corrections through the review page: a browser whose mouse and keys are driven, or its requests.

Both talk to ``geoseg review`` as it runs on anyone's desk. Where Playwright or Chromium is missing, the
requests that the page would send are sent without it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import distance_transform_edt

#: Pixels: wide enough for few strokes, thin enough for a road that ends at the horizon.
BRUSH = 7


class Hand(Protocol):
    """Whoever corrects."""

    def paint(self, place: dict[str, Any], title: str, path: Sequence[tuple[int, int]]) -> None:
        """Replace the objects of a class by one stroke of the brush, and accept the place."""


@contextmanager
def serve(project: Path) -> Iterator[str]:
    """The address of a review of a project, as long as it is needed."""
    command = [sys.executable, "-m", "geoseg", "review", str(project), "--port", "0", "--no-browser", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise SystemExit("geoseg review did not start: pip install 'geoseg[review]'")
            yield found[0].rstrip("/")
        finally:
            process.terminate()


def ask(address: str, path: str, document: dict[str, Any] | None = None) -> Any:
    """An answer of the server; with a document, to what is posted."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(address + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class Requests:
    """Corrects by the requests that the page sends."""

    def __init__(self, address: str) -> None:
        self.address = address

    def paint(self, place: dict[str, Any], title: str, path: Sequence[tuple[int, int]]) -> None:
        """Replace the objects of a class by one stroke of the brush, and accept the place."""
        image = place["image"]
        facts = ask(self.address, f"/api/images/{image}")
        box = f"0,0,{facts['width']},{facts['height']}"
        objects = ask(self.address, f"/api/objects/{image}?box={box}")["objects"]
        old = [one["id"] for one in objects if one["class"] == title]
        if old:
            self._edit(image, {"op": "delete", "ids": old})
        self._edit(image, {"op": "brush", "id": None, "class": title, "path": list(path), "size": BRUSH})
        self._edit(image, {"op": "mark", "place": place["id"], "status": "accepted"})

    def _edit(self, image: int, op: dict[str, Any]) -> None:
        revision = ask(self.address, "/api/review")["revision"]
        ask(self.address, "/api/edit", {"revision": revision, "image": image, "op": op})


class Browser:
    """Corrects on the page: by its list, its tools, its keys."""

    def __init__(self, page: Any, picture: Path) -> None:
        self.page, self.picture = page, picture

    def paint(self, place: dict[str, Any], title: str, path: Sequence[tuple[int, int]]) -> None:
        """Replace the objects of a class by one stroke of the brush, and accept the place."""
        page, keys = self.page, self.page.keyboard
        page.locator(f'[data-place="{place["id"]}"]').click()
        self.wait(f"review.state.image.id === {place['image']} && review.state.objects.size > 0")
        keys.press("0")
        keys.press("v")
        for number, (x, y) in self._inside(title):
            page.mouse.click(*self._at(x, y))
            self.wait(f"review.state.selected.has({number})")
            keys.press("Delete")
            self.wait(f"!review.state.objects.has({number}) && !review.state.busy")
        page.locator(f'[data-class="{title}"]').click()
        keys.press("b")
        for _ in range(20):
            size = page.evaluate("() => review.state.brush")
            if size != BRUSH:
                keys.press("[" if size > BRUSH else "]")
        revision = page.evaluate("() => review.state.revision")
        page.mouse.move(*self._at(*path[0]))
        page.mouse.down()
        for x, y in path[1:]:
            page.mouse.move(*self._at(x, y))
        page.mouse.up()
        self.wait(f"review.state.revision > {revision} && !review.state.busy")
        if not self.picture.exists():
            page.screenshot(path=self.picture, type="jpeg", quality=75)
        # With the stroke selected A would judge it, not the place.
        keys.press("Escape")
        keys.press("Escape")
        keys.press("a")
        self.wait(f"review.state.places.find((one) => one.id === {json.dumps(place['id'])}).status !== ''")
        self.wait("!review.state.busy")

    def _inside(self, title: str) -> list[tuple[int, tuple[int, int]]]:
        """A pixel of each object of a class, as far inside as there is one."""
        objects = json.loads(
            self.page.evaluate(
                "() => JSON.stringify([...review.state.objects.values()].map("
                "(one) => ({ ...one, mask: null })))"
            )
        )
        pixels = []
        for one in objects:
            if one["class"] == title:
                (left, top), (width, height) = one["bitmap"]["origin"], one["bitmap"]["size"]
                bits = np.unpackbits(np.frombuffer(base64.b64decode(one["bitmap"]["bits"]), np.uint8))
                mask = np.pad(bits[: width * height].reshape(height, width), 1)
                row, col = np.unravel_index(distance_transform_edt(mask).argmax(), mask.shape)
                pixels.append((int(one["id"]), (left + int(col) - 1, top + int(row) - 1)))
        return pixels

    def _at(self, x: int, y: int) -> list[float]:
        """Where the center of a pixel is on the screen."""
        return self.page.evaluate(
            "([x, y]) => { const at = review.map.getPixelFromCoordinate([x + 0.5, -y - 0.5]);"
            "const box = document.getElementById('map').getBoundingClientRect();"
            "return [at[0] + box.left, at[1] + box.top]; }",
            [x, y],
        )

    def wait(self, condition: str) -> None:
        """Wait until something holds on the page."""
        # The page's security policy allows no timer that evaluates text, as wait_for_function has one.
        for _ in range(1500):
            if self.page.evaluate(f"() => Boolean({condition})"):
                return
            self.page.wait_for_timeout(20)
        raise SystemExit(f"the review page never came to: {condition}")


@contextmanager
def open_browser(address: str | None, picture: Path) -> Iterator[Browser | None]:
    """A browser on the page; None, and the reason is printed, where there is none or no address."""
    if address is None:
        yield None
        return
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print("browser     none: playwright is not installed; corrections go as requests to the server")
        yield None
        return
    own = os.environ.get("GEOSEG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(
                executable_path=own, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
        except Error as error:
            reason = str(error).splitlines()[0]
            print(f"browser     none: {reason}; corrections go as requests to the server")
            yield None
            return
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        hand = Browser(page, picture)
        hand.wait("window.review && review.state.image && !review.state.busy")
        print(f"browser     Chromium {chromium.version} on {address}")
        yield hand
        chromium.close()


def brush_path(mask: np.ndarray) -> list[tuple[int, int]]:
    """A path whose brush fills a mask (h, w) of one run a row, and stays inside of it."""
    # Beyond the picture the brush may reach.
    depth = distance_transform_edt(np.pad(mask, BRUSH, mode="edge"))[BRUSH:-BRUSH, BRUSH:-BRUSH]
    inner = depth > BRUSH / 2
    rows = np.flatnonzero(inner.any(axis=1))
    path: list[tuple[int, int]] = []
    for number, row in enumerate(np.unique([*rows[:: BRUSH - 2], rows[-1]])):
        ends = np.flatnonzero(inner[row])[[0, -1]]
        path += [(int(col), int(row)) for col in (ends if number % 2 else ends[::-1])]
    return path
