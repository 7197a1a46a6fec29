"""Paint any window of a plan. A pixel's value depends on the plan alone, never on the window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from geoseg.demo.noise import Textures, make_textures
from geoseg.demo.plane import Box, Frame, box_corners, inside_convex
from geoseg.demo.surfaces import Spot, shade
from geoseg.demo.things import Part, Plan, Sun, TownBlock, Tree
from geoseg.geo.windows import Window
from geoseg.typing import Array, BoolArray, FloatArray

__all__ = ["Look", "Renderer", "in_box"]

#: Pixels that the blur reaches; a window is painted wider by as much.
_BLUR_RADIUS = 3
# Light from the sky alone, which is bluer than that of the sun.
_SHADOW = np.array([0.30, 0.345, 0.41], dtype=np.float32)[:, None, None]


@dataclass(frozen=True)
class Look:
    """What the camera adds: exposure, haze (gray levels), blur (sigma, pixels), noise (gray levels).

    ``color`` scales the saturation: 1 leaves it, 0 makes gray.
    """

    gain: float = 1.0
    haze: float = 6.0
    blur: float = 0.5
    noise: float = 2.0
    color: float = 0.84


def in_box(frame: Frame, box: Box, x: Array, y: Array) -> BoolArray:
    """Whether world points lie in a half-open box of a frame."""
    u, v = frame.local(x, y)
    inside: BoolArray = (u >= box[0]) & (u < box[2]) & (v >= box[1]) & (v < box[3])
    return inside


class _Canvas:
    """The arrays of one window while it is painted."""

    def __init__(self, window: Window, gsd: float, textures: Textures, shift: int, sun: Sun) -> None:
        self.window, self.gsd = window, gsd
        rows = np.arange(window.row_off, window.row_off + window.height)
        cols = np.arange(window.col_off, window.col_off + window.width)
        self.y, self.x = ((rows + 0.5) * gsd)[:, None], ((cols + 0.5) * gsd)[None, :]
        # World pixel numbers, shifted: a texture belongs to the place, whatever window shows it.
        rows, cols = rows + shift, cols + shift
        self.broad = textures.broad.sample(rows, cols)
        self.middle = textures.middle.sample(rows, cols)
        self.fine = textures.fine.sample(rows, cols)
        self.grit = textures.grit.sample(rows, cols)
        # Light on small bumps: the noise a little along the light, less the noise here.
        down, right = round(0.8 * sun.dy / gsd), round(0.8 * sun.dx / gsd)
        self.relief = textures.fine.sample(rows + down, cols + right) - self.fine
        self.relief += 0.6 * (textures.grit.sample(rows + down // 2, cols + right // 2) - self.grit)
        # One field read at three places gives channels of unlike noise.
        self.pixel = [textures.pixel.sample(rows + 151 * i, cols + 97 * i) for i in range(3)]
        shape = (window.height, window.width)
        self.rgb: FloatArray = np.zeros((3, *shape), dtype=np.float32)
        self.mask = np.zeros(shape, dtype=np.uint8)
        self.height: FloatArray = np.zeros(shape, dtype=np.float32)
        self.shadow: FloatArray = np.zeros(shape, dtype=np.float32)

    def clip(self, bounds: Array) -> tuple[slice, slice] | None:
        """Rows and columns of this canvas that world ``bounds`` (x0, y0, x1, y1) reach."""
        win = self.window
        x0, y0, x1, y1 = bounds / self.gsd
        left, right = max(int(x0) - win.col_off - 1, 0), min(int(x1) - win.col_off + 2, win.width)
        top, bottom = max(int(y0) - win.row_off - 1, 0), min(int(y1) - win.row_off + 2, win.height)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


class Renderer:
    """Paints windows of one plan at one ground sampling distance (meters per pixel)."""

    def __init__(self, plan: Plan, gsd: float, *, look: Look | None = None, shift: int = 0) -> None:
        self.plan, self.gsd, self.look = plan, gsd, look or Look()
        self.shift = shift % 100_000
        # Rounded: textures are kept by resolution, and 0.30000001 is the same one.
        self.textures = make_textures(round(gsd, 4))
        self.parts = [part for part in plan.parts if part.box[0] < part.box[2] and part.box[1] < part.box[3]]
        self._blocks = _bounds([block.points for block in plan.blocks])
        self._parts = _bounds([box_corners(part.frame, part.box) for part in self.parts])
        self._part_shadows = _swept(self._parts, [part.height for part in self.parts], plan.sun)
        # Crowns are lumpy: they reach out of their radius by nearly a third.
        self._trees = _bounds(
            [np.array([[t.x, t.y]]) + 1.3 * t.radius * np.array([[-1, -1], [1, 1]]) for t in plan.trees]
        )
        self._tree_shadows = _swept(self._trees, [tree.height for tree in plan.trees], plan.sun)

    def render(self, window: Window) -> tuple[Array, Array]:
        """Image uint8 (3, h, w) and building mask uint8 (h, w), 1 = building, of a window."""
        # Painted wider by what the blur reaches, so that no window shows where it ends.
        edge = _BLUR_RADIUS
        wide = window.grown(edge)
        # Plus 1000, so that the rim of the first window has numbers above zero.
        canvas = _Canvas(wide, self.gsd, self.textures, self.shift + 1000, self.plan.sun)
        self._paint(canvas)
        # From light to the sensor's bytes: exposure, haze, blur, noise.
        look = self.look
        image = np.empty(canvas.rgb.shape, dtype=np.uint8)
        gray = canvas.rgb.mean(axis=0)
        exposure = (look.gain * (1 + 0.02 * canvas.broad)).astype(np.float32)
        for channel, noise in enumerate(canvas.pixel):
            light = (gray + look.color * (canvas.rgb[channel] - gray)) * exposure
            light = ndimage.gaussian_filter(light, look.blur, radius=_BLUR_RADIUS) + look.haze
            image[channel] = np.clip(light + look.noise * noise, 0, 255)
        inner = (slice(edge, -edge), slice(edge, -edge))
        return np.ascontiguousarray(image[(slice(None), *inner)]), np.ascontiguousarray(canvas.mask[inner])

    def _paint(self, canvas: _Canvas) -> None:
        # Ground, parts, trees, then shadows, which need the height of all that stands.
        _paint_ground(canvas, self.plan, self._near(canvas, self._blocks))
        sun = self.plan.sun
        for i in self._near(canvas, self._parts):
            _paint_part(canvas, self.parts[i], self._parts[i], sun)
        for i in self._near(canvas, self._trees):
            _paint_tree(canvas, self.plan.trees[i], self._trees[i], sun)
        for i in self._near(canvas, self._part_shadows):
            _cast_box(canvas, self.parts[i], self._part_shadows[i], sun)
        for i in self._near(canvas, self._tree_shadows):
            _cast_tree(canvas, self.plan.trees[i], self._tree_shadows[i], sun)
        # Whatever is lower than the shadow's upper end; a little more, or roofs would shade themselves.
        shaded = canvas.shadow > canvas.height + 0.15
        canvas.rgb *= np.where(shaded, _SHADOW, np.float32(1))

    def _near(self, canvas: _Canvas, bounds: Array) -> Array:
        x0, x1 = canvas.x[0, 0] - self.gsd, canvas.x[0, -1] + self.gsd
        y0, y1 = canvas.y[0, 0] - self.gsd, canvas.y[-1, 0] + self.gsd
        meets = (bounds[:, 0] < x1) & (bounds[:, 2] > x0) & (bounds[:, 1] < y1) & (bounds[:, 3] > y0)
        return np.flatnonzero(meets)


def _bounds(polygons: list[Array]) -> Array:
    if not polygons:
        return np.zeros((0, 4))
    return np.array([[*points.min(axis=0), *points.max(axis=0)] for points in polygons])


def _swept(bounds: Array, heights: list[float], sun: Sun) -> Array:
    """Bounds of what casts a shadow together with the shadow; empty bounds for what is too low."""
    tall = np.array(heights, dtype=float)
    # Lower things throw shadows of less than a pixel at usual resolutions. NaN is in no comparison, so they
    # are near nothing.
    reach = np.where(tall >= 0.3, tall * sun.reach, np.nan)
    dx, dy = sun.dx * reach, sun.dy * reach
    moves = np.stack([np.minimum(dx, 0), np.minimum(dy, 0), np.maximum(dx, 0), np.maximum(dy, 0)], axis=1)
    return bounds + moves.reshape(-1, 4)


def _paint_ground(canvas: _Canvas, plan: Plan, near: Array) -> None:
    # The street is the ground of all that no block covers, as number 0.
    blocks: list[TownBlock] = [plan.street] if plan.street is not None else []
    index = np.zeros(canvas.mask.shape, dtype=np.intp)
    for i in near:
        block = plan.blocks[i]
        low, high = block.points.min(axis=0), block.points.max(axis=0)
        spot = canvas.clip(np.array([*low, *high]))
        if spot is None:
            continue
        blocks.append(block)
        inside = inside_convex(block.points, canvas.x[:, spot[1]], canvas.y[spot[0]])
        index[spot][inside] = len(blocks) - 1
    canvas.rgb[:] = _ground_color(canvas, blocks, index)


def _ground_color(canvas: _Canvas, blocks: list[TownBlock], index: Array) -> Array:
    soil = np.array([block.soil for block in blocks], dtype=np.float32).T
    grass = np.array([block.grass for block in blocks], dtype=np.float32).T
    green = np.array([block.green for block in blocks], dtype=np.float32)[index]
    # Meadows, tufts and blades: noise of all sizes decides where grass covers the soil.
    rough = 0.55 * canvas.broad + 0.55 * canvas.middle + 0.45 * canvas.fine + 0.15 * canvas.grit
    cover = np.clip((green + 0.75 * rough) * 1.1 + 0.5, 0, 1)
    light = 1 + 0.07 * canvas.broad + 0.06 * canvas.middle + 0.07 * canvas.fine + 0.09 * canvas.grit
    rough = np.clip(0.6 + 0.5 * canvas.middle + 0.4 * canvas.broad, 0.1, 1.4)
    light -= cover * (0.2 * rough * canvas.relief + 0.07 + 0.16 * rough * np.clip(canvas.fine, 0, 1.5))
    light -= 0.05 * (1 - cover) * canvas.relief
    waves = np.array([block.furrow for block in blocks], dtype=np.float64)
    if waves.any():
        phase = canvas.x * waves[index, 0] + canvas.y * waves[index, 1] + 0.12 * canvas.middle
        ridge = np.abs((phase % 1.0) - 0.5) - 0.25
        ploughed = np.abs(waves).sum(axis=1) > 0
        light += np.where(ploughed[index], 0.5 * ridge, 0.0).astype(np.float32)
    return (soil[:, index] * (1 - cover) + grass[:, index] * cover) * light


def _paint_part(canvas: _Canvas, part: Part, bounds: Array, sun: Sun) -> None:
    spot = canvas.clip(bounds)
    if spot is None:
        return
    u, v = part.frame.local(canvas.x[:, spot[1]], canvas.y[spot[0]])
    u0, v0, u1, v1 = part.box
    inside: BoolArray = (u >= u0) & (u < u1) & (v >= v0) & (v < v1)
    if part.round:
        inside &= ((2 * u - u0 - u1) / (u1 - u0)) ** 2 + ((2 * v - v0 - v1) / (v1 - v0)) ** 2 <= 1
    if part.surface in ("asphalt", "dirt"):
        half = (v1 - v0) / 2
        # Frayed edges: roads of bare ground and old asphalt have no straight ones.
        inside &= half - np.abs(v - (v0 + v1) / 2) > 0.35 * canvas.fine[spot] + 0.35
    noise = (layer[spot][inside] for layer in (canvas.middle, canvas.fine, canvas.grit))
    canvas.rgb[(slice(None), *spot)][:, inside] = shade(
        part, Spot(u[inside] - u0, v[inside] - v0, *noise), sun
    )
    canvas.height[spot][inside] = part.height
    if part.footprint:
        canvas.mask[spot][inside] = 1


def _paint_tree(canvas: _Canvas, tree: Tree, bounds: Array, sun: Sun) -> None:
    spot = canvas.clip(bounds)
    if spot is None:
        return
    dx, dy = (canvas.x[:, spot[1]] - tree.x) / tree.radius, (canvas.y[spot[0]] - tree.y) / tree.radius
    fine, grit = canvas.fine[spot], canvas.grit[spot]
    distance = dx * dx + dy * dy
    # Not over roofs that are higher than the crown.
    inside = (
        (distance < 1 + 0.3 * fine + 0.25 * grit) & (distance < 1.6) & (canvas.height[spot] < tree.height)
    )
    near = distance[inside]
    light = 0.95 - 0.5 * (dx * sun.dx + dy * sun.dy)[inside] - 0.12 * near
    light = np.clip(light + 0.14 * fine[inside] + 0.24 * grit[inside], 0.25, 1.8)
    canvas.rgb[(slice(None), *spot)][:, inside] = np.array(tree.color, dtype=np.float32)[:, None] * light
    canvas.height[spot][inside] = tree.height


def _cast_box(canvas: _Canvas, part: Part, bounds: Array, sun: Sun) -> None:
    """Raise the shadow's height where the box throws it: its height less the fall along the ray."""
    spot = canvas.clip(bounds)
    if spot is None:
        return
    u, v = part.frame.local(canvas.x[:, spot[1]], canvas.y[spot[0]])
    # A ray from each pixel back to the sun, against the box as two slabs; t is the share of the longest
    # shadow.
    reach = part.height * sun.reach
    su, sv = part.frame.turn(sun.dx * reach, sun.dy * reach)
    low_u, high_u = _slab(u, part.box[0], part.box[2], su)
    low_v, high_v = _slab(v, part.box[1], part.box[3], sv)
    enter = np.maximum(np.maximum(low_u, low_v), 0.0)
    leave = np.minimum(np.minimum(high_u, high_v), 1.0)
    height = np.where(enter <= leave, part.height * (1 - enter), 0.0)
    canvas.shadow[spot] = np.maximum(canvas.shadow[spot], height)


