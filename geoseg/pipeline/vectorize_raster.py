"""Vectorize any raster without a network: a mask, a class map, or probabilities."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from geoseg.config.resolve import applicable, kept_names, resolve
from geoseg.config.run import RunSettings
from geoseg.config.signature import value_text
from geoseg.errors import InputError, RunError
from geoseg.files import (
    borrowed_depot,
    check_outputs,
    hold,
    results_folder,
    scratch_folder,
    write_failures,
)
from geoseg.geo.effort import TRACING_MPX_S, check_effort
from geoseg.geo.windows import Window
from geoseg.io.qgis import Drawn, write_styles
from geoseg.io.sources import open_raster
from geoseg.io.writers import FORMATS, check_formats, check_unowned, output_path
from geoseg.pipeline.class_readers import Kind, decide_kind, open_classes
from geoseg.pipeline.provenance import raster_provenance
from geoseg.pipeline.salvage import Salvage, naming_damage, sorted_failures
from geoseg.pipeline.split import split_rule
from geoseg.pipeline.steps import Steps
from geoseg.pipeline.vectorize import ChunkValues, vectorize_classes
from geoseg.pipeline.workers import Workers, shared_workers
from geoseg.raster.source import RasterHints, RasterSource
from geoseg.typing import PathLike, Progress, no_progress

#: Storage blocks of more pixels than this, and than four chunks, are not traced whole.
_LARGE_PX = 4 * 1024 * 1024

__all__ = ["RasterSummary", "chunk_shape", "kept_settings", "output_files", "vectorize_raster"]


@dataclass(frozen=True)
class RasterSummary:
    """What vectorizing a raster gave.

    Attributes
    ----------
    footprints, too_small, unsure, classes
        As in :class:`geoseg.pipeline.vectorize.VectorizeSummary`.
    files
        Format -> file; where regions are missing, ``failures`` -> the list beside the first file. Each file
        has such a list, FILE.failures.json.
    kind
        What the raster's values were taken for.
    seconds
        Wall time.
    notes
        What the user should know.
    failures
        Regions that could not be read.
    extras
        ``style`` -> QGIS's style, where a format has one.
    """

    footprints: int
    too_small: int
    unsure: int
    classes: dict[str, int]
    files: dict[str, str]
    kind: Kind
    seconds: float
    notes: list[str]
    failures: list[dict[str, Any]] = field(default_factory=list)
    extras: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def vectorize_raster(
    path: PathLike,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    threads: int | None = None,
    workers: Workers | None = None,
    client: Any = None,
    progress: Progress = no_progress,
) -> RasterSummary:
    """Turn a raster of masks, classes or probabilities into footprint files, in bounded memory.

    Parameters
    ----------
    path
        A mask, a class map or probabilities, as :func:`geoseg.vectorize` says.
    out
        A file (format by suffix) or a folder (one file a format, called after the raster).
    settings
        See :class:`geoseg.config.run.RunSettings`. What is not given is as the raster says that its run had
        it (``geoseg predict`` and ``--save-prob`` write that), else the default. Without ``formats`` the
        suffix of ``out`` decides, else it is geojson. Without ``bands`` all are read: of probabilities one a
        class; of a class map they must be equal, colors are refused. With a ``threshold``, 8-bit integers
        without a stated scale are taken as p * 255.
    threads, progress
        As for :func:`geoseg.pipeline.vectorize.vectorize_classes`.
    workers
        Who does the work, see :func:`geoseg.pipeline.workers.open_workers`; None: those that the settings
        ask for.
    client
        A ``distributed.Client`` whose cluster does the work, where no workers are given.

    Raises
    ------
    InputError
        A bad raster, option or output.
    RunError
        The disk is full.
    """
    start = time.perf_counter()
    given = settings or RunSettings()
    # The numbers of a palette are the classes here; its colors mean nothing.
    scene = open_raster(path, bands=given.bands, gsd=given.gsd, expand_palette=False)
    check_effort(*scene.geobox.shape, TRACING_MPX_S, scene.path)
    files = output_files(out, given.given().get("formats"), scene.name)
    hints = scene.hints()
    kind = decide_kind(scene.dtype, hints, given.threshold is not None)
    if kind == "values" and given.min_confidence:
        raise InputError(
            f"min_confidence must be 0 for a mask or a class map, which has no probabilities, got "
            f"{given.min_confidence:g}. Leave it out, or give probabilities (geoseg predict writes them; "
            "whole numbers without a scale are taken for them where a threshold is given)."
        )
    kept = kept_settings(hints, given)
    if kind == "values":
        # A mask that somebody made of probabilities may have their tags still, and has none of their numbers.
        for name in ("threshold", "min_confidence"):
            kept.pop(name, None)
    # It was given a CRS since, which states the size of a pixel better.
    if scene.crs is not None:
        kept.pop("gsd", None)
    settings = resolve(given, kept)
    # Which settings the raster keeps is known only when it is open; a distance among them changes its geobox.
    if settings.gsd != given.gsd:
        scene = open_raster(path, bands=given.bands, gsd=settings.gsd, expand_palette=False)
    if kind == "values" and given.bands is not None and scene.count > 1:
        raise InputError(f"bands must be a single one for a mask or a class map, got {scene.count}.")
    check_formats(files, scene.crs)
    check_outputs(files.values(), scene.files())
    check_unowned(files, settings.overwrite)
    reader = open_classes(scene, hints, kind, settings.threshold, settings.class_names)
    # Something that pickles, for workers.
    read: Callable[[Window], ChunkValues] = (
        Salvage(scene, reader).read
        if settings.on_error == "skip"
        else functools.partial(naming_damage, scene, read=reader.read)
    )
    failures: list[dict[str, Any]] = []
    first, stamps = next(iter(files.values())), _stamps(scene)
    listed: dict[str, Path] = {}

    def all_read(found: list[dict[str, Any]]) -> None:
        # A file that is replaced while it is read gives the upper half of one scene and the lower of another.
        if _stamps(scene) != stamps:
            raise RunError(
                f"{scene.name} was replaced or changed while it was read, so nothing is written. "
                "Give the same command again."
            )
        failures.extend(sorted_failures(found))
        if failures:
            listed.update(write_failures(files.values(), failures))

    # Held from the beginning: two rasters of one name would otherwise both work, and the last one stay
    with (
        results_folder(first.parent),
        hold(*files.values()),
        scratch_folder(first) as spill,
        shared_workers(workers, settings, first.parent, client) as crew,
        borrowed_depot(settings.store if crew is not None else None, first.stem, spill) as depot,
    ):
        summary = vectorize_classes(
            read,
            *scene.geobox.shape,
            chunk=chunk_shape(scene.file_block, scene.geobox.shape, settings.chunk),
            connectivity=settings.connectivity,
            class_names=reader.class_names,
            geobox=scene.geobox,
            scene=scene.name,
            acquired=scene.acquired,
            split=split_rule(settings.split, scene.geobox),
            min_confidence=settings.min_confidence,
            steps=Steps(**dict(settings)),
            provenance=raster_provenance(scene, hints, settings),
            out=files,
            progress=progress,
            spill_dir=spill,
            depot=depot,
            threads=threads,
            workers=crew,
            all_read=all_read,
        )
        extras: dict[str, Path] = {}
        if settings.style:
            drawn = Drawn(summary.columns, tuple(reader.class_names or sorted(summary.classes)))
            extras = write_styles(files, drawn, scene.files())
        # The lists of an earlier run go with its results.
        if not listed:
            write_failures(files.values(), [])
    unit = "pixels" if scene.geobox.gsd is None else "square meters"
    notes = [] if crew is None else crew.take_notes()
    if scene.crs is None:
        notes.append(f"the raster has no CRS: footprints are in its own coordinates, areas in {unit}")
    alpha = None if scene.alpha in scene.bands else scene.alpha
    nothing = not (summary.footprints + summary.too_small + summary.unsure)
    # Programs that write 0 and 255 like to call 255 nodata as well. A value below 0 is no object in any case,
    # and who names the classes means what is said of nodata.
    plain = kind == "values" and not (hints.class_names or hints.provenance)
    if nothing and plain and summary.no_data and (scene.nodata or 0) > 0:
        file = shlex.quote(str(scene.path)) if Path(scene.path).is_file() else "FILE"
        notes.append(
            f"{scene.name} has no object besides pixels of its nodata value {scene.nodata:.15g}; if they are "
            f"objects: rio edit-info {file} --unset-nodata"
        )
    if alpha is not None and nothing:
        notes.append(
            f"{scene.name} has no object where its alpha band shows data; --bands {alpha} takes that band "
            "for the mask"
        )
    own = applicable(given, kept)
    if taken := [f"{name} {value_text(own[name])}" for name in own if name not in given.given()]:
        notes.append(f"as in the raster's own run: {', '.join(taken)}; options win over them")
    return RasterSummary(
        summary.footprints,
        summary.too_small,
        summary.unsure,
        summary.classes,
        {name: str(file) for name, file in (files | listed).items()},
        kind,
        round(time.perf_counter() - start, 3),
        notes,
        failures,
        {kind: str(file) for kind, file in extras.items()},
    )


def kept_settings(hints: RasterHints, given: RunSettings) -> dict[str, Any]:
    """Settings that a raster of probabilities was made with, as far as they are possible.

    Parameters
    ----------
    hints
        Of the raster.
    given
        Settings of the user: thresholds of all classes do not fit some of the bands.
    """
    names = [*kept_names(), "gsd"]
    kept = {name: value for name, value in hints.settings.items() if name in names}
    try:
        threshold = RunSettings.model_validate(kept).threshold
    except ValidationError:  # somebody else's tag, or one that was changed by hand
        return {}
    # They are kept by position, and the positions are those of all bands.
    if given.bands is not None and isinstance(threshold, tuple) and len(threshold) > 1:
        del kept["threshold"]
    return kept


def _stamps(scene: RasterSource) -> list[tuple[int, int, int]]:
    """What tells, without a look at its content, that a file was replaced or written to."""
    stats = [Path(file).stat() for file in scene.files() if Path(file).exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def chunk_shape(block: tuple[int, int], shape: tuple[int, int], chunk: int) -> tuple[int, int]:
    """Chunk height and width that read each storage block of a file once.

    Whole rows where the file is stored row by row, else whole blocks, of about ``chunk`` ** 2 pixels. Much
    larger blocks (a file in one block) are cut: GDAL holds such a block whole, but what is made of its pixels
    takes many times the memory.

    Examples
    --------
    >>> chunk_shape((256, 256), (50_000, 50_000), 1000)
    (768, 768)
    >>> chunk_shape((1, 40_000), (30_000, 40_000), 2000)
    (100, 40000)
    >>> chunk_shape((30_000, 40_000), (30_000, 40_000), 2000)
    (2000, 2000)
    """
    # A block that is cut by a chunk's border is decoded once for each of the chunks that it lies in.
    if block[1] >= shape[1] and chunk < shape[1] and block[0] * shape[1] <= max(_LARGE_PX, 4 * chunk * chunk):
        rows = max(1, chunk * chunk // shape[1])
        return max(block[0], rows - rows % block[0]), shape[1]
    height, width = (max(size, chunk - chunk % size) if size <= chunk else chunk for size in block)
    return height, width


def output_files(out: PathLike, formats: Sequence[str] | None, stem: str) -> dict[str, Path]:
    """Files to write: ``out`` itself where its suffix is a format's, else files in the folder ``out``.

    Raises
    ------
    InputError
        An unknown format, or a file name that does not fit the formats.

    Examples
    --------
    >>> output_files("houses.gpkg", None, "scene")["gpkg"].name
    'houses.gpkg'
    >>> [path.name for path in output_files("results", ["fgb", "shp"], "scene").values()]
    ['scene.fgb', 'scene.shp']
    """
    target = Path(out)
    by_suffix = {suffix: name for name, suffix in FORMATS.items()}
    named = by_suffix.get(target.suffix.lower())
    if named is None or target.is_dir():
        # "houses.gpgk" is a mistyped name rather than a folder.
        if target.suffix and formats is None and not target.is_dir():
            raise InputError(
                f"output must end in one of {', '.join(by_suffix)}, or be a folder, got {target}. "
                "Give the format to write into a folder of that name."
            )
        return {name: output_path(target, stem, name) for name in formats or ("geojson",)}
    if formats is not None and list(formats) != [named]:
        raise InputError(
            f"output must be a folder for the formats {', '.join(formats)}, got the file {target}."
        )
    return {named: target}
