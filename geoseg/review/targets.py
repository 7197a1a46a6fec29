"""What is reviewed: an annotated project, or a scene with footprints. It is only read here."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer

from geoseg.config import read_document
from geoseg.errors import InputError, MissingFileError
from geoseg.files import json_text
from geoseg.io.sources import open_raster
from geoseg.io.vectors import (
    VectorFile,
    beside_scene,
    check_crs_pair,
    class_name,
    open_vector,
    pixel_transform,
)
from geoseg.projects.figures import SHAPES, ClassMeta, ProjectMeta, color_of, is_of_2018
from geoseg.projects.images import ImageFile, open_image
from geoseg.projects.project import Item, Project, open_project
from geoseg.projects.writer import rewrite_meta
from geoseg.raster.source import RasterSource
from geoseg.review.digests import vector_identity
from geoseg.review.objects import ReviewObject, from_entry, round_corners
from geoseg.typing import Array, PathLike
from geoseg.vector.geometry import place_corners

__all__ = ["FootprintRows", "ProjectTarget", "SceneTarget", "open_target"]

_Columns = TypeVar("_Columns", pa.RecordBatch, pa.Table)

#: Class of footprints where neither their file nor the user names one.
_NO_CLASS = "object"


@dataclass(frozen=True)
class FootprintRows:
    """Some footprints of a file.

    Attributes
    ----------
    rows
        (n,) which rows they are; rows without a polygon are left out.
    pixels, ground
        (n,) polygons in pixel corners, and in the file's coordinates.
    classes
        (n,) class of each.
    values
        (n,) all columns as JSON.
    confidence
        (n,) float64, NaN where there is none.
    largest_id
        Of the whole numbers in a column "id", whatever its type; 0 without.
    """

    rows: Array
    pixels: Array
    ground: Array
    classes: list[str]
    values: list[str]
    confidence: Array
    largest_id: int


@dataclass(frozen=True)
class SceneTarget:
    """A scene, with the footprints that a run found on it or without.

    Attributes
    ----------
    scene
        The raster.
    footprints
        The file to be corrected, or None to begin with nothing.
    before
        Another prediction, to compare with.
    classes
        Names of the classes that the page offers beside those of the footprints.
    class_column
        Column that tells the class; None: the column "class", where there is one.
    """

    scene: RasterSource
    footprints: VectorFile | None = None
    before: VectorFile | None = None
    classes: tuple[str, ...] = ()
    class_column: str | None = None
    kind: str = field(default="scene", init=False)

    def __post_init__(self) -> None:
        for source in (self.footprints, self.before):
            if source is not None:
                check_crs_pair(source, self.scene.crs, self.scene.path)
        column = self.class_column
        if column is not None and self.footprints is not None and column not in self.footprints.columns:
            known = ", ".join(self.footprints.columns) or "none"
            raise InputError(f"class column must be one of {known}, got {column!r}.")

    @property
    def title(self) -> str:
        """What the page is called."""
        return self.scene.name

    @property
    def names(self) -> list[str]:
        """Of its images: itself."""
        return [self.scene.name]

    @property
    def crs(self) -> CRS | None:
        """Coordinates of the footprints."""
        return self.footprints.crs if self.footprints is not None else self.scene.crs

    @property
    def column(self) -> str | None:
        """Column of the class, where there is one."""
        columns = () if self.footprints is None else self.footprints.columns
        return self.class_column or ("class" if "class" in columns else None)

    @property
    def default_class(self) -> str:
        """Class of footprints whose file tells none: the first that was named."""
        return self.classes[0] if self.classes else _NO_CLASS

    def identity(self) -> dict[str, Any]:
        """What makes it the same target: the scene's pixels, the files' bytes."""
        files = {"footprints": self.footprints, "before": self.before}
        hashes = {name: None if source is None else vector_identity(source) for name, source in files.items()}
        return {"kind": self.kind, "fingerprint": self.scene.fingerprint(), **hashes}

    def open_image(self, name: str) -> RasterSource:
        """The scene."""
        return self.scene

    def image_version(self, name: str) -> str:
        """What changes when the image does: of a scene nothing, as its review is of these pixels."""
        return ""

    def to_ground(self) -> Callable[[Array], Array]:
        """From pixel corners (n, 2) to the coordinates of the footprints."""
        geobox, crs = self.scene.geobox, self.crs
        same = crs is None or geobox.crs is None or crs == geobox.crs
        project = None if same else Transformer.from_crs(geobox.crs, crs, always_xy=True).transform

        def placed(xy: Array) -> Array:
            ground = place_corners(xy, geobox.transform[:6])
            return ground if project is None else np.stack(project(*ground.T), axis=1)

        return placed

    def read(self, source: VectorFile) -> Iterator[FootprintRows]:
        """Footprints of a file, some thousands at a time."""
        to_pixels = pixel_transform(source.crs, self.scene.geobox)
        column = self.column if self.column in source.columns else None
        first = 0
        for geometry, batch in source.records(8192):
            batch = _plain_columns(batch)
            flat = beside_scene(shapely.force_2d(geometry), source.crs, self.scene.geobox)
            pixels = shapely.transform(flat, to_pixels, interleaved=False)
            finite = np.isfinite(shapely.bounds(pixels)).all(axis=1)  # of missing and empty ones it is NaN
            # Types 3 and 6 are polygons and multipolygons; points and lines are no footprints.
            keep = np.flatnonzero(finite & np.isin(shapely.get_type_id(flat), (3, 6)))
            rows = batch.take(pa.array(keep)).to_pylist()
            names = [class_name(row[column]) if column else None for row in rows]
            yield FootprintRows(
                first + keep,
                # On the lattice for editing; the file's own coordinates stand beside it, and are what an
                # export writes.
                shapely.transform(pixels[keep], round_corners),
                flat[keep],
                [name or self.default_class for name in names],
                [json_text({name: _plain(value) for name, value in row.items()}) for row in rows],
                np.array([_confidence(row.get("confidence")) for row in rows], np.float64),
                max((_id_number(row.get("id")) for row in rows), default=0),
            )
            first += len(geometry)

    def schema(self) -> list[tuple[str, str]]:
        """Columns of the footprints and their Arrow types."""
        if self.footprints is None:
            return []
        # Of the file and not of a row: one in which nothing was found has columns as well.
        plain = _plain_columns(self.footprints.schema().empty_table())
        return [(field.name, str(field.type)) for field in plain.schema]


def _plain_columns(batch: _Columns) -> _Columns:
    """Columns of values; lists and structures, as the bounds in a GeoParquet file, are none."""
    return batch.select([field.name for field in batch.schema if not pa.types.is_nested(field.type)])


def _confidence(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else np.nan


def _id_number(value: Any) -> int:
    """The whole number that an id is, also as a text and in a column of floats; 0 where it is none."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 19 else 0
    is_whole = isinstance(value, int | float) and float(value).is_integer() and abs(value) < 2**63
    return int(value) if is_whole else 0


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@dataclass(frozen=True)
class ProjectTarget:
    """An annotated project.

    Attributes
    ----------
    project
        The project.
    before
        Another one with images of the same names, to compare with.
    """

    project: Project
    before: Project | None = None
    kind: str = field(default="project", init=False)

    @property
    def title(self) -> str:
        """What the page is called."""
        return self.project.name

    @cached_property
    def items(self) -> dict[str, Item]:
        """Its images by DATASET/NAME."""
        return _items(self.project)

    @cached_property
    def _others(self) -> dict[str, Item]:
        return {} if self.before is None else _items(self.before)

    @property
    def names(self) -> list[str]:
        """Names of its images."""
        return list(self.items)

    @property
    def meta(self) -> ProjectMeta:
        """Classes and tags."""
        return self.project.meta

    def identity(self) -> dict[str, Any]:
        """A project is the same while it lies in one place, whatever is drawn in it."""
        return {"kind": self.kind, "path": str(self.project.path.resolve())}

    def item(self, name: str) -> Item:
        """An image.

        Raises
        ------
        MissingFileError
            It has left the project.
        """
        if name not in self.items or not self.items[name].image.is_file():
            raise MissingFileError(f"image must be in the project, got {name}, which is gone. Put it back.")
        return self.items[name]

    def open_image(self, name: str) -> ImageFile:
        """An image."""
        return _opened(self.item(name).image, self.image_version(name))

    def image_version(self, name: str) -> str:
        """What changes when the image's file is another: its size in bytes and its time."""
        facts = self.item(name).image.stat()
        return f"{facts.st_size:x}-{facts.st_mtime_ns:x}"

    def annotation_path(self, name: str) -> tuple[Path, bool]:
        """Annotation file of an image, there or not yet, and whether it has the form of 2018."""
        item = self.item(name)
        path = item.annotation or item.image.parent.parent / "ann" / f"{item.name}.json"
        legacy = path.name != f"{item.name}.json"
        return path, legacy and (not path.is_file() or is_of_2018(read_document(path)))

    def read(self, name: str, *, first_id: int, image: int) -> tuple[list[ReviewObject], list[Any]]:
        """Objects of an image with ids from ``first_id``, and its tags.

        Raises
        ------
        InputError
            The annotation is none, or is of an image of another size.
        """
        return _read(self.project, self.item(name), self.annotation_path(name)[0], first_id, 1, image)

    def read_before(self, name: str, image: int) -> list[ReviewObject]:
        """Objects of the image of that name in the other project, with ids from -1 downwards."""
        other = self._others.get(name)
        if self.before is None or other is None or other.annotation is None:
            return []
        return _read(self.before, other, other.annotation, -1, -1, image)[0]


