"""What comes of an edit: pure functions from objects to objects, without files and without a browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, Line, Rectangle, Tag
from geoseg.projects.figures import Polygon as PolygonFigure
from geoseg.raster.draw import figure_mask
from geoseg.review import ops
from geoseg.review.brush import brush
from geoseg.review.masks import (
    cut_mask,
    fill_mask,
    frame_of,
    merge_masks,
    split_mask,
)
from geoseg.review.objects import (
    Shape,
    figure_of,
    polygon_of,
    rings_of,
    round_corners,
)
from geoseg.review.polygons import (
    Key,
    check_polygon,
    cut_polygon,
    fill_hole,
    insert_corner,
    merge_polygons,
    move_corners,
    remove_corners,
    split_polygon,
    square_corners,
)
from geoseg.review.scope import (
    Change,
    Scope,
    finish,
    joined,
    kept_values,
    new_object,
    polygons_of,
    reshaped,
    with_figures,
)

__all__ = ["apply_edit", "corners_of"]


def apply_edit(op: ops.Op, scope: Scope) -> Change:
    """Decide what comes of an edit. ``ops.MarkPlace`` is not one of objects and not taken here.

    Raises
    ------
    InputError
        The edit is impossible; with the reason.
    """
    try:
        change = _EDITS[type(op)](op, scope)
    # GEOS refuses what crosses itself in ways that no check before could name.
    except shapely.errors.GEOSException as error:
        raise InputError(f"an edit must give a polygon: {' '.join(str(error).split())}.") from None
    # A line in the journal that changes nothing would make an undo that does nothing.
    if not (change.gone or change.new or change.tags):
        raise InputError("an edit must change something, got one without effect. Draw it over an object.")
    return change


def corners_of(op: ops.Op) -> list[tuple[float, float]]:
    """Where an edit takes place: what lies near these points matters to it."""
    if isinstance(op, ops.Draw):
        return [*op.points, *(corner for ring in op.rings for corner in ring)]
    if isinstance(op, ops.Move):
        return [corner for move in op.moves for corner in move]
    if isinstance(op, ops.Insert):
        return [*op.edge, op.at]
    if isinstance(op, ops.Remove):
        return list(op.at)
    if isinstance(op, ops.Cut):
        return list(op.ring)
    if isinstance(op, ops.Split):
        return list(op.line)
    if isinstance(op, ops.Brush):
        reach = op.size / 2 + 1
        # All of the stroke, not only its middle: neighbors that it would paint over must be known.
        return [(x + side, y + side) for x, y in op.path for side in (-reach, reach)]
    return [op.at] if isinstance(op, ops.Fill) else []


# --- the edits ---


def _draw(op: ops.Draw, scope: Scope) -> Change:
    wanted = scope.class_shape(op.class_)
    item = new_object(scope, op.class_)
    if op.kind != "polygon":
        _check_shape(op.class_, wanted, op.kind)
        figure = figure_of(op.kind, scope.place(op.points).tolist())
        return Change(new=[replace(item, id=scope.next_id, shape=figure, edited=True)])
    if not op.rings:
        raise InputError("a polygon must have a ring, got none. Draw at least 3 corners.")
    polygon = check_polygon(polygon_of([[scope.place(ring) for ring in op.rings]]))
    if wanted == "bitmap":
        return Change(new=[replace(item, id=scope.next_id, shape=_as_mask(polygon, scope), edited=True)])
    _check_shape(op.class_, wanted, "polygon")
    return finish(scope, {}, [(item, polygon)])


def _check_shape(name: str, wanted: str, kind: str) -> None:
    if wanted not in ("any", kind):
        raise InputError(
            f"an object of class {name!r} must be a {wanted}, got a {kind}. Choose another tool."
        )


def _as_mask(polygon: Any, scope: Scope) -> Bitmap:
    """The pixels that projects count to a polygon, its outline among them."""
    [part] = rings_of(polygon)
    # Figures of projects count from the middle of a pixel, polygons here from its corner.
    figure = PolygonFigure(part[0] - 0.5, tuple(hole - 0.5 for hole in part[1:]))
    drawn = figure_mask(figure, Window(row_off=0, col_off=0, height=scope.shape[0], width=scope.shape[1]))
    if drawn is None:
        raise InputError("an object must lie on the image, got one beside it. Draw it on the image.")
    return Bitmap((drawn[0].col_off, drawn[0].row_off), drawn[1])


def _move(op: ops.Move, scope: Scope) -> Change:
    old, new = zip(*op.moves)
    moves = dict(zip(map(tuple, old), map(tuple, scope.place(new).tolist())))
    items = scope.objects.values() if op.ids is None else scope.some(op.ids)
    # Unless some are named, all objects with a corner there move it: walls are shared by having same corners.
    polygons, others = {}, []
    for item in items:
        if item.kind == "polygon":
            rings = move_corners(rings_of(item.shape), moves)
            if rings is not None:
                polygons[item.id] = polygon_of(rings)
        elif not isinstance(item.shape, Bitmap):
            figure = _moved_figure(item.shape, moves)
            if figure is not None:
                others.append((item, figure))
    return joined(finish(scope, polygons), with_figures(scope, others))


def _moved_figure(figure: Any, moves: Mapping[Key, Key]) -> Shape | None:
    points = (np.asarray(figure.parts()[0]) + 0.5).tolist()
    if isinstance(figure, Rectangle):
        # The page shows four corners; the sides that meet in one that moves go along.
        old = [*points[0], *points[1]]
        sides = list(old)
        for x, y in ((0, 1), (2, 1), (2, 3), (0, 3)):
            target = moves.get((old[x], old[y]))
            if target is not None:
                sides[x], sides[y] = target
        moved = [sides[:2], sides[2:]]
    else:
        moved = [list(moves.get(tuple(point), point)) for point in points]
    return None if moved == points else figure_of(figure.kind, moved)


def _insert(op: ops.Insert, scope: Scope) -> Change:
    [at] = map(tuple, scope.place([op.at]).tolist())
    if at in op.edge:
        # At an end it would be a corner twice, and an edge without length.
        raise InputError("a corner must lie between the ends of its edge, got one of them. Zoom in.")
    changed, lines = {}, []
    for item in scope.objects.values():
        if item.kind == "polygon":
            rings = insert_corner(rings_of(item.shape), op.edge, at)
            if rings is not None:
                changed[item.id] = polygon_of(rings)
        elif isinstance(item.shape, Line):
            xy = item.shape.points + 0.5
            hit = (xy[:-1] == op.edge[0]).all(axis=1) & (xy[1:] == op.edge[1]).all(axis=1)
            # A page may have taken the edge from the neighbor, which goes along it the other way.
            hit |= (xy[:-1] == op.edge[1]).all(axis=1) & (xy[1:] == op.edge[0]).all(axis=1)
            if hit.any():
                places = np.flatnonzero(hit) + 1
                lines.append((item, Line(np.insert(xy, places, at, axis=0) - 0.5)))
    return joined(finish(scope, changed), with_figures(scope, lines))


def _remove(op: ops.Remove, scope: Scope) -> Change:
    corners: set[Key] = set(op.at)
    changed, lines = {}, []
    for item in scope.objects.values() if op.ids is None else scope.some(op.ids):
        if item.kind == "polygon":
            rings = remove_corners(rings_of(item.shape), corners)
            if rings is not None:
                changed[item.id] = polygon_of(rings)
        elif isinstance(item.shape, Line):
            points = (item.shape.points + 0.5).tolist()
            kept = [point for point in points if tuple(point) not in corners]
            if len(kept) < len(points):
                lines.append((item, figure_of("line", kept)))
    return joined(finish(scope, changed), with_figures(scope, lines))


def _cut(op: ops.Cut, scope: Scope) -> Change:
    tool = check_polygon(polygon_of([[scope.place(op.ring)]]))
    items = scope.some(op.ids)
    changed, created, gone = {}, [], []
    masks = []
    for item in items:
        if isinstance(item.shape, Bitmap):
            masks.append((item, cut_mask(item.shape, tool)))
            continue
        if not isinstance(item.shape, shapely.Geometry):
            raise InputError(f"a {item.kind} can't be cut. Delete it instead.")
        # Where the tool misses an object, rounding alone would count as an edit of it.
        if not item.shape.intersects(tool):
            continue
        pieces = cut_polygon(item.shape, tool)
        if pieces:
            # The largest piece stays the object: its id, tags and values belong to what is left of it.
            changed[item.id] = pieces[0]
            created += [(item, piece) for piece in pieces[1:]]
        else:
            gone.append(item)
    return joined(finish(scope, changed, created, gone), with_figures(scope, masks))


def _fill(op: ops.Fill, scope: Scope) -> Change:
    [item] = scope.some([op.id])
    if isinstance(item.shape, Bitmap):
        filled = fill_mask(item.shape, op.at)
        pairs = [] if filled is None else [(item, filled)]
        return with_figures(scope, pairs)
    polygon = fill_hole(item.shape, op.at) if item.kind == "polygon" else None
    return finish(scope, {} if polygon is None else {item.id: polygon})


def _split(op: ops.Split, scope: Scope) -> Change:
    line = round_corners(op.line)
    items = scope.some(op.ids) if op.ids else list(scope.objects.values())
    changed, created, masks = {}, [], Change()
    for item in items:
        if isinstance(item.shape, Bitmap):
            sides = split_polygon(frame_of(item.shape), line)
            pieces = split_mask(item.shape, sides) if sides else []
            if len(pieces) > 1:
                masks.gone.append(item)
                masks.new.append(reshaped(scope, item, pieces[0], {}))
                for piece in pieces[1:]:
                    # Pieces of several bitmaps are numbered through, as if they had been made one by one.
                    number = scope.next_id + sum(one.id >= scope.next_id for one in masks.new)
                    order = scope.next_order + number - scope.next_id
                    like = replace(item, id=number, order=order)
                    masks.new.append(reshaped(scope, like, piece, {}))
        elif item.kind == "polygon":
            parts = split_polygon(item.shape, line)
            if parts:
                changed[item.id] = parts[0]
                created += [(item, part) for part in parts[1:]]
    # The two are numbered apart below, so new objects would get one id twice.
    if changed and masks.new:
        raise InputError("a line must cut objects of one kind, got polygons and bitmaps. Select one kind.")
    if not changed and not masks.new:
        raise InputError("a line must cross an object's outline twice, got one that doesn't. Draw it longer.")
    return joined(finish(scope, changed, created), masks)


def _merge(op: ops.Merge, scope: Scope) -> Change:
    items = scope.some(op.ids)
    if len(items) < 2:
        raise InputError("a merge must have at least 2 objects, got 1. Select another one with Shift.")
    if all(isinstance(item.shape, Bitmap) for item in items):
        # The largest gives class and values: it is most of what comes of them.
        items.sort(key=lambda item: -int(np.count_nonzero(item.shape.mask)))  # type: ignore[union-attr]
        merged = merge_masks([item.shape for item in items])  # type: ignore[misc]
        return with_figures(scope, [(items[0], merged), *((item, None) for item in items[1:])])
    if any(item.kind != "polygon" for item in items):
        raise InputError("a merge must have polygons only, or bitmaps only, got others. Select one kind.")
    items.sort(key=lambda item: -item.shape.area)  # type: ignore[union-attr]
    merged = merge_polygons([item.shape for item in items])
    return finish(scope, {items[0].id: merged}, gone=items[1:])


def _square(op: ops.Square, scope: Scope) -> Change:
    changed: dict[int, Any] = {}
    for item in scope.some(op.ids):
        if item.kind != "polygon":
            raise InputError(f"an object to be squared must be a polygon, got a {item.kind}.")
        # Those squared before it count as they are now: two of one row are squared one after the other.
        shapes = {other.id: changed.get(other.id, other.shape) for other in polygons_of(scope)}
        squared, moves = square_corners(rings_of(shapes[item.id]))
        changed[item.id] = polygon_of(squared)
        for number, shape in shapes.items():
            rings = move_corners(rings_of(shape), moves)
            # Neighbors follow, or a gap would open along the wall.
            if number != item.id and rings is not None:
                changed[number] = polygon_of(rings)
    return finish(scope, changed)


def _set_class(op: ops.SetClass, scope: Scope) -> Change:
    wanted = scope.class_shape(op.class_)
    change = Change()
    for item in scope.some(op.ids):
        if item.class_name == op.class_:
            continue
        shape = item.shape
        if wanted == "bitmap" and item.kind == "polygon":
            shape = _as_mask(shape, scope)
        elif wanted not in ("any", item.kind):
            raise InputError(
                f"an object of class {op.class_!r} must be a {wanted}, got a {item.kind}. Choose another one."
            )
        # The id of a class belongs to the old one.
        values = {key: value for key, value in kept_values(item).items() if key != "classId"}
        change.gone.append(item)
        change.new.append(replace(item, class_name=op.class_, shape=shape, values=values, edited=True))
    return change


def _delete(op: ops.Delete, scope: Scope) -> Change:
    return Change(scope.some(op.ids))


def _set_status(op: ops.SetStatus, scope: Scope) -> Change:
    # Only those that change, so that an undo takes back no more than was done.
    items = [item for item in scope.some(op.ids) if item.status != op.status]
    return Change(items, [replace(item, status=op.status) for item in items])


def _set_tag(op: ops.SetTag, scope: Scope) -> Change:
    tag = Tag(op.tag, op.value)
    if not op.ids:
        tags = _tagged(scope.tags, tag, op.on)
        return Change() if tags is None else Change(tags=(scope.tags, tags))
    change = Change()
    for item in scope.some(op.ids):
        tags = _tagged(item.tags, tag, op.on)
        if tags is not None:
            change.gone.append(item)
            change.new.append(replace(item, tags=tags, values=kept_values(item), edited=True))
    return change


def _tagged(tags: tuple[Tag, ...], tag: Tag, on: bool) -> tuple[Tag, ...] | None:
    """Tags with one set or taken away; None where that changes nothing."""
    others = tuple(one for one in tags if one.name != tag.name)
    if on:
        return None if tag in tags else (*others, tag)
    return others if len(others) < len(tags) else None


_EDITS: dict[type, Callable[[Any, Scope], Change]] = {
    ops.Draw: _draw,
    ops.Move: _move,
    ops.Insert: _insert,
    ops.Remove: _remove,
    ops.Cut: _cut,
    ops.Fill: _fill,
    ops.Split: _split,
    ops.Merge: _merge,
    ops.Square: _square,
    ops.Brush: brush,
    ops.SetClass: _set_class,
    ops.Delete: _delete,
    ops.SetStatus: _set_status,
    ops.SetTag: _set_tag,
}
