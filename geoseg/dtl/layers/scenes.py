"""Layers for scenes: labels from vector files, spatial splits, nodata, ground resolution."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import shapely
from pydantic import Field, field_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.dtl.layers.drawing import row_windows
from geoseg.dtl.pixels import Shape
from geoseg.dtl.randomness import derive, generator
from geoseg.dtl.registry import Count, LayerSettings, layer
from geoseg.dtl.reproject import reprojected
from geoseg.dtl.sample import Sample
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.io.vectors import class_name, read_features, split_layer
from geoseg.projects.figures import ClassMeta, LabeledObject, ProjectMeta, color_of
from geoseg.projects.figures.covering import covered_figures
from geoseg.projects.project import safe_join

Output = Iterator[tuple[int, Sample]]
_FIELDS = ("project", "dataset", "name")


class RasterizeVectorSettings(LayerSettings):
    """Where labels come from and what they become.

    Attributes
    ----------
    file
        Vector file inside the projects' folder, or ``FILE|LAYER``; ``{project}``, ``{dataset}`` and
        ``{name}`` (without extension) stand for the image's own.
    class_name
        Class of all objects, or, with ``class_column``, of those whose column is empty.
    class_column
        Column with each object's class; only ``classes`` are taken.
    shape
        Bitmaps of the pixels whose centers lie inside, or polygons that draw the same pixels.
    """

    file: str = Field(pattern=r"^[^\x00-\x1f]{1,1000}$")
    class_name: str | None = Field(default=None, alias="class", min_length=1)
    class_column: str | None = None
    classes: list[str] = Field(default_factory=list)
    shape: Literal["bitmap", "polygon"] = "bitmap"
    missing: Literal["error", "empty"] = "error"

    @field_validator("file")
    @classmethod
    def _fields(cls, value: str) -> str:
        for _, name, form, conversion in string.Formatter().parse(value):
            if name is not None and (name not in _FIELDS or form or conversion):
                known = ", ".join(f"{{{field}}}" for field in _FIELDS)
                raise ValueError(f"only {known} are replaced, got {{{name}}}")
        return value

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        names = [*([self.class_name] if self.class_name else []), *self.classes]
        if not names or (self.class_column is None) != (not self.classes):
            raise InputError("give class, or class_column with the list of classes to take.")
        for name in names:
            meta = meta.with_class(ClassMeta(name, self.shape, color_of(name)))
        return meta


@layer("rasterize_vector", RasterizeVectorSettings)
def rasterize_vector(sample: Sample, settings: RasterizeVectorSettings, rng: np.random.Generator) -> Output:
    """Add the polygons of a vector file to a georeferenced scene, as bitmaps or as polygons.

    The file may have another CRS; without any its coordinates are pixels, x to the right and y down.
    """
    sample.check_frame()
    origin = sample.origin
    place = settings.file.format(project=origin.project, dataset=origin.dataset, name=origin.stem)
    objects = list(sample.objects)
    # Names of images are put into the path and may come from anywhere: it must stay in the projects' folder.
    path = safe_join(origin.root, place, "file")
    if settings.missing == "empty" and not split_layer(path)[0].exists():
        yield 0, sample
        return
    labels = read_features(path, settings.class_column)
    placed = labels.on(sample.geobox, origin.name)
    for index, shape in zip(placed.index, placed.geometry, strict=True):
        name = settings.class_name
        if labels.values is not None:
            title = class_name(labels.values[index])
            # Empty cells go to the class without a column, other values of the column to none.
            name = title if title in settings.classes else (settings.class_name if title is None else None)
        if name is not None:
            for part in shapely.get_parts(shape):  # an object a part
                figures = covered_figures([part], sample.shape, bitmaps=settings.shape == "bitmap")
                objects += [LabeledObject(name, figure) for figure in figures]
    yield 0, sample.with_objects(objects)


class SplitSpatialSettings(LayerSettings):
    """Blocks of the scene and how they are dealt out.

    Attributes
    ----------
    block
        Side of a block, in pixels of the scene.
    val_share
        Probability of a block to be for validation.
    buffer
        Pixels that keep the two apart.
    """

    branches: ClassVar[int] = 2
    block: int = Field(ge=1)
    val_share: float = Field(ge=0, le=1)
    buffer: int = Field(default=0, ge=0)

    def plan_count(self, shape: Shape | None) -> Count:
        return 0, 1


@layer("split_spatial", SplitSpatialSettings)
def split_spatial(sample: Sample, settings: SplitSpatialSettings, rng: np.random.Generator) -> Output:
    """Deal samples to train (first name in ``dst``) or validation (second) by where they lie in their scene.

    The scene is cut into blocks, each drawn once for all samples and epochs. A sample is for validation where
    all blocks under it are, for training where none is within ``buffer`` pixels of it; samples in between are
    left out. So no pixel is on both sides, however often a scene was cropped or flipped. A block larger than
    the image splits whole images.
    """
    # Where the pixels come from, not how they are laid down: turned and scaled copies are judged alike.
    window = sample.pixels.source_window
    own = _blocks(window, settings, sample, 0)
    near = _blocks(window, settings, sample, settings.buffer)
    if all(own):
        yield 1, sample
    elif not any(near):
        yield 0, sample


def _blocks(window: Window, settings: SplitSpatialSettings, sample: Sample, buffer: int) -> Iterator[bool]:
    """Whether each block under a grown window is for validation."""
    height, width = sample.pixels.source.geobox.shape
    grown = window.grown(buffer).clipped(height, width)
    for row in range(grown.row_off // settings.block, (grown.row_end - 1) // settings.block + 1):
        for col in range(grown.col_off // settings.block, (grown.col_end - 1) // settings.block + 1):
            # From the image's key, so every sample and every epoch finds the same answer for a block.
            draw = generator(derive(sample.origin.key, "split_spatial", settings.block, row, col)).random()
            yield bool(draw < settings.val_share)


class FilterValidSettings(LayerSettings):
    """Smallest share of pixels with data."""

    min_share: float = Field(ge=0, le=1)

    def plan_count(self, shape: Shape | None) -> Count:
        return 0, 1


@layer("filter_valid", FilterValidSettings)
def filter_valid(sample: Sample, settings: FilterValidSettings, rng: np.random.Generator) -> Output:
    """Drop samples in which too few pixels have data: nodata, transparent and outside pixels have none."""
    height, width = sample.shape
    # In strips: the mask of a scene of many gigapixels would not fit.
    count = sum(np.count_nonzero(sample.pixels.valid(strip)) for strip in row_windows(sample.shape))
    if count / (height * width) >= settings.min_share:
        yield 0, sample


class ResampleSettings(LayerSettings):
    """Size of a pixel on the ground."""

    gsd_m: float = Field(gt=0, description="Meters.")

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return None


@layer("resample", ResampleSettings, pixels=True)
def resample(sample: Sample, settings: ResampleSettings, rng: np.random.Generator) -> Output:
    """Resize a georeferenced sample to a ground resolution."""
    box = sample.geobox
    if box.ground_resolution() is None:
        raise InputError(
            f"image must have a CRS for resample, got {sample.origin.name} without. Use resize for it."
        )
    target = box.at_resolution(settings.gsd_m)
    # A resolution in centimeters where meters are meant.
    if target.height * target.width > 100 * 100 * box.height * box.width:
        raise InputError(
            f"gsd_m must be at most 100 times finer than the image, got {settings.gsd_m:g}. It is in meters."
        )
    yield 0, sample.resized(target.shape)


class ReprojectSettings(LayerSettings):
    """CRS of the result and size of its pixels."""

    crs: str
    gsd: float | None = Field(
        default=None, gt=0, description="In units of the CRS; None keeps about the pixels."
    )

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return None

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        # An unknown CRS is told before the first image is read.
        self.target()
        return meta

    def target(self) -> CRS:
        """The CRS.

        Raises
        ------
        InputError
            It is not known.
        """
        try:
            return CRS.from_user_input(self.crs)
        except CRSError as error:
            raise InputError(
                f"crs must be known to PROJ, like EPSG:32633, got {self.crs!r}: {error}."
            ) from None


@layer("reproject", ReprojectSettings, pixels=True)
def reproject(sample: Sample, settings: ReprojectSettings, rng: np.random.Generator) -> Output:
    """Bring a georeferenced sample to another CRS, north up; bitmaps by nearest pixel, black outside."""
    yield 0, reprojected(sample, settings.target(), settings.gsd)
