"""Files sorted into mosaics and scenes of their own, and the reference that a mosaic is opened by."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geoseg.errors import GeosegError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.io.band_names import band_names
from geoseg.io.mosaic.grouping import Picture, SheetFacts, common_grid, find_pictures, lay_out, misfit, pile
from geoseg.io.mosaic.index import Sheet, read_sheets
from geoseg.io.mosaic.source import Mosaic
from geoseg.raster.warped import warp
from geoseg.typing import MosaicMode, OnTop, Progress, no_progress

__all__ = ["Sheets", "SortedFiles", "sort_files"]

#: Files that are told of by name; the rest is counted.
_TOLD = 3


@dataclass(frozen=True)
class Sheets:
    """Files that are opened as one mosaic, wherever a raster is opened.

    Attributes
    ----------
    name
        What to call the mosaic.
    paths
        At least one file, in any order.
    on_top
        Which one is seen where several overlap.
    label
        What the user named them by, for messages.
    dates
        ISO date of each path, where somebody knows better than the file; empty or as many as there are paths.
    warped
        Files that are off the grid that most of them share are resampled onto it.
    """

    name: str
    paths: tuple[str, ...]
    on_top: OnTop = "last"
    label: str = ""
    dates: tuple[str | None, ...] = ()
    warped: bool = False

    def open(self, *, bands: Sequence[int] | None = None, expand_palette: bool = True) -> Mosaic:
        """Open them; headers come from the sheet index.

        Raises
        ------
        SceneError
            A file that can't be opened, or is not on the grid of the others.
        """
        sheets: list[Sheet] = []
        dates = dict(zip(self.paths, self.dates))
        # Sorted, so that the mosaic is the same in whatever order its files were named or listed.
        paths = sorted(set(self.paths))
        opened = read_sheets(paths, bands=bands, expand_palette=expand_palette)
        for path, sheet in zip(paths, opened, strict=True):
            if isinstance(sheet, GeosegError):
                raise sheet
            sheets.append(dated(sheet, dates.get(path)))
        if self.warped:
            boxes = common_grid([sheet.scene.geobox for sheet in sheets])
            sheets = [on_grid(sheet, box) for sheet, box in zip(sheets, boxes, strict=True)]
        facts = [facts_of(sheet) for sheet in sheets]
        for own in facts:
            if why := misfit(own, facts[0]):
                raise SceneError(
                    f"files of a mosaic must be of one kind and on one grid, got {own.name}: {why} as of "
                    f"{facts[0].name}. Name it as a scene of its own."
                )
        geobox, windows = lay_out([own.geobox for own in facts])
        # The file's name before its folder: names of sheets tell their order, those of deliveries don't.
        names = [f"{Path(own.name).name}\0{own.name}" for own in facts]
        order = pile(names, [own.acquired for own in facts], self.on_top)
        return Mosaic(
            path=self.label or self.name,
            name=self.name,
            geobox=geobox,
            sheets=tuple(sheets[k] for k in order),
            windows=tuple(windows[k] for k in order),
        )


@dataclass(frozen=True)
class SortedFiles:
    """What :func:`sort_files` gives.

    Attributes
    ----------
    scenes
        Each a file or a mosaic, in the order of their first files.
    notes
        What the user should know.
    broken
        Files that can't be opened -> why; they are among the scenes, too.
    """

    scenes: tuple[str | Sheets, ...]
    notes: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()


def sort_files(
    paths: Sequence[str],
    *,
    mosaic: MosaicMode = "auto",
    on_top: OnTop = "last",
    bands: Sequence[int] | None = None,
    name: str | None = None,
    dates: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> SortedFiles:
    """Sort files into mosaics and scenes of their own; the order in which they are named does not matter.

    Parameters
    ----------
    paths
        Files, each once.
    mosaic, on_top
        See :data:`geoseg.typing.MosaicMode` and :class:`Sheets`.
    bands
        1-based bands that will be read.
    name
        What to call the mosaic where all files are one; else it is called by its folder.
    dates
        ISO dates of some paths, where somebody knows better than the file.
    progress
        Told of headers that had to be read.
    """
    dates = dates or {}
    if mosaic == "off" or len(paths) < 2:
        return SortedFiles(tuple(sorted(paths)))
    # Headers alone: of thousands of sheets no pixel is read before a window needs it.
    opened = read_sheets(sorted(paths), bands=bands, progress=progress)
    broken = [(path, str(one)) for path, one in zip(sorted(paths), opened) if isinstance(one, GeosegError)]
    facts = [
        facts_of(dated(sheet, dates.get(sheet.scene.path))) for sheet in opened if isinstance(sheet, Sheet)
    ]
    pictures = find_pictures(facts, warped=mosaic == "warp")
    scenes: list[str | Sheets] = [path for path, _ in broken]
    for picture, title in zip(pictures, _titles(facts, pictures, name)):
        files = tuple(facts[k].name for k in picture.members)
        if len(files) == 1:
            scenes.append(files[0])
            continue
        known = tuple(map(dates.get, files)) if dates else ()
        scenes.append(Sheets(title, files, on_top, title, known, mosaic == "warp"))
    return SortedFiles(
        tuple(sorted(scenes, key=lambda scene: scene.paths[0] if isinstance(scene, Sheets) else scene)),
        tuple(_notes(facts, pictures)),
        tuple(broken),
    )


def dated(sheet: Sheet, date: str | None) -> Sheet:
    """A sheet with the date that somebody knows."""
    return sheet if date is None else replace(sheet, scene=replace(sheet.scene, acquired=date))


def on_grid(sheet: Sheet, box: GeoBox) -> Sheet:
    """A sheet seen on a grid; the same where it lies on it."""
    return sheet if box == sheet.scene.geobox else replace(sheet, warped=warp(sheet.scene, box))


def facts_of(sheet: Sheet) -> SheetFacts:
    """What decides which mosaic a sheet belongs to."""
    scene, hints = sheet.scene, sheet.hints
    named = band_names(sheet.facts["stored_bands"])
    return SheetFacts(
        name=scene.path,
        geobox=sheet.source.geobox,
        kind=(
            ("bands", scene.bands),
            ("pixels of type", scene.dtype),
            ("bands named", () if scene.palette else tuple(named[band - 1] for band in scene.bands)),
            ("scale and offset", (hints.scale, hints.offset)),
            ("classes named", hints.class_names),
        ),
        acquired=scene.acquired,
    )


def _titles(facts: Sequence[SheetFacts], pictures: Sequence[Picture], name: str | None) -> list[str]:
    """A name for each picture: of its files' folder, and of its first file where it is one of several."""
    folders = []
    for picture in pictures:
        parents = [str(Path(facts[k].name).absolute().parent) for k in picture.members]
        folders.append(Path(os.path.commonpath(parents)).name or "mosaic")
    if name is not None:
        folders = [name] * len(pictures)
    counts = Counter(folder for folder, picture in zip(folders, pictures) if len(picture.members) > 1)
    return [
        folder if counts[folder] < 2 else f"{folder}-{Path(facts[picture.members[0]].name).stem}"
        for folder, picture in zip(folders, pictures)
    ]


def _notes(facts: Sequence[SheetFacts], pictures: Sequence[Picture]) -> list[str]:
    """One line for each reason why files are scenes of their own."""
    reasons: dict[str, list[str]] = {}
    for picture in pictures:
        if picture.apart:
            reasons.setdefault(picture.apart, []).extend(facts[k].name for k in picture.members)
    notes = []
    for why, names in reasons.items():
        listed = ", ".join(Path(name).name for name in names[:_TOLD])
        more = (
            f" and {len(names) - _TOLD} more are"
            if len(names) > _TOLD
            else " are"
            if len(names) > 1
            else " is"
        )
        notes.append(f"{listed}{more} no part of the largest mosaic: {why}")
    return notes
