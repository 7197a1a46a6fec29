"""Vessels of the retina: six pictures become 264, a network learns them, whole pictures are predicted.

python examples/tutorials/vessels/run.py                 # CHASE_DB1 through GEOSEG_DATA, else generated
python examples/tutorials/vessels/run.py --epochs 15     # as many as the tutorial
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))
from tutorial import Picture, draw, measure, parse_options, real_data, run_graph, train, write_project

import geoseg

HERE = Path(__file__).parent


def real_pictures(folder: Path) -> list[Picture]:
    """Ten pictures with the masks of an expert."""
    pictures: list[Picture] = []
    for image in sorted((folder / "images").glob("*.jpg")):
        mask = np.asarray(Image.open(folder / "masks" / f"{image.stem}.png").convert("L")) > 127
        pictures.append((image.stem, np.asarray(Image.open(image).convert("RGB")), [("vessel", mask)]))
    return pictures


def paint_retina(rng: np.random.Generator, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc with vessels that branch and thin out."""
    mask = Image.new("L", (2 * size, 2 * size))
    pen = ImageDraw.Draw(mask)

    def grow(x: float, y: float, angle: float, width: float) -> None:
        while width > 1.5 and np.hypot(x - size, y - size) < 0.9 * size:
            angle += rng.normal(0, 0.18)
            to_x, to_y = x + 9 * np.cos(angle), y + 9 * np.sin(angle)
            pen.line((x, y, to_x, to_y), fill=255, width=round(width))
            x, y, width = to_x, to_y, width * 0.985
            if rng.random() < 0.06:
                grow(x, y, angle + rng.choice([-0.7, 0.7]), width * 0.7)

    start = size * rng.uniform(0.6, 0.8)
    for angle in rng.uniform(0, 2 * np.pi, 9):
        grow(start, size, angle, rng.uniform(6, 11))
    vessels = np.asarray(mask.resize((size, size), Image.Resampling.BOX)) > 110
    rows, cols = np.indices((size, size))
    radius = np.hypot(rows - size / 2, cols - size / 2) / (size / 2)
    light = np.clip(1.05 - 0.5 * radius**2, 0, 1) * (radius < 0.95)
    coarse = Image.fromarray(rng.integers(90, 165, (9, 9), dtype=np.uint8))
    light = light * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 128
    soft = np.asarray(Image.fromarray(vessels.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1)))
    dark = 1 - rng.uniform(0.25, 0.45) * soft / 255
    pixels = light[..., None] * np.array((205, 105, 50)) * dark[..., None] ** np.array((0.5, 1, 0.7))
    return np.clip(pixels + rng.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8), vessels


def main() -> None:
    """Import, graph, training, inference, picture."""
    options = parse_options(__doc__, [3], learned=6, tested=4)
    projects = options.out / "projects"
    folder, rng = real_data("chase_db1", options), np.random.default_rng(0)
    pictures: list[Picture] = []
    if folder is not None:
        pictures = real_pictures(folder)
    learned = options.learned if folder is None else 6
    for number in range(learned + options.images if folder is None else 0):
        pixels, mask = paint_retina(rng)
        pictures.append((f"retina_{number:02}", pixels, [("vessel", mask)]))
    write_project(projects / "vessels", ["vessel"], pictures[:learned])
    test = write_project(projects / "vessels_test", ["vessel"], pictures[learned:])
    prepared = run_graph(HERE / "0_dtl.json", projects)
    bundle = train(HERE / "1_train.json", prepared, options.out / "run", options.epochs[0], options)
    result = projects / "inf_01"
    summary = geoseg.infer(test, bundle, HERE / "2_infer.json", result, overwrite=True, restart=True)
    print(f"inference   {summary.images} pictures, {summary.objects} objects")
    print(
        f"IoU         {measure(result, test, 'vessel_unet', 'vessel'):.3f} on pictures that it has not seen"
    )
    target = options.picture or options.out / "vessels.jpg"
    draw(
        target,
        {"picture": (test, None), "expert": (test, "vessel"), "network": (result, "vessel_unet")},
        most=2,
    )


if __name__ == "__main__":
    main()
