"""Starting from weights of an earlier run or of a bundle."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from geoseg.errors import ConfigError, InputError, ModelError
from geoseg.models.bundle import open_bundle
from geoseg.models.state import fill_network, read_state
from geoseg.training.checkpoints import RunFolder

__all__ = ["Initial", "read_initial", "start_from"]

logger = logging.getLogger(__name__)

#: Last layers: what they learned belongs to the old classes.
_LAST = ("last_conv.", "segmentation_head.")


@dataclass(frozen=True)
class Initial:
    """Weights, the classes and bands they were trained for, and the batches of all trainings behind them."""

    state: dict[str, Tensor]
    classes: tuple[str, ...]
    source: str
    batches: int = 0
    bands: tuple[str, ...] = ()


def read_initial(path: Path) -> Initial:
    """Weights of a bundle, of a run (its best checkpoint), or of one checkpoint's folder.

    Raises
    ------
    MissingFileError, ModelError
        Nothing of the kind there.
    """
    if (path / "facts.json").is_file():
        run = RunFolder(path)
        return _of_run(run, run.best_index())
    if (path / "checkpoint.json").is_file():
        # checkpoints/00000012 lies two folders below its run.
        return _of_run(RunFolder(path.parent.parent), int(path.name))
    bundle = open_bundle(path)
    # Graphs of ONNX and .pt2 files have constants in place of weights that could be trained.
    if bundle.kind != "safetensors":
        raise ModelError(f"weights to start from must be safetensors, got {bundle.label}.")
    training = bundle.card.options.training or {}
    batches = training.get("batches", 0) + training.get("earlier_batches", 0)
    state = read_state(bundle.weights(), bundle.label)
    return Initial(state, bundle.card.classes, str(path), batches, tuple(bundle.card.bands))


def _of_run(run: RunFolder, index: int) -> Initial:
    state, row = run.load_checkpoint(index)
    facts = run.read_json("facts.json")
    batches = row["batches"] + facts.get("earlier_batches", 0)
    # Earlier versions kept no names.
    bands = run.read_json("config.json").get("card", {}).get("bands") or facts.get("bands", ())
    return Initial(state, tuple(facts["classes"]), str(run.checkpoint_path(index)), batches, tuple(bands))


def start_from(
    network: nn.Module, initial: Initial | None, classes: tuple[str, ...], how: str, pretrained: str
) -> None:
    """Put weights to start from into a network, in place.

    Parameters
    ----------
    network
        The network to train.
    initial
        Weights, if any are given.
    classes
        Its classes, in order.
    how
        ``transfer_learning``: everything but the last layer, where names and shapes agree.
        ``continue_training``: everything, and the classes must be the same.
    pretrained
        What the config asks for beside that; told when nothing is given at all.

    Raises
    ------
    ConfigError
        Nothing to continue from.
    InputError
        Other classes.
    ModelError
        Weights of another network.
    """
    if initial is None:
        if how == "continue_training":
            raise ConfigError(
                "$.weights_init_type: continue_training must have weights to go on from. "
                "Give --weights RUN or a bundle."
            )
        if pretrained == "none":
            logger.warning(
                "training starts from random weights; --weights or pretrained = imagenet are better"
            )
        return
    if how == "continue_training":
        if initial.classes != classes:
            mine, other = (
                ", ".join(f"{i} {name}" for i, name in enumerate(names))
                for names in (classes, initial.classes)
            )
            raise InputError(
                f"classes must be those of the weights to continue, got [{mine}] here and [{other}] in "
                f"{initial.source}. Use weights_init_type transfer_learning for other classes."
            )
        fill_network(network, initial.state, initial.source)
        return
    _transfer(network, initial)


def _transfer(network: nn.Module, initial: Initial) -> None:
    own = network.state_dict()
    fitting = {
        key: value
        for key, value in initial.state.items()
        if key in own and own[key].shape == value.shape and not key.startswith(_LAST)
    }
    if not fitting:
        raise ModelError(
            f"weights must fit the network at least in part, got {initial.source} of another one."
        )
    # In the dtype of the network: weights of a half-precision bundle would otherwise not load.
    network.load_state_dict({**own, **{key: value.to(own[key].dtype) for key, value in fitting.items()}})
    logger.info("%d of %d tensors taken from %s", len(fitting), len(own), initial.source)
