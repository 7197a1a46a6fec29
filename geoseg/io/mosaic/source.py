"""Many files that are one picture, read as one scene."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import RunError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.mosaic.index import CONTENT_BYTES, Sheet, content_digests
from geoseg.raster.source import RasterHints, SceneReadError, Shaped, check_inside, damaged
from geoseg.typing import Array, BoolArray

__all__ = ["Mosaic"]

#: Cells of the grid of all sheets' edges that are looked at to tell whether sheets leave no gap.
_MOST_CELLS = 16_000_000


@dataclass(frozen=True)
class Mosaic(Shaped):
    """Sheets on one grid; from :meth:`geoseg.io.mosaic.Sheets.open`.

    A window may cross any number of sheets. Where sheets overlap, the topmost that has data is seen. Ground
    of no sheet is invalid. A thread holds no more files open than for any scene (four), however many sheets
    there are.

    Attributes
    ----------
    path
        What the user named it by.
    name
        What to call it.
    geobox
        Of the whole.
    sheets
        From the bottom to the top.
    windows
        Where each sheet lies, in pixels of the whole.
    """

    path: str
    name: str
    geobox: GeoBox
    sheets: tuple[Sheet, ...] = field(repr=False)
    windows: tuple[Window, ...] = field(repr=False)

    @property
    def bands(self) -> tuple[int, ...]:
        """1-based bands that are read of each sheet, the same of all."""
        return self.sheets[0].scene.bands

    @property
    def dtype(self) -> str:
        """Of the pixels, the same of all sheets."""
        return self.sheets[0].scene.dtype

    @property
    def nodata(self) -> float | None:
        """Value of pixels without data; which they are, each sheet says for itself."""
        values = (sheet.source.nodata for sheet in self.sheets)
        return next((value for value in values if value is not None), None)

    @property
    def alpha(self) -> int | None:
        """1-based band that tells validity, where it is that of each sheet."""
        bands = {sheet.source.alpha for sheet in self.sheets}
        return bands.pop() if len(bands) == 1 else None

    @property
    def acquired(self) -> str | None:
        """ISO date it was taken, where all sheets have the same."""
        dates = {sheet.source.acquired for sheet in self.sheets}
        return dates.pop() if len(dates) == 1 else None

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of a storage block of most sheets."""
        blocks = [sheet.source.file_block for sheet in self.sheets]
        # The most common one: chunks are laid along it, and any is right for the pixels.
        return max(set(blocks), key=lambda block: (blocks.count(block), block))

    @property
    def offset(self) -> tuple[int, int]:
        """A mosaic begins where its first sheet does."""
        return 0, 0

    @functools.cached_property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid: of a sheet, or where there is none."""
        return any(sheet.source.has_validity for sheet in self.sheets) or not _covers(
            self._edges, self.geobox.shape
        )

    @functools.cached_property
    def _edges(self) -> Array:
        """First and last row, first and last column of each sheet, int64 (n, 4); the last ones exclusive."""
        edges = [(w.row_off, w.row_end, w.col_off, w.col_end) for w in self.windows]
        return np.array(edges, np.int64).reshape(-1, 4)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).__dataclass_fields__}

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window; where nothing is valid, the nodata value or 0."""
        return self.read_with_valid(window)[0]

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w) of a window."""
        check_inside(window, self.geobox.shape)
        valid = np.zeros((window.height, window.width), bool)
        for sheet, inside, part in self._from_the_top(window, valid):
            valid[inside.rows, inside.cols] |= self._read(sheet.source.read_valid, sheet, part, window)
        return valid

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        check_inside(window, self.geobox.shape)
        shape = (window.height, window.width)
        pixels = np.full((self.count, *shape), 0 if self.nodata is None else self.nodata, self.dtype)
        valid = np.zeros(shape, bool)
        for sheet, inside, part in self._from_the_top(window, valid):
            values, usable = self._read(sheet.source.read_with_valid, sheet, part, window)
            # From the top down: what a sheet above has shown already is not drawn over, and nothing is
            # decoded that is hidden.
            usable &= ~valid[inside.rows, inside.cols]
            np.copyto(pixels[:, inside.rows, inside.cols], values, where=usable)
            valid[inside.rows, inside.cols] |= usable
        return pixels, valid

    def storage_parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """A window cut at the borders of sheets, and each part as the topmost sheet stores it."""
        rest = [window]
        for index in self._under(window):
            sheet, place = self.sheets[index], self.windows[index]
            below: list[Window] = []
            for part in rest:
                shared = part.intersection(place)
                if 0 in (shared.height, shared.width):
                    below.append(part)
                    continue
                below += part.without(shared)
                for own, unit in sheet.source.storage_parts(shared.shifted(-place.row_off, -place.col_off)):
                    yield (
                        own.shifted(place.row_off, place.col_off),
                        unit.shifted(place.row_off, place.col_off),
                    )
            rest = below
        yield from ((part, part) for part in rest)

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """Which block of which sheet under a window is damaged; None: each can be read."""
        for index in self._under(window):
            place = self.windows[index]
            part = place.intersection(window).shifted(-place.row_off, -place.col_off)
            try:
                damage = self.sheets[index].source.locate_damage(part)
            except SceneError:  # it is gone, or no raster any more: nothing to look at block by block
                continue
            if damage is not None:
                return damage
        return None

    def hints(self) -> RasterHints:
        """What the sheets state about their values: the same, or they were not one mosaic."""
        return self.sheets[0].hints

    def files(self) -> list[Path]:
        """The local files of all sheets."""
        return [Path(file) for sheet in self.sheets for file in sheet.files]

    def facts(self) -> dict[str, Any]:
        """How the first sheet is stored, and how many there are."""
        return {**self.sheets[0].facts, "sheets": len(self.sheets)}

    def fingerprint(self) -> str:
        """Of the content of all sheets and of where they lie, wherever their files are.

        Contents are kept in the sheet index by size and time of the files, so that of thousands that were
        not touched none is read again.
        """
        box = self.geobox
        wkt = box.crs.to_wkt() if box.crs else None
        head = [self.bands, self.dtype, box.shape, tuple(box.transform), wkt]
        digest = hashlib.sha256(repr(head).encode())
        contents = content_digests(self.sheets)
        for sheet, place, content in zip(self.sheets, self.windows, contents, strict=True):
            palette = hashlib.sha256(sheet.scene.palette or b"").hexdigest()
            warped = None
            if sheet.warped is not None:  # what else decides its pixels stands in the whole's geobox
                crs = sheet.scene.geobox.crs
                warped = tuple(sheet.scene.geobox.transform), crs.to_wkt() if crs else None
            digest.update(repr((place, sheet.scene.rule, palette, content, warped)).encode())
        return digest.hexdigest()

    def doubt(self, since: float) -> str | None:
        """Sheets that may have changed unseen: on a server, or written since and known by pieces of them."""
        for sheet in self.sheets:
            if not sheet.files:
                return "sheets of it are no local files"
            for file in map(Path, sheet.files):
                stat = file.stat() if file.exists() else None
                if stat and stat.st_size > CONTENT_BYTES and max(stat.st_mtime, stat.st_ctime) > since:
                    return f"{file.name} was written since, and is too large to be read whole"
        return None

    def _under(self, window: Window) -> list[int]:
        """Sheets that a window meets, from the top to the bottom."""
        top, bottom, left, right = self._edges.T
        meets = (top < window.row_end) & (bottom > window.row_off)
        meets &= (left < window.col_end) & (right > window.col_off)
        return np.flatnonzero(meets)[::-1].tolist()

    def _from_the_top(self, window: Window, valid: BoolArray) -> Iterator[tuple[Sheet, Window, Window]]:
        """Sheets that are seen in a window: where in the window, and which pixels of the sheet.

        ``valid`` says what the sheets above have filled; one that they hide is not read.
        """
        for index in self._under(window):
            place = self.windows[index]
            shared = place.intersection(window)
            inside = shared.shifted(-window.row_off, -window.col_off)
            if not valid[inside.rows, inside.cols].all():
                yield self.sheets[index], inside, shared.shifted(-place.row_off, -place.col_off)

    def _read(self, read: Any, sheet: Sheet, part: Window, window: Window) -> Any:
        """Read of one sheet; an error names its file, and the window as it is called here."""
        try:
            return read(part)
        except SceneReadError as error:
            raise damaged(sheet.scene.path, window, error.reason, part) from None
        except RunError:  # of a server, which may answer the next time
            raise
        except (SceneError, OSError) as error:
            raise damaged(sheet.scene.path, window, str(error).rstrip("."), part) from None


def _covers(edges: Array, shape: tuple[int, int]) -> bool:
    """Whether rectangles leave no gap in a raster; False also where they are too many to tell.

    Parameters
    ----------
    edges
        int64 (n, 4): first and last row, first and last column, the last ones exclusive.
    shape
        (height, width).

    Examples
    --------
    >>> _covers(np.array([[0, 2, 0, 3], [0, 2, 2, 5]]), (2, 5)), _covers(np.array([[0, 2, 0, 3]]), (2, 5))
    (True, False)
    """
    rows, cols = np.unique(edges[:, :2]), np.unique(edges[:, 2:])
    if len(rows) * len(cols) > _MOST_CELLS or (rows[0], cols[0], rows[-1], cols[-1]) != (0, 0, *shape):
        return False
    counts = np.zeros((len(rows), len(cols)), np.int32)
    top, bottom = np.searchsorted(rows, edges[:, :2]).T
    left, right = np.searchsorted(cols, edges[:, 2:]).T
    for row, col, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(counts, (row, col), sign)
    return bool((counts.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0).all())
