"""Leave one place out: train on all places of a config but one, score on that one, for each in turn.

The honest score of a network on ground it has not seen::

    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places
    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places \\
        --place bicol_A_7cm --set epochs=1 --set sampler.chips_per_epoch=16     # a quick try

Each place has a run of its own below --out, which is resumed where it was stopped. A table of pixel scores
on the place left out goes to stdout and to places.json; object scores come from `geoseg predict` with the
run's bundle and `geoseg evaluate`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from geoseg.config import read_document
from geoseg.models import tune_malloc
from geoseg.train.checkpoints import RunFolder
from geoseg.train.config import TrainSettings, apply_overrides, parse_train_settings
from geoseg.train.loop import train


def settings_without(config: Path, place: str, changes: list[str]) -> TrainSettings:
    """The config with one scene moved to validation and all others to training."""
    document: dict[str, Any] = apply_overrides(read_document(config), changes)
    for scene in document["data"]["scenes"]:
        scene["part"] = "val" if Path(scene["path"]).stem == place else "train"
    document["data"]["split"] = {"by": "file"}
    card = document.get("card", {})
    document["card"] = {**card, "name": f"{card.get('name', 'Network')} without {place.replace('_', ' ')}"}
    return parse_train_settings(document, config.name)


def last_scores(run: Path) -> dict[str, Any]:
    """Scores of the last checkpoint: choosing the best one would look at the place left out."""
    row = RunFolder(run).list_checkpoints()[-1]
    scores = row["scores"]
    return {
        "epoch": row["epoch"],
        "iou": scores["iou"][1],
        "accuracy": scores["accuracy"],
        "dice": scores["dice"],
    }


def main() -> None:
    """Run the places that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--place", action="append", help="stem of the scene to leave out; all by default")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="change of the config")
    parser.add_argument("--devices", default=None)
    options = parser.parse_args()
    tune_malloc()
    scenes = read_document(options.config)["data"]["scenes"]
    places = options.place or [Path(scene["path"]).stem for scene in scenes]
    table: dict[str, Any] = {}
    for place in places:
        settings = settings_without(options.config, place, options.changes)
        run = options.out / place
        base = options.config.absolute().parent
        train(settings, run, base=base, resume=True, devices=options.devices)
        table[place] = last_scores(run)
        row = table[place]
        print(f"{place:24} IoU {row['iou']:.3f}  accuracy {row['accuracy']:.3f}  epoch {row['epoch']:g}")
    (options.out / "places.json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
