"""What networks make of places that they have never seen: pixel IoU and object F1 of each, side by side.

    python examples/buildings/table.py --data ../shared/data --out runs/table \\
        --model shipped=geoseg/models/weights/building --model new=building

`geoseg run` with default options, then `geoseg evaluate`, place by place; counts of a place's scenes are
added up before they become scores. None of these places may teach the network (their licenses do not allow
it, or are not known), and none may be looked at to choose a checkpoint or a threshold. Scenes
without a coordinate reference system are given the sampling distance that their notes state. Results go to
stdout and to scores.json in --out; a place that is there already is not run again while weights, settings
and scenes are the same. `--quick` takes a tenth of the scenes.

In the masks of most places houses that touch are one object, so their object scores say nothing about walls.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

sys.path.insert(0, str(Path(__file__).parent))
from scores import Scored, score_scenes

from geoseg.files import json_digest, write_text
from geoseg.models import tune_malloc
from geoseg.models.bundle import open_bundle
from geoseg.version import VERSION


@dataclass(frozen=True)
class Place:
    """Scenes of one place.

    Attributes
    ----------
    pattern
        Scenes below the data folder; the truth is SCENE_mask.png or SCENE.geojson beside each.
    gsd
        Meters per pixel of scenes without a coordinate reference system.
    every
        Only every n-th scene, where there are hundreds.
    """

    pattern: str
    gsd: float | None = None
    every: int = 1


PLACES = {
    "barnarp_sweden": Place("barnarp_sweden/barnarp_west.jpg", 0.16),
    "us_city": Place("satellite_building_mix/us_city/*.jpg", 0.3, 4),
    "central_europe": Place("satellite_building_mix/central_europe/*.jpg", 0.3, 2),
    "sat_mix": Place("satellite_building_mix/sat_mix/*.jpg", 0.4, 8),
    "massachusetts_1m": Place("massachusetts_1m/*.jpg", 1.0, 5),
    "kigali": Place("kigali/*.png", 0.25),
    "ramp_coxs_bazar": Place("ramp_coxs_bazar/*.tif"),
    "dronedeploy_us": Place("dronedeploy_us/*.jpg", 0.1, 2),
    "china_apartments": Place("china_apartments/*.png", 0.6),
}


def scenes_of(place: Place, data: Path, scratch: Path, quick: bool) -> list[Scored]:
    """Scenes of a place with their truth; masks are written anew into ``scratch``."""
    every = (path for path in sorted(data.glob(place.pattern)) if not path.stem.endswith("_mask"))
    scenes = list(every)[:: place.every * (10 if quick else 1)]
    return [Scored(scene, _truth(scene, scratch), gsd=place.gsd) for scene in scenes]


def _truth(scene: Path, scratch: Path) -> Path:
    polygons = scene.with_suffix(".geojson")
    return polygons if polygons.exists() else write_truth(scene, scratch / f"{scene.stem}.tif")


def write_truth(scene: Path, target: Path) -> Path:
    """The mask of a scene as a raster of 1 and 0, its unlabeled pixels without data."""
    mask = np.asarray(Image.open(scene.with_name(f"{scene.stem}_mask.png")).convert("L"))
    codes = np.full(256, 255, np.uint8)
    codes[0], codes[255] = 0, 1
    with rasterio.open(scene) as src:
        place = {"crs": src.crs, "transform": src.transform} if src.crs else {}
    height, width = mask.shape
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "nodata": 255,
        "height": height,
        "width": width,
    }
    with rasterio.open(target, "w", **profile, **place) as out:
        out.write(codes[mask], 1)
    return target


def key_of(bundle: Path, place: Place, options: dict[str, Any], quick: bool) -> str:
    """Digest of all that a row depends on, so that another network or setting never gets its scores."""
    opened = open_bundle(bundle)
    # What the card says about training may change after the scores are known: they are written into it.
    settings = opened.card.options.model_dump(mode="json", exclude={"training"})
    weights = hashlib.sha256(opened.weights()).hexdigest()
    return json_digest([weights, settings, asdict(place), options, quick, VERSION])


def main() -> None:
    """Score every network on every place and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=BUNDLE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--place", action="append", choices=list(PLACES), help="all by default")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of run")
    parser.add_argument("--quick", action="store_true", help="a tenth of the scenes")
    given = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    tune_malloc()
    options = {name: json.loads(value) for name, value in (text.split("=", 1) for text in given.set)}
    given.out.mkdir(parents=True, exist_ok=True)
    table_file = given.out / "scores.json"
    table: dict[str, Any] = json.loads(table_file.read_text()) if table_file.exists() else {}
    for text in given.model:
        name, bundle = text.split("=", 1)
        for place in given.place or PLACES:
            row = table.setdefault(name, {})
            key = key_of(Path(bundle), PLACES[place], options, given.quick)
            if row.get(place, {}).get("key") != key:
                with tempfile.TemporaryDirectory() as scratch:
                    scenes = scenes_of(PLACES[place], given.data, Path(scratch), given.quick)
                    row[place] = {**score_scenes(Path(bundle), scenes, **options), "key": key}
                write_text(table_file, json.dumps(table, indent=2) + "\n")
            scores = row[place]
            print(f"{name:12} {place:18} {scores['scenes']:4} scenes  IoU {scores['iou']:.3f}  "
                  f"object F1 {scores['object_f1']:.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
