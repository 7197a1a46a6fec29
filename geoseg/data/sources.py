"""Areas to train on, opened from what a config names."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.data.chips import Area
from geoseg.data.classes import ClassTable, class_table, project_table
from geoseg.data.digests import is_raster, item_files, labels_digest, stamp_files
from geoseg.data.mask_grids import mask_truth, missed_scene
from geoseg.data.settings import ClassSettings, SceneSettings, TrainingDataSettings
from geoseg.data.truth import AoiTruth, FigureTruth, MaskTruth, VectorTruth
from geoseg.errors import ConfigError, InputError, MissingFileError
from geoseg.files import json_digest
from geoseg.io.band_names import stored_names
from geoseg.io.sources import open_raster
from geoseg.io.vectors import class_name, read_features
from geoseg.projects.figures import Annotation, ProjectMeta, format_color
from geoseg.projects.project import composed, open_project, read_annotation
from geoseg.raster.classes import IGNORE
from geoseg.raster.source import PixelSource, RasterSource

__all__ = [
    "Opened",
    "Wanted",
    "annotated_area",
    "check_alike",
    "images_opened",
    "open_areas",
    "present_classes",
    "titles_table",
]

_ONE_CLASS = "object"

#: What to do about files of unlike bands: only scenes have a list of the bands to read.
_CHOOSE = "Choose them with data.scenes[].bands."
_REWRITE = "Write them alike, such as with gdal_translate -b 3 -b 2 -b 1."


@dataclass(frozen=True)
class Wanted:
    """What of a config decides how sources are opened.

    Attributes
    ----------
    base
        Folder that relative paths start from.
    resolution
        Meters per pixel to read scenes at; None as stored.
    classes
        From the config; empty takes a project's own, or one class for all labels.
    """

    data: TrainingDataSettings
    base: Path
    classes: tuple[ClassSettings, ...] = ()
    resolution: float | None = None
    background: str = "bg"
    neutral: str = "neutral"


@dataclass(frozen=True)
class Opened:
    """Areas and what is known of each.

    Attributes
    ----------
    areas
        Scenes or images.
    parts
        ``train``, ``val`` or ``auto`` of each.
    tags
        Tags of each (images of a project).
    table
        The classes.
    gsd
        Meters per pixel read, smallest and largest; None without a CRS.
    files
        What a scene, an image or labels are named by -> digest, by which a run that is resumed sees that they
        changed: of labels their content, of pixels the names, sizes and times of their files.
    labels
        Digest of all labels, which runs of earlier versions kept in place of ``files``; empty where a graph
        makes them.
    """

    areas: tuple[Area, ...]
    parts: tuple[str, ...]
    tags: tuple[frozenset[str], ...]
    table: ClassTable
    gsd: tuple[float, float] | None = None
    files: dict[str, str] = field(default_factory=dict)
    labels: str = ""

    @property
    def channels(self) -> int:
        """Bands of the areas."""
        return self.areas[0].pixels.count

    @property
    def dtype(self) -> str:
        """Data type of the pixels."""
        return self.areas[0].pixels.dtype


def open_areas(wanted: Wanted) -> Opened:
    """Open what a config names; scenes stay on disk, labels are read.

    Raises
    ------
    MissingFileError
        A file that is not there.
    InputError
        Sources that contradict each other, or labels that can't be used.
    """
    data = wanted.data
    if data.project:
        opened = _open_project(wanted)
    elif data.images:
        opened = _open_pairs(wanted)
    elif data.scenes:
        opened = _open_scenes(wanted)
    else:
        raise InputError("data must name scenes, a project, or images and masks. Give --data or --scenes.")
    check_alike(opened.areas, _CHOOSE if data.scenes else _REWRITE)
    return opened


def check_alike(areas: Sequence[Area], advice: str = _REWRITE) -> None:
    """Refuse areas of different bands or data types."""
    first = areas[0]
    for area in areas:
        mine, other = (area.pixels.count, area.pixels.dtype), (first.pixels.count, first.pixels.dtype)
        if mine != other:
            raise InputError(
                f"scenes must have the same bands and data type, got {mine[0]} x {mine[1]} for {area.name} "
                f"and {other[0]} x {other[1]} for {first.name}. {advice}"
            )


def present_classes(areas: Sequence[Area]) -> frozenset[int]:
    """Classes that any area has."""
    return frozenset().union(*(area.truth.present() for area in areas))


def _path(base: Path, text: str) -> str:
    """A path relative to ``base``; URLs and GDAL's own names stay."""
    return text if "://" in text or text.startswith("/vsi") else str(base / text)


# ------------------------------------------------------------------ scenes


