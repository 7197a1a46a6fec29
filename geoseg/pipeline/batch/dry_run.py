"""What a run would do: scenes, windows, time and disk, found without running it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.config.resolve import resolve
from geoseg.config.run import RunSettings
from geoseg.errors import GeosegError
from geoseg.files import FolderDepot, depot_at
from geoseg.geo.effort import NETWORK_MPX_S, check_effort
from geoseg.io.references import Reference
from geoseg.pipeline.batch.manifest import MANIFEST, read_manifest
from geoseg.pipeline.batch.merge import check_merge
from geoseg.pipeline.batch.plan import PlannedScene, check_settings, plan_batch
from geoseg.pipeline.batch.todo import batch_key, sort_scenes
from geoseg.pipeline.job import plan_of
from geoseg.pipeline.opening import open_for_model
from geoseg.pipeline.workers import networks_at_once
from geoseg.typing import PathLike, Progress, no_progress

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["DryRun", "SceneForecast", "dry_run"]

#: Batches that are timed: the first one pays for loading, the best of the others is what a run settles at.
_BATCHES = 3


@dataclass(frozen=True)
class SceneForecast:
    """What would be done of one scene.

    Attributes
    ----------
    name
        Of the scene.
    files
        Files and addresses it is read from.
    height, width
        Pixels, as they would be read.
    gsd
        Ground meters per pixel that would be read; None without a CRS.
    windows
        Of the whole grid; those without data are passed over, so fewer may run.
    seconds
        About, in the network; in all networks that run at a time.
    store_bytes
        At most, for the probabilities that are kept.
    error
        Why it would fail.
    """

    name: str
    files: int
    height: int = 0
    width: int = 0
    gsd: float | None = None
    windows: int = 0
    seconds: float = 0.0
    store_bytes: int = 0
    error: str = ""


@dataclass(frozen=True)
class DryRun:
    """What :func:`dry_run` gives.

    Attributes
    ----------
    scenes
        Those that there is work on.
    kept
        How many are done already.
    window_seconds
        What a window takes in the network, measured on this machine.
    networks
        How many run at a time: on several GPUs, or on the machines of a cluster.
    free_bytes
        Room where probabilities would go; None: not known of an address.
    notes
        What the user should know.
    """

    scenes: list[SceneForecast]
    kept: int
    window_seconds: float
    networks: int
    free_bytes: int | None
    notes: list[str] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, Any]:
        """Of all scenes together."""
        return {
            "scenes": len(self.scenes),
            "mpx": round(sum(one.height * one.width for one in self.scenes) / 1e6, 3),
            "windows": sum(one.windows for one in self.scenes),
            "seconds": round(sum(one.seconds for one in self.scenes), 1),
            "store_bytes": sum(one.store_bytes for one in self.scenes),
            "failing": sum(bool(one.error) for one in self.scenes),
        }

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self) | {"totals": self.totals}


def dry_run(
    words: Sequence[Reference],
    model: Any,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    progress: Progress = no_progress,
) -> DryRun:
    """Find out what a run of scenes would do; only headers are read, and nothing is written.

    A few batches without a picture go through the network, to see how long a window takes on this machine.

    Parameters
    ----------
    words, model, out, settings, progress
        As for :func:`geoseg.pipeline.batch.run_batch`.

    Raises
    ------
    InputError
        A word stands for nothing, the model can't be loaded, or the cluster can't be reached.
    """
    from geoseg.models import as_predictor

    settings, out = settings or RunSettings(), Path(out)
    check_settings(settings)
    check_merge(settings, out)
    networks = networks_at_once(settings)
    plan = plan_batch(words, settings, out=out, progress=progress)
    test_time = settings.given().get("test_time")
    predictor = as_predictor(model, device=settings.main_device, engine=settings.engine, test_time=test_time)
    todo, notes = list(plan.scenes), list(plan.notes)
    # What is done already is no work: the forecast is of the very command that it is given with.
    if (out / MANIFEST).is_file():
        with read_manifest(out) as manifest:
            key = batch_key(predictor, settings, progress)
            work, _, more = sort_scenes(plan.scenes, manifest, key, predictor, settings, out, progress)
            todo = [scene for scene, _ in work]
            notes += more
    chosen = resolve(settings, {} if predictor.card is None else predictor.card.options.suggested())
    speed: dict[tuple[int, str], float] = {}
    forecasts = []
    for done, scene in enumerate(todo, 1):
        forecasts.append(_forecast(scene, predictor, settings, chosen, speed, networks))
        progress("scenes", done, len(todo))
    depot, free, place = depot_at(settings.store or str(out)), None, out
    if isinstance(depot, FolderDepot):
        # It may not be there yet: what counts is the disk that it will be made on.
        folder = depot.folder.absolute()
        place = next(one for one in (folder, *folder.parents) if one.is_dir())
        free = shutil.disk_usage(place).free
    wanted = sum(one.store_bytes for one in forecasts)
    if free is not None and wanted > free:
        notes.append(
            f"probabilities may take up to {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {place}"
        )
    kept = len(plan.scenes) - len(todo)
    return DryRun(forecasts, kept, max(speed.values(), default=0.0), networks, free, notes)


def _forecast(
    scene: PlannedScene,
    predictor: Predictor,
    given: RunSettings,
    chosen: RunSettings,
    speed: dict[tuple[int, str], float],
    networks: int,
) -> SceneForecast:
    from geoseg.models import check_bands

    try:
        source, _ = open_for_model(scene.reference, predictor, given, chosen)
        check_bands(predictor, source.count, source.dtype)
        check_effort(*source.geobox.shape, NETWORK_MPX_S, scene.name)
        plan = plan_of(source, chosen)
        # Timed once for each kind of input: to time every scene would take as long as some of them.
        kind = source.count, source.dtype
        if kind not in speed:
            speed[kind] = _window_seconds(predictor, *kind, chosen)
    except GeosegError as error:
        return SceneForecast(scene.name, len(scene.paths), error=" ".join(str(error).split()))
    height, width = source.geobox.shape
    step = source.geobox.ground_resolution()
    return SceneForecast(
        name=scene.name,
        files=len(scene.paths),
        height=height,
        width=width,
        gsd=None if step is None else round(float(np.sqrt(step[0] * step[1])), 4),
        windows=plan.n_windows,
        # All of them share each scene.
        seconds=round(plan.n_windows * speed[kind] / networks, 2),
        # One byte a pixel and class, before compression; a callable that names no classes has one at least.
        store_bytes=height * width * max(1, len(predictor.classes)),
    )


def _window_seconds(predictor: Predictor, count: int, dtype: str, chosen: RunSettings) -> float:
    """What a window takes in the network, in a batch as a run would make it."""
    size = chosen.batch_size or predictor.batch_size_default(chosen.window)
    batch = np.zeros((size, count, *chosen.window), dtype)
    times = []
    for _ in range(_BATCHES):
        start = time.perf_counter()
        predictor(batch.copy())  # a callable may write into its input
        times.append(time.perf_counter() - start)
    # The best, because others that use the machine can only make it slower.
    return min(times[1:]) / size
