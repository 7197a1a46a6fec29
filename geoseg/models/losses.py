"""Losses of (N, K, h, w) logits against (N, h, w) class targets; pixels of 255 have no part in any.

A loss is a function ``(logits, target, *, **settings) -> scalar`` under :func:`loss`, which puts it into
:data:`LOSSES`; the keys of a config and their limits come from its signature. A batch without a single
labeled pixel gives 0 with a zero gradient, never NaN.

Those of segmentation-models-pytorch are not used, since results would change: its Dice and Tversky leave
classes out that a batch lacks, its focal loss is one of sigmoids and not of a softmax, its cross-entropy
divides by the number of all pixels, neutral ones included, and its Lovasz loss has no value for a batch
without labels and sorts without keeping equal errors in order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias, get_type_hints

import torch
import torch.nn.functional as F
from pydantic import Field, create_model
from torch import Tensor

from geoseg.config import Settings
from geoseg.errors import InputError
from geoseg.models.loss_edges import REACH, edge_directions, wholly_known
from geoseg.models.loss_weights import boundary_weights, gap_weights
from geoseg.raster.classes import IGNORE

__all__ = [
    "LOSSES",
    "ClassWeights",
    "Loss",
    "auxiliary_loss",
    "bce_dice",
    "call_loss",
    "cross_entropy",
    "dice",
    "direction",
    "focal",
    "log_cosh_dice",
    "loss",
    "lovasz",
    "soft_cross_entropy",
    "tversky",
]

#: (K,) weight of each class; in a config, numbers by the names of classes, 1 where none is given.
ClassWeights: TypeAlias = Tensor | None
Function: TypeAlias = Callable[..., Tensor]
#: A setting that may not be negative.
Positive = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Loss:
    """A loss of :data:`LOSSES`.

    Attributes
    ----------
    function
        From logits, target and settings to a scalar.
    settings
        What a config may say, made from the function's keyword arguments.
    classes
        The number of classes it is made for; None for any.
    alone
        Whether a network learns its classes by it without others.
    """

    function: Function
    settings: type[Settings]
    classes: int | None = None
    alone: bool = True


#: Losses by their names in a config.
LOSSES: Final[dict[str, Loss]] = {}


def loss(name: str, classes: int | None = None, *, alone: bool = True) -> Callable[[Function], Function]:
    """Register a loss under its name in a config.

    Parameters
    ----------
    name
        The name.
    classes, alone
        See :class:`Loss`.

    Examples
    --------
    >>> sorted(LOSSES["focal"].settings.model_fields)
    ['class_weights', 'gamma']
    """

    def register(function: Function) -> Function:
        # The limits of a setting stand in its annotation, beside the argument that they hold for.
        hints = get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {
            key: (
                dict[str, float] | None if hints[key] == ClassWeights else hints[key],
                parameter.default,
            )
            for key, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        settings = create_model(f"{name}_settings", __base__=Settings, **fields)
        LOSSES[name] = Loss(function, settings, classes, alone)
        return function

    return register


def _split_target(target: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Valid (N,h,w) bool, target with 0 where invalid (int64), one-hot (N,K,h,w) zeroed where invalid."""
    valid = target != IGNORE
    # 255 is no class index: gather and one_hot would fail on it.
    index = torch.where(valid, target.long(), 0)
    hot = F.one_hot(index, classes).movedim(-1, 1) * valid.unsqueeze(1)
    return valid, index, hot


def _masked_probabilities(logits: Tensor, valid: Tensor) -> Tensor:
    """Softmax with zeros, and no gradient, where invalid."""
    # torch.where and not a product: 0 times infinity would be NaN.
    return torch.where(valid.unsqueeze(1), logits.float().softmax(1), 0.0)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    # Without any labeled pixel this is 0 / tiny, which is 0 with a zero gradient.
    return (values * weights).sum() / weights.sum().clamp_min(torch.finfo(values.dtype).tiny)


@loss("cross_entropy")
def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: ClassWeights = None,
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    boundary_weight: Positive = 0.0,
    gap_weight: Positive = 0.0,
) -> Tensor:
    """Mean negative log-likelihood over the labeled pixels.

    Parameters
    ----------
    logits
        (N, K, h, w).
    target
        (N, h, w), class index or 255.
    class_weights
        (K,) weight of each pixel by its class; the mean is the weighted one.
    label_smoothing
        Share of the target spread evenly over the K classes, 0 to 1.
    boundary_weight
        Extra weight of pixels within 2 px of a class border (:func:`boundary_weights`).
    gap_weight
        Extra weight of background between objects that nearly touch (:func:`gap_weights`).

    References
    ----------
    Label smoothing: Szegedy et al., https://arxiv.org/abs/1512.00567.
    """
    valid, index, _ = _split_target(target, logits.shape[1])
    logs = logits.float().log_softmax(1)
    hit = -logs.gather(1, index.unsqueeze(1)).squeeze(1)
    values = (1 - label_smoothing) * hit - label_smoothing * logs.mean(1)
    weights = _pixel_weights(valid, index, class_weights)
    if boundary_weight:
        weights = weights * boundary_weights(target, boundary_weight)
    if gap_weight:
        weights = weights * gap_weights(target, gap_weight)
    return _weighted_mean(torch.where(valid, values, 0.0), weights)


