"""Isolators of power lines: small things on large pictures, and a neutral class for those hard to draw.

python examples/tutorials/powerlines/run.py            # generated pictures of 3200 x 3200
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
#: Pixels of a side: crops of 10 to 20 % then show isolators about as large as windows of 512 do.
SIDE = 3200


def paint_line(rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """A pylon over fields, its isolators, and a neutral area around those in the haze behind."""
    coarse = rng.integers(60, 130, (24, 24, 1), dtype=np.uint8) + np.array((0, 25, 0), np.uint8)
    picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    objects: list[tuple[str, np.ndarray]] = []
    middle, steel = side / 2 + rng.uniform(-0.1, 0.1) * side, (70, 74, 80)
    top = 0.08 * side
    for sign in (-1, 1):
        pen.line((middle + sign * 0.1 * side, side, middle + sign * 0.016 * side, top), fill=steel, width=26)
    for y in np.arange(top, side, 0.08 * side):
        half = (0.016 + 0.084 * (y - top) / (side - top)) * side
        for sign in (-1, 1):
            pen.line((middle - sign * half, y, middle + sign * half, y + 0.07 * side), fill=steel, width=13)
    for arm in np.array((0.2, 0.38, 0.56)) * side + rng.uniform(-70, 70, 3):
        reach = rng.uniform(0.2, 0.3) * side
        pen.line((middle - reach, arm, middle + reach, arm), fill=steel, width=24)
        for sign in (-1, 1):
            tint = np.array((120, 62, 38)) if rng.random() < 0.5 else np.array((190, 200, 205))
            foot = middle + sign * reach, arm + 8
            outline = hang_isolator(pen, foot, rng.uniform(-0.25, 0.25), tint, rng.uniform(220, 300))
            objects.append(("Isolator", outline))
            end = outline[1:3].mean(axis=0)
            far = end[0] + sign * side / 2, end[1] + rng.uniform(0.03, 0.15) * side
            pen.line((*end, *far), fill=(35, 35, 38), width=9)
    x, y = rng.uniform(0.03, 0.12, 2) * side
    for step in range(4):
        hang_isolator(pen, (x + 40 * step, y), 0.1, np.array((120, 125, 120)), 95)
    left, right, low, high = x - 40, x + 170, y - 30, y + 140
    objects.append(("neutral", np.array([(left, low), (right, low), (right, high), (left, high)])))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.6)), np.float32)
    pixels *= rng.uniform(0.75, 1.15)
    pixels += 6 * rng.standard_normal(pixels.shape, np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8), objects


def hang_isolator(
    pen: ImageDraw.ImageDraw, foot: tuple[float, float], lean: float, tint: np.ndarray, length: float
) -> np.ndarray:
    """A string of plates; returns the corners of its outline, (4, 2)."""
    along = np.array((np.sin(lean), np.cos(lean)))
    across = np.array((along[1], -along[0]))
    top, half = np.array(foot), 0.15 * length
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
    options = parse_options(__doc__, [3], learned=6, tested=2, side=SIDE)
    # The JSON's rate of 0.0001 needs hundreds of steps, and a GPU. Where training is slow, the tutorial
    # advises 0.001 itself.
    options.changes.insert(0, "lr=0.001")
    projects, rng = options.out / "projects", np.random.default_rng(0)
    titles = ("Isolator", "neutral")
    pictures: list[Picture] = [
        (f"line_{number:02}", *paint_line(rng, options.side))
        for number in range(options.learned + options.images)
    ]
    write_project(projects / "powerlines_annotated", titles, pictures[: options.learned])
    test = write_project(projects / "powerlines_test", titles, pictures[options.learned :])
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
