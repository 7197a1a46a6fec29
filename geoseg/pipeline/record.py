"""What a finished run was: its scene, model, settings and results, for those who look at them later.

It lies in the folder of the kept probabilities. A run that goes on or begins anew takes it away, so that it
is only ever beside results that are whole and of one run.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from affine import Affine
from pyproj import CRS

from geoseg.config.option import settings_of
from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.files import json_text, write_text
from geoseg.geo.geobox import GeoBox
from geoseg.io.mosaic import Sheets, files_stamps
from geoseg.io.references import Reference, SceneReference
from geoseg.io.sources import Renamed
from geoseg.io.stac import StacScene
from geoseg.models.card import card_text
from geoseg.pipeline.job import Job
from geoseg.raster.source import RasterSource
from geoseg.version import VERSION

__all__ = ["RECORD", "RunRecord", "make_record", "read_record", "reference_of", "write_record"]

#: Name of the file in the folder of the kept probabilities.
RECORD = "run.json"

_FORMAT = 1
#: References that are more than a name; each is a dataclass of texts, numbers and other references.
_KINDS: dict[str, Any] = {"sheets": Sheets, "stac": StacScene, "renamed": Renamed}
#: Settings of how a run is carried out, which a result has nothing of.
_UNTOLD = (
    "restart", "overwrite", "retry_failed", "max_failures", "batch_size", "report", "workers", "scheduler",
    "devices",
)  # fmt: skip


@dataclass(frozen=True)
class RunRecord:
    """What a finished run was.

    Attributes
    ----------
    scene
        Its name.
    reference
        What it can be opened from again, as JSON; None of an array in memory. See :func:`reference_of`.
    stamp
        Digest of names, sizes and times of its files, by which a change is seen.
    acquired
        ISO date it was taken, where known.
    bands
        1-based bands that were read.
    transform, height, width, crs, gsd
        Grid that was predicted on; ``crs`` is empty for pixel coordinates, ``gsd`` is ground meters per
        column and row where only the user knows them.
    model
        ``name``, ``fingerprint``, ``runtime`` and ``card``; None where the model has none.
    classes
        Names of the network's outputs.
    background
        Which of them is background, or None.
    thresholds
        One probability an object class, a single one for all, or None for the most probable class.
    settings
        As they held in the end, by name.
    files
        Output format (or ``prob``, ``mask``) -> name of the file, in the folder of the results.
    footprints, windows
        Numbers.
    failures
        Regions that could not be read, in pixels of the grid.
    notes
        What the user should know.
    geoseg
        Version of the package.
    """

    scene: str
    reference: dict[str, Any] | None
    stamp: str
    acquired: str | None
    bands: list[int]
    transform: list[float]
    height: int
    width: int
    crs: str
    gsd: list[float] | None
    model: dict[str, Any]
    classes: list[str]
    background: int | None
    thresholds: list[float] | None
    settings: dict[str, Any]
    files: dict[str, str]
    footprints: int
    windows: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    geoseg: str = VERSION

    @property
    def geobox(self) -> GeoBox:
        """The grid that was predicted on."""
        crs = CRS.from_user_input(self.crs) if self.crs else None
        gsd = None if self.gsd is None else (self.gsd[0], self.gsd[1])
        return GeoBox(Affine(*self.transform), crs, self.height, self.width, gsd)


def make_record(
    job: Job,
    scene: Reference | RasterSource,
    files: dict[str, Path],
    footprints: int,
    failures: list[dict[str, Any]],
) -> RunRecord:
    """The record of a run that has come to its end.

    Parameters
    ----------
    job
        What was run.
    scene
        What it was opened from.
    files
        Outputs, by format.
    footprints
        Number of them.
    failures
        Regions that could not be read.
    """
    predictor, geobox, given = job.predictor, job.source.geobox, job.settings
    reference = scene if isinstance(scene, (str, os.PathLike, SceneReference)) else None
    card = predictor.card
    paths = () if reference is None else _paths(reference)
    told = {name: getattr(given, name) for name in settings_of(RunSettings, "run") if name not in _UNTOLD}
    return RunRecord(
        scene=job.source.name,
        reference=None if reference is None else _reference_json(reference),
        stamp=files_stamps([paths])[0] if paths else "",
        acquired=job.source.acquired,
        bands=list(job.source.bands),
        transform=list(geobox.transform[:6]),
        height=geobox.height,
        width=geobox.width,
        crs="" if geobox.crs is None else geobox.crs.to_wkt(),
        gsd=None if geobox.gsd is None else list(geobox.gsd),
        model={
            "name": None if card is None else card.name,
            "fingerprint": job.fingerprint["model"],
            "runtime": job.fingerprint["runtime"],
            "card": None if card is None else json.loads(card_text(card)),
        },
        classes=list(job.classes),
        background=job.background,
        thresholds=None if job.thresholds is None else list(job.thresholds),
        # As JSON gives it back: tuples are lists, and paths are texts.
        settings=json.loads(json.dumps(told, default=str)),
        files={kind: path.name for kind, path in files.items()},
        footprints=footprints,
        windows=job.plan.n_windows,
        failures=failures,
        # Of the scene and the model; what is told of chunks kept before holds for one call alone.
        notes=[*job.notes, *getattr(predictor, "notes", ())],
    )


def write_record(folder: Path, record: RunRecord) -> None:
    """Write a record into the folder of the kept probabilities, whole or not at all."""
    write_text(folder / RECORD, json_text({"format": _FORMAT, **asdict(record)}, indent=2) + "\n")


def read_record(folder: Path) -> RunRecord:
    """The record in a folder of kept probabilities.

    Raises
    ------
    InputError
        There is none, as of a run that has not come to its end, or one of another version.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError(f"layout of geoseg {content.get('geoseg')}")
        return RunRecord(**content)
    except FileNotFoundError:
        raise InputError(
            f"a result must be of a run that has come to its end, got {folder} without {RECORD}. "
            "Give the geoseg run command again: finished chunks are kept."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} must be the record of a run, got another file ({' '.join(str(error).split())}). "
            "Give the geoseg run command again to make it anew."
        ) from None


