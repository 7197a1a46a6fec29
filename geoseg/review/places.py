"""Places: what the list of a review steps through, in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from geoseg.config import read_document
from geoseg.errors import ConfigError, InputError
from geoseg.geo.windows import Window
from geoseg.raster.source import RasterSource
from geoseg.review.ranking import expected_iou, rank_places, uncertain_share
from geoseg.review.rows import Place
from geoseg.review.targets import ProjectTarget
from geoseg.typing import Array, BoolArray, Progress, no_progress

__all__ = ["add_shares", "block_scores", "image_places", "scene_places"]

#: Tags of an image by which its place is ranked, as an inference may write them.
UNCERTAIN, EXPECTED_IOU = "uncertain", "expected_iou"


def image_places(target: ProjectTarget, names: Sequence[str], qa: BoolArray, seed: int) -> list[Place]:
    """A place for each image of a project, ranked by its tags ``uncertain`` where it has them, else by name.

    Sizes are not known before an image is opened, so the boxes are empty.
    """
    scores = [_image_scores(target, name) for name in names]
    # Images of a data set that follow each other by name may show the same scene a moment later.
    datasets = {
        name: number for number, name in enumerate(dict.fromkeys(n.rpartition("/")[0] for n in names))
    }
    # Rows three apart, so that images of two data sets never count as neighbors.
    cells = np.array([(3 * datasets[name.rpartition("/")[0]], i) for i, name in enumerate(names)])
    order = rank_places([-1.0 if s[0] is None else s[0] for s in scores], cells.reshape(-1, 2), qa, seed)
    return [
        Place(int(i), int(i), names[i], (0.0, 0.0, 0.0, 0.0), rank, bool(qa[i]), "", *scores[i])
        for rank, i in enumerate(order)
    ]


def _image_scores(target: ProjectTarget, name: str) -> tuple[float | None, float | None]:
    if target.meta.find_tag(UNCERTAIN) is None or name not in target.items:
        return None, None
    try:
        document = read_document(target.annotation_path(name)[0])
    except (ConfigError, InputError):
        return None, None  # it is told when the image is opened
    tags = document.get("tags") if isinstance(document, dict) else None
    if not isinstance(tags, list):
        return None, None
    values = {tag.get("name"): tag.get("value") for tag in tags if isinstance(tag, dict)}
    uncertain, iou = (
        float(value) if isinstance(value, int | float) else None
        for value in (values.get(UNCERTAIN), values.get(EXPECTED_IOU))
    )
    return uncertain, iou


def scene_places(
    shape: tuple[int, int],
    block: int,
    scores: tuple[Array, Array],
    covered: Array,
    qa: BoolArray,
    seed: int,
) -> list[Place]:
    """A place for each block of a scene.

    Parameters
    ----------
    shape
        (height, width) of the scene.
    block
        Side of a block in pixels; the last ones are cut at the edge.
    scores
        Uncertainty and expected IoU of each block, (rows, columns), NaN where unknown.
    covered
        Share of each block that footprints cover, (rows, columns): where nothing is known of their quality,
        there is most to look at where most of them are.
    qa
        (n,) bool, the random ones, row by row.
    seed
        Of the order of the random ones.
    """
    rows, columns = -(-shape[0] // block), -(-shape[1] // block)
    cells = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    uncertain, iou = (side.reshape(-1) for side in scores)
    # What is known to be uncertain comes first, then all else by what lies there.
    score = np.where(np.isnan(uncertain), covered.reshape(-1) - 1e6, uncertain)
    order = rank_places(score.tolist(), cells, qa, seed)
    places = []
    for rank, number in enumerate(order.tolist()):
        row, column = cells[number].tolist()
        box = (
            float(column * block), float(row * block),
            float(min((column + 1) * block, shape[1])), float(min((row + 1) * block, shape[0])),
        )  # fmt: skip
        known = [None if np.isnan(side[number]) else float(side[number]) for side in (uncertain, iou)]
        places.append(
            Place(number, 0, f"{row}-{column}", box, rank, bool(qa[number]), "", known[0], known[1])
        )
    return places


def add_shares(covered: Array, doubt: Array, block: int, polygons: Array, confidence: Array) -> None:
    """Add what share of each block some footprints cover, and what share of it they expect to be wrong.

    A footprint counts where its middle lies.

    Parameters
    ----------
    covered, doubt : (rows, columns) float64
        Of the blocks, changed in place. Doubt is NaN everywhere until a footprint has a confidence.
    block
        Side of a block in pixels.
    polygons, confidence
        (n,) footprints in pixel corners, and how sure the network is of each; NaN where it does not say.
    """
    if not len(polygons):
        return
    bounds = shapely.bounds(polygons)
    middle = ((bounds[:, :2] + bounds[:, 2:]) / (2 * block)).astype(np.int64)
    columns, rows = (np.clip(middle[:, axis], 0, doubt.shape[1 - axis] - 1) for axis in (0, 1))
    share = shapely.area(polygons) / block**2
    np.add.at(covered, (rows, columns), share)
    if np.isfinite(confidence).any():
        np.nan_to_num(doubt, copy=False)
        np.add.at(doubt, (rows, columns), share * np.nan_to_num(1 - confidence))


def block_scores(
    probability: RasterSource, block: int, progress: Progress = no_progress
) -> tuple[Array, Array]:
    """Uncertain share and expected IoU of each block, from a raster of probabilities on the scene's grid.

    Of several bands the background counts against all others together; without one, the strongest counts.
    """
    height, width = probability.geobox.shape
    rows, columns = -(-height // block), -(-width // block)
    uncertain, iou = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    hints = probability.hints()
    names = [text.lower() for text in hints.descriptions]
    for row in range(rows):
        for column in range(columns):
            window = Window(row_off=row * block, col_off=column * block, height=block, width=block)
            values, valid = probability.read_with_valid(window.clipped(height, width))
            # Nothing is there to look at: unknown, not certain.
            if not valid.any():
                continue
            # Bytes of a store or floats: the raster states how its values become probabilities.
            p = values * np.float64(hints.scale) + hints.offset
            single = 1 - p[names.index("background")] if "background" in names else p.max(axis=0)
            uncertain[row, column] = uncertain_share(single, valid)
            iou[row, column] = expected_iou(single, single > 0.5, valid)
        progress("ranking", row + 1, rows)
    return uncertain, iou
