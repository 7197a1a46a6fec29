"""Styles and projects for QGIS: what is written, and what QGIS makes of it where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg import vectorize
from geoseg.config.run import RunSettings
from geoseg.io.qgis import Drawn, footprint_style
from geoseg.pipeline.run import run_scene

STYLED = ("gpkg", "fgb", "geojson", "shp")


def options(**given: Any) -> RunSettings:
    return RunSettings(**{"window": (48, 48), "overlap": (16, 16), "chunk": 64, "formats": STYLED, **given})


def network(batch: np.ndarray) -> np.ndarray:
    return batch[:, :1] / 255


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two houses, the network sure of one alone."""
    pixels = np.zeros((3, 60, 80), np.uint8)
    pixels[:, 10:30, 10:30], pixels[:, 10:30, 50:70] = 250, 140
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "scenes" / "north & <south>.tif"
    place = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
    profile = {"driver": "GTiff", "count": 3, "height": 60, "width": 80, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32645", transform=place, **profile) as out:
        out.write(pixels)
    return path


def test_a_style_colors_by_confidence_or_by_class() -> None:
    root = ElementTree.fromstring(footprint_style(Drawn(("id", "class", "confidence"), ("a", "b"))))
    assert root.get("labelsEnabled") == "0"
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "confidence"
    ranges = [(float(r.get("lower", "")), float(r.get("upper", ""))) for r in renderer.iter("range")]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 1
    assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
    assert len(list(renderer.iter("symbol"))) == len(ranges)
    names = ("Straße", 'a "b" <&>', "bell\x07", "half\ud83d")
    root = ElementTree.fromstring(footprint_style(Drawn(("id", "class"), names)))
    values = [category.get("value") for category in root.iter("category")]
    assert values == ["Straße", 'a "b" <&>', "bell\ufffd", "half\ufffd"]


def test_a_style_lies_beside_the_formats_that_QGIS_looks_for_it_with(scene: Path, tmp_path: Path) -> None:
    name = scene.stem
    for format in STYLED:
        summary = run_scene(scene, network, tmp_path / format, options(formats=(format,)))
        assert Path(summary.extras["style"]).name == "north & <south>.qml".replace("<", "_").replace(">", "_")
        assert "style" not in summary.files  # QGIS may write to it: it is no result
    plain = run_scene(scene, network, tmp_path / "plain", options(formats=("parquet", "geojsonseq")))
    without = run_scene(scene, network, tmp_path / "without", options(style=False))
    assert plain.extras == without.extras == {}
    assert not [*(tmp_path / "plain").glob("*.qml"), *(tmp_path / "without").glob("*.qml")], name


def test_a_style_is_not_put_beside_a_scene_of_its_name(scene: Path) -> None:
    """QGIS would take it for the style of the raster."""
    plain = scene.rename(scene.with_name("plain.tif"))
    assert "style" not in run_scene(plain, network, scene.parent, options()).extras
    vectorize(plain, scene.parent / "plain.gpkg", bands=1)
    assert not (scene.parent / "plain.qml").exists()
    vectorize(plain, scene.parent / "other.gpkg", bands=1)
    assert (scene.parent / "other.qml").is_file()


def test_a_style_that_QGIS_has_saved_stays(scene: Path, tmp_path: Path) -> None:
    style = Path(run_scene(scene, network, tmp_path / "o", options(qgs=True)).extras["style"])
    project = style.with_suffix(".qgs")
    ours = style.read_bytes(), project.read_bytes()
    saved = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n<qgis version=\"3.22.16\"/>\n"
    style.write_text(saved)
    project.write_text(saved)
    run_scene(scene, network, tmp_path / "o", options(qgs=True))
    assert style.read_text() == project.read_text() == saved
    style.unlink()
    project.unlink()
    run_scene(scene, network, tmp_path / "o", options(qgs=True))
    assert (style.read_bytes(), project.read_bytes()) == ours


def test_a_project_names_files_from_its_own_folder(scene: Path, tmp_path: Path) -> None:
    summary = run_scene(scene, network, tmp_path / "o" / "deep", options(qgs=True, save_mask=True))
    text = Path(summary.extras["qgs"]).read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    sources = [source.text for source in ElementTree.fromstring(text).iter("datasource")]
    stem = "north & _south_"
    assert sources == [
        f"./{stem}.gpkg|layername={stem}",
        f"./{stem}.mask.tif",
        "../../scenes/north & <south>.tif",
    ]


_LOOK = """
    import json, sys
    from qgis.core import QgsApplication, QgsProject, QgsVectorLayer

    app = QgsApplication([], False)
    app.initQgis()
    told = {"styles": {}, "layers": []}
    for path in sys.argv[2:]:
        layer = QgsVectorLayer(path, "any", "ogr")
        renderer = layer.renderer()
        colors = {}
        for range in getattr(renderer, "ranges", list)():
            colors[range.upperValue()] = range.symbol().color().name()
        for category in getattr(renderer, "categories", list)():
            colors[category.value()] = category.symbol().color().name()
        told["styles"][path] = [layer.isValid(), renderer.type(), layer.labelsEnabled(), colors]
    project = QgsProject.instance()
    told["read"] = project.read(sys.argv[1])
    told["title"], told["crs"] = project.title(), project.crs().authid()
    for layer in project.layerTreeRoot().layerOrder():
        extent = layer.extent()
        told["layers"].append(
            [layer.name(), layer.isValid(), layer.renderer().type(), layer.crs().authid(), extent.width()]
        )
    print(json.dumps(told))
    app.exitQgis()
"""


@pytest.fixture(scope="module")
def qgis_python() -> str:
    """A Python that has QGIS."""
    candidates = [shutil.which("python3", path=os.defpath), "/usr/bin/python3"]
    for python in filter(None, candidates) if shutil.which("qgis") else ():
        if (
            subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False).returncode
            == 0
        ):
            return python
    pytest.skip("QGIS left out: Debian's qgis and python3-qgis are not installed")


