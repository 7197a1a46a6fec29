"""Augmentation: targets move with their pixels, strengths mean what they say, a seed decides."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from geoseg.data.augment import Augment, jpeg_artifacts, move_chips, paste_objects, turn_chips
from geoseg.data.settings import AugmentSettings

STRONG = {
    "flips": True, "scale": 0.5, "shift": 0.2, "rotate": 30, "brightness": 0.2, "contrast": 0.5, "hue": 40,
    "saturation": 0.5, "noise": 0.1, "blur": 2.0, "jpeg": 0.8, "share": 1.0, "paste": 0.5, "repaint": 0.5,
    "gamma": 0.4, "tint": 0.1, "shuffle": 0.5, "style": 0.5, "gray": 0.5, "coarse": 2.0,
}  # fmt: skip


def chips(count=4, size=32, seed=0):
    """Chips whose first band tells the class, so that pixels and targets can be compared."""
    rng = np.random.default_rng(seed)
    target = np.zeros((count, size, size), np.uint8)
    for chip in target:
        for _ in range(3):
            r, c = rng.integers(0, size - 12, 2)
            chip[r : r + 12, c : c + 12] = rng.integers(1, 4)
    image = torch.tensor(target / 4, dtype=torch.float32).unsqueeze(1).repeat(1, 3, 1, 1)
    extra = torch.tensor(target, dtype=torch.float32).unsqueeze(1)
    return image, torch.tensor(target), extra


def test_the_eight_turns_are_all_different_and_exact():
    x = torch.arange(8 * 9).view(1, 1, 8, 9)[..., :8].repeat(8, 1, 1, 1)
    moved = turn_chips(x, torch.arange(8))
    assert len({tuple(chip.flatten().tolist()) for chip in moved}) == 8
    assert torch.equal(moved[0], x[0])
    assert torch.equal(moved[1], torch.rot90(x[0], 1, (-2, -1)))


@pytest.mark.parametrize(
    "setting", [{"flips": True}, {"scale": 0.4}, {"shift": 0.3}, {"rotate": 90}, {"paste": 1.0}]
)
def test_targets_move_with_their_pixels(setting):
    image, target, extra = chips()
    moved, labels, more = Augment(AugmentSettings(**setting))(image, target, extra, seed=3)
    assert not torch.equal(moved, image)
    known = labels != 255
    assert known.float().mean() > 0.4
    close = (moved[:, 0] * 4 - labels.float()).abs() < 0.5
    assert close[known].float().mean() > 0.93  # borders between classes are blended
    assert torch.equal(more[:, 0][known], labels[known].float())
    assert more[:, 0][~known].isnan().all()


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_a_seed_decides_and_shapes_stay(shape):
    image, target, extra = (x[..., : shape[0], : shape[1]] for x in chips(size=48))
    change = Augment(AugmentSettings(**STRONG))
    first, again, other = (change(image, target, extra, seed=s) for s in (7, 7, 8))
    for a, b, c, before in zip(first, again, other, (image, target, extra), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)
        assert not torch.equal(a.float().nan_to_num(), c.float().nan_to_num())
        assert a.shape == before.shape
        assert a.dtype == before.dtype


def test_nothing_asked_nothing_changed():
    image, target, extra = chips()
    moved, labels, more = Augment(AugmentSettings())(image, target, extra, seed=1)
    assert torch.equal(moved, image)
    assert torch.equal(labels, target)
    assert torch.equal(more, extra)


def test_zoom_enlarges_about_the_middle():
    image = torch.zeros(1, 3, 40, 40)
    image[..., 15:25, 15:25] = 1
    target = (image[:, 0] > 0).to(torch.uint8)
    none = torch.zeros(1, 0, 40, 40)
    for zoom in (0.5, 2.0):
        _, labels, _ = move_chips(
            image, target, none, torch.tensor([zoom]), torch.zeros(1), torch.zeros(1, 2)
        )
        assert int((labels == 1).sum()) == pytest.approx(100 * zoom**2, rel=0.1)
        outside = labels == 255
        assert outside.any() == (zoom < 1)


@pytest.mark.parametrize(
    "key", ["brightness", "contrast", "hue", "saturation", "noise", "blur", "jpeg", "coarse"]
)
def test_colors_change_within_their_strength_and_targets_do_not(key):
    image = torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    target, none = torch.zeros(6, 24, 24, dtype=torch.uint8), torch.zeros(6, 0, 24, 24)
    weak, strong = {"hue": (2, 40)}.get(key, (0.02, 0.5))
    gaps = []
    for strength in (weak, strong):
        moved, labels, _ = Augment(AugmentSettings(**{key: strength, "share": 1.0}))(
            image, target, none, seed=2
        )
        assert torch.equal(labels, target)
        gaps.append(float((moved - image).abs().mean()))
    assert 0 <= gaps[0] < gaps[1]
    if key == "brightness":
        assert gaps[1] <= 0.5
    if key == "hue":  # gray stays gray
        gray = torch.full((2, 3, 8, 8), 0.3)
        turned, *_ = Augment(AugmentSettings(hue=90))(gray, target[:2, :8, :8], none[:2, :, :8, :8], seed=1)
        assert torch.allclose(turned, gray, atol=1e-6)


def test_pasted_objects_bring_their_targets_and_leave_the_rest():
    image, target, extra = chips()
    target[2, :4] = 255
    takes = torch.tensor([True, False, True, True])
    moved, labels, more = paste_objects(image, target, extra, takes)
    for n, other in ((0, 3), (2, 1), (3, 2)):
        objects = (target[other] > 0) & (target[other] < 255)
        assert objects.any()
        assert torch.equal(labels[n][objects], target[other][objects])
        assert torch.equal(moved[n][:, objects], image[other][:, objects])
        assert torch.equal(more[n][:, objects], extra[other][:, objects])
        changed = (moved[n] != image[n]).any(0)
        margin = torch.nn.functional.max_pool2d(objects.float()[None], 7, 1, 3)[0] > 0
        assert changed.any()
        assert not (changed & ~margin).any()
    assert torch.equal(labels[1], target[1])
    assert torch.equal(moved[1], image[1])


def test_repainted_objects_change_apart_from_their_ground():
    target = torch.zeros(8, 16, 16, dtype=torch.uint8)
    target[:, 4:12, 4:12] = 1
    target[:, 0, 0] = 255  # ignored: goes with the ground
    image = torch.full((8, 3, 16, 16), 0.5)
    change = Augment(AugmentSettings(brightness=0.4, repaint=0.5))
    moved, labels, _ = change(image, target, torch.zeros(8, 0, 16, 16), seed=5)
    assert torch.equal(labels, target)
    inside, outside = moved[:, 0, 8, 8], moved[:, 0, 1, 1]
    assert torch.equal(moved[:, 0, 0, 0], outside)
    apart = (inside - outside).abs() > 1e-6
    assert 0 < int(apart.sum()) < 8
    assert all(len(chip.unique()) == (2 if own else 1) for chip, own in zip(moved, apart, strict=True))


def test_coarse_chips_keep_large_things_and_lose_fine_ones():
    image = torch.zeros(12, 3, 64, 64)
    image[..., 16:48, 16:48] = 1
    image[:, :, ::2, ::2] += 0.5  # a pattern of single pixels
    target, none = torch.zeros(12, 64, 64, dtype=torch.uint8), torch.zeros(12, 0, 64, 64)
    moved, labels, _ = Augment(AugmentSettings(coarse=3.0, share=0.5))(image, target, none, seed=4)
    assert torch.equal(labels, target)
    changed = (moved != image).flatten(1).any(1)
    assert 0 < int(changed.sum()) < 12

    def pattern(x):
        return (x[:, 0, 20:44:2, 20:44:2] - x[:, 0, 21:44:2, 21:44:2]).mean((1, 2))

    assert torch.equal(pattern(moved)[~changed], pattern(image)[~changed])
    # Some chips are shrunk by little; the coarsest has nothing of the pattern left.
    assert (pattern(moved)[changed] < pattern(image)[changed]).all()
    assert float(pattern(moved)[changed].abs().min()) < 0.05
    # In the middle and at the corner all is as bright as before.
    for rows in (slice(24, 40), slice(0, 8)):
        part = (slice(None), slice(None), rows, rows)
        assert torch.allclose(moved[part].mean((1, 2, 3)), image[part].mean((1, 2, 3)), atol=0.05)


def test_noise_of_coarse_chips_has_the_grain_of_their_pixels():
    image = torch.full((16, 3, 48, 48), 0.5)
    target, none = torch.zeros(16, 48, 48, dtype=torch.uint8), torch.zeros(16, 0, 48, 48)
    grain = []
    for coarse in (0.0, 7.0):
        change = Augment(AugmentSettings(noise=0.3, coarse=coarse, share=1.0))
        moved, *_ = change(image, target, none, seed=1)
        # Noise of single pixels differs from one pixel to the next by more than it spreads.
        grain.append(float((moved.diff(dim=-1).std((1, 2, 3)) / moved.std((1, 2, 3))).mean()))
    assert grain[1] < 0.7 * grain[0]


def test_color_changes_leave_other_numbers_of_bands_alone():
    image = torch.rand(2, 5, 16, 16)
    target, none = torch.zeros(2, 16, 16, dtype=torch.uint8), torch.zeros(2, 0, 16, 16)
    moved, *_ = Augment(AugmentSettings(hue=90, saturation=1, jpeg=1, share=1.0))(image, target, none, seed=0)
    assert torch.equal(moved, image)


def test_jpeg_artifacts_are_those_of_a_real_codec():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(0, 1, (48, 56, 3)), 0), 1)
    picture = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    picture[10:30, 10:30] = [200, 30, 60]
    image = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    for quality in (20, 50, 90):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=0)
        real = torch.tensor(np.array(Image.open(buffer))).permute(2, 0, 1)[None].float() / 255
        ours = jpeg_artifacts(image, torch.tensor([(95 - quality) / 90]))
        error = float((real - image).pow(2).mean().sqrt())
        gap = float((real - ours).pow(2).mean().sqrt())
        assert gap < 0.35 * error + 0.003, (quality, gap, error)
    assert torch.equal(jpeg_artifacts(image, torch.zeros(1)), image)


@pytest.mark.parametrize("bands", [3, 4])
def test_colors_that_places_never_seen_may_have(bands):
    image = torch.rand(64, bands, 4, 4) * 0.8 + 0.1
    target, none = torch.zeros(64, 4, 4, dtype=torch.uint8), torch.zeros(64, 0, 4, 4)

    def changed(**strengths):
        return Augment(AugmentSettings(**strengths))(image, target, none, seed=3)[0]

    bent = torch.log(changed(gamma=1.0)) / torch.log(image)
    assert torch.allclose(bent, bent[:, :1, :1, :1].expand_as(bent), rtol=1e-3)
    assert 0.5 <= bent.min() < 0.6
    assert 1.8 < bent.max() <= 2.0
    offset = changed(tint=0.2) - image
    assert torch.allclose(offset, offset[:, :, :1, :1].expand_as(offset), atol=1e-6)
    assert 0.15 < offset.abs().max() <= 0.2
    assert (offset[:, 0] - offset[:, 1]).abs().max() > 0.2
    moved = changed(shuffle=0.5)
    assert torch.equal(moved.sort(1).values, image.sort(1).values)
    alone = (moved == image).flatten(1).all(1)
    assert 0.3 < alone.float().mean() < 0.75
    assert all(
        any(torch.equal(chip[0], other) for other in whole) for chip, whole in zip(moved, image, strict=True)
    )


def test_pixels_darker_than_dark_stay_dark_under_gamma():
    image = torch.full((8, 1, 2, 2), -0.25)
    target, none = torch.zeros(8, 2, 2, dtype=torch.uint8), torch.zeros(8, 0, 2, 2)
    bent, _, _ = Augment(AugmentSettings(gamma=1.0))(image, target, none, seed=1)
    assert (bent < 0).all()


def test_a_chip_takes_over_the_colors_of_another_place():
    rng = torch.Generator().manual_seed(0)
    levels, spreads = torch.rand(64, 3, 1, 1, generator=rng), torch.rand(64, 3, 1, 1, generator=rng)
    image = levels + (0.05 + 0.1 * spreads) * torch.randn(64, 3, 12, 12, generator=rng)
    image[5] = 0.25  # a chip of one color has no contrast to change
    target, none = torch.zeros(64, 12, 12, dtype=torch.uint8), torch.zeros(64, 0, 12, 12)
    mixed, labels, _ = Augment(AugmentSettings(style=0.5))(image, target, none, seed=3)
    assert torch.equal(labels, target)
    assert mixed.isfinite().all()
    taken = (mixed != image).flatten(1).any(1)
    assert 0.3 < taken.float().mean() < 0.7
    for of in (lambda x: x.mean((2, 3)), lambda x: x.std((2, 3))):
        own, others, now = of(image), of(image).roll(1, 0), of(mixed)
        low, high = torch.minimum(own, others) - 1e-4, torch.maximum(own, others) + 1e-4
        whole = torch.arange(64) != 5
        assert ((now >= low) & (now <= high))[whole].all()
        assert (now - own).abs()[taken & whole].max() > 0.02


def test_some_chips_lose_their_color():
    image = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target, none = torch.zeros(64, 4, 4, dtype=torch.uint8), torch.zeros(64, 0, 4, 4)
    faded, *_ = Augment(AugmentSettings(gray=0.5))(image, target, none, seed=3)
    assert torch.allclose(faded.mean(1), image.mean(1), atol=1e-6)
    left = (faded.std(1) / image.std(1)).flatten(1)
    assert torch.allclose(left, left[:, :1].expand_as(left), atol=1e-3)
    assert 0.3 < (left[:, 0] < 0.999).float().mean() < 0.7
    assert left.min() < 0.2
    assert left.max() < 1.001
