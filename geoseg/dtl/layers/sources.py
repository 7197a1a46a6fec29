"""Layers that begin a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import shapely
from pydantic import Field

from geoseg.dtl.mapping import expand, map_classes, map_objects, map_tags, rename_tags
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, LabeledObject, Polygon, ProjectMeta
from geoseg.projects.figures.transform import clip_figure, repair_polygon, to_shapely


class DataSettings(LayerSettings):
    """What to take over from a project."""

    classes_mapping: Literal["default"] | dict[str, str] = Field(
        description="'default', or a title, __default__ or __ignore__ for each title or __other__."
    )
    tags_mapping: Literal["default"] | dict[str, str] = Field(
        default="default", description="As classes_mapping, for tags; tags not named are kept."
    )

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        result = meta
        if self.classes_mapping != "default":
            # Complete: a class that the mapping forgets is an error in the original, too.
            result = map_classes(meta, expand(self.classes_mapping, meta.class_names, complete=True))
        return result if self.tags_mapping == "default" else map_tags(result, self.tags_mapping)


@layer("data", DataSettings, "images_project", role="data")
def data(sample: Sample, settings: DataSettings, rng: np.random.Generator) -> Iterator[tuple[int, Sample]]:
    """Read a project's images, map their classes, and put their objects in order.

    Bitmaps are cut to the image and made tight, empty ones dropped; polygons that cross themselves are
    repaired by the even-odd rule; points, lines and rectangles are clipped to the image. With a bare data set
    name in place of ``project/*`` all data sets are read, and a list of data sets of one project is honored
    in full (the original kept the last).
    """
    objects = sample.objects
    if settings.classes_mapping != "default":
        names = tuple(dict.fromkeys(item.class_name for item in objects))
        # The plan has seen that all titles arrive; of one image's objects only those that it has may be asked
        # for.
        known = {k: v for k, v in settings.classes_mapping.items() if k in names or k == "__other__"}
        objects = map_objects(objects, expand(known, names, complete=False))
    if settings.tags_mapping != "default":
        sample = sample.with_tags(rename_tags(sample.annotation.tags, settings.tags_mapping))
        objects = tuple(replace(o, tags=rename_tags(o.tags, settings.tags_mapping)) for o in objects)
    broken = _self_crossing(objects)
    result = sample.with_objects(_normalized(sample, objects, broken))
    yield 0, replace(result, repaired=len(broken))


def _normalized(
    sample: Sample, objects: tuple[LabeledObject, ...], broken: set[int]
) -> Iterator[LabeledObject]:
    frame = Window.whole(sample.shape)
    for index, item in enumerate(objects):
        figure = item.figure
        if isinstance(figure, Polygon):
            # It encloses nothing; the original drops it on reading as well.
            if len(figure.exterior) < 3:
                continue
            pieces = repair_polygon(figure) if index in broken else None
            yield from (
                [item] if pieces is None else [replace(item, figure=piece, extra={}) for piece in pieces]
            )
        else:
            tight = figure.tight() if isinstance(figure, Bitmap) else figure
            for piece in clip_figure(tight, frame) if tight is not None else []:
                yield item.with_figure(piece)


def _self_crossing(objects: tuple[LabeledObject, ...]) -> set[int]:
    """Positions of polygons that cross themselves; all are looked at in one call."""
    places = [
        i
        for i, item in enumerate(objects)
        if isinstance(item.figure, Polygon) and len(item.figure.exterior) >= 3
    ]
    if not places:
        return set()
    plain = [i for i in places if len(objects[i].figure.parts()) == 1]
    holed = [i for i in places if len(objects[i].figure.parts()) > 1]
    rings = [objects[i].figure.parts()[0] for i in plain]
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    coords = np.concatenate(rings) if rings else np.empty((0, 2))
    # Polygons without holes, nearly all, are built in one call: there may be 100,000.
    simple = shapely.polygons(shapely.linearrings(coords, indices=owners))
    valid = shapely.is_valid([*simple, *(to_shapely(objects[i].figure) for i in holed)])
    return {place for place, ok in zip([*plain, *holed], valid, strict=True) if not ok}
