"""Roads with a person in the loop: train on ten pictures, correct five predictions, train on, compare.

    python examples/tutorials/roads/run.py                     # 30 generated test pictures
    python examples/tutorials/roads/run.py --images 156 --epochs 20 10     # as many as the tutorial

The ten pictures are of asphalt by day. Among the test pictures are dirt roads at dusk, which the first
network does not know. A review puts those first where the network is least sure, and draws a fifth at random
that is measured on and never corrected (``qa``). Corrections are made on that review's page, by mouse and
keys in a browser without a window (or, without one, by the requests that the page sends); the truth leads the
hand.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from reviewer import Hand, Requests, ask, brush_path, open_browser, serve
from tutorial import Picture, draw, parse_options, run_graph, train, write_project

import geoseg
from geoseg.geo.windows import Window
from geoseg.projects.project import open_project
from geoseg.projects.tagging import tag_images
from geoseg.raster.draw import draw_figures

HERE = Path(__file__).parent
WIDTH, HEIGHT = 384, 216


def paint_road(rng: np.random.Generator, *, strange: bool) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """A road as a driver sees it, and its outline; a strange one is of dirt, at dusk."""
    horizon = rng.uniform(0.35, 0.5) * HEIGHT
    bend, aim, half = rng.uniform(-90, 90), WIDTH / 2 + rng.uniform(-50, 50), rng.uniform(120, 210)
    near = np.linspace(0, 1, 24)
    middle = aim + (WIDTH / 2 - aim) * near + bend * near * (1 - near)
    y = horizon + (HEIGHT - 1 - horizon) * near
    reach = 5 + half * near**1.15
    outline = np.concatenate(
        [np.column_stack([middle - reach, y]), np.column_stack([middle + reach, y])[::-1]]
    )
    outline[:, 0] = np.clip(outline[:, 0], 0, WIDTH - 1)
    coarse = rng.integers(50, 130, (10, 16, 1), dtype=np.uint8) + np.array((0, 30, 0), np.uint8)
    picture = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, WIDTH, horizon), fill=(150, 120, 130) if strange else (190, 210, 235))
    ground = (120, 95, 62) if strange else tuple(int(v) for v in rng.integers(90, 125, 1).repeat(3))
    pen.polygon([tuple(point) for point in outline], fill=ground)
    for start in () if strange else range(3, 22, 4):
        pen.line((middle[start], y[start], middle[start + 1], y[start + 1]), fill=(230, 230, 230), width=3)
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), np.float32)
    pixels = pixels * (rng.uniform(0.45, 0.65) if strange else rng.uniform(0.85, 1.1))
    noisy = pixels + rng.normal(0, 7, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), [("road", np.round(outline))]


def correct(
    project: Path, truth: Path, count: int, picture: Path, *, steered: bool = True
) -> tuple[list[str], list[str]]:
    """Correct the pictures that a review puts first; returns their names, and those of its random fifth."""
    true = open_project(truth)
    items = {f"{item.dataset}/{item.name}": item for item in true}
    with serve(project) as address, open_browser(address if steered else None, picture) as browser:
        hand: Hand = browser or Requests(address)
        places = ask(address, "/api/places")["places"]
        chosen = [place for place in places if not place["qa"]][:count]
        for place in chosen:
            annotation = true.annotation(items[place["name"]])
            whole = Window(row_off=0, col_off=0, height=annotation.height, width=annotation.width)
            road = draw_figures([one.figure for one in annotation.objects], [1], whole) > 0
            hand.paint(place, "road_unet", brush_path(road))
    return [place["name"] for place in chosen], [place["name"] for place in places if place["qa"]]


def main() -> None:
    """Both rounds of the tutorial."""
    options = parse_options(__doc__, [1, 1], learned=10, tested=30)
    projects, rng = options.out / "projects", np.random.default_rng(0)
    known: list[Picture] = [(f"day_{n:03}", *paint_road(rng, strange=False)) for n in range(options.learned)]
    test: list[Picture] = [
        (f"test_{n:03}", *paint_road(rng, strange=n % 2 == 1)) for n in range(options.images)
    ]
    write_project(projects / "roads_annotated", ["road"], known)
    truth = write_project(projects / "roads_truth", ["road"], test)
    bare = write_project(projects / "roads_test", [], [(name, pixels, []) for name, pixels, _ in test])

    first = train(
        HERE / "1_train.json", run_graph(HERE / "0_dtl.json", projects), options.out / "nn_road_01",
        options.epochs[0], options,
    )  # fmt: skip
    before = projects / "inf_01_roads_test"
    geoseg.infer(bare, first, {}, before, rank=True, overwrite=True, restart=True)

    annotated = projects / "inf_01_annotated"
    for folder in (annotated, projects / "inf_01_annotated.review"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(before, annotated)
    corrected, qa = correct(annotated, truth, 5, options.out / "review.jpg", steered=not options.no_browser)
    tag_images(annotated, {"corrected": corrected, "qa": qa})
    tag_images(truth, {"qa": qa})
    print(f"corrected   {', '.join(corrected)}")

    second = train(
        HERE / "3_train.json", run_graph(HERE / "2_dtl.json", projects), options.out / "nn_road_02",
        options.epochs[1], options, weights=first,
    )  # fmt: skip
    after = projects / "inf_02_roads_test"
    geoseg.infer(bare, second, {}, after, overwrite=True, restart=True)
    result = geoseg.compare(before, after, truth=truth, tag="qa", classes={"road_unet": "road"})
    assert result.fits is not None
    verdict = "worse" if result.worse else "better"
    scores = f"{result.fits[0].iou:.3f} -> {result.fits[1].iou:.3f}"
    print(f"IoU         {scores} on {result.judged} qa pictures: {verdict}")
    columns = {
        "first network": (before, "road_unet"),
        "second network": (after, "road_unet"),
        "truth": (truth, "road"),
    }
    # Of the random fifth, which no network was trained on; the most changed first.
    judged = [place for place in result.places if place.after is not None]
    shown = {place.name.rsplit("/", 1)[1] for place in judged[:3]}
    target = options.picture or options.out / "roads.jpg"
    draw(target, columns, most=3, wanted=lambda item: item.stem in shown)


if __name__ == "__main__":
    main()
