"""What is told of a graph before it runs holds when it runs."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from dtl_projects import FIGURES, data_layer, save_layer, step

from geoseg.dtl import parse_graph
from geoseg.dtl.check import check_graph
from geoseg.dtl.engine import open_engine
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta
from geoseg.projects.writer import ProjectWriter

WINDOW = {"window": {"width": 16, "height": 12}, "min_overlap": {"x": 3, "y": 0}}
RATIO = {"width": -1, "height": 90, "aspect_ratio": {"keep": True}}
UPRIGHT = {"rotate_angles": {"min_degrees": 90, "max_degrees": 90}, "black_regions": {"mode": "keep"}}


@pytest.fixture
def scenes(tmp_path):
    def write(path):
        size = {"height": 40, "width": 60, "count": 3, "dtype": "uint8"}
        place = {"transform": Affine(0.5, 0, 331000, 0, -0.5, 3057000), "crs": "EPSG:32645"}
        with rasterio.open(path, "w", driver="GTiff", **size, **place) as out:
            out.write(np.full((3, 40, 60), 9, np.uint8))

    annotation = Annotation(40, 60, (LabeledObject("a", FIGURES["polygon"]),))
    with ProjectWriter(tmp_path / "p", ProjectMeta((ClassMeta("a", "polygon", (1, 2, 3)),))) as writer:
        writer.add("ds", "a.tif", annotation, write)
    return tmp_path


def entering(engine):
    """Samples that enter each layer when the graph runs, with the first one's size."""
    layers, sizes = engine.plan.graph.layers, {}

    def flow(index, sample):
        sizes.setdefault(index, []).append(sample.shape)
        if layers[index].kind.role == "save":
            return
        for branch, out in engine.apply(layers[index], sample):
            for consumer in engine.plan.consumers[index][branch]:
                flow(consumer, out)

    flow(0, engine.open(0))
    return sizes


@pytest.mark.parametrize(
    ("action", "settings", "known"),
    [
        ("resample", {"gsd_m": 0.2}, False),
        ("reproject", {"crs": "EPSG:3857"}, False),
        ("reproject", {"crs": "EPSG:32644", "gsd": 0.3}, False),
        ("rotate", UPRIGHT, False),
        ("resize", RATIO, True),
        ("crop", {"sides": {"left": "10%", "top": "3px"}}, True),
    ],
)
def test_counts_behind_layers_that_change_the_size(scenes, action, settings, known):
    """Behind those whose result's size shows only later, nothing is promised that does not hold."""
    steps = [
        step(action, settings, "$in", "$sized"),
        step("sliding_window", WINDOW, "$sized", "$window"),
        step("multiply", {"multiply": 2}, "$window", "$twice"),
    ]
    graph = parse_graph([data_layer("p"), *steps, save_layer("$twice")])
    sizes = entering(open_engine(graph, scenes))
    rows = check_graph(graph, scenes).layers
    for index, row in enumerate(rows):
        least, most = row.count
        assert least <= len(sizes[index])
        assert most is None or len(sizes[index]) <= most
    assert (rows[-1].count[0] == rows[-1].count[1]) == known
    assert sizes[2][0] != (40, 60)
