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
from pyproj.exceptions import ProjError

from geoseg.errors import InputError
from geoseg.files import json_text, plain_stem, write_text
from geoseg.geo.geobox import GeoBox
from geoseg.io.mosaic import Sheets, files_stamps
from geoseg.io.references import Reference, SceneReference, paths_of
from geoseg.io.sources import Renamed
from geoseg.io.stac import StacScene
from geoseg.models.card import card_text
from geoseg.pipeline.job import Job
from geoseg.raster.source import RasterSource

__all__ = [
    "RECORD",
    "REPORT_MAKER",
    "RunRecord",
    "make_record",
    "read_record",
    "reference_of",
    "report_file",
    "write_record",
]

#: Name of the file in the folder of the kept probabilities.
RECORD = "run.json"

#: What a report says of its origin; see :func:`geoseg.files.check_page`.
REPORT_MAKER = "geoseg report"

#: Raised when a record changes so that it would be read wrongly.
_FORMAT = 1
#: References that are more than a name; each is a dataclass of texts, numbers and other references.
_KINDS: dict[str, Any] = {"sheets": Sheets, "stac": StacScene, "renamed": Renamed}


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
    provenance
        Version of geoseg, scene, model, and the options as they came to be; as
        :func:`geoseg.pipeline.provenance.run_provenance` gives it.
    transform, height, width, crs, gsd
        Grid that was predicted on; ``crs`` is empty for pixel coordinates, ``gsd`` is ground meters per
        column and row where only the user knows them.
    card
        Of the model; None where it has none.
    classes
        Names of the network's outputs.
    background
        Which of them is background, or None.
    files
        Output format (or ``prob``, ``mask``) -> name of the file, in the folder of the results.
    footprints, windows
        Numbers.
    failures
        Regions that could not be read, in pixels of the grid.
    notes
        What the user should know.
    """

    scene: str
    reference: dict[str, Any] | None
    stamp: str
    provenance: dict[str, Any]
    transform: list[float]
    height: int
    width: int
    crs: str
    gsd: list[float] | None
    card: dict[str, Any] | None
    classes: list[str]
    background: int | None
    files: dict[str, str]
    footprints: int
    windows: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """Options as they came to be, by name; those that nobody set are left out."""
        return dict(self.provenance["options"])

    @property
    def geobox(self) -> GeoBox:
        """The grid that was predicted on."""
        crs = CRS.from_user_input(self.crs) if self.crs else None
        gsd = None if self.gsd is None else (self.gsd[0], self.gsd[1])
        return GeoBox(Affine(*self.transform), crs, self.height, self.width, gsd)


def make_record(
    job: Job,
    scene: Reference | RasterSource,
    provenance: dict[str, Any],
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
    provenance
        What its results say of their origin.
    files
        Outputs, by format.
    footprints
        Number of them.
    failures
        Regions that could not be read.
    """
    predictor, geobox = job.predictor, job.source.geobox
    reference = scene if isinstance(scene, (str, os.PathLike, SceneReference)) else None
    card = predictor.card
    paths = () if reference is None else paths_of(reference)
    return RunRecord(
        scene=job.source.name,
        reference=None if reference is None else _reference_json(reference),
        # Names, sizes and times, and no pixels: it is compared each time that a page is made.
        stamp=files_stamps([paths])[0].digest if paths else "",
        # As JSON gives it back: tuples are lists, and paths are texts.
        provenance=json.loads(json.dumps(provenance, default=str)),
        transform=list(geobox.transform[:6]),
        height=geobox.height,
        width=geobox.width,
        crs="" if geobox.crs is None else geobox.crs.to_wkt(),
        gsd=None if geobox.gsd is None else list(geobox.gsd),
        card=None if card is None else json.loads(card_text(card)),
        classes=list(job.classes),
        background=job.background,
        files={kind: path.name for kind, path in files.items()},
        footprints=footprints,
        windows=job.plan.n_windows,
        failures=failures,
        # Of the scene and the model; what is told of chunks kept before holds for one call alone.
        notes=[*job.notes, *getattr(predictor, "notes", ())],
    )


def report_file(folder: Path, scene: str) -> Path:
    """Where the report of a scene's result belongs.

    Examples
    --------
    >>> report_file(Path("out"), "town").name
    'town.report.html'
    """
    return folder / f"{plain_stem(scene)}.report.html"


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
            raise ValueError("another layout")
        record = RunRecord(**content)
        # Whoever reads it relies on these.
        _ = record.geobox, record.options["bands"], record.provenance["geoseg"], record.provenance["model"]
        return record
    except FileNotFoundError:
        raise InputError(
            f"a result must be of a run that has come to its end, got {folder} without {RECORD}. "
            "Give the geoseg run command again: finished chunks are kept."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, ProjError) as error:
        raise InputError(
            f"{path} must be the record of a run, got another file ({' '.join(str(error).split())}). "
            "Give the geoseg run command again to make it anew."
        ) from None


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
