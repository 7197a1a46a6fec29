"""Importer of scenes with vector labels: scenes stay whole, labels become figures in pixels.

Labels are brought into the scene's CRS and through its affine. A vertex at the corner of a pixel lies half a
pixel from its center, so figures are outlines minus one half; writing them out again gives the same
coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from geoseg.errors import InputError, MissingFileError
from geoseg.geo.geobox import GeoBox
from geoseg.io.sources import open_raster
from geoseg.io.vectors import VECTOR_FORMATS
from geoseg.projects.figures import Bitmap, Figure, LabeledObject, Line, Point, Polygon
from geoseg.projects.figures.strips import made_of_rows
from geoseg.projects.figures.types import open_ring
from geoseg.projects.formats.names import list_images
from geoseg.projects.formats.source import Shape2d, Source, SourceImage, plain_class
from geoseg.typing import BoolArray, PathLike

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["LabelOptions", "pixel_figures", "read_vector_labels"]

_SUFFIXES = tuple(suffix for suffix in VECTOR_FORMATS if suffix != ".gdb")
_KINDS = {"Polygon": "polygon", "LineString": "line", "Point": "point"}


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
        Polygons as masks (pixels whose center is inside) and not as vertices.
    """

    class_name: str = "object"
    class_column: str | None = None
    bitmaps: bool = False


def read_vector_labels(
    src: PathLike, labels: PathLike | None = None, options: LabelOptions | None = None
) -> Source:
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
    scenes = [("ds", src)] if src.is_file() else _scenes(src)
    files: dict[Path, _Labels] = {}
    images = []
    for dataset, scene in scenes:
        file = Path(labels) if labels is not None else _labels_of(scene)
        table = files.setdefault(file, _Labels(file, options))
        images.append(SourceImage(dataset, scene.name, scene, partial(table.read, scene)))
    shapes: dict[str, set[str]] = {}
    for table in files.values():
        for title, kinds in table.shapes().items():
            shapes.setdefault(title, set()).update(kinds)
    classes = [plain_class(t, next(iter(k)) if len(k) == 1 else "any") for t, k in sorted(shapes.items())]
    return Source(classes, images, notes=[note for table in files.values() for note in table.notes()])


def _scenes(src: Path) -> list[tuple[str, Path]]:
    folders = [src, *sorted(p for p in src.iterdir() if p.is_dir())] if src.is_dir() else [src]
    found = [("ds" if f == src else f.name, path) for f in folders for path in list_images(f)]
    if not found:
        raise MissingFileError(f"source must hold scenes, got {src} without any.")
    return found


def _labels_of(scene: Path) -> Path:
    own = [scene.with_suffix(suffix) for suffix in _SUFFIXES]
    beside = [path for path in sorted(scene.parent.iterdir()) if path.suffix.lower() in _SUFFIXES]
    found = [path for path in own if path.is_file()][:1] or (beside if len(beside) == 1 else [])
    if not found:
        raise MissingFileError(
            f"scene {scene.name} must have labels of the same stem beside it ({', '.join(_SUFFIXES)}), "
            f"got {len(beside)} vector files of other names. Name the file with --labels."
        )
    return found[0]