def _slab(place: Array, low: float, high: float, move: float) -> tuple[Array, Array]:
    """Interval of t for which ``place - t * move`` lies between ``low`` and ``high``."""
    # A ray along the slab would divide by zero.
    move = move if abs(move) > 1e-9 else 1e-9
    a, b = (place - low) / move, (place - high) / move
    return (b, a) if move > 0 else (a, b)


def _cast_tree(canvas: _Canvas, tree: Tree, bounds: Array, sun: Sun) -> None:
    spot = canvas.clip(bounds)
    if spot is None:
        return
    dx, dy = canvas.x[:, spot[1]] - tree.x, canvas.y[spot[0]] - tree.y
    reach = tree.height * sun.reach
    # As if the crown were a ball rolled along the ground from the trunk to the end of its shadow.
    along = dx * sun.dx + dy * sun.dy
    place = np.clip(along, 0.0, reach)
    off = (dx - place * sun.dx) ** 2 + (dy - place * sun.dy) ** 2
    wide = tree.radius**2 * (0.85 + 0.25 * canvas.fine[spot] + 0.2 * canvas.grit[spot])
    height = np.where(off < wide, tree.height * (1 - place / reach), 0.0)
    canvas.shadow[spot] = np.maximum(canvas.shadow[spot], height)
