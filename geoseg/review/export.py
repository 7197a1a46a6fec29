"""What a review came to, as files: corrected footprints, the ground that was looked at, and marks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from geoseg.errors import InputError
from geoseg.files import check_outputs, hold
from geoseg.geo.geobox import GeoBox
from geoseg.io.vectors import class_name
from geoseg.io.writers import (
    FORMATS,
    FootprintBatch,
    check_unowned,
    open_writer,
    output_path,
    scene_style,
)
from geoseg.review.folder import read_settings
from geoseg.review.index import Index
from geoseg.review.objects import ReviewObject
from geoseg.review.rows import Place
from geoseg.review.state import state_of
from geoseg.typing import PathLike
from geoseg.vector.area import GroundArea
from geoseg.vector.geometry import place_corners

__all__ = ["Mark", "ReviewExport", "export_review", "read_marks"]

#: Footprints that are in memory at once.
_BATCH = 4096
#: Column types that formats of footprints hold; all else is written as text.
_TYPES = {
    str(kind): kind
    for kind in (
        pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
        pa.float32(), pa.float64(), pa.string(),
    )
}  # fmt: skip
_AREAS = ("area_m2", "area_px")
#: Stems of the files of accepted places, for training and for measuring.
_PLACES = ("reviewed", "qa")
#: What a network said of an outline that is no more; the last one also as a shapefile calls it.
_OUTDATED = ("confidence", "outline", "outline_iou", "outline_io")
_ON_EDGE = ("touches_edge", "touches_ed")
#: Columns that tell what a person did, each with the types of it that are taken for that of an earlier round:
#: shapefiles have no truth values. A column of another type is the file's own, and stays.
_BY_PERSON = {
    "edited": ("bool", "int16", "int32", "int64"),
    "source": ("string", "large_string"),
}
#: Columns of the ground that was looked at: what `geoseg train` and `evaluate` take as an area of interest.
_REVIEWED = pa.schema([("id", pa.int64()), ("place", pa.string()), ("qa", pa.bool_())])


@dataclass(frozen=True)
class ReviewExport:
    """What was written.

    Attributes
    ----------
    files
        "corrected", "reviewed" and "qa" by path. The last two only where places were accepted, or were in an
        earlier export.
    footprints, edited, rejected
        Footprints in the file; those of them that a person drew or changed; those left out as rejected.
    places
        Accepted places.
    """

    files: dict[str, str]
    footprints: int
    edited: int
    rejected: int
    places: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Mark:
    """What a person said of a place.

    Attributes
    ----------
    name
        DATASET/NAME of an image, or the name of a block.
    place
        Its number.
    status
        "accepted", "rejected" or "".
    qa
        Whether it was drawn at random, for measuring and never for training.
    edited
        Whether anything was edited on that image.
    """

    name: str
    place: int
    status: str
    qa: bool
    edited: bool


def read_marks(folder: PathLike) -> list[Mark]:
    """Marks of all places of a review, by number; a server may have it open meanwhile.

    Raises
    ------
    InputError
        The folder is no review.
    """
    with state_of(Path(folder)) as index:
        edited = index.edited_images()
        places = sorted(index.places(), key=lambda place: place.id)
        return [Mark(p.name, p.id, p.status, p.qa, p.image in edited) for p in places]


def export_review(folder: PathLike, out: PathLike, *, overwrite: bool = False) -> ReviewExport:
    """Write the footprints of a scene's review, and the ground that was accepted beside them.

    Footprints that nobody edited have the coordinates and values of the file that they come from, to the last
    bit. Of the others area and edge are measured anew, and what the network said of them is left empty.

    Parameters
    ----------
    folder
        The review.
    out
        File, whose suffix tells the format. ``reviewed`` and ``qa`` of the same format are written beside it:
        accepted places for training, and those drawn at random for measuring.
    overwrite
        Replace files that geoseg did not write.

    Raises
    ------
    InputError
        The folder is no review or one of a project, or the file may not be written.
    """
    folder, out = Path(folder), Path(out)
    settings = read_settings(folder)
    if settings["kind"] != "scene":
        raise InputError(
            f"review to be exported must be of a scene, got {folder}, one of a project. Its annotations are "
            "written at each edit; use geoseg project export."
        )
    # Told before the review is opened: that may mean to read its journal.
    format = next((name for name, suffix in FORMATS.items() if suffix == out.suffix.lower()), None)
    if format is None:
        raise InputError(
            f"suffix of the output must be one of {', '.join(FORMATS.values())}, got {out.name!r}."
        )
    # Regardless of case, as some disks have it.
    if out.stem.casefold() in _PLACES:
        raise InputError(
            f"name of the output must not be that of the places beside it, got {out.name}, which would be "
            "written over with them. Name another."
        )
    files = {"corrected": out} | {name: output_path(out.parent, name, format) for name in _PLACES}
    inputs = [settings["target"], *filter(None, [settings.get("footprints_path")])]
    # A review is of the file that it began with: written over, nothing would be left to go back to.
    check_outputs(files.values(), inputs)
    for file in files.values():
        check_unowned({format: file}, overwrite)
    others = [files[name] for name in _PLACES if files[name].exists()]
    if others and not out.exists() and not overwrite:
        # Of another review, for all that can be known: its places would be lost.
        raise InputError(
            f"folder of the output must be without {others[0].name} of an export under another name, got "
            f"{out.parent}. Export to a folder of its own, or replace it with overwrite (--overwrite)."
        )
    frame, text = settings["frame"], settings["footprints_crs"]
    (height, width), gsd = frame["shape"], None if frame["gsd"] is None else tuple(frame["gsd"])
    scene_crs = None if frame["crs"] is None else CRS.from_wkt(frame["crs"])
    geobox = GeoBox(Affine(*frame["transform"]), scene_crs, height, width, gsd)
    crs = None if text is None else CRS.from_wkt(text)
    # All three at once: of two exports, places of one would lie beside the footprints of the other.
    with hold(*files.values()), state_of(folder) as index:
        table = _Table(index, settings, geobox, crs)
        # Rounded for the format, what a person drew may cross itself; without edits all stays to the bit.
        style = scene_style(geobox)
        # As a run states it: a review of this file measures areas by it, where the picture has no CRS.
        origin = None if gsd is None else {"options": {"gsd": gsd[0]}}
        with open_writer(
            format, out, schema=table.schema, crs=crs, provenance=origin, repair=table.has_edits, **style
        ) as writer:
            for batch in table.batches():
                writer.write(batch)
        accepted = [place for place in index.places() if place.status == "accepted"]
        written = {"corrected": str(out)}
        for name, places in (
            ("reviewed", [place for place in accepted if not place.qa]),
            ("qa", [place for place in accepted if place.qa]),
        ):
            # One of an earlier export must not stand for ground that is no longer accepted.
            if places or files[name].exists():
                with open_writer(format, files[name], schema=_REVIEWED, crs=geobox.crs, **style) as writer:
                    if places:
                        writer.write(_ground_of(places, geobox))
                written[name] = str(files[name])
    return ReviewExport(written, table.written, table.edited, table.rejected, len(accepted))


def _ground_of(places: Iterable[Place], geobox: GeoBox) -> FootprintBatch:
    """Places in the scene's CRS, in the order of their numbers."""
    places = sorted(places, key=lambda place: place.id)
    boxes = shapely.box(*np.array([place.box for place in places]).T)
    ground = shapely.transform(boxes, lambda xy: place_corners(xy, geobox.transform[:6]))
    columns = {
        "id": np.array([place.id for place in places], np.int64),
        "place": np.array([place.name for place in places], object),
        "qa": np.array([place.qa for place in places], bool),
    }
    return FootprintBatch(ground, columns)


