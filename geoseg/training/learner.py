"""A network in training: the loss of a batch, the scores of a validation, the average of its weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from geoseg.data.augment import Augment
from geoseg.data.dataset import ChipBatch
from geoseg.errors import ConfigError, RunError
from geoseg.models.losses import LOSSES, auxiliary_loss, call_loss, soft_cross_entropy
from geoseg.models.normalize import Normalize
from geoseg.models.scaling import Ramp
from geoseg.training.config import LossTerm, TrainSettings
from geoseg.training.metrics import image_dice, scores_of, tensor_confusion

__all__ = [
    "Learner", "Pixelwise", "augmented_chips", "loss_terms", "make_optimizer", "move_average", "step_seed",
]  # fmt: skip

#: Steps over which the average catches up at the start.
# An average with its full decay of 0.999 would hold the first random weights for thousands of steps.
_EMA_RAMP = 10


@dataclass(frozen=True)
class Pixelwise:
    """How raw pixels become the network's numbers, and the brightness scale augmentation works in.

    Attributes
    ----------
    ramps
        One a band, as the card's scaling gives them.
    fill
        Raw value of invalid pixels, one a band.
    dark, bright
        Raw values that count as 0 and 1, one a band.
    """

    ramps: tuple[Ramp, ...]
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
    for term in settings.loss:
        if LOSSES[term.name].classes not in (None, classes):
            raise ConfigError(
                f"$.loss: {term.name} must have {LOSSES[term.name].classes} classes, got {classes}. "
                "Use cross_entropy and dice."
            )
    if settings.loss:
        return settings.loss
    if classes == 2:
        weights = settings.loss_weights
        shares = {"name": "bce_dice", "bce": weights.bce, "dice": weights.dice}
        return (LossTerm.model_validate(shares),)
    return (LossTerm(name="cross_entropy"),)


def _class_weights(term: LossTerm, classes: Sequence[str]) -> Tensor | None:
    given = term.arguments.get("class_weights")
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
    # smp calls the pretrained half "encoder", the tutorials' network calls it "features".
    parts = (getattr(network, name, None) for name in ("encoder", "features"))
    encoder = [p for part in parts if isinstance(part, nn.Module) for p in part.parameters()]
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


def step_seed(seed: int, batches: int, rank: int = 0) -> int:
    """What decides all that is random in the step after ``batches`` of a process."""
    # Primes keep seeds of neighboring batches and processes apart; torch takes no negative seed.
    return (seed * 1_000_003 + batches * 4099 + rank * 7919) % 2**31


def augmented_chips(
    change: Augment, batch: ChipBatch, dark: Tensor, bright: Tensor, seed: int
) -> tuple[Tensor, Tensor, ChipBatch]:
    """Raw pixels (N, C, h, w) float as augmentation leaves them, the same moved only, and the batch.

    The batch holds the targets where augmentation moves them.
    """
    span = bright - dark
    rng = torch.Generator().manual_seed(seed)
    # In float32 whatever the network computes in: 8 bits of mantissa would blur and requantize every pixel.
    with torch.autocast(batch.image.device.type, enabled=False):
        moved, target, auxiliary = change.move(
            (batch.image.float() - dark) / span, batch.target, batch.auxiliary, rng
        )
        unit = change.paint(moved, target, rng, seed)
    # Contrast and gamma can run far out of the range of the sensor; a little beyond dark and bright stays.
    raw = unit.clamp(-0.5, 1.5) * span + dark
    # Prediction will never meet 8-bit pixels beyond these.
    if batch.image.dtype == torch.uint8:
        raw = raw.clamp(0, 255)
    return raw, moved * span + dark, ChipBatch(batch.image, target, auxiliary, batch.names)


class Learner(nn.Module):
    """A network in training, and the average of its weights where the config asks for one.

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
    teacher
        From raw pixels (N, C, h, w) to the probabilities (N, K, h, w) that are learned beside the targets.
    """

    dark: Tensor
    bright: Tensor

    def __init__(
        self,
        settings: TrainSettings,
        network: nn.Module,
        classes: tuple[str, ...],
        pixelwise: Pixelwise,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        # About half the time of a step on the CPU.
        self.network = network.to(memory_format=torch.channels_last)
        # Copied before the first step: the average begins at the weights that training begins with.
        self.average = copy.deepcopy(self.network).requires_grad_(False) if settings.ema else None
        self.normalize = Normalize(pixelwise.ramps, torch.tensor(pixelwise.fill).numpy())
        for name, values in (("dark", pixelwise.dark), ("bright", pixelwise.bright)):
            # Not persistent: they come from the facts of the run.
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        strengths = settings.augment.model_dump(exclude={"share", "mixup"})
        self.augment = Augment(settings.augment) if any(strengths.values()) else None
        self.teacher = teacher
        self.terms = [(term, _class_weights(term, classes)) for term in loss_terms(settings, len(classes))]

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and exported: the average where there is one."""
        return self.average if self.average is not None else self.network

    def set_modes(self, *, training: bool) -> None:
        """Switch layers such as batch norm to training, or to how the config wants them validated."""
        # The average takes over batch norm's statistics from the network and never collects its own.
        self.network.train()
        if self.average is not None:
            self.average.eval()
        if not training:
            self.evaluated.train(not self.settings.validate_with_model_eval)

    def losses(self, logits: Tensor, batch: ChipBatch) -> Tensor:
        """Loss of a batch from logits (N, K + A, h, w)."""
        main, auxiliary = logits[:, : len(self.classes)], self.settings.auxiliary
        # float32 even under autocast: sums of pixels soon leave what 16 bits hold.
        total = logits.new_zeros((), dtype=torch.float32)
        for term, weights in self.terms:
            arguments = {**term.arguments, **({"class_weights": weights} if weights is not None else {})}
            total = total + term.weight * call_loss(term.name, main, batch.target, **arguments)
        if auxiliary is not None:
            extra = auxiliary_loss(logits[:, len(self.classes) :], batch.auxiliary, auxiliary.kinds)
            total = total + auxiliary.weight * extra
        return total

    def training_loss(
        self, forward: Callable[[Tensor], Tensor], batch: ChipBatch, batches: int, rank: int = 0
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a training batch, and the scores of its chips.

        Parameters
        ----------
        forward
            The network as it is set up to run: on a device, among other processes.
        batches, rank
            Batches done before, and the number of this process: they decide all that is random, so that a run
            that was stopped and one that was not take the same steps.

        Raises
        ------
        RunError
            The loss is not finite; the message names the chips.
        """
        seed = step_seed(self.settings.seed, batches, rank)
        # Dropout draws from torch's own generator.
        torch.manual_seed(seed)
        if self.augment is not None:
            raw, plain, batch = augmented_chips(self.augment, batch, self.dark, self.bright, seed)
        else:
            raw = plain = batch.image
        share = self._mixed_share(seed)
        if share:
            raw = raw.float().lerp(raw.float().roll(1, 0), share)
        logits = forward(self.normalize(raw))
        loss = self.losses(logits, batch)
        if share:
            loss = loss.lerp(self.losses(logits, batch.rolled()), share)
        if self.teacher is not None and self.settings.teacher is not None:
            # Before colors change: the network is to see through them what the teacher sees without.
            soft = self.teacher(plain)
            soft = soft.lerp(soft.roll(1, 0), share)
            loss = loss + self.settings.teacher.weight * soft_cross_entropy(
                logits[:, : len(self.classes)], soft
            )
        if not torch.isfinite(loss.detach()):
            # Chips one by one: only now, since it costs a loss each.
            where = "; ".join(self._not_finite(logits.detach(), batch) or batch.names)
            raise RunError(
                f"loss must be finite, got {float(loss.detach())} after {batches} batches, at {where}. "
                "The last good checkpoint is kept; lower lr, clip gradients, or look at the chip."
            )
        guess = logits.detach()[:, : len(self.classes)].argmax(1)
        scores = scores_of(tensor_confusion(guess, batch.target, len(self.classes)))
        if len(self.classes) == 2:
            scores["dice"] = float(image_dice(guess, batch.target).mean())
        row = {key: float(scores[key]) for key in ("accuracy", "dice", "mean_iou")}
        return loss, {"loss": float(loss.detach()), "chips": float(len(batch)), **row}

    def _mixed_share(self, seed: int) -> float:
        """How much of each chip's neighbor in the batch is mixed into it."""
        # A seed of its own: with the batch's, the share would go with the first chip's flip.
        rng = torch.Generator().manual_seed(seed + 1)
        return self.settings.augment.mixup * float(torch.rand((), generator=rng))

    def _not_finite(self, logits: Tensor, batch: ChipBatch) -> list[str]:
        """Names of the chips whose own loss is not finite."""
        names = []
        for index, name in enumerate(batch.names):
            part = slice(index, index + 1)
            chip = ChipBatch(batch.image[part], batch.target[part], batch.auxiliary[part], [name])
            if not math.isfinite(float(self.losses(logits[part], chip))):
                names.append(name)
        return names

    def move_average(self, steps: float) -> None:
        """Move the average toward the network after so many steps; at the start it catches up faster."""
        if self.average is not None and self.settings.ema is not None:
            decay = min(self.settings.ema.decay, steps / (_EMA_RAMP + steps))
            move_average(self.average, self.network, decay)


def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights and statistics toward the network's; counters are copied.

    ``torch.optim.swa_utils`` does the sums. Its ``AveragedModel`` is not used: it would begin as a copy of
    the weights after the first step instead of before it, and would average the counters of batch norm, which
    are whole numbers.
    """
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floating = [(mine, other) for mine, other in pairs if mine.dtype.is_floating_point]
    get_ema_multi_avg_fn(decay)([mine for mine, _ in floating], [other for _, other in floating], None)
    for mine, other in pairs:
        if not mine.dtype.is_floating_point:
            mine.copy_(other)
