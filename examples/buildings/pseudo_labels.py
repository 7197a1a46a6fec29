"""Pseudo-labels: what a trained network is sure of on ground that nobody has labeled, as a mask to train on.

    geoseg train examples/buildings/teacher.toml --out runs/teacher
    python examples/buildings/pseudo_labels.py runs/teacher/bundle scene.tif --out scene_pseudo.tif

The network looks at the scene under the 8 flips and turns (`--once`: as it is, in an eighth of the time).
Where the mean probability is clear the mask holds 0 (background) or 1 (building); between the two limits
and where the scene has no data it holds 255, its nodata, which teaches nothing. Houses that touch are
parted by a line of background where the probability dips between them. `student.toml` and `train.toml` read
the mask beside the labeled places; an `aoi` keeps it off them. The whole scene's probability is held in
memory (some 80 bytes a pixel of 0.3 m).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

import geoseg
from geoseg.models import tune_malloc

#: How the file names of pseudo-labels end: leave_one_out.py tells them from real labels by it.
PSEUDO = "_pseudo.tif"
UNSURE = 255
#: Ground of one house where the network is this sure of it.
CORE = 0.9
#: Smaller cores are no houses, pixels.
CORE_PX = 30
#: A pixel and its neighbor to the right, below, and below on either side.
NEIGHBORS = (
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:-1, :-1], np.s_[1:, 1:]),
    (np.s_[:-1, 1:], np.s_[1:, :-1]),
)


def write_pseudo_labels(
    bundle: Path,
    scene: Path,
    target: Path,
    *,
    background: float = 0.3,
    building: float = 0.6,
    turns: bool = True,
) -> dict[str, float]:
    """Write the mask of a scene, on the grid that the network works on.

    Parameters
    ----------
    bundle
        A network whose last class is the building.
    background, building
        Below the first a pixel is background, above the second it is building.
    turns
        Whether the network looks at the scene under the 8 flips and turns, or once.

    Returns
    -------
    dict
        Share of the pixels that are background, building and unsure.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        summary = geoseg.run(scene, bundle, out=scratch, test_time="d4" if turns else "none", save_prob=True)
        with rasterio.open(summary.files["prob"]) as src:
            grid = {"width": src.width, "height": src.height, "crs": src.crs, "transform": src.transform}
            probability = src.read(src.count, masked=True) * np.float32(src.scales[-1])
        mask = sure_classes(probability.filled(np.nan), background, building)
        temporary = Path(scratch) / target.name
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": UNSURE, "compress": "deflate"}
        with rasterio.open(temporary, "w", **profile, **grid, tiled=True, BIGTIFF="IF_SAFER") as out:
            out.write(mask, 1)
        temporary.replace(target)
    names = {"background": 0, "building": 1, "unsure": UNSURE}
    return {name: round(float((mask == value).mean()), 4) for name, value in names.items()}


def sure_classes(probability: NDArray[np.float32], background: float, building: float) -> NDArray[np.uint8]:
    """0 below ``background`` and on lines between houses, 1 above ``building``, 255 elsewhere."""
    known = np.where(probability > building, 1, np.where(probability < background, 0, UNSURE))
    return np.where(lines_between(probability, building), 0, known).astype(np.uint8)


def lines_between(probability: NDArray[np.float32], building: float) -> NDArray[np.bool_]:
    """Where the basins of a watershed that grows from the cores of the houses meet, a pixel wide."""
    cores, _ = ndimage.label(probability > CORE)
    large = np.bincount(cores.ravel()) >= CORE_PX
    large[0] = False
    height = np.round(-1000 * np.nan_to_num(probability)).astype(np.int16)
    basins = watershed(height, np.where(large[cores], cores, 0), mask=probability > building)
    lines = np.zeros(basins.shape, bool)
    for here, there in NEIGHBORS:
        lines[here] |= (basins[here] > 0) & (basins[there] > 0) & (basins[here] != basins[there])
    return lines


def main() -> None:
    """Write one scene's mask and print how much of it is what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle, as `geoseg train` leaves it")
    parser.add_argument("scene", type=Path)
    parser.add_argument("--out", type=Path, required=True, help=f"the mask, a name that ends in {PSEUDO}")
    parser.add_argument("--background", type=float, default=0.3, help="surely background below this")
    parser.add_argument("--building", type=float, default=0.6, help="surely building above this")
    parser.add_argument("--once", action="store_true", help="look once, not under the 8 flips and turns")
    options = parser.parse_args()
    if not 0 <= options.background <= options.building <= 1:
        given = f"{options.background} and {options.building}"
        raise SystemExit(f"--background and --building must rise from 0 to 1, got {given}")
    if not options.out.name.endswith(PSEUDO):
        raise SystemExit(f"--out must end in {PSEUDO}, got {options.out.name}")
    tune_malloc()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    shares = write_pseudo_labels(
        options.bundle,
        options.scene,
        options.out,
        background=options.background,
        building=options.building,
        turns=not options.once,
    )
    print(f"{options.out}: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))


if __name__ == "__main__":
    main()
