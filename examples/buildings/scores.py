"""Scores of a network on the scenes of a place: `geoseg run`, then `geoseg evaluate`, counts added up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import geoseg
from geoseg.pipeline.evaluation.files import evaluate_files

#: How the building network makes footprints.
FOOTPRINTS: dict[str, Any] = {"min_area_m2": 4.0, "simplify_m": 0.3, "regularize": True}


@dataclass(frozen=True)
class Scored:
    """A scene and what is true of it.

    Attributes
    ----------
    scene
        What the network looks at.
    truth
        Polygons, or a mask whose pixels without data are not known.
    aoi
        The completely labeled ground; None: all of the scene.
    gsd
        Meters per pixel of a scene without a coordinate reference system.
    """

    scene: Path
    truth: Path
    aoi: Path | None = None
    gsd: float | None = None


def score_scenes(
    bundle: Path, scenes: Iterable[Scored], kept: Path | None = None, **options: Any
) -> dict[str, float]:
    """IoU of pixels, and precision, recall and F1 of objects, over all scenes together.

    Parameters
    ----------
    kept
        Folder in which the probabilities stay: the next call, with other options of what comes after the
        network, does not run it again.
    options
        Of `geoseg run`; what is not given is its default.
    """
    scenes, pixels, objects = list(scenes), np.zeros(3), np.zeros(3)
    if not scenes:
        raise SystemExit("there are no scenes to score. Check the folder of the data")
    for number, one in enumerate(scenes):
        with tempfile.TemporaryDirectory() as scratch:
            out = kept / f"{number:03}" if kept else Path(scratch)
            gsd = {} if one.gsd is None else {"gsd": one.gsd}
            summary = geoseg.run(one.scene, bundle, out=out, aoi=one.aoi, **gsd, **options)
            footprints, outlines = summary.files["geojson"], one.truth
            if one.truth.suffix in (".tif", ".png"):
                outlines = Path(scratch) / "truth.geojson"
                geoseg.vectorize(one.truth, out=outlines, simplify_m=0, min_area_m2=0)
            # Pixels by the mask, whose unlabeled ground does not count; objects by its outlines.
            covered = evaluate_files(footprints, one.truth, aoi=one.aoi).pixels
            matches = evaluate_files(footprints, outlines, aoi=one.aoi).objects
        for row in covered.classes:
            pixels += np.nan_to_num([row.tp, row.fp, row.fn])
        assert matches is not None  # both are polygons
        objects += [matches.matched, matches.false, matches.missed]
    tp, fp, fn = pixels.tolist()
    matched, false, missed = objects.tolist()
    return {
        "scenes": len(scenes),
        "iou": round(tp / max(tp + fp + fn, 1), 4),
        "object_precision": round(matched / max(matched + false, 1), 4),
        "object_recall": round(matched / max(matched + missed, 1), 4),
        "object_f1": round(2 * matched / max(2 * matched + false + missed, 1), 4),
    }
