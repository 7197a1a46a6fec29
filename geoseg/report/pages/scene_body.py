"""What stands in the report of one result, as HTML; every text that comes from a file is escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from geoseg.pipeline.record import RunRecord
from geoseg.report.pages.document import bar_chart, escape, table
from geoseg.report.pages.map_data import COLORS
from geoseg.version import VERSION

if TYPE_CHECKING:
    from geoseg.report.pages.scene_page import ReportSummary

__all__ = ["area_text", "layer_switches", "scene_body"]

#: Regions in the table, and notes; the list beside the result has all.
_MOST_ROWS = 100
#: Letters of a text of a file, and of a model's card.
_LONG, _CARD = 400, 200_000


def area_text(area: float | None, unit: str) -> str:
    """An area with a unit that suits its size.

    Examples
    --------
    >>> area_text(812.4, "m2"), area_text(81_240, "m2"), area_text(3_400_000, "m2"), area_text(1234, "px")
    ('812 m\\xb2', '8.12 ha', '3.4 km\\xb2', '1,234 pixels')
    """
    if area is None:
        return "unknown"
    if unit != "m2":
        return f"{area:,.0f} pixels"
    if area < 10_000:
        return f"{area:,.0f} m\xb2"
    return f"{area / 1e4:.3g} ha" if area < 1e6 else f"{area / 1e6:,.3g} km\xb2"


def scene_body(
    record: RunRecord,
    summary: ReportSummary,
    crops: Sequence[str],
    regions: Sequence[tuple[list[float], str]],
    page: dict[str, Any],
    tidy: Callable[[str], str],
) -> Iterator[str]:
    """The parts of the page, one after the other.

    Parameters
    ----------
    record
        What the run was.
    summary
        Its numbers.
    crops
        Pictures of the places, as HTML; empty ones without the scene.
    regions
        Boxes that could not be read, and why.
    page
        What the map shows.
    tidy
        Takes folders out of a text.
    """
    acquired = record.provenance["scene"].get("acquired")
    date = f", {escape(acquired)}" if acquired else ""
    yield f"<h1>{escape(record.scene)}</h1>"
    size = f"{record.width:,} x {record.height:,} pixels"
    name = record.provenance["model"].get("name")
    network = f"network {escape(name)}" if name else "a network without a card"
    yield f'<p class="quiet">read as {size}{date}; {network}</p>'
    yield _totals(summary)
    if summary.failures:
        some = "1 region" if summary.failures == 1 else f"{summary.failures:,} regions"
        yield f'<p class="bad">{some} of the scene could not be read and are missing: see the list below.</p>'
    for note in summary.notes[:_MOST_ROWS]:
        yield f'<p class="quiet">Note: {escape(note[:_LONG])}</p>'
    yield f'<div id="frame"><div id="map"></div>{layer_switches(page, summary.drawn)}'
    yield '<div id="info" hidden></div></div>'
    yield "<h2>Footprints</h2>"
    yield from _charts(summary)
    yield "<h2>Least certain</h2>"
    yield from _places(summary, crops)
    if regions:
        yield "<h2>Could not be read</h2>"
        rows = [[", ".join(f"{value:,.0f}" for value in box), text[:_LONG]] for box, text in regions]
        yield table(rows[:_MOST_ROWS], ["left, top, right, bottom (pixels)", "reason"])
        if len(rows) > _MOST_ROWS:
            yield f"<p>and {len(rows) - _MOST_ROWS:,} more</p>"
    yield "<h2>How it was made</h2>"
    yield from _making(record, tidy)


def _totals(summary: ReportSummary) -> str:
    percent = lambda share: "unknown" if share is None else f"{100 * share:.3g} %"  # noqa: E731
    cells = [
        (f"{summary.footprints:,}", "footprints"),
        (area_text(summary.area, summary.unit), "of ground under them"),
        (percent(summary.covered), "of the ground with data"),
        ("unknown" if summary.confidence is None else f"{summary.confidence:.2f}", "mean confidence"),
        (percent(summary.no_data), "of the scene without data"),
    ]
    items = "".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in cells)
    return f'<ul class="totals">{items}</ul>'


def layer_switches(page: dict[str, Any], drawn: str) -> str:
    """Boxes to show and hide what is on the map, with the colors it is drawn in."""
    swatches = "".join(
        f'<svg class="sample" viewBox="0 0 14 10"><rect width="14" height="10" fill="{color}"/></svg>'
        for color in COLORS
    )
    names = {
        "picture": ("scene", page.get("hasPicture")),
        "footprints": (f"footprints, confidence 0 {swatches} 1", drawn == "shapes"),
        "density": ("density of footprints", drawn == "density"),
        "gaps": ("without data", "gaps" in page),
        "failures": ("could not be read", page.get("failures")),
        "places": ("least certain", page.get("places")),
    }
    boxes = "".join(
        f'<label><input type="checkbox" data-layer="{name}" checked> {text}</label>'
        for name, (text, there) in names.items()
        if there
    )
    return f'<div id="layers">{boxes}</div>'


def _charts(summary: ReportSummary) -> Iterator[str]:
    if not summary.footprints or not summary.areas:
        yield "<p>There are none.</p>"
        return
    unit = "m\xb2" if summary.unit == "m2" else "pixels"
    charts = [(summary.areas, f"Footprints by area ({unit})")]
    if summary.confidences:
        charts.append((summary.confidences, "Footprints by confidence"))
    yield '<div class="charts">'
    for bins, caption in charts:
        edges = [f"{low:g}" for low, _, _ in bins] + [f"{bins[-1][1]:g}"]
        yield bar_chart([int(count) for _, _, count in bins], edges, caption)
    yield "</div>"
    if len(summary.classes) > 1:
        rows = [
            [name[:_LONG], f"{one['footprints']:,.0f}", area_text(one["area"], summary.unit)]
            for name, one in list(summary.classes.items())[:_MOST_ROWS]
        ]
        yield table(rows, ["class", "footprints", "area"], numbers=[1, 2])


def _places(summary: ReportSummary, crops: Sequence[str]) -> Iterator[str]:
    if not summary.places:
        yield "<p>Nowhere was the network unsure.</p>"
        return
    yield '<div class="places">'
    for number, (place, crop) in enumerate(zip(summary.places, crops, strict=True)):
        left, top, right, bottom = place.box
        where = f"columns {left:,} to {right:,}, rows {top:,} to {bottom:,}"
        yield (
            f'<figure><button class="crop" data-place="{number}">{crop or "show on the map"}</button>'
            f"<figcaption>{number + 1}. {100 * place.uncertain:.0f} % uncertain, {where}</figcaption>"
            "</figure>"
        )
    yield "</div>"


def _making(record: RunRecord, tidy: Callable[[str], str]) -> Iterator[str]:
    model, made = record.provenance["model"], record.provenance["geoseg"]
    facts = [
        ("geoseg", made if made == VERSION else f"{made}, this page {VERSION}"),
        ("network", model.get("name") or "without a card"),
        ("its version", model.get("version")),
        ("its digest", model.get("fingerprint")),
        ("carried out by", model.get("runtime") or "a callable"),
        ("digest of the scene", record.provenance["scene"].get("fingerprint")),
        ("classes", ", ".join(record.classes)),
        ("windows", f"{record.windows:,}"),
        ("files", ", ".join(record.files.values())),
    ]
    yield table([(name, str(value)[:_LONG]) for name, value in facts if value])
    settings = [(name, tidy(_value_text(value))[:_LONG]) for name, value in record.options.items()]
    yield f"<details><summary>Settings</summary>{table(settings)}</details>"
    # At the end and folded: what the network is stands in its card, and few open it.
    if record.card:
        text = tidy(json.dumps(record.card, indent=2, ensure_ascii=False))[:_CARD]
        yield f"<details><summary>Model card</summary><pre>{escape(text)}</pre></details>"


def _value_text(value: Any) -> str:
    if isinstance(value, dict):  # a file, by its name and its content
        return str(value.get("name"))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
