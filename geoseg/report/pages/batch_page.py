"""The report of many scenes: how many are in which state, where they lie, and what became of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.files import check_page, plain_stem
from geoseg.pipeline.batch.manifest import MANIFEST, STATES, SceneRecord, read_states
from geoseg.pipeline.record import REPORT_MAKER, report_file
from geoseg.report.pages.document import escape, write_document
from geoseg.typing import PathLike
from geoseg.version import VERSION

__all__ = ["BATCH_REPORT", "BatchReport", "write_batch_report"]

#: Name of the report in the folder of the results.
BATCH_REPORT = "report.html"

#: Colors of the states on the map and in the table.
_COLORS = dict(zip(STATES, ("#2f8f46", "#d99a00", "#c62828", "#8e44ad", "#1f6fb5", "#8a8f96"), strict=True))
#: Scenes on the map and in the table. Those that need somebody come first; the manifest has all.
_MAPPED, _LISTED = 20_000, 5000
#: Letters of a text.
_LONG = 300
#: Units of the map along its longer side.
_SIDE = 100_000


@dataclass(frozen=True)
class BatchReport:
    """What the report of many scenes says.

    Attributes
    ----------
    file, bytes
        The report, and its size.
    scenes
        Number of them.
    states
        How many are in which state.
    footprints, mpx
        Of all scenes with a result.
    regions
        Regions that could not be read.
    on_map
        Scenes whose place is known.
    notes
        What the user should know.
    """

    file: str
    bytes: int
    scenes: int
    states: dict[str, int]
    footprints: int
    mpx: float
    regions: int
    on_map: int
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def write_batch_report(out: PathLike, path: PathLike | None = None) -> BatchReport:
    """Write the overview of a folder of many scenes; it may be asked for while they are worked on.

    Parameters
    ----------
    out
        The folder, with a manifest.
    path
        The file; None: report.html in it.

    Raises
    ------
    MissingFileError, InputError
        There is no manifest; or ``path`` is a file of somebody else.
    RunError
        The file can't be written.
    """
    out = Path(out)
    target = out / BATCH_REPORT if path is None else Path(path)
    check_page(target, [out / MANIFEST], REPORT_MAKER)
    everything, facts, _ = read_states(out)
    # The batch is what the last call named.
    records = [record for record in everything if record.listed]
    # What needs somebody first; records come by name.
    order = {state: k for k, state in enumerate(("failed", "incomplete", "stopped", "running", "waiting"))}
    records.sort(key=lambda record: order.get(record.state, len(order)))
    # Looked for on the disk and not in the manifest: reports are written after their scenes.
    links = {record.name: link for record in records if (link := _link(record, out, target))}
    extents, notes = _extents(records)
    if earlier := len(everything) - len(records):
        some = "1 scene of an earlier call is" if earlier == 1 else f"{earlier} scenes of earlier calls are"
        notes.append(f"{some} in the folder, too")
    width, height = _SIDE, _SIDE
    if extents:
        extents, width, height = _placed(extents)
    states: dict[str, int] = {
        state: count for state in STATES if (count := sum(record.state == state for record in records))
    }
    page = {
        "width": width,
        "height": height,
        "levels": 9,
        "finest": 0,
        "nearest": 0.5,
        "states": list(_COLORS.values()),
        "scenes": [
            {
                "box": extents[record.name],
                "state": STATES.index(record.state),
                "text": _about(record),
                "link": links.get(record.name),
            }
            for record in records
            if record.name in extents
        ][:_MAPPED],
        "words": {"link": "its report"},
    }
    report = BatchReport(
        file=str(target),
        bytes=0,
        scenes=len(records),
        states=states,
        footprints=sum(record.footprints or 0 for record in records),
        mpx=round(sum(record.mpx or 0.0 for record in records), 3),
        regions=sum(len(record.failures) for record in records),
        on_map=len(extents),
        notes=notes,
    )
    body = _body(out, target, report, records, links, facts)
    size = write_document(target, f"{out.resolve().name} - geoseg report", body, page, [])
    return replace(report, bytes=size)


def _link(record: SceneRecord, out: Path, target: Path) -> str | None:
    """Where the report of a scene lies as seen from this one; None without one, or elsewhere on the disk."""
    # A name from a manifest of somebody else's must not lead out of the folder.
    return _place(report_file(out / plain_stem(record.name), record.name), target)


def _place(file: Path, target: Path) -> str | None:
    """Where a file lies as seen from the report; None without one, or elsewhere on the disk."""
    if not file.is_file():
        return None
    try:
        place = file.absolute().relative_to(target.absolute().parent)
    except ValueError:
        return None
    # With ./ before it, no name is taken for a scheme such as javascript:
    return "./" + quote(place.as_posix())


def _extents(records: Sequence[SceneRecord]) -> tuple[dict[str, list[float]], list[str]]:
    """(left, top, right, bottom) of scenes, y downwards, in one frame: their CRS, else degrees."""
    placed = [record for record in records if record.bounds and record.crs]
    systems = {record.crs for record in placed}
    extents: dict[str, list[float]] = {}
    transformers: dict[str, Transformer] = {}
    for record in placed:
        assert record.bounds is not None  # chosen by it
        left, bottom, right, top = record.bounds
        if len(systems) > 1:
            try:
                if record.crs not in transformers:
                    to = CRS.from_epsg(4326)
                    transformers[record.crs] = Transformer.from_crs(record.crs, to, always_xy=True)
                left, bottom, right, top = transformers[record.crs].transform_bounds(left, bottom, right, top)
            # A CRS that PROJ does not know has no place on a common map; the scene stands in the table.
            except ProjError:
                continue
        if all(map(math.isfinite, (left, bottom, right, top))):
            # Up is north on the ground; the map counts downwards.
            extents[record.name] = [left, -top, right, -bottom]
    lost = sum(record.bounds is not None for record in records) - len(extents)
    some = "1 scene has" if lost == 1 else f"{lost} scenes have"
    return extents, [f"{some} no coordinates, and is not on the map"] if lost else []


def _placed(extents: dict[str, list[float]]) -> tuple[dict[str, list[float]], int, int]:
    """Extents in units of the map, and its width and height."""
    boxes = list(extents.values())
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    # A lone point has no extent, and nothing may be divided by zero.
    wide, tall = max(right - left, 1e-9), max(bottom - top, 1e-9)
    scale = _SIDE / max(wide, tall)
    placed = {
        name: [round((value - (left, top)[k % 2]) * scale, 1) for k, value in enumerate(box)]
        for name, box in extents.items()
    }
    return placed, max(1, round(wide * scale)), max(1, round(tall * scale))


def _about(record: SceneRecord) -> str:
    text = f"{record.name}: {record.state}"
    if record.footprints is not None and record.state in ("done", "incomplete"):
        text += f", {record.footprints:,} footprints"
    return f"{text}\n{_reason(record)}".strip()


def _reason(record: SceneRecord) -> str:
    if record.error:
        return record.error[:_LONG]
    if record.failures:
        count = len(record.failures)
        return f"{'1 region' if count == 1 else f'{count} regions'} could not be read"
    return ""


def _merged_files(merged: Any, out: Path, target: Path) -> Iterator[str]:
    """The data set of all scenes, where there is one."""
    if not isinstance(merged, dict) or not isinstance(merged.get("files"), dict):
        return
    items = []
    for name in merged["files"].values():
        # As for the reports: nothing leads out of the folder. A browser can't show a folder of parts.
        file = out / Path(str(name)).name
        link = None if file.is_dir() else _place(file, target)
        items.append(f'<li><a href="{escape(link)}">{escape(file.name)}</a></li>' if link else
                     f"<li>{escape(file.name)}</li>")  # fmt: skip
    footprints, scenes = merged.get("footprints", 0), len(merged.get("scenes", ()))
    yield "<h2>One data set of all</h2>"
    yield f"<p>{footprints:,} footprints of {scenes:,} scenes in {escape(str(merged.get('crs', '')))}</p>"
    yield f"<ul>{''.join(items)}</ul>"


def _body(
    out: Path,
    target: Path,
    report: BatchReport,
    records: Sequence[SceneRecord],
    links: dict[str, str],
    facts: dict[str, Any],
) -> Iterator[str]:
    yield f"<h1>{escape(out.resolve().name)}</h1>"
    model = facts.get("model")
    made = facts.get("geoseg", VERSION)
    yield f'<p class="quiet">{"network " + escape(model) + ", " if model else ""}geoseg {escape(made)}</p>'
    totals = [(f"{report.scenes:,}", "scenes"), (f"{report.footprints:,}", "footprints")]
    totals += [(f"{report.mpx:,.0f}", "megapixels")]
    totals += [(f"{count:,}", state) for state, count in report.states.items()]
    items = "".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in totals)
    yield f'<ul class="totals">{items}</ul>'
    missing = report.scenes - report.states.get("done", 0)
    if missing:
        some, are = ("1 scene", "is") if missing == 1 else (f"{missing:,} scenes", "are")
        yield f'<p class="bad">{some} {are} not complete.</p>'
    for note in report.notes:
        yield f'<p class="quiet">Note: {escape(note)}</p>'
    legend = "".join(
        f'<label><svg class="sample" viewBox="0 0 14 10"><rect width="14" height="10" '
        f'fill="{_COLORS[state]}"/></svg> {state}</label>'  # type: ignore[index]
        for state in report.states
    )
    yield f'<div id="frame"><div id="map"></div><div id="layers">{legend}</div>'
    yield '<div id="info" hidden></div></div>'
    yield "<h2>Scenes</h2><table>"
    yield "<tr><th>scene</th><th>state</th><th class=number>footprints</th>"
    yield "<th class=number>Mpx</th><th></th></tr>"
    for record in records[:_LISTED]:
        title = escape(record.name)
        link = links.get(record.name)
        cell = f'<a href="{escape(link)}">{title}</a>' if link else title
        count = "" if record.footprints is None else f"{record.footprints:,}"
        mpx = "" if record.mpx is None else f"{record.mpx:,.1f}"
        yield (
            f"<tr><td>{cell}</td><td>{record.state}</td><td class=number>{count}</td>"
            f"<td class=number>{mpx}</td><td>{escape(_reason(record))}</td></tr>"
        )
    yield "</table>"
    if len(records) > _LISTED:
        yield f"<p>and {len(records) - _LISTED:,} more, in {MANIFEST}</p>"
    yield from _merged_files(facts.get("merged"), out, target)
    options = facts.get("options") or {}
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(str(value)[:_LONG])}</td></tr>"
        for key, value in options.items()
    )
    yield f"<h2>How it was made</h2><table>{rows or '<tr><td>with all defaults</td></tr>'}</table>"
