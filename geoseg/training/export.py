"""From a checkpoint to a bundle with its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoseg.models.architectures import build_network, input_multiple
from geoseg.models.bundle import write_bundle
from geoseg.models.card import ModelCard
from geoseg.models.options import GeosegOptions
from geoseg.models.scaling import ZScore
from geoseg.models.state import cut_outputs
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import TrainSettings, parse_train_settings
from geoseg.training.facts import Facts
from geoseg.typing import PathLike

__all__ = ["export_checkpoint"]

_RGB = ("red", "green", "blue")


def export_checkpoint(run: RunFolder, index: int, out: PathLike | None = None) -> Path:
    """Write a bundle of a checkpoint.

    Parameters
    ----------
    run
        The run.
    index
        Number of the checkpoint, from 0.
    out
        Folder of the bundle; ``bundle`` in the run's folder by default.

    Returns
    -------
    Path
        The bundle.

    Raises
    ------
    InputError
        No such checkpoint.
    MissingFileError
        Not a run's folder.
    """
    settings = parse_train_settings(run.read_json("config.json"), "config.json")
    facts = Facts.read(run.read_json("facts.json"))
    state, row = run.load_checkpoint(index)
    # The checkpoint holds all outputs; those that the bundle does not keep are cut off behind the classes.
    trained = settings.auxiliary.kinds if settings.auxiliary else ()
    kept = trained if settings.card.auxiliary else ()
    network = build_network(
        settings.architecture, in_channels=len(facts.mean), classes=len(facts.classes) + len(kept)
    )
    extra = len(trained) - len(kept)
    network.load_state_dict(cut_outputs(state, network.state_dict(), extra))
    multiple = input_multiple(settings.architecture, network)
    card = _card(settings, facts, row, multiple, sum(p.numel() for p in network.parameters()), kept)
    return write_bundle(Path(out) if out else run.path / "bundle", network, card, overwrite=True)


def _card(
    settings: TrainSettings,
    facts: Facts,
    row: Mapping[str, Any],
    multiple: int,
    parameters: int,
    auxiliary: tuple[str, ...],
) -> ModelCard:
    objects = facts.classes[1:]
    height, width = settings.chip
    # Between the coarsest and the finest scene, where the network was not trained at one resolution.
    middle = round(sum(facts.gsd) / 2, 4) if facts.gsd else None
    numbered = tuple(f"band_{number}" for number in range(1, len(facts.mean) + 1))
    options = GeosegOptions(
        gsd=settings.resolution if settings.resolution is not None else middle,
        gsd_range=facts.gsd,
        window=(height, width),
        # A quarter: at the rim of a window a network sees too little around a pixel.
        overlap=(height // 4, width // 4),
        multiple=multiple,
        activation="softmax",
        # The ones that gave the best IoU in the validation of this very checkpoint.
        threshold=dict(zip(objects, row["thresholds"], strict=True)),
        training_resize=(height, width) if settings.data.stretches else None,
        architecture=settings.architecture,
        auxiliary=auxiliary,
        training=_training(settings, facts, row),
    )
    words = settings.card
    extra: dict[str, Any] = {"license": words.license} if words.license else {}
    return ModelCard.create(
        words.name,
        classes=facts.classes,
        bands=words.bands or facts.bands or (_RGB if len(numbered) == 3 else numbered),
        scaling=[ZScore(mean=m, stddev=s) for m, s in zip(facts.mean, facts.stddev, strict=True)],
        options=options,
        data_type=facts.dtype,
        description=words.description,
        parameters=parameters,
        colors=facts.colors or None,
        **extra,
    )


def _training(settings: TrainSettings, facts: Facts, row: Mapping[str, Any]) -> dict[str, Any]:
    scores = row["scores"]
    named = dict(zip(facts.classes, scores["iou"], strict=True))
    return {
        "scenes": facts.scenes,
        "data": settings.card.data,
        "checkpoint": row["index"],
        "epoch": round(row["epoch"], 4),
        "batches": row["batches"],
        **({"earlier_batches": facts.earlier_batches} if facts.earlier_batches else {}),
        **({"teacher": facts.teacher} if facts.teacher else {}),
        "seed": settings.seed,
        "validation": {
            "loss": row["loss"],
            "accuracy": scores["accuracy"],
            "dice": scores["dice"],
            "iou": {name: value for name, value in named.items() if value is not None},
            "iou_at_threshold": dict(zip(facts.classes[1:], scores["tuned_iou"], strict=True)),
        },
    }
