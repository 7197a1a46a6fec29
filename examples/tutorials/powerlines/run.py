"""Isolators of power lines: small things on large pictures, and a neutral class for those hard to draw.

python examples/tutorials/powerlines/run.py            # generated pictures of 1600 x 1600
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))
from tutorial import Picture, draw, measure, parse_options, run_graph, train, write_project

import geoseg

HERE = Path(__file__).parent
SIDE = 1600


def paint_line(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """A pylon over fields, its isolators, and a neutral area around those in the haze behind."""
    coarse = rng.integers(60, 130, (14, 14, 1), dtype=np.uint8) + np.array((0, 25, 0), np.uint8)
    picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    objects: list[tuple[str, np.ndarray]] = []
    middle, steel = SIDE / 2 + rng.uniform(-150, 150), (70, 74, 80)
    for sign in (-1, 1):
        pen.line((middle + sign * 160, SIDE, middle + sign * 25, 120), fill=steel, width=14)
    for y in range(160, SIDE, 130):
        half = 25 + 135 * (y - 120) / (SIDE - 120)
        pen.line((middle - half, y, middle + half, y + 110), fill=steel, width=7)
        pen.line((middle + half, y, middle - half, y + 110), fill=steel, width=7)
    for arm in (330, 620, 910):
        arm += rng.uniform(-40, 40)
        reach = rng.uniform(330, 480)
        pen.line((middle - reach, arm, middle + reach, arm), fill=steel, width=13)
        for sign in (-1, 1):
            foot = (middle + sign * reach, arm + 4)
            tint = np.array((120, 62, 38)) if rng.random() < 0.5 else np.array((190, 200, 205))
            objects.append(("Isolator", hang_isolator(pen, *foot, rng.uniform(-0.25, 0.25), tint)))
            end = objects[-1][1][1]
            far = end[0] + sign * 900, end[1] + rng.uniform(60, 260)
            pen.line((*end, *far), fill=(35, 35, 38), width=5)
    x, y = rng.uniform(60, 300), rng.uniform(80, 300)
    for step in range(4):
        hang_isolator(pen, x + 22 * step, y, 0.1, np.array((120, 125, 120)), size=0.35)
    objects.append(
        ("neutral", np.array([(x - 25, y - 20), (x + 95, y - 20), (x + 95, y + 75), (x - 25, y + 75)]))
    )
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.1)), np.float32)
    pixels *= rng.uniform(0.75, 1.15)
    return np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8), objects


def hang_isolator(
    pen: ImageDraw.ImageDraw, x: float, y: float, lean: float, tint: np.ndarray, size: float = 1.0
) -> np.ndarray:
    """A string of plates; returns the corners of its outline, (4, 2)."""
    along = np.array((np.sin(lean), np.cos(lean)))
    across = np.array((along[1], -along[0]))
    top, length, half = np.array((x, y)), 150 * size, 23 * size
    for plate in range(9):
        center = top + along * (plate + 0.5) * length / 9
        corners = [
            center + s * across * half + t * along * length / 26
            for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        shade = tuple(int(v) for v in np.clip(tint * (0.8 + 0.3 * (plate % 2)), 0, 255))
        pen.polygon([tuple(corner) for corner in corners], fill=shade)
    low = top + along * length
    return np.array([top - across * half, low - across * half, low + across * half, top + across * half])


def main() -> None:
    """Graph, training, inference by windows, picture."""
    options = parse_options(__doc__, [2], images=3)
    projects, rng = options.out / "projects", np.random.default_rng(0)
    titles = ("Isolator", "neutral")
    pictures: list[Picture] = [
        (f"line_{number:02}", *paint_line(rng)) for number in range(6 + options.images)
    ]
    write_project(projects / "powerlines_annotated", titles, pictures[:6])
    test = write_project(projects / "powerlines_test", titles, pictures[6:])
    prepared = run_graph(HERE / "0_dtl.json", projects)
    bundle = train(HERE / "1_train.json", prepared, options.out / "run", options.epochs[0], options)
    result = projects / "inf_powerlines_test_01"
    summary = geoseg.infer(test, bundle, HERE / "2_infer.json", result, overwrite=True, restart=True)
    print(f"inference   {summary.images} pictures, {summary.windows} windows")
    print(f"IoU         {measure(result, test, 'Isolator_unet', 'Isolator'):.3f}")
    columns = {"picture": (test, None), "drawn": (test, "Isolator"), "network": (result, "Isolator_unet")}
    draw(options.picture or options.out / "powerlines.jpg", columns, most=2)


if __name__ == "__main__":
    main()