def _open_scenes(wanted: Wanted) -> Opened:
    data = wanted.data
    expanded = [
        (path, settings) for settings in data.scenes for path in _matches(_path(wanted.base, settings.path))
    ]
    # Pixels of a mask always carry a value; polygons only where a column says so.
    by_value = bool(data.class_column) or all(is_raster(settings.labels) for _, settings in expanded)
    table = class_table(_listed(wanted), wanted.background, wanted.neutral, data.other, by_value=by_value)
    areas, scenes, digests = [], [], []
    files: dict[str, str] = {}
    for path, settings in expanded:
        scene = open_raster(path, bands=settings.bands, resolution=wanted.resolution, gsd=settings.gsd)
        truth = _scene_truth(scene, settings, table, wanted)
        labels = _labels_path(scene, settings.labels, wanted)
        digests.append(labels_digest(labels, data.class_column))
        files[labels] = digests[-1]
        if settings.aoi:
            aoi = _labels_path(scene, settings.aoi, wanted)
            # A file that holds labels, too, is known by these: their digest counts classes as well.
            digests.append(labels_digest(aoi))
            files.setdefault(aoi, digests[-1])
        areas.append(Area(scene.name, scene, truth, weight=settings.weight, instances=settings.instances))
        scenes.append(scene)
        files[scene.path] = stamp_files(scene.files())
    # Who says which bands are meant knows better than the file.
    _check_band_order(
        [scene for scene, (_, settings) in zip(scenes, expanded) if settings.bands is None], _CHOOSE
    )
    parts = tuple(settings.part for _, settings in expanded)
    tags = (frozenset[str](),) * len(areas)
    return Opened(tuple(areas), parts, tags, table, _resolutions(scenes), files, json_digest(digests))


def _check_band_order(scenes: Sequence[RasterSource], advice: str) -> None:
    """Refuse scenes that name the same bands in another order: blue would be taken for red."""
    known: dict[frozenset[str], tuple[RasterSource, tuple[str, ...]]] = {}
    for scene in scenes:
        stored = stored_names(scene)
        names = tuple(stored[band - 1] for band in scene.bands if band <= len(stored))
        # Of bands without a name, or of one name, no order is known.
        if not all(names) or len({*names}) < scene.count:
            continue
        other, order = known.setdefault(frozenset(names), (scene, names))
        if names != order:
            raise InputError(
                f"scenes must have their bands in the same order, got {', '.join(names)} in {scene.path} and "
                f"{', '.join(order)} in {other.path}. {advice}"
            )


def _resolutions(scenes: Sequence[RasterSource]) -> tuple[float, float] | None:
    """Smallest and largest meters per pixel."""
    steps = [step for scene in scenes for step in scene.geobox.ground_resolution() or ()]
    return (min(steps), max(steps)) if steps else None


def _listed(wanted: Wanted) -> tuple[ClassSettings, ...]:
    """Classes of the config; with a column, one without values stands for its own name."""
    if not wanted.data.class_column:
        return wanted.classes or (ClassSettings(name=_ONE_CLASS),)
    if not wanted.classes:
        raise ConfigError("$.classes: must list the classes that data.class_column tells apart, got none.")
    return tuple(
        item if item.values is not None else item.model_copy(update={"values": (item.name,)})
        for item in wanted.classes
    )


def _matches(path: str) -> list[str]:
    if not any(mark in path for mark in "*?"):
        return [path]
    # Sorted, or the order of the file system would decide which scene has which number, and what is drawn.
    paths = sorted(glob.glob(path))  # noqa: PTH207 (absolute and relative patterns alike)
    if not paths:
        raise MissingFileError(f"no scene matches {path}")
    return paths


def _scene_truth(scene: RasterSource, settings: SceneSettings, table: ClassTable, wanted: Wanted) -> Any:
    labels = _labels_path(scene, settings.labels, wanted)
    truth: MaskTruth | VectorTruth
    if is_raster(labels):
        truth = mask_truth(scene, labels, table)
    else:
        shapes, classes = _read_shapes(scene, labels, table, wanted.data.class_column)
        # Drawn in the order of the config, where the later class wins.
        rank = {code: position for position, code in enumerate(dict.fromkeys(table.values.values()))}
        # Stable: labels of one class keep the order of their file.
        order = np.argsort([rank.get(int(code), -1) for code in classes], kind="stable")
        truth = VectorTruth(scene.height, scene.width, shapes[order], classes[order])
    if not settings.aoi:
        return truth
    ground = _labels_path(scene, settings.aoi, wanted)
    return AoiTruth(truth, scene.height, scene.width, _read_aoi(scene, ground))


def _labels_path(scene: RasterSource, name: str, wanted: Wanted) -> str:
    return _path(wanted.base, name.replace("{stem}", scene.name))


def _read_shapes(
    scene: RasterSource, path: str, table: ClassTable, column: str | None
) -> tuple[NDArray[np.object_], NDArray[np.uint8]]:
    """Polygons that touch the scene, in its pixels, and their classes."""
    labels = read_features(path, column)
    if not len(labels):
        raise InputError(f"labels must hold polygons, got none in {path}.")
    on_scene = labels.on(scene.geobox, str(scene.path))
    # Labels of a whole country may come with one scene: only those on it are kept.
    touching = shapely.intersects(on_scene.geometry, shapely.box(0, 0, scene.width, scene.height))
    if not touching.any():
        raise missed_scene("labels", path, labels.source.bounds, scene)
    index = on_scene.index[touching]
    values = np.full(len(index), "", object) if labels.values is None else labels.values[index]
    return on_scene.geometry[touching], table.indices(values, path)