class _Table:
    """Rows of the corrected file, in the order of the one that they come from, new ones behind."""

    def __init__(self, index: Index, settings: Mapping[str, Any], geobox: GeoBox, crs: CRS | None) -> None:
        self._index, self._geobox = index, geobox
        self._class_column = settings["class_column"]
        self._to_scene = None
        if crs is not None and geobox.crs is not None and crs != geobox.crs:
            self._to_scene = Transformer.from_crs(crs, geobox.crs, always_xy=True)
        self._area = GroundArea(geobox) if geobox.ground_resolution() is not None else None
        self.has_edits = index.any_changed()
        # Of the file that was reviewed, in its order; only new columns stand behind.
        columns = [(name, kind) for name, kind in json.loads(index.get("schema"))]
        area = _AREAS[self._area is None]
        fields = dict(columns or [("id", "int64"), ("class", "string"), (area, "double")])
        self._edited_column = self._source_column = ""
        if self.has_edits:
            kind = fields.setdefault(self._class_column, "string")
            # A class that a person chose need not be a number where those of the file are.
            if not all(_is_of(text, _TYPES.get(kind, pa.string())) for text in index.edited_classes()):
                fields[self._class_column] = "string"
            self._edited_column, self._source_column = (_free_name(name, fields) for name in _BY_PERSON)
            fields |= {self._edited_column: "bool", self._source_column: "string"}
        self.schema = pa.schema([(name, _TYPES.get(kind, pa.string())) for name, kind in fields.items()])
        self._last_id = index.get("base_ids", 0)
        self.written = self.edited = self.rejected = 0

    def batches(self) -> Iterator[FootprintBatch]:
        """All footprints but the rejected ones."""
        objects = self._index.of_image(0)
        while some := list(islice(objects, _BATCH)):
            kept = [item for item in some if item.status != "rejected"]
            self.rejected += len(some) - len(kept)
            if kept:
                yield self._batch(kept)

    def _batch(self, items: list[ReviewObject]) -> FootprintBatch:
        geometry = np.array([item.ground for item in items], object)
        areas = self._areas(items, geometry)
        rows = [
            self._row(item, area) if item.edited else dict(item.values) for item, area in zip(items, areas)
        ]
        self.written += len(rows)
        columns = {}
        for field in self.schema:
            values = [row.get(field.name) for row in rows]
            if field.name == self._edited_column:
                # What a person drew in an earlier round stays marked.
                values = [item.edited or item.values.get(field.name) in (True, 1) for item in items]
            if field.name == self._class_column and self.has_edits:
                values = [_class_value(value, field.type) for value in values]
            elif field.type == pa.string():
                values = [value if value is None else str(value) for value in values]
            # With a None behind: of equal lists alone NumPy would make a table.
            columns[field.name] = np.array([*values, None], object)[:-1]
        return FootprintBatch(geometry, columns)

    def _areas(self, items: list[ReviewObject], ground: Any) -> list[float | None]:
        """Of the edited ones: square meters, or pixels where those are not known."""
        out: list[float | None] = [None] * len(items)
        edited = [number for number, item in enumerate(items) if item.edited]
        if not edited:
            return out
        shapes = ground[edited]
        if self._area is None:
            values = shapely.area(np.array([items[number].shape for number in edited], object))
        else:
            if self._to_scene is not None:
                # Areas are measured on the plane of the scene, whatever the file's CRS.
                shapes = shapely.transform(shapes, self._to_scene.transform, interleaved=False)
            values = self._area.geometries(shapes)
        for number, value in zip(edited, values.tolist()):
            out[number] = value
        return out

    def _row(self, item: ReviewObject, area: float | None) -> dict[str, Any]:
        """Values of an edited footprint."""
        self.edited += 1
        row: dict[str, Any] = {**item.values, self._class_column: item.class_name}
        row[self._source_column] = "person"
        # In the one unit that is known here: a file may have a column of the other, which no longer holds.
        row |= {name: area if name == _AREAS[self._area is None] else None for name in _AREAS}
        row |= {name: None for name in _OUTDATED if name in row}
        left, top, right, bottom = item.shape.bounds  # type: ignore[union-attr]
        height, width = self._geobox.shape
        # A footprint cut off by the scene stays one, also where a person moved its edge inside.
        on_edge = left <= 0 or top <= 0 or right >= width or bottom >= height
        for name in _ON_EDGE:
            if name in self.schema.names:
                value = bool(item.values.get(name)) or on_edge
                row[name] = value if pa.types.is_boolean(self.schema.field(name).type) else int(value)
        # The file's own ids stay; new ones go on after the largest, so that none is used twice.
        if "id" in self.schema.names and item.id > self._index.get("base_count", 0):
            self._last_id += 1
            row["id"] = self._last_id
        return row


def _free_name(name: str, fields: Mapping[str, str]) -> str:
    """A name for a column of :data:`_BY_PERSON`: of an earlier round, or one that the file does not have."""
    taken, number, kinds = {field.casefold() for field in fields}, 0, _BY_PERSON[name]
    wanted = name
    # Regardless of case, as GeoPackages have it.
    while wanted.casefold() in taken and fields.get(wanted) not in kinds:
        number += 1
        wanted = f"{name}_{number}"
    return wanted


def _is_of(text: str, kind: pa.DataType) -> bool:
    """Whether a column of this type can hold a class, and gives it back by its name."""
    try:
        return class_name(_class_value(text, kind)) == text
    except ValueError:
        return False


def _class_value(value: Any, kind: pa.DataType) -> Any:
    """A class as a column of this type has it: what the page calls 1 may be a number there."""
    if not isinstance(value, str):
        # A column of numbers that became one of names calls them as the page does.
        return class_name(value) if pa.types.is_string(kind) else value
    if pa.types.is_boolean(kind):
        return value == "True"
    if pa.types.is_integer(kind):
        return int(value)
    return float(value) if pa.types.is_floating(kind) else value