class _Labels:
    """One vector file, read when first needed."""

    def __init__(self, path: Path, options: LabelOptions) -> None:
        self.path, self.options = path, options

    @cached_property
    def table(self) -> GeoDataFrame:
        """Geometry and class of every usable row."""
        table = _read_table(self.path, self.options.class_column)
        if self.options.class_column is None:
            table = table.assign(**{"class": self.options.class_name})
        usable = ~(table.geometry.isna() | table.geometry.is_empty | table["class"].isna())
        self.left_out = int((~usable).sum())
        table = table[usable].reset_index(drop=True)
        table["class"] = table["class"].map(_title)
        if not usable.any():
            raise InputError(f"labels must have rows with a geometry and a class, got {self.path} without.")
        return table

    def notes(self) -> list[str]:
        """What was left out of the file, and what was repaired."""
        broken = int((~self.table.geometry.is_valid).sum())
        return [
            f"{self.path.name}: {count} {what}"
            for count, what in (
                (self.left_out, "rows without geometry or class left out"),
                (broken, "self-crossing polygons repaired"),
            )
            if count
        ]

    def shapes(self) -> dict[str, set[str]]:
        """Shapes of each class's figures."""
        shapes: dict[str, set[str]] = {}
        kinds = self.table.geometry.geom_type.str.removeprefix("Multi")
        for title, kind in set(zip(self.table["class"], kinds, strict=True)):
            if kind not in _KINDS:
                raise InputError(f"labels must be polygons, lines or points, got {kind} in {self.path}.")
            shape = "bitmap" if kind == "Polygon" and self.options.bitmaps else _KINDS[kind]
            shapes.setdefault(title, set()).add(shape)
        return shapes

    def read(self, scene: Path, shape: Shape2d) -> list[LabeledObject]:
        """Objects of one scene, in the order of the file."""
        geobox = open_raster(scene).geobox
        table = self._near(geobox)
        outlines = _to_pixels(table.geometry.to_numpy(), geobox)
        return [
            LabeledObject(title, figure)
            for title, outline in zip(table["class"], outlines, strict=True)
            for figure in pixel_figures(outline, shape, bitmaps=self.options.bitmaps)
        ]

    def _near(self, geobox: GeoBox) -> GeoDataFrame:
        """Rows around the scene, in its CRS."""
        if (self.table.crs is None) != (geobox.crs is None):
            bare, other = ("labels", "scene") if self.table.crs is None else ("scene", "labels")
            raise InputError(
                f"{bare} must have a CRS as the {other} has, got {self.path.name} without one to compare. "
                "Assign the right CRS (ogr2ogr -a_srs, gdal_edit -a_srs)."
            )
        if geobox.crs is None:
            return self.table
        box = shapely.segmentize(shapely.Polygon(geobox.corners()), max(geobox.shape) * _step(geobox) / 8)
        around = _geoseries(box, geobox.crs).to_crs(self.table.crs).total_bounds
        near = self.table.cx[around[0] : around[2], around[1] : around[3]]
        return near.to_crs(geobox.crs)


def _step(geobox: GeoBox) -> float:
    a, b, _, d, e, _ = geobox.transform[:6]
    return float(max(np.hypot(a, d), np.hypot(b, e)))


def _geoseries(geometry: shapely.Geometry, crs: Any) -> Any:
    from geopandas import GeoSeries

    return GeoSeries([geometry], crs=crs)


def _title(value: Any) -> str:
    """Class of a column's value; 3.0 and 3 are the same class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read_table(path: Path, column: str | None) -> GeoDataFrame:
    import geopandas
    from pyogrio.errors import DataSourceError

    _check_content(path)
    try:
        parquet = path.suffix.lower() in (".parquet", ".geoparquet")
        table = geopandas.read_parquet(path) if parquet else geopandas.read_file(path, engine="pyogrio")
    except (DataSourceError, ValueError, OSError) as error:
        raise InputError(f"labels must be a vector file, got {path}: {error}") from None
    if "geometry" not in table:
        raise InputError(f"labels must have geometries, got {path} without.")
    if column is not None and column not in table:
        names = ", ".join(str(name) for name in table.columns if name != "geometry")
        raise InputError(f"class column must be one of {names or 'none'}, got {column!r} for {path}.")
    wanted = (
        table.rename(columns={column: "class"})
        if column is not None
        else table.drop(columns="class", errors="ignore")
    )
    return wanted[[*(["class"] if column is not None else []), "geometry"]]


def _check_content(path: Path) -> None:
    """Refuse a file that is not what its suffix says: GDAL would open anything."""
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"labels must end in one of {', '.join(_SUFFIXES)}, got {path}.")
    if not path.is_file():
        raise MissingFileError(f"no such file: {path}")
    begins = VECTOR_FORMATS[path.suffix.lower()]
    with path.open("rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf")
    if not (head.lstrip() if b"{" in begins else head).startswith(begins):
        raise InputError(f"labels must be what their suffix says, got {path}, which is no {path.suffix}.")


def _to_pixels(geometries: Sequence[Any], geobox: GeoBox) -> Any:
    """Geometries in the scene's CRS as outlines (pixel corners)."""
    inverse = ~geobox.transform
    a, b, c, d, e, f = inverse[:6]
    return shapely.transform(
        shapely.force_2d(geometries),
        lambda xy: np.column_stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f]),
    )


