"""From what the user named to a list of scenes, each with a name of its own; nothing is computed yet."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyproj import CRS

from geoseg.config.run import RunSettings
from geoseg.errors import InputError, SceneError
from geoseg.files import plain_stem
from geoseg.io.mosaic import Sheets, sort_files
from geoseg.io.references import Reference, SceneReference
from geoseg.io.scene_lists import is_scene_list, list_scenes
from geoseg.io.sources import Renamed
from geoseg.io.stac import SceneQuery, StacScene
from geoseg.io.writers import check_formats
from geoseg.pipeline.batch.manifest import MANIFEST
from geoseg.pipeline.run import check_update
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["BatchPlan", "PlannedScene", "check_settings", "is_batch", "plan_batch", "unique_names"]


@dataclass(frozen=True)
class PlannedScene:
    """A scene of a batch.

    Attributes
    ----------
    name
        Of its folder in OUT, and its key in the manifest; no other scene of the batch has it.
    reference
        What it is opened from.
    """

    name: str
    reference: str | SceneReference

    @property
    def paths(self) -> tuple[str, ...]:
        """Files and addresses that it is read from."""
        return (self.reference,) if isinstance(self.reference, str) else self.reference.paths

    @property
    def dates(self) -> tuple[str | None, ...]:
        """ISO dates that STAC or a tile index gives it, or its sheets in the order of their paths."""
        if isinstance(self.reference, Sheets):
            by_path = dict(zip(self.reference.paths, self.reference.dates))
            return tuple(by_path[path] for path in sorted(by_path))
        return (self.reference.acquired,) if isinstance(self.reference, StacScene | Renamed) else ()


@dataclass(frozen=True)
class BatchPlan:
    """What :func:`plan_batch` gives.

    Attributes
    ----------
    scenes
        In the order in which they are worked on, which is that of their names.
    notes
        What was left out, which files are no part of a mosaic, which names were made longer.
    """

    scenes: tuple[PlannedScene, ...]
    notes: tuple[str, ...] = ()


def is_batch(
    words: Sequence[Reference], settings: RunSettings | None = None, out: PathLike | None = None
) -> bool:
    """Whether words stand for many scenes, whatever number is found: it decides where results go.

    What is merged is a batch, though there be one scene now, and so is what goes to the results of many.

    Examples
    --------
    >>> is_batch(["a.tif"]), is_batch(["a.tif", "b.tif"]), is_batch(["sheets/*.tif"])
    (False, True, True)
    """
    if settings is not None and settings.merge is not None:
        return True
    if out is not None and (Path(out) / MANIFEST).is_file():
        return True
    return len(words) != 1 or (not isinstance(words[0], SceneReference) and is_scene_list(words[0]))


def check_settings(settings: RunSettings) -> None:
    """Refuse, before any work, what is wrong for every scene: once, and not as a failure of each.

    Raises
    ------
    InputError
        An unknown format, a vector file that can't be read, or an option without the one that it belongs to.
    """
    # Whether a format can hold a scene's own CRS is for the scene to say.
    check_formats(settings.formats, CRS.from_epsg(4326))
    check_update(settings)
    for file in (settings.update, settings.aoi):
        if file is not None:
            from geoseg.io.vectors import open_vector  # loads geopandas

            open_vector(file)


def plan_batch(
    words: Sequence[Reference],
    settings: RunSettings,
    *,
    out: PathLike | None = None,
    progress: Progress = no_progress,
) -> BatchPlan:
    """Find the scenes that words stand for, sort their files into mosaics, and name them.

    Parameters
    ----------
    words
        Files, addresses, folders, patterns, lists; see :func:`geoseg.io.sources.open_raster`.
    settings
        ``mosaic`` and ``on_top`` say which files are one scene, ``bands`` what is compared of them, and
        ``on_error`` whether a mosaic may have holes where files can't be opened.
    out
        Folder of the results, which holds no scenes.
    progress
        Told of headers that are read.

    Raises
    ------
    MissingFileError, SceneError
        A word stands for nothing; or a file that could be part of a mosaic can't be opened.
    InputError
        The scenes lie in ``out`` itself.
    """
    if out is not None:
        _check_apart(words, Path(out))
    notes: list[str] = []
    found: dict[str, str | SceneReference] = {}
    titles: list[str] = []
    dates: dict[str, str] = {}
    first, last = SceneQuery.interval(settings.dates)
    query = SceneQuery(settings.asset or (), settings.max_cloud, first, last, settings.remote)
    for word in words:
        if isinstance(word, SceneReference):
            found[_key(word)] = word
        elif is_scene_list(word):
            listed = list_scenes(word, without=[] if out is None else [Path(out)], query=query)
            notes += listed.notes
            titles.append(listed.name)
            dates |= listed.dates
            found |= {_key(scene): scene for scene in listed.scenes}
        else:
            found[str(word)] = str(word)
    # Items of one file may be sheets of a mosaic; those that are not stay items, with their ids and dates.
    single = {path: ref for path, ref in found.items() if isinstance(ref, str) or _is_of_one_file(ref)}
    files, named_twice = _by_place(list(single))
    notes += [f"{path} is named twice, and taken once" for path in named_twice]
    one_title = titles[0] if len(titles) == len(words) == 1 else None
    chosen = sort_files(
        files,
        mosaic=settings.mosaic,
        on_top=settings.on_top,
        bands=settings.bands,
        name=one_title,
        dates=dates,
        progress=progress,
    )
    notes += chosen.notes
    if chosen.broken and settings.on_error == "fail" and any(isinstance(s, Sheets) for s in chosen.scenes):
        path, why = chosen.broken[0]
        more = f" {len(chosen.broken) - 1} more can't be opened either." if len(chosen.broken) > 1 else ""
        raise SceneError(
            f"files of a mosaic must be readable, got {path}: {why}{more} --on-error skip goes on without "
            "them: their ground counts as without data, and they are listed as failed."
        )
    references = [single[scene] if isinstance(scene, str) else scene for scene in chosen.scenes]
    references += [reference for key, reference in found.items() if key not in single]
    names, longer = unique_names(references)
    if longer:
        shown = ", ".join(longer[:3]) + (f" and {len(longer) - 3} more" if len(longer) > 3 else "")
        notes.append(f"files of one name are told apart by their folders: {shown}")
    planned = []
    for name, reference in zip(names, references, strict=True):
        if isinstance(reference, str) and (date := dates.get(reference)):
            reference = Renamed(name, reference, date)
        planned.append(PlannedScene(name, reference))
        # Pictures of two dates on one grid that share less than half are sheets of one picture by themselves.
        if settings.overlaps != "keep" and isinstance(reference, Sheets):
            notes.append(
                f"{name} is one scene of {len(reference.paths)} files, among which --overlaps decides "
                "nothing: --mosaic off takes each as a scene of its own"
            )
    return BatchPlan(tuple(sorted(planned, key=lambda scene: scene.name)), tuple(notes))


def _check_apart(words: Sequence[Reference], out: Path) -> None:
    """Refuse a folder of scenes that results go to as well: no scene could be told from a result in it."""
    folders = [word for word in words if not isinstance(word, SceneReference) and Path(word).is_dir()]
    for word in folders:
        if is_scene_list(word) and out.is_dir() and out.samefile(word):
            raise InputError(
                f"out must be another folder than that of the scenes, got {out} for both. Give one inside "
                f"it or elsewhere, such as --out {Path(word) / 'results'}."
            )


def _is_of_one_file(reference: SceneReference) -> bool:
    return isinstance(reference, StacScene) and len(reference.hrefs) == 1


def _key(reference: str | SceneReference) -> str:
    """What tells a scene from others: its file where it may be a sheet, else its name as well."""
    if isinstance(reference, str):
        return reference
    if _is_of_one_file(reference):
        return reference.paths[0]
    # Items of one collection that lack the asset have no file but that of the collection.
    return "\0".join([*reference.paths, reference.name])


def _by_place(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths, each file once, and those that were named again by another spelling."""
    first: dict[str, str] = {}
    again = []
    # Sorted: of two links to a file the name must not depend on the order in which they were given.
    for path in sorted(paths):
        local = Path(path)
        # The same file by a link or by ../ is the same scene; of an address there is only its spelling.
        place = str(local.resolve()) if local.exists() else path
        if first.setdefault(place, path) != path:
            again.append(path)
    return list(first.values()), again


