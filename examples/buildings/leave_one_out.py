"""Leave one place out: train on all places of a config but one, score on that one, for each in turn.

The honest score of a recipe on ground that it has not seen. The table of the card, from nine trainings of 150
batches each, some minutes apiece on one core::

    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places \\
        --set epochs=1 --set sampler.chips_per_epoch=1200 --set ema.decay=0.98 \\
        --start first --start-for rio --start-for vegas --start-for accra

Beside it stands a network of the same budget that learned from all places, the one left out included: what it
scores more is what the place's own ground brings. Both start from ImageNet weights, and not from those that
the config names, which may have seen the place. `--start` is a network that has not seen the places of
`--start-for` (here the bundle of commit 8ec5aa1, which knew neither Rio nor Las Vegas nor Accra).
Pseudo-labels (scenes whose labels end in `_pseudo.tif`) are left out, since the network that made them may
know the place.

Each network has a run of its own below --out, which is resumed where it was stopped. The last checkpoint is
scored, because choosing the best one would look at the place left out: `geoseg run` with windows of 512 and
the same threshold and split everywhere, then `geoseg evaluate` inside the labeled area. The table goes to
stdout and places.json.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from pseudo_labels import PSEUDO
from scores import FOOTPRINTS, Scored, score_scenes

from geoseg.config import read_document
from geoseg.models import tune_malloc
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import TrainSettings, apply_overrides, parse_train_settings
from geoseg.training.export import export_checkpoint
from geoseg.training.loop import train


def settings_without(
    config: Path, place: str | None, changes: list[str], start: Path | None = None
) -> TrainSettings:
    """The config with the scenes of one place moved to validation and all others to training.

    Scenes with pseudo-labels are left out. A place that is listed at several sampling distances is validated
    and scored at the first of them. Without a place all teach that do in the config. ``start`` is a bundle to
    start from instead of ImageNet weights.
    """
    document: dict[str, Any] = apply_overrides(read_document(config), changes)
    for name in ("early_stopping", "lr_decreasing"):
        if document.get(name) is not None:
            raise SystemExit(f"{name} must not be set: it goes by the loss on the place left out")
    kept = []
    scored = next((scene["path"] for scene in document["data"]["scenes"] if place_of(scene) == place), None)
    for scene in document["data"]["scenes"]:
        left_out = place_of(scene) == place
        if is_pseudo(scene) or (left_out and scene["path"] != scored):
            continue
        part = ("val" if left_out else "train") if place else scene["part"]
        kept.append({**scene, "part": part})
    document["data"] = {**document["data"], "scenes": kept, "split": {"by": "file"}}
    document["weights"] = str(start.absolute()) if start else None
    document["weights_init_type"] = "transfer_learning"
    document["pretrained"] = "none" if start else "imagenet"
    card = document.get("card", {})
    without = f"without {place.replace('_', ' ')}" if place else "of all places"
    document["card"] = {**card, "name": f"{card.get('name', 'Network')} {without}"}
    return parse_train_settings(document, config.name)


def place_of(scene: dict[str, Any]) -> str:
    """The place of a scene: what its file is called, up to the first underscore."""
    return Path(scene["path"]).stem.split("_")[0]


def is_pseudo(scene: dict[str, Any]) -> bool:
    """Whether a scene's labels are pseudo-labels."""
    return str(scene["labels"]).endswith(PSEUDO)


def score_place(
    bundle: Path,
    scenes: list[dict[str, Any]],
    base: Path,
    out: Path,
    kept: Path | None = None,
    **options: Any,
) -> dict[str, float]:
    """Footprints of a place by the command's own way, against its labels.

    Parameters
    ----------
    scenes
        Entries of a config. They may be one file with an aoi each: the score is then of their whole ground.
    kept
        As in score_scenes.
    options
        Of `geoseg run`.
    """
    return score_scenes(bundle, labeled_scenes(scenes, base, out), kept, window=512, overlap=128, **options)


