"""Settings of where chips come from: scenes and labels, split, sampler, augmentation."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from geoseg.config import Settings

__all__ = [
    "AugmentSettings",
    "ClassSettings",
    "SamplerSettings",
    "SceneSettings",
    "SplitSettings",
    "TrainingDataSettings",
]


class ClassSettings(Settings):
    """One class besides the background.

    Attributes
    ----------
    name
        Title of the class.
    values
        What stands for it: values of ``data.class_column``, pixel values of a mask, or titles of a
        project. None: the name itself, or everything where there is one class.
    color
        What stands for it in masks in colors, ``#rrggbb``.
    """

    name: str = Field(min_length=1)
    values: tuple[int | str, ...] | None = None
    color: str | None = Field(default=None, pattern="^#[0-9a-fA-F]{6}$")


class SceneSettings(Settings):
    """A scene and its labels.

    Attributes
    ----------
    path
        The scene; ``*`` and ``?`` match several.
    labels
        Vector file or mask raster; ``{stem}`` stands for the scene's name without suffix.
    aoi
        Vector file of the fully labeled ground; pixels outside teach nothing, whether labels are vectors
        or a mask. ``{stem}`` as in ``labels``.
    bands
        1-based bands to read; None for all.
    part
        ``train`` or ``val`` puts the whole scene on one side; ``auto`` leaves it to the split.
    gsd
        Ground meters per pixel of a scene without a CRS (a photo, a chip); None: not known.
    weight
        How often its windows are drawn, times what ``sampler.balance`` gives.
    instances
        Whether the labels tell touching objects apart. Where they don't, as in most masks, auxiliary outputs
        learn nothing from the scene: a block of houses would count as one.
    """

    path: str
    labels: str
    aoi: str | None = None
    bands: tuple[int, ...] | None = None
    gsd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    part: Literal["auto", "train", "val"] = "auto"
    weight: float = Field(default=1.0, ge=1e-6, le=1e6, allow_inf_nan=False)
    instances: bool = True


class SplitSettings(Settings):
    """What is trained on and what is validated on.

    Attributes
    ----------
    by
        ``tags`` of a project's images, whole ``file`` or spatial ``blocks``; ``auto``: tags for a
        project, file where any scene has a part or ``val`` names one, blocks otherwise.
    val
        Names (file stems) of the scenes or images to validate on, for ``file``.
    val_fraction
        Share of files or of blocks to validate on.
    block_chips
        Side of a block in chips, for ``blocks``.
    buffer_px
        Pixels around a validation block that no training chip may touch.
    """

    by: Literal["auto", "tags", "file", "blocks"] = "auto"
    val: tuple[str, ...] = ()
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    block_chips: int = Field(default=2, ge=1)
    # Without it a training chip could end at a validation block, in the middle of a house.
    buffer_px: int = Field(default=32, ge=0)


class TrainingDataSettings(Settings):
    """Sources of chips: ``scenes``, an annotated ``project``, ``images`` with ``masks``, or a ``dtl`` graph.

    Attributes
    ----------
    dtl
        DTL graph whose samples are taken as they come, without writing them; ``projects`` is the folder of
        the projects it reads. What it draws at random is drawn anew in each epoch, but for its choices of
        ``if`` and ``split_spatial``; what validation looks at stays.
    gsd
        Ground meters per pixel of ``images`` without a CRS, where they are known and the same for all.
    class_column
        Column of the vector labels that holds the class; None where there is one class for all. The first
        of the classes is drawn first, so the later wins where labels overlap.
    other
        Labels of no listed class: an ``error``, ``background``, or ``ignore`` (they teach nothing).
    fit
        ``resize`` shrinks or stretches every image to ``input_size`` (the tutorials' way, aspect not
        kept); ``crop`` draws windows of that size. None: resize for a project, crop otherwise.
    gap
        Whether touching objects, also of different classes, are parted in the targets of training by a line
        of background, one pixel of the chip wide before it is augmented, so that the network learns to keep
        them apart. Validation goes by the labels as they are.
    """

    scenes: tuple[SceneSettings, ...] = ()
    project: str | None = None
    dtl: str | None = None
    projects: str | None = None
    images: str | None = None
    masks: str | None = None
    gsd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    class_column: str | None = None
    other: Literal["error", "background", "ignore"] = "error"
    fit: Literal["resize", "crop"] | None = None
    gap: bool = False
    split: SplitSettings = SplitSettings()

    @field_validator("scenes", mode="before")
    @classmethod
    def _one_scene(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.images is None) != (self.masks is None):
            raise ValueError("images and masks must be given together.")
        if self.gsd is not None and self.images is None:
            raise ValueError("gsd goes with images and masks. State that of a scene in data.scenes[].gsd.")
        if (self.dtl is None) != (self.projects is None):
            raise ValueError("dtl must come with projects, the folder of the projects that it reads.")
        # Several sources would need a rule for whose classes and whose bands count.
        given = [name for name in ("scenes", "project", "images", "dtl") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"data must have one source, got {' and '.join(given)}.")
        return self

    @property
    def stretches(self) -> bool:
        """Whether whole images are stretched to the size of a chip, which the network's card then states."""
        return self.fit == "resize" or (self.fit is None and bool(self.project or self.dtl))

    @property
    def empty(self) -> bool:
        """True where no source is named."""
        return not (self.scenes or self.project or self.images or self.dtl)