def pixel_figures(outline: Any, shape: Shape2d, *, bitmaps: bool = False) -> list[Figure]:
    """Figures of one outline, cut to the image; none where nothing of it lies inside.

    Parameters
    ----------
    outline
        Geometry in pixel corners.
    shape
        (H, W) of the image.
    bitmaps
        Polygons as masks of the pixels whose center is inside.

    Examples
    --------
    >>> [figure] = pixel_figures(shapely.box(1, 1, 3, 2), (9, 9), bitmaps=True)
    >>> figure.origin, figure.mask.shape
    ((1, 1), (1, 2))
    >>> pixel_figures(shapely.box(10, 10, 12, 12), (9, 9))
    []
    """
    dimensions = int(shapely.get_dimensions(outline))
    if not shapely.is_valid(outline):
        outline = shapely.make_valid(outline)
    height, width = shape
    left, top, right, bottom = shapely.bounds(outline)
    if left >= width or top >= height or right < 0 or bottom < 0:
        return []
    if left < 0 or top < 0 or right > width or bottom > height:
        outline = shapely.intersection(outline, shapely.box(0, 0, width, height))
    # What repair or cut left of lesser dimension (a touching corner, a spike) is no object.
    parts = [p for p in _single_parts(outline) if not p.is_empty and shapely.get_dimensions(p) == dimensions]
    if bitmaps and dimensions == 2 and parts:
        bitmap = _bitmap(parts)
        return [] if bitmap is None else [bitmap]
    return [figure for part in parts for figure in _figures_of_part(part)]


def _single_parts(geometry: Any) -> list[Any]:
    parts = shapely.get_parts(geometry)
    return [
        leaf
        for part in parts
        for leaf in (_single_parts(part) if part.geom_type.startswith(("Multi", "Geo")) else [part])
    ]


def _figures_of_part(part: Any) -> list[Figure]:
    if part.geom_type == "Polygon" and part.area > 0:
        rings = [open_ring(shapely.get_coordinates(ring)) - 0.5 for ring in (part.exterior, *part.interiors)]
        return [Polygon(rings[0], tuple(rings[1:]))]
    if part.geom_type == "LineString" and part.length > 0:
        return [Line(shapely.get_coordinates(part) - 0.5)]
    if part.geom_type == "Point":
        return [Point(part.x - 0.5, part.y - 0.5)]
    return []


def _bitmap(polygons: list[Any]) -> Bitmap | None:
    left, top, right, bottom = shapely.total_bounds(polygons)
    origin = int(np.floor(left)), int(np.floor(top))
    size = int(np.ceil(bottom)) - origin[1], int(np.ceil(right)) - origin[0]
    if not all(size):
        return None
    shifted = [shapely.transform(polygon, lambda xy: xy - origin) for polygon in polygons]

    def rows(first: int, last: int) -> BoolArray:
        part = Affine.translation(0, first)
        drawn: BoolArray = rasterize(
            shifted, out_shape=(last - first, size[1]), transform=part, dtype="uint8"
        ).view(bool)
        return drawn

    return made_of_rows(origin, size, rows).tight()