def labeled_scenes(entries: list[dict[str, Any]], base: Path, out: Path) -> list[Scored]:
    """The scenes of a place's entries with their labels; what ground is labeled is written to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    whole: list[Scored] = []
    for path in dict.fromkeys(entry["path"] for entry in entries):
        alike = [entry for entry in entries if entry["path"] == path]
        for number, file in enumerate(sorted(glob.glob(str(base / path)))):  # noqa: PTH207 (`..` inside)
            scene, entry = Path(file), alike[0]
            labels = base / entry["labels"].replace("{stem}", scene.stem)
            aoi = None
            if any("aoi" in one for one in alike):
                aoi = write_ground(alike, base, out / f"aoi_{number}.geojson")
            whole.append(Scored(scene, labels, aoi, entry.get("gsd")))
    return whole


def write_ground(scenes: list[dict[str, Any]], base: Path, target: Path) -> Path:
    """The labeled ground of a place's scenes, one after another, as a file for ``aoi``."""
    import geopandas as gpd
    import pandas as pd
    import rasterio
    import shapely

    parts = []
    for scene in scenes:
        if "aoi" in scene:
            parts.append(gpd.read_file(base / scene["aoi"]).to_crs(4326)[["geometry"]])
            continue
        with rasterio.open(base / scene["path"]) as src:
            extent = gpd.GeoDataFrame(geometry=[shapely.box(*src.bounds)], crs=src.crs)
        parts.append(extent.to_crs(4326))
    pd.concat(parts).to_file(target)
    return target


def last_bundle(run: Path) -> Path:
    """The bundle of a run's last checkpoint, below the run."""
    folder = RunFolder(run)
    return export_checkpoint(folder, folder.list_checkpoints()[-1]["index"], run / "last")


def add_row(table_file: Path, place: str, row: dict[str, Any]) -> None:
    """Write a place's scores into the table; those of other places stay."""
    table: dict[str, Any] = json.loads(table_file.read_text()) if table_file.exists() else {}
    temporary = table_file.with_suffix(f".{place}.tmp")
    temporary.write_text(json.dumps({**table, place: row}, indent=2) + "\n")
    temporary.replace(table_file)


def main() -> None:
    """Run the places that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--place", action="append", help="a place to leave out; all by default")
    parser.add_argument(
        "--keep", action="append", default=["towns", "world"], help="a place that is always trained on"
    )
    parser.add_argument("--set", action="append", default=[], dest="changes", help="change of the config")
    parser.add_argument("--start", type=Path, help="a bundle to start from instead of ImageNet weights")
    parser.add_argument(
        "--start-for", action="append", default=[], help="a place that the network of --start has not seen"
    )
    parser.add_argument("--devices", default=None)
    parser.add_argument("--threshold", type=float, default=0.5, help="probability that makes a building")
    parser.add_argument("--split", default="0.3", help="how far to split, as `geoseg run --split`")
    parser.add_argument("--flips", action="store_true", help="average over the 8 flips and turns")
    options = parser.parse_args()
    if bool(options.start) != bool(options.start_for):
        parser.error("--start and --start-for must be given together, got one of them")
    tune_malloc()
    base = options.config.absolute().parent
    document = apply_overrides(read_document(options.config), options.changes)
    scenes = [scene for scene in document["data"]["scenes"] if not is_pseudo(scene)]
    names = dict.fromkeys(place_of(scene) for scene in scenes)
    places = options.place or [name for name in names if name not in options.keep]
    for name, given in (("--place", places), ("--start-for", options.start_for)):
        if unknown := sorted(set(given) - set(names)):
            parser.error(f"{name} must be one of {', '.join(names)}, got {unknown[0]}")
    use = {"threshold": options.threshold, "split": options.split}
    turned = {"test_time": "d4" if options.flips else "none"}

    def trained(place: str | None, start: Path | None, run: Path) -> tuple[Path, int]:
        """The bundle of a run, and its batches."""
        settings = settings_without(options.config, place, options.changes, start)
        train(settings, run, base=base, resume=True, devices=options.devices)
        return last_bundle(run), RunFolder(run).list_checkpoints()[-1]["batches"]

    for place in places:
        start = options.start if place in options.start_for else None
        row = {
            "changes": options.changes,
            "start": start.name if start else "imagenet",
            **use,
            "flips": options.flips,
        }
        # The whole labeled ground of the place, also what the config itself validates on.
        first = next(scene["path"] for scene in scenes if place_of(scene) == place)
        entries = [scene for scene in scenes if scene["path"] == first]
        for name, left_out, run in (
            ("left_out", place, options.out / place),
            ("learned", None, options.out / ("all-started" if start else "all")),
        ):
            bundle, batches = trained(left_out, start, run)
            scores = score_place(
                bundle, entries, base, run / f"ground-{place}", **use, **turned, **FOOTPRINTS
            )
            row[name] = {"batches": batches, **scores}
        add_row(options.out / "places.json", place, row)
        told = (
            f"{name} {row[name]['iou']:.3f} {row[name]['object_f1']:.3f}" for name in ("left_out", "learned")
        )
        print(f"{place:12} IoU and object F1: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