def _pixel_weights(valid: Tensor, index: Tensor, class_weights: Tensor | None) -> Tensor:
    weights = valid.float()
    if class_weights is not None:
        weights = weights * class_weights.to(weights)[index]
    return weights


@loss("focal")
def focal(
    logits: Tensor, target: Tensor, *, gamma: Positive = 2.0, class_weights: ClassWeights = None
) -> Tensor:
    """Cross-entropy of each pixel times (1 - p)^gamma, mean over the labeled pixels.

    References
    ----------
    Lin et al., https://arxiv.org/abs/1708.02002.
    """
    valid, index, _ = _split_target(target, logits.shape[1])
    log_p = logits.float().log_softmax(1).gather(1, index.unsqueeze(1)).squeeze(1)
    # Rounding may put p a little above 1, and a negative number to a fractional power is NaN.
    values = -((1 - log_p.exp()).clamp_min(0) ** gamma) * log_p
    return _weighted_mean(torch.where(valid, values, 0.0), _pixel_weights(valid, index, class_weights))


@loss("bce_dice", classes=2)
def bce_dice(logits: Tensor, target: Tensor, *, bce: Positive = 1.0, dice: Positive = 1.0) -> Tensor:
    """The tutorials' loss of two classes: weighted mean of binary cross-entropy and 1 - Dice.

    With p the softmax of class 1: cross-entropy is the mean over the labeled pixels of the batch;
    Dice is 2 (sum pt + 1) / (sum p + sum t + 1) of each image, averaged and clamped to [0, 1]
    (the added ones let it pass 1 where a target is empty).

    Raises
    ------
    InputError
        Other than two classes.
    """
    if logits.shape[1] != 2:
        raise InputError(f"bce_dice must have 2 classes, got {logits.shape[1]}. Use cross_entropy and dice.")
    valid = target != IGNORE
    p = _masked_probabilities(logits, valid)[:, 1]
    t = ((target == 1) & valid).float()
    # The formula of the tutorials' trainer, its quirks included: scores of a run must compare with theirs.
    overlap = 2 * ((p * t).sum((1, 2)) + 1) / (p.sum((1, 2)) + t.sum((1, 2)) + 1)
    score = overlap.mean().clamp(0, 1)
    return (bce * cross_entropy(logits, target) + dice * (1 - score)) / (bce + dice)


@loss("dice")
def dice(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: Positive = 1.0,
    class_weights: ClassWeights = None,
    gap_weight: Positive = 0.0,
) -> Tensor:
    """1 - soft Dice of each class over the batch, averaged over the classes; ``gap_weight`` as in tversky.

    References
    ----------
    Milletari et al., V-Net, https://arxiv.org/abs/1606.04797.
    """
    # Dice is Tversky with both errors at one half: 2 TP / (2 TP + FP + FN), halved above and below.
    return tversky(
        logits,
        target,
        alpha=0.5,
        beta=0.5,
        smooth=smooth / 2,
        class_weights=class_weights,
        gap_weight=gap_weight,
    )


@loss("direction", alone=False)
def direction(logits: Tensor, target: Tensor) -> Tensor:
    """Squared sine of the angle between the edges of prediction and target, mean over those of the target.

    Blocks of 4 x 4 pixels are compared (:func:`edge_directions`), for each class but 0. A block weighs what
    its edge in the target has of strength; one with a pixel of 255 within 3 pixels has no part. A block
    without any edge in the prediction costs about a quarter. An object and its negative have the same edges,
    so this goes beside a loss of pixels, never alone.

    References
    ----------
    After the idea of UniBuild, https://arxiv.org/abs/2609.37031.
    """
    if min(target.shape[1:]) < REACH:
        return logits.sum() * 0.0  # not a block
    valid, _, hot = _split_target(target, logits.shape[1])
    guess, _ = edge_directions(_masked_probabilities(logits, valid)[:, 1:])
    truth, strength = edge_directions(hot[:, 1:].float())
    # Half the distance of two unit vectors is the sine of half the angle between them, and the angle of these
    # is twice that of the edges.
    values = ((guess - truth) / 2).square().sum(1)
    return _weighted_mean(values, strength * wholly_known(target).unsqueeze(1))


