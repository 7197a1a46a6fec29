"""Importer of scenes with vector labels: scenes stay whole, labels become figures in pixels.

Labels are brought into the scene's CRS and through its affine. A polygon becomes figures that draw the pixels
whose centers it holds, as training on the vector file itself takes it; lines and points keep their vertices,
half a pixel less than the corners that outlines count from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import shapely

from geoseg.errors import InputError, MissingFileError
from geoseg.io.sources import open_raster
from geoseg.io.vectors import VECTOR_FORMATS, Features, class_name, read_features
from geoseg.projects.figures import Figure, LabeledObject, Line, Point
from geoseg.projects.figures.covering import covered_figures
from geoseg.projects.formats.contents import ImportContents, ImportImage, Shape2d, plain_class
from geoseg.projects.formats.names import list_images
from geoseg.typing import PathLike

__all__ = ["LabelOptions", "pixel_figures", "read_vector_labels"]

#: Shape of a figure by the dimension of its geometry.
_KINDS = {0: "point", 1: "line", 2: "polygon"}


@dataclass(frozen=True)
class LabelOptions:
    """How labels become objects.

    Attributes
    ----------
    class_name
        Class of all objects, unless a column tells it.
    class_column
        Column with the class; rows without a value are left out.
    bitmaps
        Polygons as masks and not as vertices; the pixels are the same.
    layer
        Layer of the label files, where they have several.
    """

    class_name: str = "object"
    class_column: str | None = None
    bitmaps: bool = False
    layer: str | None = None


def read_vector_labels(
    src: PathLike, labels: PathLike | None = None, options: LabelOptions | None = None
) -> ImportContents:
    """Scenes with the objects that vector files draw on them.

    Parameters
    ----------
    src
        A scene, or a folder of them (data set ``ds``) or with subfolders of them (a data set each).
    labels
        Vector file for all scenes. By default each scene's own, of the same stem beside it; or the only
        vector file of the folder.
    options
        Class and form of the objects.

    Raises
    ------
    MissingFileError
        No scene, or a scene without labels.
    InputError
        Labels without a CRS, without the column, or without polygons, lines and points.
    """
    options = options or LabelOptions()
    src = Path(src)
    if src.is_file():
        scenes = [("ds", src)]
    else:
        folders = [src, *sorted(p for p in src.iterdir() if p.is_dir())] if src.is_dir() else [src]
        scenes = [("ds" if f == src else f.name, path) for f in folders for path in list_images(f)]
        if not scenes:
            raise MissingFileError(f"source must hold scenes, got {src} without any.")
    files: dict[PathLike, _Labels] = {}
    images = []
    for dataset, scene in scenes:
        file = labels if labels is not None else _labels_of(scene)
        # One file may serve many scenes and is read once.
        table = files.setdefault(file, _Labels(file, options))
        images.append(ImportImage(dataset, scene.name, scene, partial(table.read, scene)))
    shapes: dict[str, set[str]] = {}
    for table in files.values():
        for title, kinds in table.shapes().items():
            shapes.setdefault(title, set()).update(kinds)
    classes = [plain_class(t, next(iter(k)) if len(k) == 1 else "any") for t, k in sorted(shapes.items())]
    return ImportContents(classes, images, notes=[note for table in files.values() for note in table.notes()])


def _labels_of(scene: Path) -> Path:
    beside = [path for path in sorted(scene.parent.iterdir()) if path.suffix.lower() in VECTOR_FORMATS]
    own = [path for path in beside if path.stem == scene.stem]
    # Several files of one stem: the order of the formats decides, not that of the file system.
    own.sort(key=lambda path: list(VECTOR_FORMATS).index(path.suffix.lower()))
    labels = own[:1] or (beside if len(beside) == 1 else [])
    if not labels:
        raise MissingFileError(
            f"scene {scene.name} must have labels of the same stem beside it ({', '.join(VECTOR_FORMATS)}), "
            f"got {len(beside)} vector files of other names. Name the file with --labels."
        )
    return labels[0]


class _Labels:
    """One vector file, read when first needed."""

    def __init__(self, path: PathLike, options: LabelOptions) -> None:
        # Only noted: a hundred scenes may each have a file of their own.
        self.path, self.options = path, options

    @cached_property
    def features(self) -> Features:
        """Geometry and class of every row that has a geometry."""
        features = read_features(
            self.path, self.options.class_column, layer=self.options.layer, polygons_only=False
        )
        if not any(self._titles(features)):
            raise InputError(f"labels must have rows with a geometry and a class, got {self.path} without.")
        return features

    @cached_property
    def titles(self) -> list[str | None]:
        """Class of each feature; None where it has none."""
        return self._titles(self.features)

    def _titles(self, features: Features) -> list[str | None]:
        if features.values is None:
            return [self.options.class_name] * len(features)
        return [class_name(value) for value in features.values]

    def notes(self) -> list[str]:
        """What was left out of the file, and what was repaired."""
        left_out = self.features.left_out + self.titles.count(None)
        return [
            f"{Path(self.path).name}: {count} {what}"
            for count, what in (
                (left_out, "rows without geometry or class left out"),
                (self.features.repaired, "self-crossing polygons repaired"),
            )
            if count
        ]

    def shapes(self) -> dict[str, set[str]]:
        """Shapes of each class's figures."""
        shapes: dict[str, set[str]] = {}
        dimensions = shapely.get_dimensions(self.features.geometry).tolist()
        for title, dimension in set(zip(self.titles, dimensions, strict=True)):
            if title is not None:
                shape = "bitmap" if dimension == 2 and self.options.bitmaps else _KINDS[dimension]
                shapes.setdefault(title, set()).add(shape)
        return shapes

    def read(self, scene: Path, shape: Shape2d) -> list[LabeledObject]:
        """Objects of one scene, in the order of the file."""
        # By the scene's header: labels are placed without a pixel being read.
        placed = self.features.on(open_raster(scene).geobox, scene.name)
        return [
            LabeledObject(title, figure)
            for index, outline in zip(placed.index, placed.geometry, strict=True)
            if (title := self.titles[index]) is not None
            for figure in pixel_figures(outline, shape, bitmaps=self.options.bitmaps)
        ]


