"""Losses against slow, obvious numpy references; neutral pixels without any gradient."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss, SoftCrossEntropyLoss

from geoseg.errors import ConfigError, InputError
from geoseg.models import losses
from geoseg.models.loss_weights import boundary_weights, gap_weights
from geoseg.models.losses import LOSSES, auxiliary_loss, call_loss
from geoseg.raster.classes import IGNORE
from geoseg.training import config
from geoseg.typing import Array


def _random(classes: int, seed: int = 0, neutral: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 2, (3, classes, 15, 19)), dtype=torch.float32)
    target = rng.integers(0, classes, (3, 15, 19))
    unknown = rng.random(target.shape) < neutral
    # What lies near a neutral pixel has no edge's direction either: most of the last chip is known.
    unknown[2, :, 2:] &= neutral >= 1
    target[unknown] = IGNORE
    return logits, torch.tensor(target, dtype=torch.uint8)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _pixels(logits: torch.Tensor, target: torch.Tensor) -> tuple[Array, Array]:
    """Probabilities (n, K) and classes (n,) of the labeled pixels."""
    p = np.moveaxis(_softmax(logits.double().numpy()), 1, -1)
    t = target.numpy()
    return p[t != IGNORE], t[t != IGNORE]


def ref_gaps(target, radius=3):
    """Background that a closing of the objects fills, pixel by pixel."""
    objects = (target != 0) & (target != IGNORE)
    size = 2 * radius + 1
    closed = [
        ndimage.minimum_filter(
            ndimage.maximum_filter(chip, size, mode="constant", cval=0), size, mode="constant", cval=1
        )
        for chip in objects.astype(np.uint8)
    ]
    return (np.array(closed) > 0) & (target == 0)


def ref_cross_entropy(
    logits, target, class_weights=None, label_smoothing=0.0, boundary_weight=0.0, gap_weight=0.0
):
    p, t = _pixels(logits, target)
    extra = boundary_weights(target, boundary_weight).numpy() * (1 + gap_weight * ref_gaps(target.numpy()))
    extra = extra[target.numpy() != IGNORE]
    total = weight = 0.0
    for row, truth, more in zip(p, t, extra, strict=True):
        w = (1.0 if class_weights is None else class_weights[truth]) * more
        total += w * -(
            (1 - label_smoothing) * np.log(row[truth]) + label_smoothing * np.mean([np.log(q) for q in row])
        )
        weight += w
    return total / weight


def ref_bce_dice(logits, target, bce=1.0, dice=1.0):
    p, t = _pixels(logits, target)
    entropy = np.mean(
        [-np.log(row[1]) if truth == 1 else -np.log(row[0]) for row, truth in zip(p, t, strict=True)]
    )
    scores = []
    for image, truth in zip(_softmax(logits.double().numpy())[:, 1], target.numpy(), strict=True):
        keep = truth != IGNORE
        a, b = image[keep], (truth[keep] == 1).astype(float)
        scores.append(2 * ((a * b).sum() + 1) / (a.sum() + b.sum() + 1))
    score = min(1.0, max(0.0, np.mean(scores)))
    return (bce * entropy + dice * (1 - score)) / (bce + dice)


def ref_focal(logits, target, gamma=2.0, class_weights=None):
    p, t = _pixels(logits, target)
    w = np.ones(len(t)) if class_weights is None else np.array([class_weights[k] for k in t])
    hit = p[np.arange(len(t)), t]
    return (w * (1 - hit) ** gamma * -np.log(hit)).sum() / w.sum()


def ref_tversky(logits, target, alpha=0.3, beta=0.7, smooth=1.0, class_weights=None, gap_weight=0.0):
    p, t = _pixels(logits, target)
    gaps = ref_gaps(target.numpy())[target.numpy() != IGNORE]
    losses = []
    for k in range(logits.shape[1]):
        tp, fp, fn = p[t == k, k].sum(), p[t != k, k].sum(), (1 - p[t == k, k]).sum()
        if k:  # gaps are background: nothing but an object is a mistake there
            fp += gap_weight * p[gaps, k].sum()
        losses.append(1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth))
    return np.average(losses, weights=class_weights)


def ref_dice(logits, target, smooth=1.0, class_weights=None, gap_weight=0.0):
    p, t = _pixels(logits, target)
    gaps = ref_gaps(target.numpy())[target.numpy() != IGNORE]
    bridges = [gap_weight * p[gaps, k].sum() * (k > 0) for k in range(logits.shape[1])]
    losses = [
        1 - (2 * p[t == k, k].sum() + smooth) / (p[:, k].sum() + bridges[k] + (t == k).sum() + smooth)
        for k in range(logits.shape[1])
    ]
    return np.average(losses, weights=class_weights)


def ref_lovasz(logits, target):
    p, t = _pixels(logits, target)
    losses = []
    for k in np.unique(t):
        truth = t == k
        errors = np.abs(truth - p[:, k])
        order = np.argsort(-errors, kind="stable")
        before, total = 0.0, 0.0
        for count in range(1, len(order) + 1):
            wrong = np.zeros(len(t), bool)
            wrong[order[:count]] = True
            # Jaccard loss when exactly these pixels are wrong.
            intersection = (truth & ~wrong).sum()
            union = (truth | (wrong & ~truth)).sum()
            jaccard = 1 - intersection / union
            total += errors[order[count - 1]] * (jaccard - before)
            before = jaccard
        losses.append(total)
    return np.mean(losses)


def ref_direction(logits, target):
    """Angles of the structure tensor from scipy's filters, block by block."""
    p, target = _softmax(logits.double().numpy()), target.numpy()
    binomial = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    rows, columns = ((size - 6) // 4 for size in target.shape[1:])
    total = weight = 0.0
    for chip, k, row, column in np.ndindex(len(p), p.shape[1] - 1, rows, columns):
        square = (chip, slice(4 * row, 4 * row + 10), slice(4 * column, 4 * column + 10))
        if (target[square] == IGNORE).any():
            continue
        turns, strengths = [], []
        for image in (p[:, k + 1][square], (target[square] == k + 1).astype(float)):
            gy, gx = (
                ndimage.sobel(ndimage.convolve(image, binomial), axis)[3:-3, 3:-3] / 8 for axis in (0, 1)
            )
            strengths.append((gx**2 + gy**2).mean())
            turns.append(((gx + 1j * gy) ** 2).mean() / (strengths[-1] + 1e-3))
        total += strengths[1] * abs(turns[0] - turns[1]) ** 2 / 4
        weight += strengths[1]
    return total / weight


def ref_log_cosh_dice(logits, target, smooth=1.0):
    return np.log(np.cosh(ref_dice(logits, target, smooth)))


WEIGHTS = np.array([0.5, 2.0, 1.5])
CASES: list[tuple[str, int, Any, dict[str, Any]]] = [
    ("bce_dice", 2, ref_bce_dice, {}),
    ("bce_dice", 2, ref_bce_dice, {"bce": 3.0, "dice": 0.5}),
    ("cross_entropy", 3, ref_cross_entropy, {}),
    ("cross_entropy", 3, ref_cross_entropy, {"class_weights": WEIGHTS}),
    ("cross_entropy", 3, ref_cross_entropy, {"label_smoothing": 0.1, "boundary_weight": 2.0}),
    ("cross_entropy", 2, ref_cross_entropy, {"gap_weight": 4.0}),
    ("direction", 3, ref_direction, {}),
    ("direction", 2, ref_direction, {}),
    ("focal", 3, ref_focal, {}),
    ("focal", 2, ref_focal, {"gamma": 1.0, "class_weights": WEIGHTS[:2]}),
    ("tversky", 3, ref_tversky, {}),
    ("tversky", 3, ref_tversky, {"alpha": 0.5, "beta": 0.1, "smooth": 0.2, "class_weights": WEIGHTS}),
    ("tversky", 3, ref_tversky, {"gap_weight": 5.0}),
    ("dice", 3, ref_dice, {}),
    ("dice", 3, ref_dice, {"smooth": 3.0, "class_weights": WEIGHTS, "gap_weight": 2.0}),
    ("log_cosh_dice", 3, ref_log_cosh_dice, {}),
    ("log_cosh_dice", 2, ref_log_cosh_dice, {"smooth": 2.0}),
    ("lovasz", 3, ref_lovasz, {}),
    ("lovasz", 2, ref_lovasz, {}),
]


def _tensors(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        k: torch.tensor(v, dtype=torch.float32) if isinstance(v, np.ndarray) else v
        for k, v in settings.items()
    }


@pytest.mark.parametrize(("name", "classes", "reference", "settings"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_value_is_that_of_the_reference(name, classes, reference, settings, seed):
    logits, target = _random(classes, seed)
    value = call_loss(name, logits, target, **_tensors(settings))
    assert float(value) == pytest.approx(reference(logits, target, **settings), rel=2e-5)


def test_every_loss_and_setting_is_covered():
    tried: dict[str, set[str]] = {}
    for name, _, _, settings in CASES:
        tried.setdefault(name, set()).update(settings)
    assert tried == {name: set(loss.settings.model_fields) for name, loss in LOSSES.items()}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_neutral_pixels_have_no_gradient_and_no_influence(name):
    logits, target = _random(2, 3)
    logits.requires_grad_()
    call_loss(name, logits, target).backward()
    neutral = (target == IGNORE).unsqueeze(1).expand_as(logits)
    assert neutral.any()
    assert torch.equal(logits.grad[neutral], torch.zeros(int(neutral.sum())))
    assert logits.grad.abs().sum() > 0
    other = torch.where(neutral, 50.0 - logits.detach(), logits.detach())
    before = float(call_loss(name, logits.detach(), target))
    assert float(call_loss(name, other, target)) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_labeled_gives_no_loss(name):
    logits, target = _random(2, 3, neutral=1.1)
    logits.requires_grad_()
    loss = call_loss(name, logits, target)
    loss.backward()
    loss = loss.detach()
    assert torch.isfinite(loss)
    if name != "bce_dice":  # Dice of two empty sets is 2 before the clamp
        assert float(loss) == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_right_answer_is_nearly_free(name):
    _, target = _random(2, 4)
    sure = torch.stack([(target == k).float() * 60 - 30 for k in range(2)], dim=1)
    assert float(call_loss(name, sure, target)) < 1e-3
    if name != "direction":  # the edges of the negative run the same way
        assert float(call_loss(name, -sure, target)) > 0.4


def test_what_keeps_the_losses_of_smp_out():
    """They agree until a class is absent (Dice), pixels are neutral (cross-entropy) or all are (Lovasz)."""
    dice, entropy = (
        DiceLoss("multiclass", smooth=0.5, ignore_index=IGNORE),
        SoftCrossEntropyLoss(smooth_factor=0.0, ignore_index=IGNORE),
    )
    logits, target = _random(3)
    whole = torch.where(target == IGNORE, 0, target).long()
    assert float(call_loss("dice", logits, target)) == pytest.approx(float(dice(logits, target.long())))
    assert float(call_loss("cross_entropy", logits, whole)) == pytest.approx(float(entropy(logits, whole)))
    assert float(call_loss("cross_entropy", logits, target)) > 1.1 * float(entropy(logits, target.long()))
    lovasz = LovaszLoss("multiclass", ignore_index=IGNORE)
    assert float(call_loss("lovasz", logits, target)) == pytest.approx(float(lovasz(logits, target)))
    assert lovasz(logits, torch.full_like(target, IGNORE)).shape != ()
    target[target == 2] = 1
    assert float(call_loss("dice", logits, target)) > float(dice(logits, target.long())) + 0.1


def test_two_class_loss_refuses_more():
    logits, target = _random(3)
    with pytest.raises(InputError, match="must have 2 classes, got 3"):
        call_loss("bce_dice", logits, target)


def test_boundary_weights_ignore_neutral_borders():
    target = torch.full((1, 5, 9), 1, dtype=torch.uint8)
    target[..., 5:] = IGNORE
    assert torch.equal(boundary_weights(target, 4.0), torch.ones(1, 5, 9))


def test_gap_weights_are_those_of_a_closing():
    rng = np.random.default_rng(1)
    target = (rng.random((3, 20, 24)) < 0.2).astype(np.uint8)
    target[0, :4] = IGNORE
    for radius in (1, 3):
        gaps = ref_gaps(target, radius)
        assert 0.05 < gaps.mean() < 0.9
        weights = gap_weights(torch.tensor(target), 2.0, radius)
        assert torch.equal(weights, torch.tensor(1 + 2.0 * gaps, dtype=torch.float32))


def test_a_bridge_between_two_houses_costs_more_than_a_bulge():
    target = torch.zeros(1, 16, 24, dtype=torch.uint8)
    target[:, 4:12, 2:10] = target[:, 4:12, 12:20] = 1
    for name in ("cross_entropy", "dice"):
        costs = []
        for columns in (slice(10, 12), slice(20, 22)):
            guess = target.clone()
            guess[:, 4:8, columns] = 1
            logits = torch.stack([1.0 - guess, guess.float()], 1) * 6 - 3
            costs.append([float(call_loss(name, logits, target, gap_weight=w)) for w in (0.0, 4.0)])
        assert costs[0][0] == pytest.approx(costs[1][0])
        assert costs[0][1] > 1.2 * costs[1][1]


def _house(degrees: float = 0.0, wobble: float = 0.0) -> torch.Tensor:
    """A mask (1, 64, 64) of a house of 30 x 30 pixels, turned, its walls waved by so many pixels."""
    y, x = np.mgrid[:64, :64] - 31.5
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    u, v = cos * x + sin * y, cos * y - sin * x
    house = (abs(u) < 15 + wobble * np.sin(v)) & (abs(v) < 15 + wobble * np.sin(u))
    return torch.tensor(house[None].astype(np.uint8))


def _logits(mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([1.0 - mask, mask.float()], 1) * 20 - 10


def test_direction_costs_a_wavy_wall_more_than_a_moved_one():
    target = _house()
    for houses in (
        [_house(degrees) for degrees in (0, 4, 8, 16)],
        [_house(0, wobble) for wobble in range(4)],
    ):
        costs = [float(call_loss("direction", _logits(house), target)) for house in houses]
        assert costs[0] < 1e-6
        assert np.diff(costs).min() > 0.01, costs
    waves, moved = _logits(_house(0, 2)), _logits(target.roll(3, 2))
    assert float(call_loss("dice", waves, target)) < float(call_loss("dice", moved, target))
    assert float(call_loss("direction", waves, target)) > 2 * float(call_loss("direction", moved, target))


@pytest.mark.parametrize("slope", [0.0, 1e-12, 1e-6, 1e-3])
def test_direction_leaves_flat_predictions_alone(slope):
    logits = torch.zeros(1, 2, 64, 64)
    logits[:, 1] = slope * torch.arange(64)
    logits.requires_grad_()
    cost = call_loss("direction", logits, _house())
    cost.backward()
    assert 0.2 < float(cost.detach()) < 0.25
    assert logits.grad.abs().max() <= slope


def test_direction_learns_nothing_where_no_border_is():
    logits = _logits(_house()).requires_grad_()
    cost = call_loss("direction", logits, torch.ones(1, 64, 64, dtype=torch.uint8))
    cost.backward()
    assert float(cost.detach()) == 0
    assert not logits.grad.any()


def test_direction_ends_three_pixels_before_the_unknown():
    target = _house()
    target[:, :, 32:] = IGNORE
    logits = _logits(_house(8)).requires_grad_()
    cost = call_loss("direction", logits, target)
    cost.backward()
    assert float(cost.detach()) > 0.01
    used = logits.grad.abs().sum((0, 1, 2)).nonzero().ravel()
    # Blocks begin at every fourth pixel, so the last of them ends up to three before the last known column.
    assert 28 <= used.max() <= 31
    nothing = target.clone()
    nothing[:, ::4, ::4] = IGNORE
    assert float(call_loss("direction", logits.detach(), nothing)) == 0


def test_direction_is_computed_in_float32():
    logits = _logits(_house(8)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = call_loss("direction", logits, _house())
    assert cost.dtype == torch.float32
    assert torch.equal(cost, call_loss("direction", logits.float(), _house()))


def test_direction_of_chips_smaller_than_its_reach_is_nothing():
    logits = torch.randn(1, 2, 9, 30, requires_grad=True)
    cost = call_loss("direction", logits, torch.zeros(1, 9, 30, dtype=torch.uint8))
    cost.backward()
    assert float(cost.detach()) == 0
    assert not logits.grad.any()


def test_auxiliary_losses_against_references():
    rng = np.random.default_rng(5)
    logits = torch.tensor(rng.normal(size=(2, 2, 4, 5)), dtype=torch.float32, requires_grad=True)
    target = rng.random((2, 2, 4, 5)).astype(np.float32)
    target[:, 0] = target[:, 0] > 0.5
    target[rng.random(target.shape) < 0.3] = np.nan
    x, known = logits.detach().double().numpy(), ~np.isnan(target)
    p = 1 / (1 + np.exp(-x))
    t, k = target[:, 0], known[:, 0]
    entropy = -(t[k] * np.log(p[:, 0][k]) + (1 - t[k]) * np.log(1 - p[:, 0][k])).mean()
    gap = np.abs(p[:, 1][known[:, 1]] - target[:, 1][known[:, 1]])
    smooth = np.where(gap < 0.1, gap**2 / 0.2, gap - 0.05).mean()
    loss = auxiliary_loss(logits, torch.tensor(target), ("boundary", "distance"))
    assert float(loss.detach()) == pytest.approx((entropy + smooth) / 2, rel=1e-5)
    loss.backward()
    assert torch.equal(logits.grad[torch.tensor(~known)], torch.zeros(int((~known).sum())))


def test_the_loss_of_the_guide(monkeypatch):
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "@loss(" in block)
    monkeypatch.setattr(losses, "LOSSES", dict(LOSSES))
    monkeypatch.setattr(config, "LOSSES", losses.LOSSES)
    module = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    term = config.parse_train_settings({"loss": {"name": "generalized", "power": 0.5}}).loss[0]
    logits, target = _random(3)
    p, t = _pixels(logits, target)
    wanted = np.mean([(1 - row[k] ** 0.5) / 0.5 for row, k in zip(p, t, strict=True)])
    value = float(losses.call_loss(term.name, logits, target, **term.arguments))
    assert value == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ConfigError, match=r"\$\.loss\[0\]: power: .* less than or equal to 1, got 2"):
        config.parse_train_settings({"loss": {"name": "generalized", "power": 2}})