def _read_aoi(scene: RasterSource, path: str) -> NDArray[np.object_]:
    ground = read_features(path)
    shapes = ground.on(scene.geobox, str(scene.path)).geometry
    whole = shapely.box(0, 0, scene.width, scene.height)
    # By area: a polygon that only touches the border of the scene labels nothing of it.
    inside = shapely.area(shapely.intersection(shapes, whole)) > 0
    if not inside.any():
        raise missed_scene("aoi", path, ground.source.bounds, scene)
    return shapes[inside]


def _open_pairs(wanted: Wanted) -> Opened:
    images, masks = (Path(_path(wanted.base, str(text))) for text in (wanted.data.images, wanted.data.masks))
    for folder in (images, masks):
        if not folder.is_dir():
            raise MissingFileError(f"no such folder: {folder}")
    listed = wanted.classes or (ClassSettings(name=_ONE_CLASS),)
    table = class_table(listed, wanted.background, wanted.neutral, wanted.data.other, by_value=True)
    masks_by_stem: dict[str, list[Path]] = {}
    for path in sorted(masks.iterdir()):
        if is_raster(path.name):
            masks_by_stem.setdefault(composed(path.stem), []).append(path)
    areas, scenes, digests = [], [], []
    files: dict[str, str] = {}
    named: dict[str, Path] = {}
    for path in sorted(images.iterdir()):
        if is_raster(path.name):
            # Most often one picture in two formats: one could be trained on, and the other validated on.
            if (other := named.setdefault(composed(path.stem), path)) != path:
                raise InputError(
                    f"images must have names of their own, got {other.name} and {path.name} in {images}, "
                    "which share a mask. Move one of them elsewhere."
                )
            if composed(path.stem) not in masks_by_stem:
                raise MissingFileError(f"no mask named {path.stem} in {masks} for {path.name}")
            mask, *others = masks_by_stem[composed(path.stem)]
            if others:
                raise InputError(
                    f"an image must have one mask, got {mask.name} and {others[0].name} in {masks} for "
                    f"{path.name}. Move one of them elsewhere."
                )
            scene = open_raster(path, resolution=wanted.resolution, gsd=wanted.data.gsd)
            areas.append(Area(scene.name, scene, mask_truth(scene, str(mask), table)))
            scenes.append(scene)
            files[scene.path] = stamp_files(scene.files())
            digests.append(labels_digest(str(mask)))
            files[str(mask)] = digests[-1]
    if not areas:
        raise InputError(f"data.images must hold images, got none in {images}.")
    _check_band_order(scenes, _REWRITE)
    tags = (frozenset[str](),) * len(areas)
    parts = ("auto",) * len(areas)
    return Opened(tuple(areas), parts, tags, table, _resolutions(scenes), files, json_digest(digests))


# ------------------------------------------------------------------ projects


def _open_project(wanted: Wanted) -> Opened:
    project = open_project(_path(wanted.base, str(wanted.data.project)))
    table = titles_table(wanted, project.meta)
    annotated = []
    for item in project:
        scene = open_raster(item.image)
        annotation = read_annotation(item, project.meta, (scene.height, scene.width))
        annotated.append(annotated_area(f"{item.dataset}/{item.stem}", scene, annotation, table))
    if not annotated:
        raise InputError(f"project must hold images, got none in {project.path}.")
    files = item_files(project)
    digests = ["" if item.annotation is None else files[str(item.annotation)] for item in project]
    return replace(images_opened(annotated, table), files=files, labels=json_digest(digests))


def titles_table(wanted: Wanted, meta: ProjectMeta) -> ClassTable:
    """Classes of annotated images: the config's if it lists any, else by the tutorials' rule."""
    if wanted.classes:
        listed = class_table(
            wanted.classes, wanted.background, wanted.neutral, wanted.data.other, by_value=True
        )
        values = {
            class_name(wanted.background) or "": 0,
            class_name(wanted.neutral) or "": IGNORE,
            **listed.values,
        }
        table = ClassTable(listed.names, values, None, listed.other)
    else:
        table = project_table(meta.class_names, wanted.background, wanted.neutral)
    known = {one.name: format_color(one.color).removeprefix("#") for one in meta.classes}
    return replace(table, shown=tuple(known.get(name) for name in table.names))


def images_opened(annotated: Sequence[tuple[Area, frozenset[str]]], table: ClassTable) -> Opened:
    """Areas and tags of annotated images."""
    areas, tags = (tuple(part) for part in zip(*annotated, strict=True))
    return Opened(areas, ("auto",) * len(areas), tags, table)


def annotated_area(
    name: str, pixels: PixelSource, annotation: Annotation, table: ClassTable
) -> tuple[Area, frozenset[str]]:
    """An annotated image as an area, and its tags."""
    classes = table.indices([o.class_name for o in annotation.objects], name)
    figures = tuple(o.figure for o in annotation.objects)
    truth = FigureTruth(*pixels.geobox.shape, figures, classes)
    return Area(name, pixels, truth), frozenset(tag.name for tag in annotation.tags)
