"""Opening a raster of any kind: the one registry that the command, training and graphs ask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from geoseg.errors import SceneError
from geoseg.geo.windows import Window
from geoseg.io.mosaic import Sheets
from geoseg.io.references import Reference, SceneReference, label_of, paths_of
from geoseg.io.region import bbox_window, resampled_shape, with_gsd
from geoseg.io.scene import Scene, open_file
from geoseg.io.scene_lists import is_scene_list, list_scenes
from geoseg.raster.source import RasterSource
from geoseg.raster.turn import TurnedScene
from geoseg.raster.view import RenamedScene, SceneView

__all__ = ["OPENERS", "Opener", "Renamed", "open_raster"]


@dataclass(frozen=True)
class Renamed:
    """A reference whose scene is called otherwise than it calls itself, or dated by who knows better.

    Attributes
    ----------
    name
        What the scene is called.
    reference
        What it is opened from.
    acquired
        ISO date it was taken; None: as the scene itself says.
    """

    name: str
    reference: Reference
    acquired: str | None = None

    @property
    def label(self) -> str:
        """What the user named it by."""
        return label_of(self.reference)

    @property
    def paths(self) -> tuple[str, ...]:
        """Files and addresses that it is read from."""
        return paths_of(self.reference)

    def open(self, *, bands: Sequence[int] | None, expand_palette: bool) -> RenamedScene:
        """The source, whole and at its own resolution."""
        return RenamedScene(_open(self.reference, bands, expand_palette), self.name, self.acquired)


class Opener(Protocol):
    """Opens references of one kind."""

    def __call__(
        self, reference: str, *, bands: Sequence[int] | None, expand_palette: bool
    ) -> RasterSource | None:
        """The source, whole and at its own resolution; None where the reference is not of this kind."""


def open_upright(reference: str, *, bands: Sequence[int] | None, expand_palette: bool) -> Scene | TurnedScene:
    """A file; a photo that no georeferencing places is turned upright by its EXIF orientation."""
    scene = open_file(reference, bands=bands, expand_palette=expand_palette)
    if scene.orientation == 1:
        return scene
    return TurnedScene(scene, scene.orientation)


def open_list(reference: str, *, bands: Sequence[int] | None, expand_palette: bool) -> RasterSource | None:
    """A folder, a pattern, a list, a tile index or STAC metadata: one scene, or files as one mosaic."""
    if not is_scene_list(reference):
        return None
    files = list_scenes(reference)
    if len(files.scenes) == 1:
        return _open(files.scenes[0], bands, expand_palette)
    names: list[str] = []
    for scene in files.scenes:
        paths = (scene,) if isinstance(scene, str) else scene.paths
        if len(paths) > 1:
            raise SceneError(
                f"files of a mosaic must have all their bands, got {', '.join(paths[:3])} of one item in "
                f"{reference}. Name that item alone."
            )
        names += paths
    dates = tuple(map(files.dates.get, names)) if files.dates else ()
    sheets = Sheets(files.name, tuple(names), label=reference, dates=dates)
    return sheets.open(bands=bands, expand_palette=expand_palette)


#: Asked in order; the first that gives a source has it. Files come last, because they take any reference.
#: An opener looks at the reference alone and opens nothing unless it is of its kind; only one that the
#: user's own words ask for may use the network.
OPENERS: tuple[Opener, ...] = (open_list, open_upright)


def open_raster(
    reference: Reference,
    *,
    bands: Sequence[int] | None = None,
    resolution: float | str | None = None,
    bbox: Sequence[float] | None = None,
    gsd: float | None = None,
    expand_palette: bool = True,
) -> RasterSource:
    """Open a raster as a scene; reads its header only.

    A photo without georeferencing is turned upright by its EXIF orientation, wherever it is opened.

    Parameters
    ----------
    reference
        A file of one of :data:`geoseg.io.gdal_env.RASTER_DRIVERS`, a ``.vrt`` with local sources, a URL; a
        folder, a pattern (``sheets/*.tif``), a list (``@sheets.txt``), a tile index (``sheets.gti.gpkg``), a
        STAC catalog, all of files on one grid that are opened as a mosaic; a STAC item; or a
        :class:`geoseg.io.references.SceneReference`.
    bands
        1-based, in the order wanted; None for all but the alpha band.
    resolution
        Meters per pixel on the ground, or None or "native" for the file's own. The whole file is resampled
        in whole pixels, so the step may differ by a fraction; ``bbox`` does not move the pixels. A file
        whose own step is the same within 1 % is read as it is. So is a scene without a CRS and ``gsd``,
        where meters mean nothing, with a logged warning.
    bbox
        (min x, min y, max x, max y) in the scene's CRS (pixels where it has none), widened to whole pixels
        and cut at the scene's edge.
    gsd
        Ground sampling distance in meters per pixel of a scene without a CRS (photos, chips), where it is
        known. Its pixels can then be resampled, and areas on it are in square meters.
    expand_palette
        Read a palette image as red, green, blue; False keeps its indices (class maps).

    Raises
    ------
    MissingFileError
        No such file.
    SceneError
        Not a raster, a PNG that is cut short, or nothing that fits ``bands``, ``resolution``, ``bbox`` or
        ``gsd``.
    """
    name = label_of(reference)
    source = _open(reference, bands, expand_palette)
    # The box is cut out of the grid that the whole scene has at this resolution: parts of a scene then show
    # the same pixels where they overlap.
    native = with_gsd(source.geobox, gsd, name)
    grid_shape = resampled_shape(native, resolution, name)
    box = native if grid_shape == native.shape else native.scaled(*grid_shape)
    window = Window.whole(box.shape)
    if bbox is not None:
        window = bbox_window(box, bbox, name)
        box = box.window(window)
    if box == source.geobox:
        return source
    return SceneView(source, box, grid_shape, (window.row_off, window.col_off))


def _open(reference: Reference, bands: Sequence[int] | None, expand_palette: bool) -> RasterSource:
    if isinstance(reference, SceneReference):
        return reference.open(bands=bands, expand_palette=expand_palette)
    name = os.fspath(reference)
    opened = (opener(name, bands=bands, expand_palette=expand_palette) for opener in OPENERS)
    return next(source for source in opened if source is not None)
