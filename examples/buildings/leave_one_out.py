"""Leave one place out: train on all places of a config but one, score on that one, for each in turn.

The honest score of a network on ground it has not seen::

    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places \\
        --teacher examples/buildings/teacher.toml --set weights=null --set pretrained=imagenet
    python examples/buildings/leave_one_out.py examples/buildings/teacher.toml --out runs/quick \\
        --place bicol --set sampler.chips_per_epoch=16     # a quick try of the first network

Each place has a run of its own below --out, which is resumed where it was stopped. The last checkpoint is
scored, because choosing the best one would look at the place left out: `geoseg run` with windows of 512 and
the same threshold everywhere, then `geoseg evaluate` inside the labeled area. The table goes to stdout and
places.json.

Pseudo-labels (scenes whose labels end in `_pseudo.tif`) must not know the place either: --teacher names the
config of a network that is trained without it and makes them anew, for each place. The scene of the place
left out has none at all, which its row in the table says.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from pseudo_labels import PSEUDO, write_pseudo_labels
from scores import Scored, score_scenes

from geoseg.config import read_document
from geoseg.models import tune_malloc
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import TrainSettings, apply_overrides, parse_train_settings
from geoseg.training.export import export_checkpoint
from geoseg.training.loop import train


def settings_without(
    config: Path, place: str, changes: list[str], pseudo: dict[str, Path] | None = None
) -> TrainSettings:
    """The config with the scenes of one place moved to validation and all others to training.

    Scenes with pseudo-labels take those of ``pseudo``, by their place, and are left out without. A place that
    is listed at several sampling distances is validated and scored at the first of them.
    """
    document: dict[str, Any] = apply_overrides(read_document(config), changes)
    refuse_peeping(document)
    pseudo, kept = pseudo or {}, []
    scored = next((scene["path"] for scene in document["data"]["scenes"] if place_of(scene) == place), None)
    for scene in document["data"]["scenes"]:
        name = place_of(scene)
        if name == place and (is_pseudo(scene) or scene["path"] != scored):
            continue
        if is_pseudo(scene):
            if name not in pseudo:
                continue
            scene["labels"] = str(pseudo[name].absolute())
        scene["part"] = "val" if name == place else "train"
        kept.append(scene)
    document["data"] = {**document["data"], "scenes": kept, "split": {"by": "file"}}
    card = document.get("card", {})
    document["card"] = {**card, "name": f"{card.get('name', 'Network')} without {place.replace('_', ' ')}"}
    return parse_train_settings(document, config.name)


def refuse_peeping(document: dict[str, Any]) -> None:
    """Refuse what would let training know the place left out."""
    if document.get("weights"):
        raise SystemExit("weights must not be set: a network to start from may have seen the place left out")
    for name in ("early_stopping", "lr_decreasing"):
        if document.get(name) is not None:
            raise SystemExit(f"{name} must not be set: it goes by the loss on the place left out")


def place_of(scene: dict[str, Any]) -> str:
    """The place of a scene: what its file is called, up to the first underscore."""
    return Path(scene["path"]).stem.split("_")[0]


def is_pseudo(scene: dict[str, Any]) -> bool:
    """Whether a scene's labels are pseudo-labels."""
    return str(scene["labels"]).endswith(PSEUDO)


def pseudo_labels_without(
    teacher: TrainSettings, base: Path, scenes: dict[str, Path], run: Path, devices: str | None
) -> dict[str, Path]:
    """Pseudo-labels of places by a teacher, trained in ``run``; its settings leave the place out."""
    train(teacher, run, base=base, resume=True, devices=devices)
    bundle, made = last_bundle(run), {}
    for name, scene in scenes.items():
        made[name] = run / f"{name}{PSEUDO}"
        if not made[name].exists():
            write_pseudo_labels(bundle, scene, made[name])
    return made


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


def score_run(
    settings: TrainSettings, run: Path, base: Path, threshold: float, flips: bool
) -> dict[str, Any]:
    """Scores of the last checkpoint on the place left out."""
    last = RunFolder(run).list_checkpoints()[-1]
    bundle = last_bundle(run)
    document = settings.model_dump(mode="json", exclude_none=True)
    scenes = [entry for entry in document["data"]["scenes"] if entry["part"] == "val"]
    options = {"threshold": threshold, "test_time": "d4" if flips else "none"}
    scores = score_place(bundle, scenes, base, run / "ground", **options)
    return {"batches": last["batches"], **scores}


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
    parser.add_argument("--teacher", type=Path, help="config of the network that makes the pseudo-labels")
    parser.add_argument(
        "--set-teacher",
        action="append",
        default=[],
        dest="teacher_changes",
        help="change of the teacher's config",
    )
    parser.add_argument("--devices", default=None)
    parser.add_argument("--threshold", type=float, default=0.5, help="probability that makes a building")
    parser.add_argument("--flips", action="store_true", help="average over the 8 flips and turns")
    options = parser.parse_args()
    tune_malloc()
    base = options.config.absolute().parent
    document = apply_overrides(read_document(options.config), options.changes)
    refuse_peeping(document)
    scenes = document["data"]["scenes"]
    unlabeled: dict[str, Path] = {}
    for scene in filter(is_pseudo, scenes):
        unlabeled.setdefault(place_of(scene), base / scene["path"])
    if unlabeled and not options.teacher:
        parser.error(f"--teacher must be given, because {options.config.name} has pseudo-labels")
    names = dict.fromkeys(place_of(scene) for scene in scenes if not is_pseudo(scene))
    places = options.place or [name for name in names if name not in options.keep]
    if unknown := sorted(set(places) - set(names)):
        parser.error(f"--place must be one of {', '.join(names)}, got {unknown[0]}")
    for place in places:
        run, pseudo = options.out / place, {}
        others = {name: path for name, path in unlabeled.items() if name != place}
        if others:
            teacher = settings_without(options.teacher, place, options.teacher_changes)
            teacher_base = options.teacher.absolute().parent
            teacher_run = options.out / f"{place}-teacher"
            pseudo = pseudo_labels_without(teacher, teacher_base, others, teacher_run, options.devices)
        settings = settings_without(options.config, place, options.changes, pseudo)
        train(settings, run, base=base, resume=True, devices=options.devices)
        scores = score_run(settings, run, base, options.threshold, options.flips)
        facts = {"pseudo_labels": bool(pseudo), "threshold": options.threshold, "flips": options.flips}
        row = {"changes": options.changes, **facts, **scores}
        add_row(options.out / "places.json", place, row)
        print(f"{place:24} IoU {row['iou']:.3f}  object F1 {row['object_f1']:.3f}  {row['batches']} batches")


if __name__ == "__main__":
    main()
