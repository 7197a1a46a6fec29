"""The network that ships, from the labeled places to the table of its scores: all commands in order.

    python examples/buildings/make.py --data ../shared/data --out runs
    python examples/buildings/make.py --data ../shared/data --out runs/quick --quick    # a poor network

Steps that are done are not done again, and a training that was stopped goes on. On one core of a CPU the
trainings take five to six hours, `--quick` some minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from geoseg.config import read_document

HERE = Path(__file__).parent
#: The third training goes on from its last weights for a while, at half the rate.
LONGER = (
    "weights_init_type=continue_training",
    "lr=0.0005",
    "seed=2",
    "epochs=2",
    "sampler.chips_per_epoch=2800",
)
#: Changes of each config for a quick look.
QUICK = ("epochs=1", "sampler.chips_per_epoch=32", "ema.decay=0.5")


def steps(data: Path, out: Path, quick: bool) -> list[tuple[Path, list[str]]]:
    """What each step leaves, and its command, to be run by Python."""
    places = HERE / "generated" / "places"
    banepa = places / "0.30" / "banepa.tif"
    # What places.py writes last.
    ending = places / "0.50" / f"vegas_{len(list(data.glob('spacenet2_vegas/*.jpg'))) - 1:02}.tif"
    last = out.absolute() / "third" / "checkpoints" / f"{0 if quick else 7:08}"
    longer = out.absolute() / "buildings" / "checkpoints" / f"{0 if quick else 1:08}"
    sixth = out.absolute() / "sixth" / "checkpoints" / f"{0 if quick else 9:08}"

    def settings(changes: Iterable[str]) -> list[str]:
        return [word for change in changes for word in ("--set", change)]

    def script(name: str, *words: object) -> list[str]:
        return [str(HERE / name), *map(str, words)]

    def training(config: str, run: str, pseudo: str = "", *words: str) -> tuple[Path, list[str]]:
        command = ["-m", "geoseg", "train", str(HERE / config), "--out", str(out / run), "--resume", *words]
        # Labels of a quick look stay in its own folder: a full run must not learn from them.
        for number, scene in enumerate(read_document(HERE / config)["data"]["scenes"]):
            if pseudo and scene["labels"].endswith(pseudo):
                command += ["--set", f"data.scenes.{number}.labels={out.absolute() / pseudo}"]
        return out / run / "bundle", [*command, *(settings(QUICK) if quick else [])]

    def labels(bundle: str, name: str, *words: str) -> tuple[Path, list[str]]:
        return out / name, script("pseudo_labels.py", out / bundle, banepa, "--out", out / name, *words)

    def ship(run: str, config: str, bundle: str, shares: dict[str, float]) -> tuple[Path, list[str]]:
        words = ["--config", HERE / config, "--hardware", "CPU", "--out", out / bundle]
        means = (word for other, share in shares.items() for word in ("--mean", f"{out / other}={share}"))
        return out / bundle / "model.json", script("ship.py", out / run, *words, *means)

    first, second, third = "banepa_first_pseudo.tif", "banepa_pseudo.tif", "banepa_third_pseudo.tif"
    turned, again = "banepa_turned_pseudo.tif", "banepa_sixth_pseudo.tif"
    once = ["--once"] if quick else []
    scores = out / "table" / "scores.json"
    table = script("table.py", "--data", data, "--out", scores.parent, "--model", f"new={out / 'building'}")
    return [
        (ending, script("places.py", "--data", data, "--out", places)),
        (places / "0.50" / "towns.geojson", script("towns.py", "--out", places)),
        training("teacher.toml", "teacher"),
        labels("teacher/bundle", first, *once),
        training("student.toml", "student", first),
        labels("student/bundle", second, "--once"),
        training("train.toml", "third", second, "--weights", str(out.absolute() / "student")),
        training("train.toml", "buildings", second, "--weights", str(last), *settings(LONGER)),
        labels("buildings/bundle", third, "--once"),
        training("fourth.toml", "fourth", third, "--weights", str(longer)),
        ship("buildings", "train.toml", "before", {"fourth": 0.25}),
        labels("before", turned, *once),
        training("sixth.toml", "sixth", turned, "--weights", str(longer)),
        ship("sixth", "sixth.toml", "sixth_mean", {"buildings": 0.1875, "fourth": 0.0625}),
        labels("sixth_mean", again, *once),
        training("eighth.toml", "eighth", again, "--weights", str(sixth)),
        ship(
            "eighth", "eighth.toml", "building", {"sixth": 0.375, "buildings": 0.09375, "fourth": 0.03125}
        ),
        (scores, [*table, *(["--quick"] if quick else [])]),
    ]  # fmt: skip


def main() -> None:
    """Do what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--quick", action="store_true", help="a few batches each, a tenth of the scenes")
    parser.add_argument("--dry-run", action="store_true", help="print the commands that are left")
    given = parser.parse_args()
    for target, command in steps(given.data, given.out, given.quick):
        if target.exists():
            continue
        print("python", *command, flush=True)
        if not given.dry_run:
            subprocess.run([sys.executable, *command], check=True)


if __name__ == "__main__":
    main()
