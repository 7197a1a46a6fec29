"""Statistics of an annotated project: what its classes cover, how large objects are, what occurs together."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.windows import iter_chunks
from geoseg.projects.figures import Annotation
from geoseg.projects.formats.export import objects_in
from geoseg.projects.formats.rings import drawn_area
from geoseg.projects.formats.transfer import Failure
from geoseg.projects.project import open_project
from geoseg.raster.draw import draw_figures
from geoseg.typing import IntArray, PathLike, Progress, no_progress

__all__ = ["ClassStats", "DatasetStats", "ProjectStats", "SizeStats", "project_stats", "size_stats"]

#: Side of the pieces that an image is drawn in, pixels: 8 MB each.
_CHUNK = 2048
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class SizeStats:
    """How large objects are, in pixels of area.

    Attributes
    ----------
    count, smallest, largest, mean
        Over the objects with an area.
    quantiles
        At 5, 25, 50, 75 and 95 %.
    octaves
        From the power of two to the number of objects of at least that size and less than twice that.
    """

    count: int
    smallest: float
    largest: float
    mean: float
    quantiles: dict[str, float]
    octaves: dict[int, int]


@dataclass
class ClassStats:
    """One class, in a data set or in the whole project.

    Attributes
    ----------
    images
        Images with at least one object.
    objects
        Objects.
    area_px
        Pixels the class shows, later objects over earlier ones, as training sees them.
    """

    images: int = 0
    objects: int = 0
    area_px: int = 0


@dataclass
class DatasetStats:
    """One data set.

    Attributes
    ----------
    images, objects, pixels
        Totals.
    labeled_images
        Images with at least one object.
    unlabeled_px
        Pixels without any object.
    classes
        By title.
    """

    images: int = 0
    objects: int = 0
    pixels: int = 0
    labeled_images: int = 0
    unlabeled_px: int = 0
    classes: dict[str, ClassStats] = field(default_factory=dict)

    @property
    def unlabeled_share(self) -> float:
        """Share of pixels without any object; 0 where there are no pixels."""
        return self.unlabeled_px / self.pixels if self.pixels else 0.0

    def add(self, other: DatasetStats) -> None:
        """Add the figures of another data set, or of one image."""
        self.images += other.images
        self.objects += other.objects
        self.pixels += other.pixels
        self.labeled_images += other.labeled_images
        self.unlabeled_px += other.unlabeled_px
        for title, stats in other.classes.items():
            mine = self.classes.setdefault(title, ClassStats())
            mine.images += stats.images
            mine.objects += stats.objects
            mine.area_px += stats.area_px


@dataclass
class ProjectStats:
    """All figures of a project.

    Attributes
    ----------
    project
        Its name.
    total
        Over all data sets.
    datasets
        By name.
    sizes
        By class: areas of its objects.
    co_occurrence
        From class to class: images that have both; on the diagonal, images that have the class.
    tags
        From tag to images that carry it.
    failures
        Images that could not be read; they count nowhere.
    """

    project: str
    total: DatasetStats = field(default_factory=DatasetStats)
    datasets: dict[str, DatasetStats] = field(default_factory=dict)
    sizes: dict[str, SizeStats] = field(default_factory=dict)
    co_occurrence: dict[str, dict[str, int]] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        document = asdict(self)
        for name, stats in (("total", self.total), *self.datasets.items()):
            entry = document["total"] if stats is self.total else document["datasets"][name]
            entry["unlabeled_share"] = stats.unlabeled_share
        return document


def project_stats(path: PathLike, *, progress: Progress = no_progress) -> ProjectStats:
    """Go through a project once, one image at a time; of the images only the headers are read.

    Parameters
    ----------
    path
        Folder of the project.
    progress
        Told after each image.

    Raises
    ------
    InputError
        The project can't be opened.
    """
    project = open_project(path)
    stats = ProjectStats(Path(path).resolve().name)
    titles = project.meta.class_names
    pairs = np.zeros((len(titles), len(titles)), np.int64)
    areas: dict[str, list[float]] = {title: [] for title in titles}
    tags: Counter[str] = Counter()
    # Classes without objects are shown with zeros: what is missing is worth knowing.
    empty = DatasetStats(classes={title: ClassStats() for title in titles})
    stats.total.add(empty)
    for index, item in enumerate(project):
        progress("stats", index, len(project))
        try:
            annotation = project.annotation(item)
        except (InputError, OSError) as error:
            stats.failures.append(Failure(f"{item.dataset}/{item.name}", str(error)))
            continue
        objects = Counter(entry.class_name for entry in annotation.objects)
        shown = _shown_pixels(annotation, titles)
        of_image = DatasetStats(
            1,
            len(annotation.objects),
            annotation.height * annotation.width,
            int(bool(annotation.objects)),
            int(shown[0]),
            {
                title: ClassStats(int(objects[title] > 0), objects[title], int(shown[index]))
                for index, title in enumerate(titles, 1)
            },
        )
        stats.datasets.setdefault(item.dataset, DatasetStats()).add(empty)
        stats.datasets[item.dataset].add(of_image)
        stats.total.add(of_image)
        present = np.array([objects[title] > 0 for title in titles], np.int64)
        pairs += np.outer(present, present)
        # A set: an image of 2018 may carry a tag twice.
        tags.update({tag.name for tag in annotation.tags})
        for entry in annotation.objects:
            areas[entry.class_name].append(drawn_area(entry.figure))
    progress("stats", len(project), len(project))
    stats.sizes = {title: size_stats(np.array(values)) for title, values in areas.items()}
    stats.co_occurrence = {
        title: dict(zip(titles, row, strict=True)) for title, row in zip(titles, pairs.tolist(), strict=True)
    }
    stats.tags = dict(sorted(tags.items()))
    return stats


def _shown_pixels(annotation: Annotation, titles: tuple[str, ...]) -> IntArray:
    """Pixels without object, then pixels of each class, later objects over earlier ones."""
    order = {title: index for index, title in enumerate(titles, 1)}
    counts = np.zeros(len(titles) + 1, np.int64)
    # Drawn piece by piece, so that an image of any size takes the memory of one piece.
    for window in iter_chunks(annotation.height, annotation.width, _CHUNK):
        objects = objects_in(annotation, window)
        # Most pieces of a large scene are empty, and need not be drawn to know it.
        if not objects:
            counts[0] += window.height * window.width
            continue
        figures, values = [item.figure for item in objects], [order[item.class_name] for item in objects]
        # 16 bits: a project may have more than 255 classes.
        drawn = draw_figures(figures, values, window, dtype=np.uint16)
        counts += np.bincount(drawn.ravel(), minlength=len(counts))
    return counts


def size_stats(areas: Any) -> SizeStats:
    """Distribution of areas; those without area (lines, points) are left out.

    Parameters
    ----------
    areas : (n,) float
        In pixels.

    Examples
    --------
    >>> size_stats([1.0, 4.0, 5.0, 0.0]).octaves
    {1: 1, 4: 2}
    >>> size_stats([]).count
    0
    """
    values = np.asarray(areas, np.float64)
    values = values[values > 0]
    if not values.size:
        return SizeStats(0, 0.0, 0.0, 0.0, {}, {})
    cuts = np.quantile(values, _QUANTILES)
    quantiles = {f"{round(100 * q)}%": float(cut) for q, cut in zip(_QUANTILES, cuts, strict=True)}
    powers, counts = np.unique(np.floor(np.log2(np.maximum(values, 1))).astype(int), return_counts=True)
    octaves = {2 ** int(power): int(count) for power, count in zip(powers, counts, strict=True)}
    return SizeStats(
        len(values), float(values.min()), float(values.max()), float(values.mean()), quantiles, octaves
    )