def _paths(reference: Reference) -> tuple[str, ...]:
    return reference.paths if isinstance(reference, SceneReference) else (os.fspath(reference),)


def _reference_json(reference: Reference) -> dict[str, Any] | None:
    """A reference as JSON; local paths are made absolute, for it is read from anywhere."""
    if not isinstance(reference, SceneReference):
        return {"path": _absolute(os.fspath(reference))}
    kind = next((kind for kind, cls in _KINDS.items() if type(reference) is cls), None)
    if kind is None:  # of somebody else's making
        return None
    fields = {name: getattr(reference, name) for name in type(reference).__dataclass_fields__}  # type: ignore[attr-defined]
    for name in ("paths", "hrefs"):
        if name in fields:
            fields[name] = [_absolute(path) for path in fields[name]]
    if kind == "renamed":
        inner = _reference_json(reference.reference)  # type: ignore[attr-defined]
        return None if inner is None else {"kind": kind, "name": reference.name, "reference": inner}
    return {"kind": kind, **fields}


def _absolute(path: str) -> str:
    mark = "@" if path.startswith("@") and not Path(path).exists() else ""
    local = Path(path.removeprefix(mark))
    try:
        return mark + str(local.absolute()) if local.exists() else path
    except (OSError, ValueError):  # a name that no file can have
        return path


def reference_of(content: dict[str, Any]) -> Reference:
    """The reference of a record, as :func:`geoseg.io.sources.open_raster` opens it.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        if "path" in content:
            return str(content["path"])
        fields = {name: value for name, value in content.items() if name != "kind"}
        if content["kind"] == "renamed":
            return Renamed(fields["name"], reference_of(fields["reference"]))
        tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        reference: Reference = _KINDS[content["kind"]](**fields | tuples)
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"reference must be a path, or one of {', '.join(_KINDS)}, got {content}. Name the scene."
        ) from None
    return reference
