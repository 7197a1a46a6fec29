"""Leave one place out: train on all places of a config but one, score on that one, for each in turn.

The honest score of a network on ground it has not seen::

    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places
    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places \\
        --place bicol_A_7cm --set epochs=1 --set sampler.chips_per_epoch=16     # a quick try

Each place has a run of its own below --out, which is resumed where it was stopped. The last checkpoint is
scored, because choosing the best one would look at the place left out: `geoseg run` with windows of 512 and
a threshold of 0.5, then `geoseg evaluate` inside the labeled area. The table goes to stdout and places.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import geoseg
from geoseg.config import read_document
from geoseg.models import tune_malloc
from geoseg.pipeline.evaluate import evaluate_files
from geoseg.train.checkpoints import RunFolder
from geoseg.train.config import TrainSettings, apply_overrides, parse_train_settings
from geoseg.train.export import export_checkpoint
from geoseg.train.loop import train


def settings_without(config: Path, place: str, changes: list[str]) -> TrainSettings:
    """The config with the scenes of one place moved to validation and all others to training."""
    document: dict[str, Any] = apply_overrides(read_document(config), changes)
    for scene in document["data"]["scenes"]:
        scene["part"] = "val" if Path(scene["path"]).stem == place else "train"
    document["data"]["split"] = {"by": "file"}
    card = document.get("card", {})
    document["card"] = {**card, "name": f"{card.get('name', 'Network')} without {place.replace('_', ' ')}"}
    return parse_train_settings(document, config.name)


def score_scene(bundle: Path, scene: dict[str, Any], base: Path, out: Path, flips: bool) -> dict[str, float]:
    """Footprints of a labeled scene by the command's own way, against its labels."""
    path, aoi = base / scene["path"], out / "aoi.geojson"
    out.mkdir(parents=True, exist_ok=True)
    if "aoi" in scene:
        aoi = base / scene["aoi"]
    else:
        write_extent(path, aoi)
    summary = geoseg.segment(
        path,
        bundle,
        out=out,
        aoi=aoi,
        window=512,
        overlap=128,
        threshold=0.5,
        flips=flips,
        restart=True,
    )
    found = evaluate_files(summary.files["geojson"], base / scene["labels"], aoi=aoi)
    assert found.objects is not None
    return {
        "iou": round(found.pixels.iou, 4),
        "pixel_f1": round(found.pixels.f1, 4),
        "object_precision": round(found.objects.precision, 4),
        "object_recall": round(found.objects.recall, 4),
        "object_f1": round(found.objects.f1, 4),
    }


def write_extent(scene: Path, target: Path) -> None:
    """The ground that a scene covers, as a file for ``aoi``."""
    import geopandas as gpd
    import rasterio
    import shapely

    with rasterio.open(scene) as src:
        gpd.GeoDataFrame(geometry=[shapely.box(*src.bounds)], crs=src.crs).to_file(target)


def score_place(settings: TrainSettings, run: Path, base: Path, flips: bool) -> dict[str, Any]:
    """Scores of the last checkpoint on the scene left out."""
    folder = RunFolder(run)
    last = folder.list_checkpoints()[-1]
    bundle = export_checkpoint(folder, last["index"], run / "last")
    document = settings.model_dump(mode="json", exclude_none=True)
    scene = next(entry for entry in document["data"]["scenes"] if entry["part"] == "val")
    return {"batches": last["batches"], **score_scene(bundle, scene, base, run / "footprints", flips)}


def main() -> None:
    """Run the places that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--place", action="append", help="stem of the scene to leave out; all by default")
    parser.add_argument(
        "--keep", action="append", default=["towns"], help="stem of a scene that is always trained on"
    )
    parser.add_argument("--set", action="append", default=[], dest="changes", help="change of the config")
    parser.add_argument("--devices", default=None)
    parser.add_argument("--flips", action="store_true", help="average over the 8 flips and turns")
    options = parser.parse_args()
    tune_malloc()
    base = options.config.absolute().parent
    scenes = read_document(options.config)["data"]["scenes"]
    stems = dict.fromkeys(Path(scene["path"]).stem for scene in scenes)
    places = options.place or [stem for stem in stems if stem not in options.keep]
    table_file = options.out / "places.json"
    table: dict[str, Any] = json.loads(table_file.read_text()) if table_file.exists() else {}
    for place in places:
        settings = settings_without(options.config, place, options.changes)
        run = options.out / place
        train(settings, run, base=base, resume=True, devices=options.devices)
        table[place] = row = score_place(settings, run, base, options.flips)
        print(f"{place:24} IoU {row['iou']:.3f}  object F1 {row['object_f1']:.3f}  {row['batches']} batches")
        table_file.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