@loss("log_cosh_dice")
def log_cosh_dice(logits: Tensor, target: Tensor, *, smooth: Positive = 1.0) -> Tensor:
    """Logarithm of the hyperbolic cosine of :func:`dice`: flatter near its end, where Dice still jumps.

    References
    ----------
    Jadon, https://arxiv.org/abs/2006.14822.
    """
    return torch.log(torch.cosh(dice(logits, target, smooth=smooth)))


@loss("tversky")
def tversky(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Positive = 0.3,
    beta: Positive = 0.7,
    smooth: Positive = 1.0,
    class_weights: ClassWeights = None,
    gap_weight: Positive = 0.0,
) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s) of each class over the batch, averaged over the classes.

    Parameters
    ----------
    gap_weight
        Extra weight of what is wrongly taken for an object between two that nearly touch
        (:func:`gap_weights`): a bridge of a few pixels costs little otherwise, and joins two objects.

    References
    ----------
    Salehi et al., https://arxiv.org/abs/1706.05721.
    """
    valid, _, hot = _split_target(target, logits.shape[1])
    p = _masked_probabilities(logits, valid)
    # Over the whole batch: a class that one chip lacks would otherwise pull its Dice to 0 or 1.
    hit = (p * hot).sum((0, 2, 3))
    false, missed = p.sum((0, 2, 3)) - hit, hot.sum((0, 2, 3)) - hit
    if gap_weight:
        # Of the objects alone: gaps are background, which no weight is to make a mistake.
        bridges = (p[:, 1:] * (gap_weights(target, gap_weight) - 1).unsqueeze(1)).sum((0, 2, 3))
        false = torch.cat([false[:1], false[1:] + bridges])
    index = (hit + smooth) / (hit + alpha * false + beta * missed + smooth)
    weights = torch.ones_like(index) if class_weights is None else class_weights.to(index)
    labeled = valid.any().float()
    return labeled * _weighted_mean(1 - index, weights)


@loss("lovasz")
def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász-softmax over the batch, averaged over the classes present in the target.

    References
    ----------
    Berman et al., https://arxiv.org/abs/1705.08790.
    """
    classes = logits.shape[1]
    valid = target != IGNORE
    p = logits.float().softmax(1).movedim(1, -1)[valid]
    t = target.long()[valid]
    losses = [_lovasz_class(p[:, k], (t == k).float()) for k in range(classes) if bool((t == k).any())]
    # A sum times 0 keeps the graph, so that backward works on a batch without labels.
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def _lovasz_class(p: Tensor, truth: Tensor) -> Tensor:
    # Stable: equal errors, which saturated outputs are full of, keep one order on every machine.
    errors, order = (truth - p).abs().sort(descending=True, stable=True)
    truth = truth[order]
    total = truth.sum()
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    # How much the Jaccard loss grows by each further error, the largest first: the Lovász extension.
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return (errors * steps).sum()


def auxiliary_loss(logits: Tensor, target: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """Mean loss of the auxiliary outputs: cross-entropy of the masks, smooth L1 of the distance.

    Parameters
    ----------
    logits
        (N, A, h, w), one channel a kind.
    target
        (N, A, h, w) float in 0..1, NaN where nothing is known.
    kinds
        ``boundary``, ``contact`` or ``distance`` of each channel.
    """
    losses = []
    for channel, kind in enumerate(kinds):
        x, truth = logits[:, channel].float(), target[:, channel].float()
        valid = ~truth.isnan()
        truth = torch.where(valid, truth, 0.0)
        if kind == "distance":
            # Distances are in 0..1: with the default beta of 1 all errors would be squared.
            values = F.smooth_l1_loss(x.sigmoid(), truth, reduction="none", beta=0.1)
        else:
            values = F.binary_cross_entropy_with_logits(x, truth, reduction="none")
        losses.append(_weighted_mean(torch.where(valid, values, 0.0), valid.float()))
    return torch.stack(losses).mean()


def soft_cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """Mean cross-entropy (N, K, h, w) against probabilities of another network, over all pixels.

    References
    ----------
    Hinton et al., Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531.

    Examples
    --------
    >>> round(float(soft_cross_entropy(torch.zeros(1, 2, 1, 1), torch.tensor([[[[0.3]], [[0.7]]]]))), 4)
    0.6931
    """
    return -(soft.float() * logits.float().log_softmax(1)).sum(1).mean()


def call_loss(name: str, logits: Tensor, target: Tensor, **settings: Any) -> Tensor:
    """Call a loss by its name in a config."""
    return LOSSES[name].function(logits, target, **settings)
