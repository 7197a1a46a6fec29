"""The Lightning module: one training step, one validation, the state they keep."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from geoseg.data.augment import Augment
from geoseg.data.dataset import Batch
from geoseg.errors import ConfigError, RunError
from geoseg.models.losses import auxiliary_loss, call_loss
from geoseg.models.normalize import Normalize
from geoseg.models.scaling import Line
from geoseg.train.config import LossTerm, TrainSettings
from geoseg.train.metrics import SegmentationScore, confusion, image_dice, scores_of
from geoseg.train.progress import Progress, rate_factor

__all__ = ["Pixelwise", "Segmenter", "augmented_chips", "loss_terms", "make_optimizer", "step_seed"]

#: Steps over which the average catches up at the start.
_EMA_RAMP = 10


@dataclass(frozen=True)
class Pixelwise:
    """How raw pixels become the network's numbers, and the brightness scale augmentation works in.

    Attributes
    ----------
    lines
        One a band, as the card's scaling gives them.
    fill
        Raw value of invalid pixels, one a band.
    dark, bright
        Raw values that count as 0 and 1, one a band.
    """

    lines: tuple[Line, ...]
    fill: tuple[float, ...]
    dark: tuple[float, ...]
    bright: tuple[float, ...]


def loss_terms(settings: TrainSettings, classes: int) -> tuple[LossTerm, ...]:
    """The loss of a config; the tutorials' where none is named.

    That is cross-entropy and Dice by ``loss_weights`` for two classes, plain cross-entropy for more.

    Raises
    ------
    ConfigError
        The two-class loss for more classes.
    """
    if any(term.name == "bce_dice" for term in settings.loss) and classes != 2:
        raise ConfigError(f"$.loss: bce_dice must have 2 classes, got {classes}. Use cross_entropy and dice.")
    if settings.loss:
        return settings.loss
    if classes == 2:
        weights = settings.loss_weights
        return (LossTerm(name="bce_dice", bce=weights.bce, dice=weights.dice),)
    return (LossTerm(name="cross_entropy"),)


def _class_weights(term: LossTerm, classes: Sequence[str]) -> Tensor | None:
    given = term.class_weights
    if given is None:
        return None
    unknown = sorted(set(given) - set(classes))
    if unknown:
        raise ConfigError(
            f"$.loss: class_weights must name classes, got {unknown[0]}. There are {', '.join(classes)}."
        )
    return torch.tensor([given.get(name, 1.0) for name in classes])


def make_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer; the encoder has its own rate where the config says so."""
    chosen = settings.optimizer
    encoder = [p for name in ("encoder", "features") for p in _parameters(network, name)]
    own = {id(p) for p in encoder}
    rest = [p for p in network.parameters() if id(p) not in own]
    groups = [
        {"params": params, "lr": settings.lr * share, "share": share}
        for params, share in ((encoder, chosen.encoder_lr), (rest, 1.0))
        if params
    ]
    if chosen.name == "sgd":
        return torch.optim.SGD(
            groups, lr=settings.lr, momentum=settings.momentum, weight_decay=chosen.weight_decay, foreach=True
        )
    kind = torch.optim.AdamW if chosen.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.lr, weight_decay=chosen.weight_decay, foreach=True)


def _parameters(network: nn.Module, name: str) -> list[nn.Parameter]:
    part = getattr(network, name, None)
    return list(part.parameters()) if isinstance(part, nn.Module) else []


def step_seed(seed: int, batches: int, rank: int = 0) -> int:
    """What decides all that is random in the step after ``batches`` of a process."""
    return (seed * 1_000_003 + batches * 4099 + rank * 7919) % 2**31


def augmented_chips(
    change: Augment, batch: Batch, dark: Tensor, bright: Tensor, seed: int
) -> tuple[Tensor, Batch]:
    """Raw pixels (N, C, h, w) float and the batch with its targets, as augmentation leaves them."""
    span = bright - dark
    unit, target, auxiliary = change(
        (batch.image.float() - dark) / span, batch.target, batch.auxiliary, seed=seed
    )
    raw = unit.clamp(-0.5, 1.5) * span + dark
    if batch.image.dtype == torch.uint8:
        raw = raw.clamp(0, 255)
    return raw, Batch(batch.image, target, auxiliary, batch.names)