def pixel_figures(outline: Any, shape: Shape2d, *, bitmaps: bool = False) -> Sequence[Figure]:
    """Figures of one outline, cut to the image; none where nothing of it lies inside.

    Parameters
    ----------
    outline
        Valid geometry in pixel corners.
    shape
        (H, W) of the image.
    bitmaps
        Polygons as one mask and not as polygons.

    Examples
    --------
    >>> [figure] = pixel_figures(shapely.box(1, 1, 3, 2), (9, 9), bitmaps=True)
    >>> figure.origin, figure.mask.shape
    ((1, 1), (1, 2))
    >>> pixel_figures(shapely.box(10, 10, 12, 12), (9, 9))
    []
    """
    parts = _single_parts(outline)
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    # As one bitmap they are one object, a MultiPolygon's parts; a polygon can't be in several pieces.
    if polygons:
        groups = [polygons] if bitmaps else [[polygon] for polygon in polygons]
        return [figure for group in groups for figure in covered_figures(group, shape, bitmaps=bitmaps)]
    box = shapely.box(0, 0, shape[1], shape[0])
    # What the cut leaves of lesser dimension (a line's touching end) is no object.
    dimensions = int(shapely.get_dimensions(outline))
    inside = [part for part in _single_parts(shapely.intersection(outline, box)) if not part.is_empty]
    figures: list[Figure] = []
    for part in inside:
        if dimensions == 1 and part.geom_type == "LineString" and part.length > 0:
            figures.append(Line(shapely.get_coordinates(part) - 0.5))
        elif dimensions == 0:
            figures.append(Point(part.x - 0.5, part.y - 0.5))
    return figures


def _single_parts(geometry: Any) -> list[Any]:
    parts = shapely.get_parts(geometry)
    return [
        leaf
        for part in parts
        for leaf in (_single_parts(part) if part.geom_type.startswith(("Multi", "Geo")) else [part])
    ]
