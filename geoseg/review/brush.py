"""What comes of a stroke of the brush."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.projects.figures import Bitmap
from geoseg.review import ops
from geoseg.review.masks import paint_mask, stroke_pixels
from geoseg.review.objects import ReviewObject, round_corners
from geoseg.review.polygons import cut_polygon
from geoseg.review.scope import Change, Scope, finish, new_object, polygons_of, with_figures

__all__ = ["brush"]

#: A stroke on a polygon is as smooth as this, in pixels.
_SMOOTH = 0.25


def brush(op: ops.Brush, scope: Scope) -> Change:
    """What comes of a stroke, on a bitmap or a polygon, new or old."""
    old = scope.some([op.id])[0] if op.id is not None else None
    wanted = scope.class_shape(old.class_name if old else op.class_)
    # The class decides before the page does: annotations of one class have one shape.
    kind = old.kind if old else (wanted if wanted != "any" else op.kind)
    if kind == "bitmap":
        stroke = stroke_pixels(op.path, op.size, scope.shape)
        if stroke is None:
            raise InputError("a stroke must touch the image, got one beside it. Paint on the image.")
        if old is not None:
            assert isinstance(old.shape, Bitmap)
            return with_figures(scope, [(old, paint_mask(old.shape, stroke, op.erase))])
        if op.erase:
            raise InputError("an object must be named to be erased from, got none. Select one.")
        item = replace(new_object(scope, op.class_), id=scope.next_id, shape=stroke, edited=True)
        return Change(new=[item])
    if kind != "polygon":
        raise InputError(f"a brush paints bitmaps and polygons, got a {kind}. Choose another tool.")
    return _brush_polygon(op, scope, old)


def _brush_polygon(op: ops.Brush, scope: Scope, old: ReviewObject | None) -> Change:
    # The path is in whole pixels; corners of polygons count from the corner of a pixel.
    points = np.asarray(op.path, np.float64) + 0.5
    # A line of one point is none to GEOS.
    thin = shapely.LineString(points) if len(points) > 1 else shapely.Point(points[0])
    # Four corners a quarter circle, then simplified: more would leave hundreds of corners to be edited by
    # hand.
    stroke = thin.buffer(op.size / 2, quad_segs=4).simplify(_SMOOTH)
    stroke = stroke.intersection(shapely.box(0, 0, scope.shape[1], scope.shape[0]))
    # Rounded before it is used: afterwards neighbors would be cut by another line than the object.
    stroke = shapely.transform(stroke, round_corners)
    if op.erase:
        if old is None:
            raise InputError("an object must be named to be erased from, got none. Select one.")
        pieces = cut_polygon(old.shape, stroke)
        if not pieces:
            # All of it was erased.
            return Change([old])
        return finish(scope, {old.id: pieces[0]}, [(old, piece) for piece in pieces[1:]])
    # Neighbors keep their ground: footprints do not overlap, and figures of projects may.
    others = [] if scope.whole_pixels else [item.shape for item in polygons_of(scope) if item is not old]
    painted = stroke.difference(shapely.union_all(others)) if others else stroke
    if old is not None:
        painted = shapely.union(old.shape, painted)
    # Cut by nothing: its pieces are polygons, checked and sorted by size.
    parts = cut_polygon(painted, shapely.Polygon())
    if not parts:
        raise InputError("a stroke must reach beyond other objects, got one that lies in them.")
    if old is None:
        return finish(scope, {}, [(new_object(scope, op.class_), part) for part in parts])
    # What the stroke left apart from the object, beyond a neighbor, is not of it.
    kept = [part for part in parts if part.intersects(old.shape)]
    return finish(scope, {old.id: kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept)})
