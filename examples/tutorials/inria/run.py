"""Buildings of five towns: split by town, windows for training, and one mask cut into single houses.

python examples/tutorials/inria/run.py                 # generated towns, seven pictures each
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from tutorial import Picture, draw, measure, parse_options, run_graph, train, write_project

import geoseg
from geoseg.demo.scene import make_chip
from geoseg.projects.exchange import import_source, read_source
from geoseg.projects.project import open_project

HERE = Path(__file__).parent
TOWNS = ("austin", "chicago", "kitsap", "tyrol-w", "vienna")
GSD = 0.3


def main() -> None:
    """Import, three graphs, training, inference by windows, single houses, picture."""
    options = parse_options(__doc__, [2], learned=35, tested=2, side=640)
    projects, rng = options.out / "projects", np.random.default_rng(0)
    source = options.out / "towns"
    for folder in ("images", "ann"):
        (source / folder).mkdir(parents=True, exist_ok=True)
    for name in (f"{TOWNS[n % 5]}{1 + n // 5}" for n in range(options.learned)):
        if not (source / "ann" / f"{name}.png").is_file():
            image, mask = make_chip(options.side, GSD, rng)
            Image.fromarray(np.moveaxis(image, 0, -1)).save(source / "images" / f"{name}.png")
            Image.fromarray(mask * np.uint8(255)).save(source / "ann" / f"{name}.png")
    import_source(read_source("binary_masks", source), projects / "INRIA", overwrite=True)
    tagged = open_project(run_graph(HERE / "0_dtl.json", projects, needed={"trainval", "test"}))
    prepared = run_graph(HERE / "1_dtl.json", projects)
    bundle = train(HERE / "2_train.json", prepared, options.out / "run", options.epochs[0], options)
    test = [item for item in tagged if tagged.annotation(item).has_tag("test")][: options.images]
    pictures: list[Picture] = [
        (item.stem, np.asarray(Image.open(item.image)),
         [("untitled", np.asarray(Image.open(source / "ann" / f"{item.stem}.png")) > 0)])
        for item in test
    ]  # fmt: skip
    part = write_project(projects / "INRIA_test_part", ["untitled"], pictures)
    result = projects / "inf_INRIA_test_part"
    summary = geoseg.infer(part, bundle, HERE / "3_infer.json", result, overwrite=True, restart=True)
    print(f"inference   {summary.images} pictures, {summary.windows} windows, {summary.objects} objects")
    print(f"IoU         {measure(result, part, 'untitled_dl', 'untitled'):.3f}")
    split = open_project(run_graph(HERE / "4_dtl.json", projects, needed=set()))
    houses = sum(one.class_name == "untitled_dl" for item in split for one in split.annotation(item).objects)
    print(f"splitting   {houses} houses")
    columns = {"picture": (part, None), "truth": (part, "untitled"), "network": (result, "untitled_dl")}
    draw(options.picture or options.out / "inria.jpg", columns, most=2)


if __name__ == "__main__":
    main()