class SamplerSettings(Settings):
    """How training windows are drawn.

    Attributes
    ----------
    chips_per_epoch
        Chips in an epoch; None: as many as would tile the labeled ground twice.
    foreground
        Share of windows placed on an object; the others lie anywhere in the labeled ground.
    balance
        Scenes are drawn ``equal``-ly often, by ``area``, or by its root (``sqrt``).
    region_px
        Windows near one another, within squares of this side, are drawn one after another so that
        decoded file blocks are used again; 0 shuffles freely.
    min_known
        Smallest share of a window that must be labeled ground.
    """

    chips_per_epoch: int | None = Field(default=None, ge=1)
    # In most scenes objects cover little: drawn evenly, most windows would hold none.
    foreground: float = Field(default=0.5, ge=0, le=1)
    # The root lies between: a large scene shows more, but not in proportion to its area.
    balance: Literal["equal", "area", "sqrt"] = "sqrt"
    region_px: int = Field(default=1024, ge=0)
    min_known: float = Field(default=0.25, ge=0, le=1)


class AugmentSettings(Settings):
    """Strength of each augmentation; 0 or false leaves it out.

    Auxiliary targets move, turn and are pasted with their pixels and are not worked out anew: rims, contacts
    and distances grow with a zoom, and those of the ground and the objects beside a pasted object keep their
    former values, as if it were not there.

    Attributes
    ----------
    flips
        The eight flips and quarter turns (four where chips are not square).
    scale
        Zoom between 1 / (1 + scale) and 1 + scale, evenly on a logarithmic scale.
    shift
        Largest shift, in sides of the chip.
    rotate
        Largest turn in degrees, either way.
    brightness
        Largest offset, as a share of full brightness.
    contrast
        Contrast between 1 / (1 + contrast) and 1 + contrast.
    gamma
        Exponent of brightness between 1 / (1 + gamma) and 1 + gamma.
    tint
        Largest offset of each band by itself, as a share of full brightness.
    shuffle
        Share of chips whose bands change places, so that the network goes by shape more than by color.
    style
        Share of chips that take over mean and contrast of each band from another chip of the batch, in part
        or whole; batches must hold two chips at least.
    mixup
        Largest share of another chip of the batch in each chip's pixels, drawn anew for each batch; the loss
        counts the labels of both by their shares. Batches must hold two chips at least.
    gray
        Share of chips that lose part or all of their color, three bands only.
    hue
        Largest turn of the color circle in degrees, three bands only.
    saturation
        Color strength between 1 / (1 + saturation) and 1 + saturation, three bands only.
    noise
        Largest standard deviation of Gaussian noise, as a share of full brightness.
    blur
        Largest standard deviation of a Gaussian blur, pixels.
    jpeg
        Worst JPEG: 0 none, 1 quality 5; three bands only.
    coarse
        Largest loss of resolution: chips are shrunk by up to 1 + coarse and enlarged again, so that things
        keep their size and lose their detail, as where a scene coarser than the network's sampling distance
        is read for it. Noise and JPEG of such a chip fall on the small picture.
    share
        Share of chips that noise, blur, loss of resolution and JPEG are each applied to.
    paste
        Share of chips that take the objects of another chip of the batch, with a margin of ground; batches
        must hold two chips at least.
    repaint
        Share of chips whose objects change color apart from their ground: brightness, contrast, gamma, tint,
        saturation and hue are drawn for each, so one of them must be given.
    """

    flips: bool = False
    scale: float = Field(default=0.0, ge=0, le=3)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    rotate: float = Field(default=0.0, ge=0, le=180)
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=3)
    gamma: float = Field(default=0.0, ge=0, le=3)
    tint: float = Field(default=0.0, ge=0, le=1)
    shuffle: float = Field(default=0.0, ge=0, le=1)
    style: float = Field(default=0.0, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0, le=0.5)
    gray: float = Field(default=0.0, ge=0, le=1)
    hue: float = Field(default=0.0, ge=0, le=180)
    saturation: float = Field(default=0.0, ge=0, le=3)
    noise: float = Field(default=0.0, ge=0, le=1)
    blur: float = Field(default=0.0, ge=0, le=10)
    jpeg: float = Field(default=0.0, ge=0, le=1)
    coarse: float = Field(default=0.0, ge=0, le=7)
    # Most chips stay as sharp as the scenes that the network will see.
    share: float = Field(default=0.3, ge=0, le=1)
    paste: float = Field(default=0.0, ge=0, le=1)
    repaint: float = Field(default=0.0, ge=0, le=1)

    @field_validator("repaint")
    @classmethod
    def _some_color(cls, value: float, info: ValidationInfo) -> float:
        colors = ("brightness", "contrast", "gamma", "tint", "hue", "saturation")
        if value and not any(info.data.get(name) for name in colors):
            raise ValueError(
                f"must be 0 where {', '.join(colors[:-1])} and {colors[-1]} are 0, since objects get new "
                f"ones, got {value}. Give one of them a strength."
            )
        return value
