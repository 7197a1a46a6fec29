"""The report of one result: map, totals, histograms, what is missing, and where it is least certain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.files import check_page
from geoseg.io.pyramid import shown_bands
from geoseg.io.references import Reference
from geoseg.pipeline.record import REPORT_MAKER
from geoseg.pipeline.store_state import array_place
from geoseg.report.pages.certainty import Cells, read_cells
from geoseg.report.pages.document import write_document
from geoseg.report.pages.map_data import map_data, region_box
from geoseg.report.pages.places import Place, draw_places, find_places, to_frame
from geoseg.report.pages.results import Result, open_footprints, open_scene
from geoseg.report.pages.scene_body import scene_body
from geoseg.report.pages.shapes import (
    AREA_EDGES,
    CONFIDENCE_BINS,
    FootprintSums,
    PackedShapes,
    sum_footprints,
)
from geoseg.report.pages.tiles import TiledPicture, tile_picture
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["Budget", "ReportSummary", "write_scene_report"]


@dataclass(frozen=True)
class Budget:
    """Sizes of the parts of a report, so that the whole is below 20 MB for any scene.

    Attributes
    ----------
    picture, shapes, places
        Bytes of the map's picture, the footprints on it, and the detail pictures, as they stand in the file.
    footprints
        Footprints that are drawn one by one; beyond it there is a map of their density.
    """

    picture: int = 12_000_000
    shapes: int = 4_000_000
    places: int = 2_500_000
    footprints: int = 100_000


@dataclass(frozen=True)
class ReportSummary:
    """What a report says.

    Attributes
    ----------
    file, bytes
        The report, and its size.
    scene
        Name of the scene.
    footprints
        Number of them.
    area, unit
        Of all footprints, in "m2" or "px"; None where no file of them can be read.
    covered
        Share of the ground with data that they cover; None where nothing has data, or they can't be read.
    confidence
        Mean of all footprints; None where they have none.
    no_data
        Share of the scene without data; None where it is not known.
    areas, confidences
        Histograms: [lower edge, upper edge, footprints].
    classes
        Class -> number and area.
    places
        Least certain first.
    failures
        Regions that could not be read.
    drawn
        How footprints are on the map: "shapes", "density" or "none".
    notes
        What the user should know.
    """

    file: str
    bytes: int
    scene: str
    footprints: int
    area: float | None
    unit: str
    covered: float | None
    confidence: float | None
    no_data: float | None
    areas: list[list[float]]
    confidences: list[list[float]]
    classes: dict[str, dict[str, float]]
    places: list[Place]
    failures: int
    drawn: str
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def write_scene_report(
    result: Result,
    path: PathLike | None = None,
    *,
    scene: Reference | None = None,
    remote: bool = False,
    budget: Budget | None = None,
    progress: Progress = no_progress,
) -> ReportSummary:
    """Write the report of a result: one HTML file that opens from disk, without a network.

    Memory depends on the budget, not on the scene or the number of footprints. Equal results give equal
    bytes.

    Parameters
    ----------
    result
        From :func:`geoseg.report.pages.results.find_result`.
    path
        The file; None: NAME.report.html beside the result.
    scene, remote
        As for :func:`geoseg.report.pages.results.open_scene`.
    budget
        Sizes of its parts.
    progress
        Told of the stages ``certainty``, ``picture``, ``footprints`` and ``outlines``.

    Raises
    ------
    InputError
        ``path`` is a file of somebody else, or the result can't be read.
    RunError
        The file can't be written.
    """
    budget = budget or Budget()
    record, target = result.record, result.target if path is None else Path(path)
    check_page(
        target, [*(result.folder / name for name in record.files.values()), *result.paths()], REPORT_MAKER
    )
    source, note = open_scene(result, scene, remote=remote)
    vectors = open_footprints(result)
    notes = [note] if note else []
    if vectors is None:
        notes.append("no file of footprints is left that can be read again: the report shows none")
    grid = record.geobox
    frame = grid if source is None else source.geobox
    cells, place = None, array_place(result.store)
    try:
        # As with the scene: nothing is fetched that nobody asked for.
        if "://" not in place or remote:
            cells = read_cells(place, record.background, progress=progress)
    except InputError:
        place = ""
    if cells is None:
        why = f"lie at {place}, which is not asked" if place else "are gone"
        notes.append(
            f"the kept probabilities {why}: the least certain places are those of the footprints with the "
            "lowest confidence"
        )
    picture = None
    if source is not None:
        look = shown_bands(source)
        picture = tile_picture(source, look, budget.picture, progress=progress)
        if picture.unreadable:
            notes.append("parts of the scene can't be read: the picture is empty there")
    # Half a pixel of the finest level, below which nothing is seen.
    step = max(frame.shape) / 2**14 if picture is None else 2**picture.finest / 2
    packed, sums = PackedShapes(max(0.5, step), budget.footprints, budget.shapes), FootprintSums.of(frame)
    if vectors is not None:
        sums = sum_footprints(vectors, frame, packed, progress=progress)
    places = find_places(grid, frame, cells, sums)
    crops = [""] * len(places)
    if source is not None:
        crops = draw_places(source, look, vectors, places, budget.places, progress=progress)
    # Reasons and options name paths of this machine, which a page that is passed on must not tell.
    tidy = _without_folders(result)
    regions = [(region_box(entry, grid, frame), tidy(entry["reason"])) for entry in record.failures]
    unit = "px" if grid.ground_resolution() is None else "m2"
    page, blocks = map_data(grid, frame, picture, packed, sums, cells, regions, places, unit)
    drawn = next((kind for kind, _ in blocks if kind in ("shapes", "density")), "none")
    # Cells are counted on the grid of the prediction, footprints on the picture's: areas need one of the two.
    scale = abs(to_frame(grid, frame).determinant)
    valid_px = _valid_px(cells, scale, picture)
    summary = ReportSummary(
        file=str(target),
        bytes=0,
        scene=record.scene,
        footprints=record.footprints if vectors is None else sums.count,
        area=None if vectors is None else round(sums.area, 2),
        unit=unit,
        covered=None if not valid_px or vectors is None else round(min(1.0, sums.area_px / valid_px), 6),
        confidence=None if not sums.confident else round(sums.confidence_sum / sums.confident, 4),
        no_data=None if valid_px is None else round(max(0.0, 1 - valid_px / (frame.height * frame.width)), 6),
        areas=_bins(AREA_EDGES.tolist(), sums.areas.tolist()),
        confidences=_bins(
            np.linspace(0, 1, CONFIDENCE_BINS + 1).round(2).tolist(), sums.confidences.tolist()
        ),
        classes={
            name: {"footprints": int(count), "area": round(area, 2)}
            for name, (count, area) in sorted(sums.classes.items())
        },
        places=places,
        failures=len(record.failures),
        drawn=drawn,
        notes=notes + [tidy(text) for text in record.notes],
    )
    body = scene_body(record, summary, crops, regions, page, tidy)
    size = write_document(target, f"{record.scene} - geoseg report", body, page, blocks)
    # The size is known only now, and the page does not state its own.
    return replace(summary, bytes=size)


def _valid_px(cells: Cells | None, scale: float, picture: TiledPicture | None) -> float | None:
    """Pixels of the picture's grid that have data; None: not known."""
    if cells is not None:
        return float(cells.valid.sum()) * scale
    return None if picture is None else float(picture.valid_px)


def _bins(edges: list[float], counts: list[int]) -> list[list[float]]:
    """Bins of a histogram from the first to the last that holds anything."""
    full = [k for k, count in enumerate(counts) if count]
    return [[edges[k], edges[k + 1], counts[k]] for k in range(full[0], full[-1] + 1)] if full else []


def _without_folders(result: Result) -> Callable[[str], str]:
    """Takes folders of the scene and of the result out of a text: they are nobody's business elsewhere."""
    folders = {str(Path(path).parent) for path in result.paths()} | {str(result.folder.absolute())}
    folders |= {str(result.folder), str(result.store.parent)}
    ordered = sorted(
        (f"{folder}/" for folder in folders if folder not in (".", "/", "")), key=len, reverse=True
    )

    def tidy(text: str) -> str:
        for folder in ordered:
            text = text.replace(folder, "")
        return text

    return tidy
