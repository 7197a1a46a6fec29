"""A comparison as one HTML file: tables, and pictures of what changed most; it needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import io

import numpy as np
import shapely
from PIL import Image

from geoseg.errors import GeosegError
from geoseg.files import page_head, write_text
from geoseg.geo.windows import Window
from geoseg.pipeline.comparison.footprints import read_on_plane
from geoseg.pipeline.comparison.projects import number_objects, open_trio
from geoseg.pipeline.comparison.result import Comparison, Estimate, PlaceChange
from geoseg.projects.images import open_image
from geoseg.projects.project import open_project
from geoseg.report.drawing import to_rgb
from geoseg.typing import Array, BoolArray, PathLike

__all__ = ["MAKER", "write_comparison"]

#: Pictures in the file, and the longest side of each panel in pixels.
_PICTURES, _SIDE = 12, 480
#: IoU from which nothing is to be seen.
_ALIKE = 0.999
#: Only before, only after, in both: told apart by those who don't see red or green, too.
_COLORS = {"before": (230, 120, 20), "after": (40, 110, 230), "both": (245, 245, 245)}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}.worse{color:#a00;font-weight:600}figure{margin:1.5rem 0}
figcaption{color:#555}img{max-width:100%;border:1px solid #ccc}
.b{color:#c05a00}.a{color:#1d5fd0}
"""


#: What the page says of its origin.
MAKER = "geoseg compare"


