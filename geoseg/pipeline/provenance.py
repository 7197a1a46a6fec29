"""What results say of their origin: the scene, the model, the options and the versions they were made with.

The same for the same run, wherever and whenever it is carried out: no time of day, no path, no number of
workers and nothing else that changes no byte of the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from geoseg.config.option import Caller, settings_of
from geoseg.config.run import RunSettings
from geoseg.files import json_digest
from geoseg.pipeline.job import Job
from geoseg.raster.source import RasterHints, RasterSource
from geoseg.version import VERSION

__all__ = ["raster_provenance", "run_provenance"]


def run_provenance(job: Job, caller: Literal["run", "predict"]) -> dict[str, Any]:
    """Origin of what a run or a prediction writes.

    Parameters
    ----------
    job
        Scene, model and settings.
    caller
        Whose options are stated.

    Returns
    -------
    dict
        JSON-ready: ``geoseg`` (version), ``scene`` (name, fingerprint, acquired), ``model`` (name, version,
        fingerprint, runtime), ``options`` and ``options_digest``.
    """
    card = job.predictor.card
    model = {
        "name": None if card is None else card.name,
        # the Version extension of STAC, which a card may use
        "version": None if card is None else (card.properties.model_extra or {}).get("version"),
        "fingerprint": job.fingerprint["model"],
        "runtime": job.fingerprint["runtime"],
    }
    options = _options(job.settings, caller)
    # As they came to be, where the user left them to the scene or named classes by name.
    options["bands"] = list(job.source.bands)
    if "threshold" in options:
        options["threshold"] = None if job.thresholds is None else list(job.thresholds)
    # By name and content: a path is of this machine, and files of two runs would differ by it.
    if job.settings.aoi is not None:
        options["aoi"] = {"name": Path(job.settings.aoi).name, "fingerprint": job.fingerprint["aoi"]}
    return _composed(job.source, job.fingerprint["scene"], options, model=_stated(model))


def raster_provenance(source: RasterSource, hints: RasterHints, settings: RunSettings) -> dict[str, Any]:
    """Origin of footprints of a mask or of probabilities; ``source`` has what that raster says of its own.

    Parameters
    ----------
    source, hints
        The raster, and what it says of itself.
    settings
        As they hold for it.
    """
    options = _options(settings, "vectorize") | {"bands": list(source.bands)}
    origin = dict(hints.provenance)
    return _composed(source, source.fingerprint(), options, **({"source": origin} if origin else {}))


def _options(settings: RunSettings, caller: Caller) -> dict[str, Any]:
    names = {name for name, (_, option) in settings_of(RunSettings, caller).items() if option.is_stated}
    return settings.model_dump(mode="json", include=names)


def _composed(
    raster: RasterSource, fingerprint: str, options: dict[str, Any], **more: dict[str, Any]
) -> dict[str, Any]:
    scene = {"name": raster.name, "fingerprint": fingerprint, "acquired": raster.acquired}
    # Sorted, so that the text is the same whatever the order in which options were declared.
    options = dict(sorted(_stated(options).items()))
    return {
        "geoseg": VERSION,
        "scene": _stated(scene),
        **more,
        "options": options,
        "options_digest": json_digest(options),
    }


def _stated(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
