"""The network that ships, from the labeled places to the table of its scores: all commands in order.

    python examples/buildings/make.py --data ../shared/data --out runs
    python examples/buildings/make.py --data ../shared/data --out runs/quick --quick    # a poor network

Steps that are done are not done again, and a training that was stopped goes on. On one core of a CPU the
three trainings take two to three hours, `--quick` some minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
#: Changes of each config for a quick look.
QUICK = ("epochs=1", "sampler.chips_per_epoch=32", "ema.decay=0.5")


def steps(data: Path, out: Path, quick: bool) -> list[tuple[Path, list[str]]]:
    """What each step leaves, and its command, to be run by Python."""
    made = HERE / "generated"
    places, banepa = made / "places", made / "places" / "0.30" / "banepa.tif"
    changes = [word for change in QUICK for word in ("--set", change)] if quick else []

    def script(name: str, *words: object) -> list[str]:
        return [str(HERE / name), *map(str, words)]

    def training(config: str, run: str, *words: str) -> tuple[Path, list[str]]:
        command = ["-m", "geoseg", "train", str(HERE / config), "--out", str(out / run), "--resume"]
        return out / run / "bundle", [*command, *words, *changes]

    def labels(run: str, name: str, *words: str) -> tuple[Path, list[str]]:
        bundle, target = out / run / "bundle", made / name
        return target, script("pseudo_labels.py", bundle, banepa, "--out", target, *words)

    towns = script("towns.py", "--out", places, *(["--share=0.2"] if quick else []))
    ship = script("ship.py", out / "buildings", "--hardware", "CPU", "--out", out / "building")
    scores = out / "table" / "scores.json"
    table = script("table.py", "--data", data, "--out", scores.parent, "--model", f"new={out / 'building'}")
    return [
        (banepa, script("places.py", "--data", data, "--out", places)),
        (places / "0.50" / "towns.geojson", towns),
        training("teacher.toml", "teacher"),
        labels("teacher", "banepa_first_pseudo.tif", *(["--once"] if quick else [])),
        training("student.toml", "student"),
        labels("student", "banepa_pseudo.tif", "--once"),
        training("train.toml", "buildings", "--weights", str(out / "student")),
        (out / "building" / "model.json", ship),
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