def unique_names(references: Sequence[str | SceneReference]) -> tuple[list[str], list[str]]:
    """A name for each scene, none twice, that does not depend on the order; and those that had to be longer.

    Scenes of one name take the names of their folders before it, as many as tell them apart.

    Examples
    --------
    >>> unique_names(["north/a.tif", "south/a.tif", "b.tif"])
    (['north_a', 'south_a', 'b'], ['north_a', 'south_a'])
    >>> unique_names(["x/1/a.tif", "y/1/a.tif", "x/1/a.png"])[0]
    ['x_1_a.tif', 'y_1_a', 'x_1_a.png']
    >>> unique_names(["x/1_a.tif", "x/1/a.tif", "y/a.tif"])[0]
    ['x_1_a.tif_2', 'x_1_a.tif_1', 'y_a']
    """
    parts = [_name_parts(reference) for reference in references]
    levels = [1] * len(parts)
    # One folder more for those that clash, until no two names are the same or the folders are used up.
    while True:
        names = [_joined(*own, level) for own, level in zip(parts, levels)]
        counts = Counter(name.casefold() for name in names)  # some file systems take A and a for one
        clashing = [k for k, name in enumerate(names) if counts[name.casefold()] > 1]
        if not any(levels[k] <= len(parts[k][0]) + 1 for k in clashing):
            break
        for k in clashing:
            levels[k] += 1
    # What is left is the same in letters that a file name may have; what they are read from orders them.
    taken = {name for name, count in counts.items() if count == 1}
    for k in sorted(clashing, key=lambda k: _key(references[k])):
        numbered = (f"{names[k]}_{number}" for number in itertools.count(1))
        names[k] = next(name for name in numbered if name.casefold() not in taken)
        taken.add(names[k].casefold())
    return names, [name for name, level in zip(names, levels) if level > 1]


def _name_parts(reference: str | SceneReference) -> tuple[tuple[str, ...], str, str]:
    """Folders of a scene, its name, and the name of its file with the suffix."""
    first = reference if isinstance(reference, str) else reference.paths[0]
    path = Path(first.partition("://")[2] or first)
    folders = path.parent.parts[1:] if path.is_absolute() else path.parent.parts
    if isinstance(reference, str):
        return folders, path.stem, path.name
    return folders, reference.name, reference.name


def _joined(folders: Sequence[str], stem: str, name: str, level: int) -> str:
    """So many last parts of a path as one name; beyond all folders, the suffix of the file tells."""
    if level > len(folders) + 1:
        return plain_stem("_".join([*folders, name]))
    return plain_stem("_".join([*folders[len(folders) - level + 1 :], stem]))
