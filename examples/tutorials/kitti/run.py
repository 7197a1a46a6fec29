"""Vehicles on wide pictures: crops for training, windows of 370 x 370 with much overlap for prediction.

python examples/tutorials/kitti/run.py                 # four pictures of KITTI through GEOSEG_DATA
python examples/tutorials/kitti/run.py --generated     # streets that are painted
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))
from tutorial import Picture, draw, measure, parse_options, real_data, run_graph, train, write_project

import geoseg
from geoseg.projects.exchange import import_source, read_source
from geoseg.projects.project import open_project
from geoseg.projects.stats import project_stats

HERE = Path(__file__).parent
#: Classes that the graph makes one of.
VEHICLES = ("bus", "car", "train", "truck", "caravan", "trailer")


def paint_street(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """A street as a car sees it, 1242 x 375, and the mask of each car."""
    width, height, sky = 1242, 375, 150
    coarse = rng.integers(70, 170, (9, 30, 1)) + rng.integers(-12, 12, (9, 30, 3))
    picture = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, width, sky - 60), fill=(205, 215, 225))
    pen.polygon([(560, sky), (680, sky), (1240, height), (0, height)], fill=(105, 105, 110))
    for near in np.linspace(0.05, 0.95, 7):
        y = sky + (height - sky) * near
        pen.line((620, y, 620, y + 14 * near + 2), fill=(225, 225, 225), width=max(1, round(8 * near)))
    masks = []
    for near in np.sort(rng.uniform(0.12, 0.95, rng.integers(4, 9))):  # far ones first: near ones hide them
        size = 170 * near
        x = 620 + rng.uniform(-1, 1) * (90 + 560 * near)
        y = sky + (height - sky) * near
        color = tuple(int(v) for v in rng.integers(20, 230, 3))
        body = (x - size, y - 0.55 * size, x + size, y)
        roof = [(x - 0.6 * size, y - 0.5 * size), (x - 0.4 * size, y - 0.95 * size),
                (x + 0.4 * size, y - 0.95 * size), (x + 0.7 * size, y - 0.5 * size)]  # fmt: skip
        mask = Image.new("L", (width, height))
        for target, fill in ((pen, color), (ImageDraw.Draw(mask), 255)):
            target.rounded_rectangle(body, radius=0.15 * size, fill=fill)
            target.polygon(roof, fill=fill)
            for wheel in (-0.55, 0.55):
                spot = (x + (wheel - 0.15) * size, y - 0.2 * size, x + (wheel + 0.15) * size, y + 0.1 * size)
                target.ellipse(spot, fill=(20, 20, 20) if target is pen else 255)
        seen = np.asarray(mask) > 0
        masks = [one & ~seen for one in masks] + [seen]
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8)), np.float32)
    noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    return noisy, [("car", mask) for mask in masks]


def main() -> None:
    """Import, statistics, graph, training, checkpoint by number, inference, picture."""
    options = parse_options(__doc__, [15], learned=4, tested=3)
    projects = options.out / "projects"
    source, rng = real_data("kitti", options), np.random.default_rng(0)
    if source is not None and not (projects / "kitti-semseg-train").is_dir():
        import_source(read_source("kitti", source), projects / "kitti-semseg-train")
    streets = options.learned + options.images if source is None else 0
    pictures: list[Picture] = [(f"{number:06}", *paint_street(rng)) for number in range(streets)]
    if source is None:
        write_project(projects / "kitti-semseg-train", VEHICLES, pictures[: options.learned])
    stats = project_stats(projects / "kitti-semseg-train").total.classes
    largest = sorted(stats, key=lambda title: -stats[title].area_px)[:5]
    print(f"statistics  largest classes: {', '.join(largest)}")
    # Of the real data four pictures are at hand: those that are learned from are tested on, too.
    test = projects / "kitti-semseg-train"
    if source is None:
        test = write_project(projects / "kitti-semseg-test", VEHICLES, pictures[options.learned :])
    prepared = run_graph(HERE / "0_dtl.json", projects)
    bundle = train(HERE / "1_train.json", prepared, options.out / "run", options.epochs[0], options)
    result = projects / "kitti-test-vehunet-inf00"
    summary = geoseg.infer(test, bundle, HERE / "2_infer.json", result, overwrite=True, restart=True)
    print(f"inference   {summary.images} pictures, {summary.windows} windows, {summary.objects} objects")
    scores = f"{measure(result, test, 'vehicle_dl', 'car'):.3f}"
    if source is not None:
        made = open_project(prepared)
        learned = [item.stem for item in made if made.annotation(item).has_tag("train")]
        unseen = measure(
            result, test, "vehicle_dl", "car",
            lambda stem: not any(name.startswith(stem) for name in learned),
        )  # fmt: skip
        scores += f" on all pictures, {unseen:.3f} on those that it has not learned from"
    print(f"IoU         {scores}")
    columns = {"picture": (test, None), "cars": (test, "car"), "network": (result, "vehicle_dl")}
    draw(options.picture or options.out / "kitti.jpg", columns, most=4, width=420)


if __name__ == "__main__":
    main()