def look(python: str, project: Path, files: list[Path]) -> dict[str, Any]:
    run = subprocess.run(
        [python, "-c", textwrap.dedent(_LOOK), str(project), *map(str, files)],
        env={"PATH": os.defpath, "QT_QPA_PLATFORM": "offscreen", "HOME": str(project.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout.splitlines()[-1]))


def test_QGIS_opens_styles_and_project_wherever_they_are_moved(
    qgis_python: str, scene: Path, tmp_path: Path
) -> None:
    summary = run_scene(
        scene, network, tmp_path / "scenes" / "out", options(qgs=True, save_mask=True, save_prob=True)
    )
    mask = vectorize(summary.files["mask"], tmp_path / "scenes" / "out" / "by class.fgb")
    moved = tmp_path / "moved"
    (tmp_path / "scenes").rename(moved)
    files = [moved / "out" / Path(summary.files[format]).name for format in STYLED]
    classes = moved / "out" / Path(mask.files["fgb"]).name
    told = look(qgis_python, moved / "out" / Path(summary.extras["qgs"]).name, [*files, classes])
    for file in files:
        valid, renderer, labels, colors = told["styles"][str(file)]
        assert (valid, renderer, labels) == (True, "graduatedSymbol", False), file
        assert list(colors) == ["0.6", "0.7", "0.8", "0.9", "1.0"]
        assert len(set(colors.values())) == 5
    valid, renderer, _, colors = told["styles"][str(classes)]
    assert (valid, renderer, list(colors)) == (True, "categorizedSymbol", ["class_1"])
    assert told["read"]
    assert (told["title"], told["crs"]) == (scene.stem, "EPSG:32645")
    name = scene.stem
    assert told["layers"] == [
        [f"{name} footprints", True, "graduatedSymbol", "EPSG:32645", 30.0],
        [f"{name} mask", True, "paletted", "EPSG:32645", 40.0],
        [f"{name} prob", True, "singlebandpseudocolor", "EPSG:32645", 40.0],
        [name, True, "multibandcolor", "EPSG:32645", 40.0],
    ]