class Segmenter(L.LightningModule):
    """A network in training.

    All that is random in a step comes from ``(seed, batches done)``, so a run that was stopped and one
    that was not take the same steps.

    Parameters
    ----------
    settings
        The config.
    network
        From (N, C, h, w) normalized pixels to (N, K + A, h, w) logits.
    classes
        Names of the K classes.
    pixelwise
        From raw pixels to the network's numbers.
    total
        Batches of the whole run.
    progress
        Where the run stands.
    """

    dark: Tensor
    bright: Tensor

    def __init__(
        self,
        settings: TrainSettings,
        network: nn.Module,
        classes: tuple[str, ...],
        pixelwise: Pixelwise,
        total: int,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.classes, self.total = settings, classes, total
        self.network = network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(False) if settings.ema else None
        self.progress = progress or Progress()
        self.normalize = Normalize(pixelwise.lines, torch.tensor(pixelwise.fill).numpy())
        for name, values in (("dark", pixelwise.dark), ("bright", pixelwise.bright)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.augment = Augment(settings.augment)
        self.terms = [(t, _class_weights(t, classes)) for t in loss_terms(settings, len(classes))]
        self.score = SegmentationScore(len(classes))
        self.latest: dict[str, Any] = {}
        self.recent: list[dict[str, float]] = []

    # ------------------------------------------------------------ steps

    @property
    def kinds(self) -> tuple[str, ...]:
        """Auxiliary outputs."""
        return self.settings.auxiliary.kinds if self.settings.auxiliary else ()

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """Loss of a batch from logits (N, K + A, h, w)."""
        main = logits[:, : len(self.classes)]
        total = logits.new_zeros((), dtype=torch.float32)
        for term, weights in self.terms:
            arguments = {**term.arguments, **({"class_weights": weights} if weights is not None else {})}
            total = total + term.weight * call_loss(term.name, main, batch.target, **arguments)
        if self.settings.auxiliary is not None:
            extra = auxiliary_loss(logits[:, len(self.classes) :], batch.auxiliary, self.kinds)
            total = total + self.settings.auxiliary.weight * extra
        return total

    def augmented(self, batch: Batch, seed: int) -> tuple[Tensor, Batch]:
        """Normalized pixels and the batch with its moved targets."""
        raw, moved = augmented_chips(self.augment, batch, self.dark, self.bright, seed)
        return self.normalize(raw), moved

    def _step_seed(self) -> int:
        return step_seed(self.settings.seed, self.progress.batches, int(self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; the run stops where it is not finite."""
        seed = self._step_seed()
        torch.manual_seed(seed)
        if self._augments:
            image, batch = self.augmented(batch, seed)
        else:
            image = self.normalize(batch.image)
        logits = self.network(image)
        loss = self.losses(logits, batch)
        if not torch.isfinite(loss.detach()):
            raise RunError(self._explain(logits.detach(), batch))
        self._note(logits.detach(), batch, float(loss.detach()))
        return loss

    @property
    def _augments(self) -> bool:
        changes = self.settings.augment.model_dump(exclude={"share"})
        return any(bool(value) for value in changes.values())

    def _note(self, logits: Tensor, batch: Batch, loss: float) -> None:
        guess = logits[:, : len(self.classes)].argmax(1)
        matrix = confusion(guess, batch.target, len(self.classes))
        scores = scores_of(matrix)
        if len(self.classes) == 2:
            scores["dice"] = float(image_dice(guess, batch.target).mean())
        row = {key: float(scores[key]) for key in ("accuracy", "dice", "mean_iou")}
        self.recent.append({"loss": loss, "chips": float(len(batch)), **row})

    def _explain(self, logits: Tensor, batch: Batch) -> str:
        """Which chip made the loss infinite."""
        bad = [
            name
            for index, name in enumerate(batch.names)
            if not math.isfinite(float(self.losses(logits[index : index + 1], _one(batch, index))))
        ]
        where = "; ".join(bad or batch.names)
        return (
            f"loss must be finite, got {float(self.losses(logits, batch))} "
            f"after {self.progress.batches} batches, at {where}. "
            "The last good checkpoint is kept; lower lr, clip gradients, or look at the chip."
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the scores."""
        logits = self.evaluated(self.normalize(batch.image))
        loss = self.losses(logits, batch)
        self.score.update(logits[:, : len(self.classes)], batch.target, loss)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and exported: the average where there is one."""
        return self.average if self.average is not None else self.network

    # ------------------------------------------------------------ hooks

    def on_train_start(self) -> None:
        """Networks arrive in evaluation mode."""
        self.network.train()
        if self.average is not None:
            self.average.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the rate of this step."""
        schedule = self.settings.schedule
        factor = self.progress.rate * rate_factor(
            self.progress.batches, self.total, schedule.name, schedule.warmup, schedule.floor
        )
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.lr * group["share"] * factor

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, and move the average: once a step, however many batches it is made of."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None and self.settings.ema is not None:
            steps = (self.progress.batches + 1) / self.settings.accumulate
            decay = min(self.settings.ema.decay, steps / (_EMA_RAMP + steps))
            move_average(self.average, self.network, decay)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Count."""
        self.progress.batches += 1

    def on_validation_epoch_start(self) -> None:
        """Validate in evaluation mode, or as in training where the config says so."""
        self.score.reset()
        self.evaluated.train(not self.settings.validate_with_model_eval)

    def on_validation_epoch_end(self) -> None:
        """Sum the scores over all processes; a loss that is not finite stops the run before it is saved."""
        self.latest = self.score.compute()
        if not math.isfinite(self.latest["loss"]):
            raise RunError(
                f"validation loss must be finite, got {self.latest['loss']} after {self.progress.batches} "
                "batches. The last good checkpoint is kept; lower lr or clip gradients."
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam or what the config names; the rate is set at every step."""
        return make_optimizer(self.network, self.settings)


def _one(batch: Batch, index: int) -> Batch:
    part = slice(index, index + 1)
    return Batch(batch.image[part], batch.target[part], batch.auxiliary[part], batch.names[part])


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights towards the network's; counters are copied."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floating = [(mine, other) for mine, other in pairs if mine.dtype.is_floating_point]
    torch._foreach_lerp_([mine for mine, _ in floating], [other for _, other in floating], 1 - decay)
    for mine, other in pairs:
        if not mine.dtype.is_floating_point:
            mine.copy_(other)
