"""What a report is of: the result of a run that has come to its end, with the scene it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import GeosegError, InputError, MissingFileError
from geoseg.geo.geobox import GeoBox
from geoseg.io.mosaic import files_stamps
from geoseg.io.names import is_remote
from geoseg.io.references import Reference, paths_of
from geoseg.io.scene_lists import is_scene_list, list_scenes
from geoseg.io.sources import open_raster
from geoseg.io.stac import SceneQuery
from geoseg.io.vectors import VectorFile, open_vector
from geoseg.pipeline.batch.manifest import MANIFEST
from geoseg.pipeline.record import RECORD, RunRecord, read_record, reference_of, report_file
from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike

__all__ = ["Result", "find_result", "is_batch_folder", "open_footprints", "open_scene"]

#: Formats of footprints that can be read again, the fastest first.
_READABLE = ("parquet", "fgb", "gpkg", "geojson", "geojsonseq", "shp")


@dataclass(frozen=True)
class Result:
    """A result of a run.

    Attributes
    ----------
    folder
        Where its files lie.
    store
        Folder of the kept probabilities, with the record.
    record
        What the run was.
    """

    folder: Path
    store: Path
    record: RunRecord

    @property
    def target(self) -> Path:
        """Where its report belongs."""
        return report_file(self.folder, self.record.scene)

    def paths(self) -> tuple[str, ...]:
        """Files and addresses that the scene was read from; none of an array in memory."""
        if self.record.reference is None:
            return ()
        return paths_of(reference_of(self.record.reference))


def is_batch_folder(path: Path) -> bool:
    """Whether a folder holds the results of many scenes."""
    return (path / MANIFEST).is_file()


def find_result(path: PathLike) -> Result:
    """The result that a path names.

    Parameters
    ----------
    path
        Folder of the results of one scene, a folder of kept probabilities (NAME.geoseg), or a file of a
        result.

    Raises
    ------
    MissingFileError
        There is no such path.
    InputError
        It is no result, is one of a run that has not come to its end, or holds several.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"result must be there, got {path}. Name the --out of a geoseg run.")
    if path.is_file():
        # A file names no run; the record that lists it does.
        for store in sorted(path.parent.glob("*.geoseg")):
            if (store / RECORD).is_file():
                record = read_record(store)
                if path.name in record.files.values():
                    return Result(path.parent, store, record)
        raise _no_result(path)
    if (path / RECORD).is_file() or (path / "state.json").is_file():
        return Result(path.parent, path, read_record(path))
    stores = [store for store in sorted(path.glob("*.geoseg")) if store.is_dir()]
    if not stores:
        raise _no_result(path)
    if len(stores) > 1:
        names = ", ".join(store.name for store in stores[:3])
        more = ", ..." if len(stores) > 3 else ""
        raise InputError(
            f"result must be of one scene, got {path} with {len(stores)} ({names}{more}). "
            f"Name one of them, as in {stores[0]}."
        )
    return Result(path, stores[0], read_record(stores[0]))


def _no_result(path: Path) -> InputError:
    return InputError(
        f"result must be the --out of a geoseg run, or a file in it, got {path}, which has no NAME.geoseg "
        "beside its files. Give the geoseg run command again to make it."
    )


def open_footprints(result: Result) -> VectorFile | None:
    """The footprints of a result, from the format that is read fastest; None where no file is left of them.

    Raises
    ------
    InputError
        The record names a file elsewhere, or the file can't be read.
    """
    for format in _READABLE:
        name = result.record.files.get(format)
        if name is None:
            continue
        # A record may have come from anywhere with its folder: it must not lead out of it.
        if name in ("", "..") or Path(name).name != name:
            raise InputError(f"file of a result must lie in its folder, got {name!r} in {result.store}.")
        if (result.folder / name).exists():
            return open_vector(result.folder / name)
    return None


def open_scene(
    result: Result, scene: Reference | None = None, *, remote: bool = False
) -> tuple[RasterSource | None, str]:
    """The scene of a result at its own resolution, with the bands that the run read.

    Parameters
    ----------
    result
        The result.
    scene
        Where the scene lies now; None: where the run read it.
    remote
        Whether it may be read from the network.

    Returns
    -------
    RasterSource or None, str
        The scene, None where it can't be had; and what the user should know, empty where all is well.

    Raises
    ------
    InputError
        ``scene`` is not the scene of the run.
    """
    record = result.record
    if scene is None and record.reference is None:
        return None, "the scene was an array in memory: the report has no picture"
    reference = reference_of(record.reference or {}) if scene is None else scene
    paths = result.paths()
    hint = "the report has no picture; --scene names it where it lies now"
    try:
        # Nothing is fetched that nobody asked for: the page is made from a folder, perhaps somebody else's.
        if scene is None and not remote and any(map(is_remote, _expanded(paths))):
            return None, f"the scene lies on a server, and a report reads nothing from the network: {hint}"
        named: dict[str, Any] = {name: record.options.get(name) for name in ("bands", "bbox", "gsd")}
        source = open_raster(reference, **named)
    except (GeosegError, OSError):
        if scene is not None:
            raise
        return None, f"the scene is gone or can't be opened any more: {hint}"
    if not _is_same_ground(source.geobox, record.geobox):
        if scene is not None:
            raise InputError(
                f"scene must be the one of the run, got {scene}, which lies elsewhere. Name the right one."
            )
        return None, f"the scene lies elsewhere than it did at the run: {hint}"
    if scene is None and record.stamp and files_stamps([paths])[0].digest != record.stamp:
        return source, "the files of the scene were written since the run: the picture may show other ground"
    return source, ""


def _expanded(paths: Iterable[str]) -> set[str]:
    """Files and addresses, with those that lists among them name, at any depth."""
    names: set[str] = set()
    waiting = list(paths)
    while waiting:
        name = waiting.pop()
        if name not in names and is_scene_list(name):
            # With those on other hosts: to list them asks nobody.
            listed = list_scenes(name, query=SceneQuery(remote=True)).scenes
            waiting += [path for scene in listed for path in paths_of(scene)]
        names.add(name)
    return names


def _is_same_ground(source: GeoBox, grid: GeoBox) -> bool:
    if (source.crs is None) != (grid.crs is None) or (source.crs is not None and source.crs != grid.crs):
        return False
    # The run may have read it at another resolution, and then a box is widened to other pixels.
    steps = [abs(value) for box in (source, grid) for value in (*box.transform[:2], *box.transform[3:5])]
    return bool(np.allclose(source.bounds(), grid.bounds(), rtol=0, atol=2 * max(steps)))
