"""Augmentation of whole batches on the device they are on; targets move with their pixels.

Random numbers come from a generator on the CPU, so a seed gives the same chips on every device (noise
aside, which is drawn on the device).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.data.settings import AugmentSettings

__all__ = ["Augment", "jpeg_artifacts", "move_chips", "paste_objects", "turn_chips"]

#: Standard quantization tables of the JPEG specification, annex K.1 (brightness and color).
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *([99] * 32),
)  # fmt: skip
#: Ground that goes along with a pasted object, pixels.
_MARGIN = 3
#: RGB to YCbCr (ITU-R BT.601), rows Y, Cb, Cr.
_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Augment:
    """Augmentation of ``settings``'s strengths.

    Examples
    --------
    >>> change = Augment(AugmentSettings(flips=True, brightness=0.1))
    >>> image, target = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8)
    >>> moved, labels, extra = change(image, target, torch.zeros(2, 0, 8, 8), seed=1)
    >>> moved.shape, labels.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 8, 8]))
    """

    settings: AugmentSettings

    def __call__(
        self, image: Tensor, target: Tensor, auxiliary: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change a batch.

        Parameters
        ----------
        image
            (N, C, h, w) float, 0 dark and 1 bright.
        target
            (N, h, w) uint8; ground moved in from outside becomes 255.
        auxiliary
            (N, A, h, w) float; ground moved in becomes NaN.
        seed
            The same seed gives the same change.
        """
        rng = torch.Generator().manual_seed(seed)
        image, target, auxiliary = self.move(image, target, auxiliary, rng)
        return self.paint(image, target, rng, seed), target, auxiliary

    def move(
        self, image: Tensor, target: Tensor, auxiliary: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What moves pixels and targets together: flips, turns, zoom, pasted objects."""
        if self.settings.flips:
            square = image.shape[-1] == image.shape[-2]
            turns = torch.randint(0, 8, (len(image),), generator=rng)
            # Chips that are not square keep their shape under half turns only: codes 0 and 2, and mirrored 4
            # and 6.
            turns = turns if square else turns // 4 * 4 + turns % 2 * 2
            image, target, auxiliary = (turn_chips(x, turns) for x in (image, target, auxiliary))
        image, target, auxiliary = self._move(image, target, auxiliary, rng)
        # After moving, so that pasted objects stay whole; before colors, which then fall on them as on their
        # ground.
        if self.settings.paste:
            takes = torch.rand(len(image), generator=rng) < self.settings.paste
            image, target, auxiliary = paste_objects(image, target, auxiliary, takes)
        return image, target, auxiliary

    def paint(self, image: Tensor, target: Tensor, rng: torch.Generator, seed: int) -> Tensor:
        """What changes the pixels alone: colors, blur, resolution, noise, JPEG."""
        # Before the other colors, which then vary what two places have in common.
        if self.settings.style:
            image = _mix_styles(image, self._chosen(len(image), self.settings.style, rng))
        image = self._repaint(image, target, rng) if self.settings.repaint else self._recolor(image, rng)
        if self.settings.shuffle:
            image = _shuffle_bands(image, torch.rand(len(image), generator=rng) < self.settings.shuffle, rng)
        if self.settings.gray and image.shape[1] == 3:
            kept = 1 - self._chosen(len(image), self.settings.gray, rng).to(image.device).view(-1, 1, 1, 1)
            middle = image.mean(1, keepdim=True)
            image = middle + (image - middle) * kept
        return self._degrade(image, rng, seed)

    @staticmethod
    def _chosen(count: int, share: float, rng: torch.Generator) -> Tensor:
        """(count,) evenly in 0 .. 1 for a share of the chips, 0 for the others."""
        # Both numbers are drawn for every chip, whether it is taken or not: later draws do not shift.
        taken = torch.rand(count, generator=rng) < share
        return torch.where(taken, torch.rand(count, generator=rng), 0.0)

    def _move(
        self, image: Tensor, target: Tensor, auxiliary: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        s = self.settings
        if not (s.scale or s.shift or s.rotate):
            return image, target, auxiliary
        count = len(image)
        # Logarithms: enlarging to double is as likely as shrinking to half.
        zoom = torch.exp(_span(count, rng) * math.log1p(s.scale))
        angle = _span(count, rng) * math.radians(s.rotate)
        shift = torch.stack([_span(count, rng), _span(count, rng)], 1) * 2 * s.shift
        return move_chips(image, target, auxiliary, zoom, angle, shift)

    def _repaint(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Tensor:
        """Recolored, on a share of the chips the objects apart from their ground."""
        takes = torch.rand(len(image), generator=rng) < self.settings.repaint
        ground, objects = self._recolor(image, rng), self._recolor(image, rng)
        apart = _is_object(target) & takes.to(image.device).view(-1, 1, 1)
        return torch.where(apart.unsqueeze(1), objects, ground)

    def _recolor(self, image: Tensor, rng: torch.Generator) -> Tensor:
        s, count, colors = self.settings, len(image), image.shape[1] == 3

        def draws(strength: float) -> Tensor:
            return (_span(count, rng) * strength).to(image.device).view(-1, 1, 1, 1)

        if s.brightness:
            image = image + draws(s.brightness)
        if s.contrast:
            # About the mean, so that contrast leaves brightness alone.
            middle = image.mean((1, 2, 3), keepdim=True)
            image = middle + (image - middle) * torch.exp(draws(math.log1p(s.contrast)))
        if s.gamma:
            # The sign is kept: pixels darker than what counts as dark stay so.
            image = image.sign() * image.abs() ** torch.exp(draws(math.log1p(s.gamma)))
        if s.tint:
            offsets = _span(count * image.shape[1], rng).view(count, -1, 1, 1) * s.tint
            image = image + offsets.to(image.device)
        if s.saturation and colors:
            gray = image.mean(1, keepdim=True)
            image = gray + (image - gray) * torch.exp(draws(math.log1p(s.saturation)))
        if s.hue and colors:
            image = _turn_hue(image, draws(math.radians(s.hue)).flatten())
        return image

    def _degrade(self, image: Tensor, rng: torch.Generator, seed: int) -> Tensor:
        """Blur, loss of resolution, noise and JPEG, each on its share of the chips."""
        s, count = self.settings, len(image)

        def chosen(strength: float) -> Tensor:
            return self._chosen(count, s.share, rng) * strength if strength else torch.zeros(count)

        sigma, grain, artifacts, loss = (chosen(strength) for strength in (s.blur, s.noise, s.jpeg, s.coarse))
        # Noise of a whole batch on the CPU would have to travel to the device each step.
        own = torch.Generator(image.device).manual_seed(seed)

        def spoil(chips: Tensor, picked: Tensor) -> Tensor:
            if s.noise:
                noise = torch.randn(chips.shape, generator=own, device=chips.device)
                chips = chips + noise * grain[picked].to(chips.device).view(-1, 1, 1, 1)
            if s.jpeg and chips.shape[1] == 3:
                chips = jpeg_artifacts(chips, artifacts[picked].to(chips.device))
            return chips

        if s.blur:
            image = _blur(image, sigma.to(image.device))
        sharp = (loss == 0).nonzero().flatten()
        if len(sharp) == count:
            return spoil(image, sharp)
        changed = image.clone()
        if len(sharp):
            changed[sharp.to(image.device)] = spoil(image[sharp.to(image.device)], sharp)
        # One by one, since each is of its own size in between: noise and JPEG belong to the coarse pixels.
        for index in loss.nonzero().flatten().tolist():
            chip = image[index : index + 1]
            size = [max(1, round(side / (1 + float(loss[index])))) for side in chip.shape[-2:]]
            small = F.interpolate(chip, size, mode="bilinear", antialias=True)
            small = spoil(small, torch.tensor([index]))
            changed[index] = F.interpolate(small, chip.shape[-2:], mode="bilinear", align_corners=False)[0]
        return changed


def _span(count: int, rng: torch.Generator) -> Tensor:
    """Evenly in -1 .. 1."""
    return torch.rand(count, generator=rng) * 2 - 1


def turn_chips(x: Tensor, turns: Tensor) -> Tensor:
    """Each chip under its own of the eight flips and turns: turns % 4 quarter turns, mirrored from 4 on.

    Examples
    --------
    >>> turn_chips(torch.arange(4).view(1, 2, 2), torch.tensor([4])).tolist()
    [[[1, 0], [3, 2]]]
    """
    moved = x.clone()
    for turn in turns.unique().tolist():
        # At most eight rotations a batch, whatever its size.
        picked = (turns == turn).nonzero().flatten().to(x.device)
        part = torch.rot90(x[picked], turn % 4, (-2, -1))
        moved[picked] = part.flip(-1) if turn >= 4 else part
    return moved


def move_chips(
    image: Tensor, target: Tensor, auxiliary: Tensor, zoom: Tensor, angle: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Zoom, turn and shift each chip about its middle.

    Parameters
    ----------
    zoom
        (N,) above 1 enlarges.
    angle
        (N,) radians.
    shift
        (N, 2) of x, y in half sides.
    """
    height, width = image.shape[-2:]
    # affine_grid goes from the result back to the source: zooming in reads a smaller part.
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # Its coordinates run from -1 to 1 on both axes, so a turn must undo the stretching of an oblong chip.
    aspect = height / width
    rows = (
        torch.stack([cos, -sin * aspect, shift[:, 0]], 1),
        torch.stack([sin / aspect, cos, shift[:, 1]], 1),
    )
    matrix = torch.stack(rows, 1).to(image)
    grid = F.affine_grid(matrix, [len(image), 1, height, width], align_corners=False)
    # Pixels are reflected, so that no black corners teach the network where a chip ends; labels there are
    # unknown, since reflected objects do not exist.
    outside = (grid.abs() > 1).any(-1)
    moved = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    # Nearest: between class 1 and class 3 lies no class 2.
    labels = F.grid_sample(
        target.unsqueeze(1).to(image.dtype), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    labels = torch.where(outside, 255.0, labels.squeeze(1)).round().to(target.dtype)
    if not auxiliary.shape[1]:
        return moved, labels, auxiliary
    # Nearest here, too: one NaN among four neighbors would spread.
    extra = F.grid_sample(auxiliary, grid, mode="nearest", padding_mode="border", align_corners=False)
    return moved, labels, torch.where(outside.unsqueeze(1), torch.nan, extra)


def paste_objects(
    image: Tensor, target: Tensor, auxiliary: Tensor, takes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Objects of each chip's neighbor in the batch pasted onto it, targets too.

    Parameters
    ----------
    takes
        bool (N,): the chips that are pasted on.

    References
    ----------
    Ghiasi et al., Simple Copy-Paste, https://arxiv.org/abs/2012.07177.

    Examples
    --------
    >>> image, target = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 9, 9), torch.zeros(2, 9, 9)
    >>> target[1, 0, 0] = 1
    >>> pasted, labels, _ = paste_objects(image, target, image[:, :0], torch.tensor([True, True]))
    >>> pasted[0, 0, :5, 0].tolist(), int(labels[0].sum()), torch.equal(labels[1], target[1])
    ([1.0, 1.0, 1.0, 1.0, 0.0], 1, True)
    """
    # The chip before in the batch: a neighbor in the list comes from elsewhere, since batches mix scenes.
    others = [x.roll(1, 0) for x in (image, target, auxiliary)]
    side = 2 * _MARGIN + 1
    # A maximum over a square widens objects, so that their shadow and edge come along.
    reach = F.max_pool2d(_is_object(others[1]).to(image.dtype).unsqueeze(1), side, 1, _MARGIN) > 0
    reach &= takes.to(image.device).view(-1, 1, 1, 1)
    return (
        torch.where(reach, others[0], image),
        torch.where(reach.squeeze(1), others[1], target),
        torch.where(reach, others[2], auxiliary),
    )


def _is_object(target: Tensor) -> Tensor:
    """Neither background nor ignored."""
    return (target > 0) & (target < 255)


def _shuffle_bands(image: Tensor, takes: Tensor, rng: torch.Generator) -> Tensor:
    """The bands of the chips that ``takes`` names in an order of their own."""
    count, bands = image.shape[:2]
    orders = torch.rand(count, bands, generator=rng).argsort(1)
    orders = torch.where(takes.unsqueeze(1), orders, torch.arange(bands)).to(image.device)
    return image[torch.arange(count, device=image.device).unsqueeze(1), orders]


def _mix_styles(image: Tensor, strength: Tensor) -> Tensor:
    """Mean and spread of each band moved toward those of the chip before in the batch, (N,) 0 to 1.

    References
    ----------
    Zhou et al., Domain Generalization with MixStyle, https://arxiv.org/abs/2104.02008 (here on pixels).
    """
    mean, spread = image.mean((2, 3), keepdim=True), image.std((2, 3), keepdim=True)
    share = strength.to(image.device).view(-1, 1, 1, 1)
    wanted_mean = mean + share * (mean.roll(1, 0) - mean)
    wanted_spread = spread + share * (spread.roll(1, 0) - spread)
    # A chip of one color has no spread to scale; it only takes the other's mean.
    mixed = (image - mean) * (wanted_spread / spread.clamp_min(1e-3)) + wanted_mean
    return torch.where(share > 0, mixed, image)


def _turn_hue(image: Tensor, angle: Tensor) -> Tensor:
    """Turn colors about the gray axis (Rodrigues' formula)."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Gray is equal parts of the three bands; a turn about it keeps the mean of a pixel.
    axis = 1 / math.sqrt(3)
    cross = torch.tensor([[0, -axis, axis], [axis, 0, -axis], [-axis, axis, 0]]).to(image)
    matrix = (
        cos.view(-1, 1, 1) * torch.eye(3).to(image)
        + sin.view(-1, 1, 1) * cross
        + (1 - cos).view(-1, 1, 1) * torch.full((3, 3), 1 / 3).to(image)
    )
    return torch.einsum("nij,njhw->nihw", matrix, image)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each chip by its own sigma; 0 leaves it as it is."""
    # Beyond 2.5 sigma a Gaussian holds about one percent of its weight.
    radius = max(1, math.ceil(2.5 * float(sigma.max())))
    # Reflection can't pad by a whole side or more.
    radius = min(radius, min(image.shape[-2:]) - 1)
    steps = torch.arange(-radius, radius + 1).to(image)
    kernel = torch.exp(-(steps**2) / (2 * sigma.clamp_min(1e-3).view(-1, 1) ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    count, bands = image.shape[:2]
    # Chips become channels: one grouped convolution then blurs each by its own kernel.
    weights = kernel.repeat_interleave(bands, 0)
    flat = image.reshape(1, count * bands, *image.shape[-2:])
    flat = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    flat = F.conv2d(flat, weights.view(count * bands, 1, -1, 1), groups=count * bands)
    flat = F.conv2d(flat, weights.view(count * bands, 1, 1, -1), groups=count * bands)
    return flat.view_as(image)


def jpeg_artifacts(image: Tensor, strength: Tensor) -> Tensor:
    """What JPEG would do to each chip: its 8 x 8 cosine coefficients, rounded.

    Parameters
    ----------
    image
        (N, 3, h, w), 0 dark and 1 bright.
    strength
        (N,): 0 leaves a chip alone, 1 is quality 5, evenly in between from quality 95.

    References
    ----------
    ITU-T T.81, annexes A.3.3 and K.1; color is not subsampled here.
    """
    height, width = image.shape[-2:]
    pad = (0, -width % 8, 0, -height % 8)
    to_ycc = torch.tensor(_YCC).to(image)
    x = torch.einsum("ij,njhw->nihw", to_ycc, F.pad(image, pad, mode="replicate") * 255)
    blocks = x.unfold(2, 8, 8).unfold(3, 8, 8)
    # The orthonormal 8 x 8 matrix of the cosine transform (DCT-II).
    k, n = torch.arange(8.0).view(-1, 1), torch.arange(8.0)
    cosines = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    cosines[0] /= math.sqrt(2)
    basis = cosines.to(image)
    # Centered on 0, as the specification does before its transform.
    coefficients = basis @ (blocks - 128) @ basis.T
    quality = 95 - 90 * strength
    # The scale of the Independent JPEG Group, which image libraries call quality.
    scale = torch.where(quality < 50, 50 / quality.clamp_min(1), 2 - quality / 50).view(-1, 1, 1, 1)
    tables = torch.tensor([_LUMA, _CHROMA, _CHROMA]).to(image).view(1, 3, 8, 8)
    steps = (tables * scale).round().clamp_min(1).view(-1, 3, 1, 1, 8, 8)
    restored = basis.T @ ((coefficients / steps).round() * steps) @ basis + 128
    flat = restored.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)
    back = torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_ycc), flat)[..., :height, :width] / 255
    return torch.where((strength > 0).view(-1, 1, 1, 1), back, image)