def _read(
    project: Project, item: Item, path: Path, first: int, step: int, image: int
) -> tuple[list[ReviewObject], list[Any]]:
    if not path.is_file():
        return [], []
    document = read_document(path)
    annotation = project.annotation(replace(item, annotation=path))
    objects = []
    for number, (entry, labeled) in enumerate(zip(document.get("objects") or (), annotation.objects)):
        figure = labeled.figure
        # A polygon of one or two corners covers pixels in a project; nobody can edit it as a polygon.
        is_thin = figure.kind == "polygon" and len(figure.parts()[0]) < 3
        read = from_entry(entry, "point" if is_thin else figure.kind, first + step * number, image)
        objects.append(replace(read, order=float(number)))
    return objects, list(document.get("tags") or [])


def _items(project: Project) -> dict[str, Item]:
    return {f"{dataset.name}/{item.name}": item for dataset in project.datasets for item in dataset.items}


#: Decoded pictures of a project that stay in memory: the one that is looked at, and its neighbors.
@lru_cache(maxsize=3)
def _opened(path: Path, version: str) -> ImageFile:
    return open_image(path)


def open_target(
    path: PathLike,
    *,
    footprints: PathLike | None = None,
    before: PathLike | None = None,
    classes: Sequence[str] = (),
    class_column: str | None = None,
) -> SceneTarget | ProjectTarget:
    """What ``geoseg review`` is given: a folder with ``meta.json`` is a project, all else a scene.

    Parameters
    ----------
    path
        Project or scene.
    footprints
        Vector file to be corrected, of a scene.
    before
        Another prediction of the same, to compare with: a vector file, or a project.
    classes
        Classes to be had beside those that are there. A project's, as NAME or NAME:SHAPE, go to its
        ``meta.json``.
    class_column
        Column of the footprints that tells the class.

    Raises
    ------
    GeosegError
        Something is not there, can't be read, or does not belong together.
    """
    if any(not text.partition(":")[0] for text in classes):
        raise InputError("classes must be names separated by commas, got an empty one. Leave it out.")
    folder = Path(path)
    # The second name is that of the oldest form of projects.
    if not any((folder / name).is_file() for name in ("meta.json", "classes.json")):
        return SceneTarget(
            open_raster(path),
            None if footprints is None else open_vector(footprints),
            None if before is None else open_vector(before),
            tuple(classes),
            class_column,
        )
    if footprints is not None or class_column is not None:
        raise InputError("footprints belong to a scene, and a project holds its own. Leave --footprints out.")
    project = open_project(folder)
    meta = project.meta
    for text in classes:
        name, _, shape = text.partition(":")
        if shape and shape not in (*SHAPES, "any"):
            raise InputError(f"shape of a class must be one of {', '.join(SHAPES)} or any, got {shape!r}.")
        # A class that is there keeps its shape: objects of it have that shape.
        if meta.find_class(name) is None:
            meta = meta.with_class(ClassMeta(name, shape or "any", color_of(name)))
    if meta != project.meta:
        rewrite_meta(folder, meta)
    return ProjectTarget(replace(project, meta=meta), None if before is None else open_project(before))
