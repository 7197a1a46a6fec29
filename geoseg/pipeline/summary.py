"""What a run gave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.pipeline.job import Job
from geoseg.pipeline.predict import PredictSummary

__all__ = ["RunSummary", "summarize"]


@dataclass(frozen=True)
class RunSummary:
    """What a run gave.

    Attributes
    ----------
    scene
        The scene's name.
    files
        Output format (or ``prob``, ``mask``) to the file written; where regions are missing, ``failures`` to
        the list beside the first file. Each file has such a list, FILE.failures.json.
    footprints
        Number of footprints; None where none were made.
    windows
        Windows of the whole grid.
    windows_run
        Windows that went through the network this time.
    seconds, network_seconds
        Wall time, and the part of it inside the network's callable.
    mpx
        Megapixels of the scene as it was read.
    gsd
        Ground meters per pixel that were read; None without a CRS.
    acquired
        ISO date it was taken, where known.
    bounds
        (min x, min y, max x, max y) of what was read, in ``crs``.
    crs
        Code such as "EPSG:32645", else WKT; empty for pixel coordinates.
    failures
        Regions that could not be read.
    notes
        What the user should know.
    provenance
        What the files say of their origin: versions, scene, model and options.
    unsure
        Footprints that were left out because their mean probability is below ``min_confidence``.
    changes
        With ``update``: how many footprints are new, kept, changed and gone, and how many known ones stand
        where nothing was seen (unseen).
    extras
        Kind (``style``, ``qgs``, ``stac``, ``model``, ``report``) to a file beside the results that helps to
        look at them. Other programs may have written to it since.
    """

    scene: str
    files: dict[str, str]
    footprints: int | None
    windows: int
    windows_run: int
    seconds: float
    network_seconds: float
    mpx: float
    gsd: float | None
    acquired: str | None
    bounds: list[float]
    crs: str
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    unsure: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    extras: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def summarize(
    job: Job,
    done: PredictSummary,
    files: dict[str, Path],
    footprints: int | None,
    failures: list[dict[str, Any]],
    start: float,
    origin: dict[str, Any],
    notes: Sequence[str],
) -> RunSummary:
    """The summary of a job that has come to its end.

    Parameters
    ----------
    job, done
        What was run, and what its first stage did.
    files
        Paths by kind.
    footprints
        Number of them; None where none were made.
    failures
        Regions that could not be read.
    start
        When it began, by ``time.perf_counter``.
    origin
        What its files say of their origin.
    notes
        Beside those of the scene and the model.
    """
    step = job.source.geobox.ground_resolution()
    return RunSummary(
        scene=job.source.name,
        files={key: str(path) for key, path in files.items()},
        footprints=footprints,
        windows=job.plan.n_windows,
        windows_run=done.windows,
        seconds=round(time.perf_counter() - start, 3),
        network_seconds=round(done.network_seconds, 3),
        mpx=round(job.plan.shape[0] * job.plan.shape[1] / 1e6, 3),
        # The geometric mean, for pixels need not be square.
        gsd=None if step is None else round(float(np.sqrt(step[0] * step[1])), 4),
        acquired=job.source.acquired,
        bounds=list(job.source.geobox.bounds()),
        crs="" if job.source.geobox.crs is None else job.source.geobox.crs.to_string(),
        failures=failures,
        notes=[*job.notes, *getattr(job.predictor, "notes", ()), *done.notes, *notes],
        provenance=origin,
    )
