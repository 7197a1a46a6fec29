"""In which order a person looks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from reviews_made import TRANSFORM, write_footprints, write_scene

from geoseg.errors import InputError
from geoseg.io.sources import open_raster
from geoseg.io.vectors import open_vector
from geoseg.projects.figures import TagMeta
from geoseg.projects.project import open_project
from geoseg.review import ProjectTarget, Review, SceneTarget
from geoseg.review.ranking import expected_iou, uncertain_share


def test_unsure_footprints_come_first_then_covered_ground(tmp_path: Path) -> None:
    scene = open_raster(write_scene(tmp_path / "town.tif", 200, 200))
    # In the blocks 0-0, 1-2 and 3-3; the last are the least sure, see `write_footprints`.
    boxes = [(10, 10, 20, 20), (110, 60, 120, 70), (160, 160, 190, 190)]
    houses = [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in boxes]
    source = write_footprints(tmp_path / "houses.gpkg", houses=houses)
    with Review(tmp_path / "r", SceneTarget(scene, open_vector(source)), block=50) as review:
        known = {place.name: place.uncertain for place in review.places()}
    assert known["0-0"] == pytest.approx(0.04 * 0.4)
    assert known["1-2"] == pytest.approx(0.04 * 0.25)
    assert known["3-3"] == pytest.approx(0.36 * 0.1)
    assert known["2-0"] == 0
    with Review(tmp_path / "r2", SceneTarget(scene, open_vector(source)), block=50, seed=3) as review:
        first = next(place for place in review.places() if not place.qa)
        best = max((p for p in review.places() if not p.qa), key=lambda place: place.uncertain or 0)
    assert first.name == best.name


def test_probabilities_rank_a_scene(tmp_path: Path) -> None:
    scene = open_raster(write_scene(tmp_path / "town.tif", 100, 150))
    probability = np.full((100, 150), 250, np.uint8)
    probability[:50, 50:100] = 120
    probability[50:, :20] = 100
    path = tmp_path / "prob.tif"
    profile = {"driver": "GTiff", "height": 100, "width": 150, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32645", transform=TRANSFORM) as out:
        out.write(probability, 1)
        out.scales = (1 / 255,)
    with Review(tmp_path / "r", SceneTarget(scene), block=50, probability=open_raster(path)) as review:
        places = {place.name: place for place in review.places()}
    assert (places["0-1"].uncertain, places["1-0"].uncertain, places["0-0"].uncertain) == (1, 0.4, 0)
    assert places["0-0"].expected_iou == pytest.approx(250 / 255)
    assert places["0-1"].expected_iou == 0
    ranked = [place for place in places.values() if not place.qa]
    assert ranked[0].uncertain == max(place.uncertain or 0 for place in ranked)
    small = open_raster(write_scene(tmp_path / "small.tif", 50, 50))
    with pytest.raises(InputError, match="own resolution"):
        Review(tmp_path / "r2", SceneTarget(scene), probability=small)
    # Of the sheet beside it, which has as many pixels.
    beside = TRANSFORM * TRANSFORM.translation(150, 0)
    with rasterio.open(tmp_path / "beside.tif", "w", **profile, crs="EPSG:32645", transform=beside) as out:
        out.write(probability, 1)
    with pytest.raises(InputError, match="which lies elsewhere"):
        Review(tmp_path / "r3", SceneTarget(scene), probability=open_raster(tmp_path / "beside.tif"))


def test_photos_are_ranked_by_their_tags(project: Path, tmp_path: Path) -> None:
    meta = json.loads((project / "meta.json").read_text())
    tags = [TagMeta(name, "any_number").to_json() for name in ("uncertain", "expected_iou")]
    (project / "meta.json").write_text(json.dumps({**meta, "tags": tags}))
    file = project / "ds" / "ann" / "a.png.json"
    document = json.loads(file.read_text())
    values = [{"name": "uncertain", "value": 0.25}, {"name": "expected_iou", "value": 0.5}]
    file.write_text(json.dumps({**document, "tags": values}))
    with Review(tmp_path / "r", ProjectTarget(open_project(project))) as review:
        known = {place.name: (place.uncertain, place.expected_iou) for place in review.places()}
    assert known == {"ds/a.png": (0.25, 0.5), "ds/b.png": (None, None)}


def test_scores_of_nothing() -> None:
    empty = np.zeros((0, 0))
    assert uncertain_share(empty) == 0
    assert expected_iou(empty, empty > 0) == 1
    assert uncertain_share(np.array([[0.5, 0.5]]), np.array([[True, False]])) == 1
