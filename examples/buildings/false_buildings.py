"""A picture of what a network takes for buildings and is none, on the labeled places of a config.

    python examples/buildings/false_buildings.py geoseg/models/weights/building \\
        --out docs/images/false-buildings.jpg

Red is a footprint that truth hardly covers, green is the truth. `geoseg run` goes with its default options;
the places of places.py must be there. The squares of SHOWN were chosen by eye among the largest (`--each 7`
shows those): in many others the truth is what errs, a house that nobody has drawn. Squares that a network
gets right are left out.

Imagery: OpenAerialMap contributors and the Open Cities AI Challenge (CC BY 4.0), SpaceNet (CC BY-SA 4.0).
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from PIL import Image, ImageDraw
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import shapes
from shapely import affinity
from shapely.geometry import shape

sys.path.insert(0, str(Path(__file__).parent))
from leave_one_out import is_pseudo, labeled_scenes, place_of
from scores import Scored
from ship import GENERATED

import geoseg
from geoseg.config import read_document
from geoseg.files import write_bytes
from geoseg.models import tune_malloc

#: Scene and pixel of what is shown, and what lies there.
SHOWN = {
    "banepa:1684,1876": "a house without a roof",
    "banepa:2653,2737": "a paved yard",
    "accra_01:637,969": "a house that the truth lacks",
    "rio_06:141,536": "bare rock",
    "rio_07:51,655": "a court behind walls",
    "rio_13:273,129": "walls without a roof",
    "rio_06:117,44": "a pool and its deck",
    "rio_06:76,68": "a lawn between hedges",
    "vegas_00:411,44": "a parking lot",
    "vegas_15:16,153": "red paving",
    "vegas_03:294,26": "a parked trailer",
    "vegas_17:322,65": "a pool",
}
#: Share of a footprint that truth may cover for it to count as false: outlines of neighbors reach over.
COVERED = 0.1
#: Pixels of the scene in a square, by how much it is enlarged, and pixels between squares.
SIDE, ZOOM, GAP = 120, 2, 4


@dataclass(frozen=True)
class Mistake:
    """A footprint that is no building, and what lies around it; outlines in pixels of the scene."""

    scene: Path
    outline: Any
    truth: Any


def places_of(config: Path, scratch: Path) -> dict[str, list[Scored]]:
    """The labeled scenes of each place, at the first of its sampling distances."""
    entries = [one for one in read_document(config)["data"]["scenes"] if not is_pseudo(one)]
    places: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        ones = places.setdefault(place_of(entry), [])
        if place_of(entry) not in GENERATED and entry["path"] == (ones or [entry])[0]["path"]:
            ones.append(entry)
    base = config.absolute().parent
    return {name: labeled_scenes(ones, base, scratch / name) for name, ones in places.items() if ones}


def false_ones(one: Scored, bundle: Path) -> list[Mistake]:
    """False footprints of a scene."""
    gsd = {} if one.gsd is None else {"gsd": one.gsd}
    with rasterio.open(one.scene) as src:
        crs, to_pixels = src.crs, (~src.transform).to_shapely()

    def outlines(file: Path) -> Any:
        frame = gpd.read_file(file)
        if crs is None:  # these are in pixels already
            return shapely.make_valid(frame.geometry.values)
        pixels = [affinity.affine_transform(one, to_pixels) for one in frame.to_crs(crs).geometry]
        return shapely.make_valid(np.array(pixels, object))

    with tempfile.TemporaryDirectory() as scratch:
        footprints = outlines(geoseg.run(one.scene, bundle, out=scratch, aoi=one.aoi, **gsd).files["geojson"])
        unlabeled: list[Any] = []
        truth_file = one.truth
        if one.truth.suffix in (".tif", ".png"):
            with rasterio.open(one.truth) as src:
                missing = src.dataset_mask() == 0
            unlabeled = [shape(one) for one, _ in shapes(missing.view(np.uint8), missing)]
            truth_file = Path(scratch) / "truth.geojson"
            geoseg.vectorize(one.truth, out=truth_file, simplify_m=0, min_area_m2=0)
        truth = outlines(truth_file)
        ground = None if one.aoi is None else shapely.union_all(outlines(one.aoi))
    # What lies on ground that nobody labeled is neither true nor false.
    excused = shapely.union_all([*truth, *unlabeled])
    false = shapely.area(shapely.intersection(footprints, excused)) < COVERED * shapely.area(footprints)
    if ground is not None:
        false &= shapely.within(footprints, ground)
    return [Mistake(one.scene, outline, truth) for outline in footprints[false]]


def square(one: Mistake) -> Image.Image:
    """The ground around a false footprint."""
    x, y = one.outline.centroid.x, one.outline.centroid.y
    with rasterio.open(one.scene) as src:
        left = int(np.clip(round(x - SIDE / 2), 0, max(0, src.width - SIDE)))
        top = int(np.clip(round(y - SIDE / 2), 0, max(0, src.height - SIDE)))
        window = ((top, top + SIDE), (left, left + SIDE))
        pixels = src.read((1, 2, 3), window=window, boundless=True, fill_value=0)
    picture = Image.fromarray(pixels.transpose(1, 2, 0)).resize(
        (SIDE * ZOOM, SIDE * ZOOM), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(picture)
    box = shapely.box(left, top, left + SIDE, top + SIDE)
    for outlines, color in ((one.truth, (60, 220, 80)), (np.array([one.outline], object), (255, 40, 40))):
        for part in shapely.get_parts(shapely.boundary(outlines[shapely.intersects(outlines, box)])):
            pen.line(((np.asarray(part.coords) - (left, top)) * ZOOM).ravel().tolist(), fill=color, width=2)
    return picture


def sheet(ones: list[Mistake], across: int) -> bytes:
    """Squares in rows, numbered, as a JPEG."""
    step = SIDE * ZOOM + GAP
    rows = -(-len(ones) // across)
    whole = Image.new("RGB", (across * step - GAP, rows * step - GAP), (255, 255, 255))
    pen = ImageDraw.Draw(whole)
    for number, one in enumerate(ones):
        left, top = number % across * step, number // across * step
        whole.paste(square(one), (left, top))
        pen.rectangle((left, top, left + 22, top + 16), fill=(255, 255, 255))
        pen.text((left + 4, top + 2), str(number + 1), fill=(0, 0, 0))
    content = io.BytesIO()
    whole.save(content, "JPEG", quality=82, optimize=True)
    return content.getvalue()


def name_of(one: Mistake) -> str:
    """The scene and the pixel in the middle: what a square is known by, whatever else is false."""
    return f"{one.scene.stem}:{one.outline.centroid.x:.0f},{one.outline.centroid.y:.0f}"


def shows(one: Mistake, name: str) -> bool:
    """Whether a false footprint is the one of this name, also as another network draws it."""
    stem, _, middle = name.partition(":")
    x, y = map(float, middle.split(","))
    return one.scene.stem == stem and one.outline.distance(shapely.Point(x, y)) < 10


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("train.toml"))
    parser.add_argument("--out", type=Path, required=True, help="the picture, a JPEG")
    parser.add_argument("--each", type=int, help="show this many of each place, the largest, to choose from")
    parser.add_argument("--across", type=int, default=4, help="squares in a row")
    given = parser.parse_args()
    if given.out.suffix.lower() not in (".jpg", ".jpeg"):
        parser.error(f"--out must end in .jpg, got {given.out.name}")
    tune_malloc()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # photos have no coordinates
    found: dict[str, list[Mistake]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for place, scenes in places_of(given.config, Path(scratch)).items():
            looked_at = [
                one
                for one in scenes
                if given.each or any(name.startswith(f"{one.scene.stem}:") for name in SHOWN)
            ]
            found[place] = [mistake for one in looked_at for mistake in false_ones(one, given.bundle)]
    every = [one for ones in found.values() for one in ones]
    if given.each:
        largest = (sorted(ones, key=lambda one: -one.outline.area) for ones in found.values())
        chosen = {name_of(one): one for ones in largest for one in ones[: given.each]}
    else:
        near = {name: [one for one in every if shows(one, name)] for name in SHOWN}
        chosen = {name: max(ones, key=lambda one: one.outline.area) for name, ones in near.items() if ones}
    if not chosen:
        raise SystemExit("no footprint is false there: there is nothing to show. Look with --each 5")
    write_bytes(given.out, sheet(list(chosen.values()), given.across))
    for number, name in enumerate(chosen, 1):
        print(f"{number:3} {name:20} {SHOWN.get(name, '')}")


if __name__ == "__main__":
    main()