def write_comparison(comparison: Comparison, path: PathLike) -> None:
    """Write a comparison as one HTML file that opens without a network.

    Parameters
    ----------
    comparison
        Its files or projects are read again for the pictures of the places that changed most.
    path
        The file; replaced if it is there: :func:`geoseg.files.check_page` tells beforehand whether it may be.

    Raises
    ------
    GeosegError
        The file can't be written.
    """
    # Files in two coordinate reference systems differ in their last bits everywhere.
    shown = [place for place in comparison.places if place.iou < _ALIKE][:_PICTURES]
    draw = _draw_images if not shown or shown[0].bounds is None else _draw_ground
    pictures = draw(comparison, shown) if shown else []
    body = [
        "<h1>Before and after</h1>",
        f"<p><span class=b>before: {_text(comparison.before)}</span><br>"
        f"<span class=a>after: {_text(comparison.after)}</span>",
        f"<br>truth: {_text(comparison.truth)}</p>" if comparison.truth else "</p>",
        _totals(comparison),
        f"<h2>The {len(pictures)} greatest changes</h2>" if pictures else "<p>Nothing changed.</p>",
    ]
    body += [
        f'<figure><img src="{source}" alt="{_text(place.name)}">'
        f"<figcaption>{_caption(place)}</figcaption></figure>"
        for place, source in zip(shown, pictures)
        if source
    ]
    body += ["<h2>All places</h2>", _table(comparison)]
    body += [f"<p>{_text(note)}</p>" for note in comparison.notes]
    if comparison.failures:
        rows = "".join(f"<li>{_text(name)}: {_text(reason)}</li>" for name, reason in comparison.failures)
        body.append(f"<h2>Not compared</h2><ul>{rows}</ul>")
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    write_text(
        path,
        f"{page_head(MAKER)}"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="referrer" content="no-referrer"><title>Before and after</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n",
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{_percent(one.value)} (too few for an interval)"
    return f"{_percent(one.value)} ({_percent(one.low)} to {_percent(one.high)})"


def _totals(comparison: Comparison) -> str:
    objects = comparison.objects
    lines = [
        f"<p>IoU of the two {comparison.iou:.4f}. {objects.before:,} objects before, {objects.after:,} "
        f"after: {objects.gone:,} gone, {objects.new:,} new, {objects.split:,} split, "
        f"{objects.merged:,} merged.</p>"
    ]
    if comparison.fits is None or comparison.quality is None:
        return lines[0]
    if comparison.worse:
        lines.append("<p class=worse>The second is worse than the first.</p>")
    rows = [
        ("IoU", *(f"{fit.iou:.4f}" for fit in comparison.fits)),
        ("F1 of areas", *(f"{fit.f1:.4f}" for fit in comparison.fits)),
        ("precision of objects", *(_interval(quality.precision) for quality in comparison.quality)),
        ("recall of objects", *(_interval(quality.recall) for quality in comparison.quality)),
        ("median error of area", *(_interval(quality.area_error) for quality in comparison.quality)),
    ]
    cells = "".join(f"<tr><td>{name}</td><td>{b}</td><td>{a}</td></tr>" for name, b, a in rows)
    where = f" with the tag {_text(comparison.tag)}" if comparison.tag else ""
    lines.append(
        f"<p>Against the truth, on {comparison.judged:,} places{where}, with exact 95 % intervals:</p>"
        f"<table><tr><th></th><th>before</th><th>after</th></tr>{cells}</table>"
    )
    return "".join(lines)


def _caption(place: PlaceChange) -> str:
    told = f"<b>{_text(place.name)}</b>: IoU of the two {place.iou:.3f}"
    if place.before is not None and place.after is not None:
        told += f"; IoU with the truth {place.before.iou:.3f} before, {place.after.iou:.3f} after"
    return told


def _table(comparison: Comparison) -> str:
    head = ["place", "IoU", "objects before", "after", "gone", "new", "split", "merged"]
    head += ["truth IoU before", "after", "F1 before", "after"] if comparison.fits else []
    rows = []
    for place in comparison.places:
        o = place.objects
        cells = [f"{place.iou:.4f}", o.before, o.after, o.gone, o.new, o.split, o.merged]
        if comparison.fits:
            b, a = place.before, place.after
            cells += [f"{fit.iou:.4f}" if fit else "" for fit in (b, a)]
            cells += [f"{fit.f1:.4f}" if fit else "" for fit in (b, a)]
        rest = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr><td>{_text(place.name)}</td>{rest}</tr>")
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{''.join(rows)}</table>"


def _draw_images(comparison: Comparison, places: list[PlaceChange]) -> list[str]:
    """Pictures of images: before, after, and what differs, side by side; empty where one can't be read."""
    before, after = open_project(comparison.before), open_project(comparison.after)
    trios = {trio.name: trio for trio in open_trio(before, after, None)[0]}
    pictures = []
    for place in places:
        trio = trios[place.name]
        try:
            image = open_image(trio.items[0].image)
            annotations = [p.annotation(item) for p, item in zip((before, after), trio.items[:2])]
            height, width = image.shape
            step = max(1, -(-max(height, width) // _SIDE))
            masks = []
            for annotation in annotations:
                mask = np.zeros(annotation.shape, np.bool_)
                for title, _ in comparison.classes:
                    mask |= number_objects(annotation, title) > 0
                masks.append(mask[::step, ::step])
            whole = Window(row_off=0, col_off=0, height=height, width=width)
            pixels = image.read(whole)[:, ::step, ::step]
            valid = image.read_valid(whole)[::step, ::step] if image.has_validity else np.ones_like(masks[0])
        except (GeosegError, OSError):  # it is in the table all the same
            pictures.append("")
            continue
        pictures.append(_panels(to_rgb(pixels, valid), masks[0], masks[1]))
    return pictures


def _panels(picture: Array, before: BoolArray, after: BoolArray) -> str:
    gray = (picture.mean(axis=2, keepdims=True) * 0.6).astype(np.uint8).repeat(3, axis=2)
    changed = gray.copy()
    for where, name in ((before & after, "both"), (before & ~after, "before"), (after & ~before, "after")):
        changed[where] = (changed[where] * 0.3 + np.array(_COLORS[name]) * 0.7).astype(np.uint8)
    panels = [_tinted(picture, before, "before"), _tinted(picture, after, "after"), changed]
    gap = np.full((picture.shape[0], 6, 3), 255, np.uint8)
    joined = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(joined).save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _tinted(picture: Array, mask: BoolArray, name: str) -> Array:
    tinted = picture.copy()
    tinted[mask] = (picture[mask] * 0.5 + np.array(_COLORS[name]) * 0.5).astype(np.uint8)
    return tinted


def _draw_ground(comparison: Comparison, places: list[PlaceChange]) -> list[str]:
    """Drawings of squares of ground: the truth filled, outlines before and after."""
    paths: list[PathLike] = [comparison.before, comparison.after]
    sides, _ = read_on_plane([*paths, *([comparison.truth] if comparison.truth else [])])
    trees = [shapely.STRtree(side) for side in sides]
    meters = comparison.unit == "m2"
    pictures = []
    for place in places:
        assert place.bounds is not None  # places of files are squares
        box = shapely.box(*place.bounds)
        layers = []
        # The truth lies below the outlines.
        for index in (2, 0, 1)[0 if len(sides) > 2 else 1 :]:
            near = sides[index][trees[index].query(box)]
            layers.append(_svg_path(near, place.bounds, meters, index))
        side = place.bounds[2] - place.bounds[0]
        drawing = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIDE}" height="{_SIDE}" '
            f'viewBox="0 0 {side:g} {side:g}"><rect width="100%" height="100%" fill="#f4f4f4"/>'
            + "".join(layers)
            + "</svg>"
        )
        pictures.append(f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}")
    return pictures


def _svg_path(shapes: Array, bounds: tuple[float, float, float, float], meters: bool, index: int) -> str:
    left, bottom, right, top = bounds
    parts = []
    for ring in shapely.get_rings(shapes):
        xy = shapely.get_coordinates(ring)
        # Up is north on the ground; pixels count downwards.
        xy = np.column_stack([xy[:, 0] - left, top - xy[:, 1] if meters else xy[:, 1] - bottom])
        parts.append("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in xy[:-1]) + "Z")
    width = (right - left) / 200
    strokes = ('fill="none" stroke="#e67814"', 'fill="none" stroke="#286ee6"', 'fill="#d4d4d4" stroke="none"')
    style = strokes[index]
    dash = f' stroke-dasharray="{3 * width:g}"' if index == 0 else ""
    return f'<path d="{"".join(parts)}" {style} stroke-width="{width:g}"{dash} fill-rule="evenodd"/>'
