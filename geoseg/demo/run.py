"""The demonstration: make a scene, run the main job on it, score the result, draw it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.config.run import RunSettings
from geoseg.demo.scene import PARAMETERS_TAG, make_scene, scene_parameters
from geoseg.io.photo import read_tags
from geoseg.io.vectors import open_vector
from geoseg.models import load_model
from geoseg.pipeline.evaluation.files import Evaluation, evaluate_files
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.summary import RunSummary
from geoseg.report.picture import footprint_picture
from geoseg.scores.shapes import corner_turns
from geoseg.typing import Array, PathLike, Progress, no_progress

__all__ = ["DemoResult", "Score", "prepare_scene", "run_demo"]

#: Stem of the generated scene's files.
NAME = "town"


@dataclass(frozen=True)
class Score:
    """How well the footprints agree with the truth.

    Attributes
    ----------
    iou
        Ground covered by both, over ground covered by either.
    precision, recall, f1
        Of objects that match at an IoU of 0.5; None where the score has no meaning.
    truths, matched
        Objects of the truth, and those found.
    polis
        Mean distance of the outlines of matched objects (PoLiS), in meters.
    right_angles
        Share of the corners of all footprints within 2 degrees of a right angle.
    """

    iou: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    truths: int
    matched: int
    polis: float | None
    right_angles: float | None


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Attributes
    ----------
    scene
        The scene, made, used again, or the user's.
    made
        Whether the scene was made this time.
    files
        Kind (geojson, parquet, picture, truth) to file.
    run
        Summary of the main job.
    score
        None without a truth.
    """

    scene: str
    made: bool
    files: dict[str, str]
    run: RunSummary
    score: Score | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def run_demo(
    out: PathLike = "geoseg-demo",
    *,
    scene: PathLike | None = None,
    truth: PathLike | None = None,
    model: Any = None,
    device: str = "auto",
    size: int = 5120,
    seed: int = 0,
    progress: Progress = no_progress,
) -> DemoResult:
    """Run the main job on a generated town, or on a scene of one's own.

    A scene that an earlier call made with the same parameters is used again, and the main job goes on
    where it was stopped.

    Parameters
    ----------
    out
        Folder of everything that is written; made if it is missing.
    scene
        The user's own scene; None: a generated one, with known footprints.
    truth
        Footprints to score against, with ``scene``; None: no score.
    model
        As for :func:`geoseg.pipeline.run.run_scene`; None: the building network that ships.
    device
        ``auto``, ``cpu`` or ``cuda``.
    size, seed
        Of the generated scene, see :func:`geoseg.demo.scene.make_scene`.
    progress
        Told how far each stage is.

    Raises
    ------
    InputError
        Bad input.
    RunError
        The run could not finish; what was done is kept.
    """
    folder = Path(out)
    made = False
    # Before the minutes that the scene takes: a model may not be there.
    if model is None or isinstance(model, str | Path):
        model = load_model(model, device=device)
    if scene is None:
        scene = folder / f"{NAME}.tif"
        truth = folder / f"{NAME}.truth.geojson"
        made = prepare_scene(scene, truth, size=size, seed=seed, progress=progress)
    settings = RunSettings(formats=("geojson", "parquet"), device=device)
    summary = run_scene(scene, model, folder, settings, progress=progress)
    files = dict(summary.files)
    # Drawn of the written file, as a user would see it, and not of what is in memory.
    picture = folder / f"{summary.scene}.png"
    progress("picture", 0, 1)
    footprint_picture(scene, files["geojson"], picture)
    progress("picture", 1, 1)
    files["picture"] = str(picture)
    score = None
    if truth is not None:
        files["truth"] = str(truth)
        evaluation = evaluate_files(files["geojson"], truth, progress=progress)
        # In the scene's CRS: degrees of longitude and latitude have no right angles.
        turns = [corner_turns(batch.geometry) for batch in open_vector(files["parquet"]).batches()]
        score = _score(evaluation, np.concatenate([np.empty(0), *turns]))
    return DemoResult(str(scene), made, files, summary, score)


def prepare_scene(
    scene: Path, truth: Path, *, size: int, seed: int, gsd: float = 0.3, progress: Progress = no_progress
) -> bool:
    """Make the scene unless the files are there already, made with the same parameters.

    Returns
    -------
    bool
        Whether it was made.
    """
    wanted = scene_parameters(size=size, seed=seed, gsd=gsd)
    if truth.is_file() and scene.is_file():
        try:
            parameters = json.loads(read_tags(scene).get(PARAMETERS_TAG, "null"))
        except json.JSONDecodeError:
            parameters = None
        # The number of the generator is among them: a newer one would paint another town.
        if parameters == wanted:
            return False
    make_scene(scene, truth, size=size, seed=seed, gsd=gsd, progress=progress)
    return True


def _score(result: Evaluation, turns: Array) -> Score | None:
    objects = result.objects
    if objects is None:
        return None
    return Score(
        iou=_known(result.pixels.iou),
        precision=_known(objects.precision),
        recall=_known(objects.recall),
        f1=_known(objects.f1),
        truths=objects.truths,
        matched=objects.matched,
        polis=_known(objects.polis),
        right_angles=_known(float((np.abs(turns - 90) <= 2).mean())) if len(turns) else None,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
