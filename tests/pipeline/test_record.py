"""What a finished run leaves about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import geoseg
from geoseg.errors import InputError
from geoseg.io.mosaic import Sheets
from geoseg.io.sources import Renamed, open_raster
from geoseg.io.stac import StacScene
from geoseg.pipeline.record import RECORD, _reference_json, read_record, reference_of

OPTIONS = {"window": 48, "overlap": 16, "chunk": 64}


def bright(batch: Any) -> Any:
    return (batch[:, :1] > 100).astype(np.float32)


@pytest.fixture
def scene(tmp_path: Path, cache: None) -> Path:
    image = np.zeros((4, 64, 64), np.uint8)
    image[:, 20:40, 24:44] = 220
    path = tmp_path / "scene.tif"
    place = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
    with rasterio.open(
        path, "w", "GTiff", 64, 64, 4, "EPSG:32645", place, "uint8", photometric="MINISBLACK"
    ) as out:
        out.write(image)
    return path


def test_a_run_leaves_its_record_and_a_later_one_replaces_it(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    geoseg.run("scene.tif", bright, out=out, bands=(3, 2, 1), **OPTIONS)
    record = read_record(out / "scene.geoseg")
    assert (record.scene, record.footprints, record.options["bands"]) == ("scene", 1, [3, 2, 1])
    assert record.files == {"geojson": "scene.geojson"}
    assert record.options["window"] == [48, 48]
    assert record.geobox == open_raster(scene).geobox
    # the name was relative, and the record is read from anywhere
    assert reference_of(record.reference or {}) == str(scene)
    first = (out / "scene.geoseg" / RECORD).read_bytes()
    geoseg.run(scene, bright, out=out, bands=(3, 2, 1), **OPTIONS)
    assert (out / "scene.geoseg" / RECORD).read_bytes() == first
    geoseg.run(scene, bright, out=out, bands=(3, 2, 1), min_area_m2=1e6, **OPTIONS)
    assert read_record(out / "scene.geoseg").footprints == 0


def test_a_run_that_fails_takes_the_record_of_the_earlier_one_away(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    geoseg.run(scene, bright, out=out, **OPTIONS)

    def stop(stage: str, done: float, total: float, **info: float) -> None:
        if stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geoseg.run(scene, bright, out=out, progress=stop, **OPTIONS)
    with pytest.raises(InputError, match="has come to its end"):
        read_record(out / "scene.geoseg")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1}'])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(InputError, match="must be the record of a run"):
        read_record(tmp_path)


def test_references_come_back_as_they_were() -> None:
    for reference in (
        "https://example.org/a.tif",
        Sheets("town", ("/x/a.tif", "/x/b.tif"), "first", "sheets/", ("2020-01-01", None)),
        StacScene("item", "/x/item.json", ("/x/a.tif",), ("visual",), "2020-01-01"),
        Renamed("north_a", "/x/north/a.tif"),
        Renamed("north_b", Sheets("b", ("/x/a.tif",))),
    ):
        content = _reference_json(reference)
        assert content is not None
        assert reference_of(content) == reference
    with pytest.raises(InputError, match="reference must be a path"):
        reference_of({"kind": "pickle"})
