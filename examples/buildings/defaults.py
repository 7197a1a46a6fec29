"""Which threshold and least confidence do best on ground that a network has not seen, from places left out.

    python examples/buildings/defaults.py examples/buildings/train.toml --out runs/defaults \\
        --model rio=first --model vegas=first --model accra=first \\
        --model rio=runs/places/rio/last --model banepa=runs/places/banepa/last

Each PLACE=BUNDLE names a place of the config and a network that has not seen it: of leave_one_out.py, or the
one first shipped (the bundle of commit 8ec5aa1), which knew neither Rio nor Las Vegas nor Accra. On places
that taught it a network is surer than elsewhere, so those would choose other defaults. The network runs once
a place; what follows, `geoseg run` with its options and `geoseg evaluate`, is done for each pair of
`--threshold` and `--min-confidence`. The table goes to stdout and to defaults.json in --out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from leave_one_out import is_pseudo, place_of, score_place
from scores import FOOTPRINTS

from geoseg.config import read_document
from geoseg.files import write_text
from geoseg.models import tune_malloc


def main() -> None:
    """Score every network on its place for every pair of options, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="PLACE=BUNDLE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threshold", type=float, action="append", help="0.4 by default; may be repeated")
    parser.add_argument("--min-confidence", type=float, action="append", help="0 and 0.6 by default")
    parser.add_argument("--split", default="0.3", help="how far to split, as `geoseg run --split`")
    options = parser.parse_args()
    tune_malloc()
    scenes = [scene for scene in read_document(options.config)["data"]["scenes"] if not is_pseudo(scene)]
    known = list(dict.fromkeys(place_of(scene) for scene in scenes))
    pairs = list(itertools.product(options.threshold or [0.4], options.min_confidence or [0.0, 0.6]))
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(options.model):
        place, _, bundle = text.partition("=")
        if place not in known:
            parser.error(f"--model must name one of {', '.join(known)}, got {place}")
        # The first of several sampling distances, on all of its labeled ground.
        first = next(scene["path"] for scene in scenes if place_of(scene) == place)
        entries = [scene for scene in scenes if scene["path"] == first]
        folder = options.out / f"{number:02}-{place}"
        for threshold, least in pairs:
            use = {"threshold": threshold, "min_confidence": least, "split": options.split, **FOOTPRINTS}
            scores = score_place(
                Path(bundle), entries, options.config.absolute().parent, folder, folder / "kept", **use
            )
            rows.append({"place": place, "threshold": threshold, "min_confidence": least, **scores})
            print(f"{place:8} threshold {threshold}, confidence {least}: IoU {scores['iou']:.3f}, object F1 "
                  f"{scores['object_f1']:.3f}", flush=True)  # fmt: skip
    means = []
    for threshold, least in pairs:
        mine = [row for row in rows if (row["threshold"], row["min_confidence"]) == (threshold, least)]
        names = ("iou", "object_precision", "object_recall", "object_f1")
        mean = {name: round(sum(row[name] for row in mine) / len(mine), 4) for name in names}
        means.append({"threshold": threshold, "min_confidence": least, **mean})
        print(f"mean     threshold {threshold}, confidence {least}:", json.dumps(mean))
    write_text(options.out / "defaults.json", json.dumps({"means": means, "places": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
