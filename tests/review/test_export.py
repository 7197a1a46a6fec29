"""What a review writes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely
from PIL import Image

from geoseg.errors import InputError
from geoseg.files import LockedError, hold
from geoseg.io.sources import open_raster
from geoseg.io.vectors import open_vector
from geoseg.io.writers import FootprintBatch, open_writer
from geoseg.io.writers.pmtiles import read_header
from geoseg.review import Review, SceneTarget, export_review
from geoseg.review.targets import open_target


def edit(review: Review, **op: Any) -> Any:
    return review.edit(review.revision, 0, op)


@pytest.mark.parametrize("format", ["gpkg", "geojson", "parquet", "fgb", "shp", "geojsonl"])
def test_a_file_that_nobody_edited_comes_out_as_it_went_in_byte_for_byte(
    format: str, scene: Path, tmp_path: Path
) -> None:
    from reviews_made import write_footprints

    names = {"geojsonl": "geojsonseq"}
    source = write_footprints(tmp_path / f"houses.{format}", names.get(format, format))
    with Review(tmp_path / "r", SceneTarget(open_raster(scene), open_vector(source))) as review:
        summary = export_review(review.folder, tmp_path / "out" / f"houses.{format}")
    assert (summary.footprints, summary.edited) == (4, 0)
    if format in ("gpkg", "geojson", "geojsonl", "fgb"):
        assert (tmp_path / "out" / source.name).read_bytes() == source.read_bytes()
    read = gpd.read_parquet if format == "parquet" else gpd.read_file
    old, new = read(source), read(tmp_path / "out" / source.name)
    assert old.to_wkb().equals(new.to_wkb())


def test_edited_ones_are_measured_anew_and_the_others_keep_each_byte(
    review: Review, footprints: Path, tmp_path: Path
) -> None:
    edit(review, op="split", ids=[4], line=[[60, 30], [100, 35]])
    edit(review, op="class", ids=[3], **{"class": "shed"})
    edit(review, op="status", ids=[1], status="rejected")
    summary = export_review(review.folder, tmp_path / "corrected.gpkg")
    assert (summary.footprints, summary.edited, summary.rejected) == (4, 3, 1)
    old, new = gpd.read_file(footprints), gpd.read_file(tmp_path / "corrected.gpkg")
    assert new["id"].tolist() == [2, 3, 4, 5]
    assert new["class"].tolist() == ["house", "shed", "house", "house"]
    assert new["edited"].tolist() == [False, True, True, True]
    assert new["source"].isna().tolist() == [True, False, False, False]
    assert new["confidence"].isna().tolist() == [False, True, True, True]
    assert new.to_wkb().geometry[0] == old.to_wkb().geometry[1]
    assert new.to_wkb().geometry[1] == old.to_wkb().geometry[2]
    # Both on one ellipsoid, the file's areas on its plane.
    assert new.area_m2[2] + new.area_m2[3] == pytest.approx(old.area_m2[3], rel=3e-3)


def test_footprints_in_another_crs_are_shown_in_place_and_written_in_theirs(
    scene: Path, footprints: Path, tmp_path: Path
) -> None:
    lonlat = tmp_path / "lonlat.gpkg"
    gpd.read_file(footprints).to_crs(4326).to_file(lonlat)
    with Review(tmp_path / "r", SceneTarget(open_raster(scene), open_vector(lonlat))) as review:
        shape = review.object(1).shape
        assert np.allclose(shapely.bounds(shape), (10, 10, 30, 40), atol=2e-3)
        walls = set(map(tuple, shapely.get_coordinates(shape))) & set(
            map(tuple, shapely.get_coordinates(review.object(2).shape))
        )
        assert len(walls) == 2
        edit(review, op="delete", ids=[4])
        export_review(review.folder, tmp_path / "corrected.gpkg")
    old, new = gpd.read_file(lonlat), gpd.read_file(tmp_path / "corrected.gpkg")
    assert new.crs == old.crs
    assert new.to_wkb().geometry.tolist() == old.to_wkb().geometry.tolist()[:3]


def test_accepted_places_are_the_ground_that_was_looked_at_and_qa_is_apart(
    review: Review, tmp_path: Path
) -> None:
    qa = {place.id for place in review.places() if place.qa}
    for place in range(6):
        edit(review, op="mark", place=place, status="accepted" if place != 1 else "rejected")
    summary = export_review(review.folder, tmp_path / "corrected.gpkg")
    seen = {name: gpd.read_file(summary.files[name]) for name in ("reviewed", "qa")}
    assert set(seen["qa"]["id"]) == qa - {1}
    assert set(seen["reviewed"]["id"]) == set(range(6)) - qa - {1}
    block = seen["reviewed"].set_index("id").geometry
    assert all(
        area == pytest.approx(0.09 * 50 * min(50, 120 - 50 * (i % 3)) * 1.0) for i, area in block.area.items()
    )


def test_ground_that_is_no_longer_accepted_does_not_stay_in_an_earlier_export(
    review: Review, tmp_path: Path
) -> None:
    place = next(place.id for place in review.places() if not place.qa)
    edit(review, op="mark", place=place, status="accepted")
    first = export_review(review.folder, tmp_path / "corrected.gpkg").files
    assert len(gpd.read_file(first["reviewed"])) == 1
    edit(review, op="mark", place=place, status="")
    assert export_review(review.folder, tmp_path / "corrected.gpkg").files == first
    assert len(gpd.read_file(first["reviewed"])) == 0


def test_places_that_are_no_longer_accepted_do_not_stay_in_the_files(review: Review, tmp_path: Path) -> None:
    for status, count in (("accepted", 6), ("", 0)):
        for place in range(6):
            edit(review, op="mark", place=place, status=status)
        summary = export_review(review.folder, tmp_path / "corrected.gpkg")
        assert sum(len(gpd.read_file(summary.files[name])) for name in ("reviewed", "qa")) == count
    with (
        hold(tmp_path / "qa.gpkg"),
        ThreadPoolExecutor(1) as other,
        pytest.raises(LockedError, match="another run"),
    ):
        other.submit(export_review, review.folder, tmp_path / "more.gpkg", overwrite=True).result()
    with pytest.raises(InputError, match="Export to a folder of its own"):
        export_review(review.folder, tmp_path / "more.gpkg")
    assert not (tmp_path / "more.gpkg").exists()


def test_without_footprints_one_begins_with_nothing(scene: Path, tmp_path: Path) -> None:
    with Review(tmp_path / "r", SceneTarget(open_raster(scene), classes=("house",))) as review:
        edit(
            review,
            op="draw",
            kind="polygon",
            **{"class": "house"},
            rings=[[[10, 10], [20, 10], [20, 20], [10, 20]]],
        )
        export_review(review.folder, tmp_path / "new.geojson")
    [row] = gpd.read_file(tmp_path / "new.geojson").itertuples()
    assert (row.id, row.edited, row.source) == (1, True, "person")
    assert row.area_m2 == pytest.approx(9, rel=2e-3)


def test_columns_of_a_file_without_a_footprint_keep_their_types(scene: Path, tmp_path: Path) -> None:
    from reviews_made import SCHEMA

    source = tmp_path / "none.gpkg"
    with open_writer("gpkg", source, schema=SCHEMA, crs=open_raster(scene).crs):
        pass
    with Review(tmp_path / "r", open_target(scene, footprints=source, classes=["house"])) as review:
        edit(review, **NEW)
        export_review(review.folder, tmp_path / "corrected.gpkg")
    assert [str(kind) for kind in open_vector(tmp_path / "corrected.gpkg").schema().types][:6] == [
        "int64", "string", "double", "double", "bool", "string",
    ]  # fmt: skip
    [row] = gpd.read_file(tmp_path / "corrected.gpkg").itertuples()
    assert (row.id, row.area_m2, row.touches_edge) == (1, pytest.approx(9, rel=2e-3), False)


def test_a_picture_without_a_crs_is_corrected_in_its_pixels(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((100, 120, 3), np.uint8)).save(tmp_path / "drone.jpg")
    houses = np.array([shapely.Polygon([(10.25, 10), (30, 10.125), (30, 40), (10, 40)])], object)
    columns = {"id": np.array([1]), "class": np.array(["house"], object), "area_px": np.array([600.0])}
    schema = pa.schema([("id", pa.int64()), ("class", pa.string()), ("area_px", pa.float64())])
    source = tmp_path / "houses.geojson"
    with open_writer("geojson", source, schema=schema, crs=None) as writer:
        writer.write(FootprintBatch(houses, columns))
    with Review(tmp_path / "r", open_target(tmp_path / "drone.jpg", footprints=source)) as review:
        assert shapely.get_coordinates(review.object(1).shape).tolist()[0] == [10.25, 10]
        export_review(review.folder, tmp_path / "same" / "houses.geojson")
        assert (tmp_path / "same" / "houses.geojson").read_bytes() == source.read_bytes()
        edit(review, op="split", ids=[], line=[[0, 20], [50, 20]])
        edit(review, op="mark", place=0, status="accepted")
        summary = export_review(review.folder, tmp_path / "corrected.geojson")
    new = open_vector(tmp_path / "corrected.geojson")
    assert (new.crs, new.count) == (None, 2)
    [(shapes, _)] = new.records()
    assert shapely.area(shapes).sum() == pytest.approx(houses[0].area, abs=0.1)
    assert open_vector(summary.files["qa"]).crs is None


def test_what_can_not_be_exported_is_told(
    review: Review, project_review: Review, footprints: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="geoseg project export"):
        export_review(project_review.folder, tmp_path / "x.gpkg")
    with pytest.raises(InputError, match="must not be an input"):
        export_review(review.folder, footprints)
    for name in ("reviewed.gpkg", "QA.geojson"):
        with pytest.raises(InputError, match="must not be that of the places"):
            export_review(review.folder, tmp_path / name)
    with pytest.raises(InputError, match="suffix of the output"):
        export_review(review.folder, tmp_path / "x.doc")
    with pytest.raises(InputError, match="`geoseg review` made"):
        export_review(tmp_path, tmp_path / "x.gpkg")


def test_what_an_earlier_round_edited_stays_marked(review: Review, scene: Path, tmp_path: Path) -> None:
    edit(review, op="class", ids=[3], **{"class": "shed"})
    export_review(review.folder, tmp_path / "first.gpkg")
    with Review(
        tmp_path / "r2", SceneTarget(open_raster(scene), open_vector(tmp_path / "first.gpkg"))
    ) as again:
        edit(again, op="class", ids=[4], **{"class": "shed"})
        export_review(again.folder, tmp_path / "second.gpkg")
    table = gpd.read_file(tmp_path / "second.gpkg")
    assert table["edited"].tolist() == [False, False, True, True]
    assert table["source"].isna().tolist() == [True, True, False, False]


def test_rows_that_are_no_polygons_are_counted(scene: Path, footprints: Path, tmp_path: Path) -> None:
    table = gpd.read_file(footprints)
    table.loc[1, "geometry"] = table.geometry[1].centroid
    table.to_file(tmp_path / "mixed.gpkg")
    with Review(
        tmp_path / "r", SceneTarget(open_raster(scene), open_vector(tmp_path / "mixed.gpkg"))
    ) as mixed:
        assert mixed.left_out == 1


#: A house of class "house", and the first two of what :func:`described` writes cut in two.
NEW = {
    "op": "draw",
    "kind": "polygon",
    "class": "house",
    "rings": [[[60, 60], [70, 60], [70, 70], [60, 70]]],
}
CUT = {"op": "split", "ids": [4], "line": [[60, 30], [100, 35]]}


def corrected(
    scene: Path, footprints: Path, ops: Any, columns: dict[str, Any], *, out: str = "gpkg", **options: Any
) -> Any:
    """What an export gives of four houses with other columns, after some edits."""
    source = scene.parent / "described.parquet"
    table = gpd.read_file(footprints)[["id", "class", "geometry"]].rename_geometry("place")
    table.assign(**columns).to_parquet(source)
    with Review(scene.parent / "d.review", open_target(scene, footprints=source, **options)) as review:
        for op in ops:
            edit(review, **op)
        export_review(review.folder, scene.parent / "described" / f"corrected.{out}")
    read = gpd.read_parquet if out == "parquet" else gpd.read_file
    return read(scene.parent / "described" / f"corrected.{out}")


@pytest.mark.parametrize("kind", [str, float])
def test_ids_of_new_ones_go_on_also_where_those_of_the_file_are_no_whole_numbers(
    kind: type, scene: Path, footprints: Path
) -> None:
    table = corrected(scene, footprints, [NEW, CUT], {"id": [kind(n) for n in (1, 2, 3, 7)]})
    assert [int(float(text)) for text in table["id"]] == [1, 2, 3, 7, 8, 9]


@pytest.mark.parametrize(
    ("classes", "chosen", "wanted"),
    [
        ([1, 1, 2, 2], "1", [1, 1, 1, 2]),
        ([1.0, 1.0, 2.5, 2.5], "1", [1.0, 1.0, 1.0, 2.5]),
        ([True, True, False, False], "True", [True, True, True, False]),
        ([1, 1, 2, 2], "shed", ["1", "1", "shed", "2"]),
        ([1.0, 1.0, 2.5, 2.5], "01", ["1", "1", "01", "2.5"]),
    ],
)
def test_classes_that_are_no_texts_can_be_changed(
    classes: Any, chosen: str, wanted: Any, scene: Path, footprints: Path
) -> None:
    ops = [{"op": "class", "ids": [3], "class": chosen}]
    table = corrected(scene, footprints, ops, {"class": classes}, classes=("shed", "01"))
    assert table["class"].tolist() == wanted


def test_columns_of_any_name_and_type_come_out_of_an_edited_review(scene: Path, footprints: Path) -> None:
    own = {
        "fid": [11, 12, 13, 14],
        "geom": [1, 2, 3, 4],
        "ID": [5, 6, 7, 8],
        "edited": ["2024-05-01"] * 4,
        "Source": ["survey"] * 4,
    }
    table = corrected(scene, footprints, [CUT], own)
    assert table["fid_1"].tolist() == [11, 12, 13, 14, 14]
    assert (table["geom_1"].tolist(), table["ID_1"].tolist()) == ([1, 2, 3, 4, 4], [5, 6, 7, 8, 8])
    assert set(table["edited"]) == {"2024-05-01"}
    assert set(table["Source"]) == {"survey"}
    assert table["edited_1"].tolist() == [False, False, False, True, True]
    assert table["source_1"].isna().tolist() == [True, True, True, False, False]


def test_columns_that_geoparquet_has_itself_are_numbered(scene: Path, footprints: Path) -> None:
    own = {"geometry": ["by hand"] * 4, "bbox": ["none"] * 4, "ID": [5, 6, 7, 8]}
    table = corrected(scene, footprints, [CUT], own, out="parquet")
    assert (table["geometry_1"][0], table["bbox_1"][0], table["ID"][4]) == ("by hand", "none", 8)
    assert (len(table), table.geometry.name) == (5, "geometry")


def test_an_area_is_written_in_the_unit_of_its_column(scene: Path, footprints: Path) -> None:
    table = corrected(scene, footprints, [CUT], {"area_px": 400.0, "area_m2": 36.0})
    assert table["area_px"].isna().tolist() == [False, False, False, True, True]
    assert table["area_m2"].tolist()[3:] == pytest.approx([21.2, 20.7], abs=0.1)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet", ".shp"])
def test_areas_of_a_picture_are_measured_by_the_sampling_distance_of_its_run(
    tmp_path: Path, suffix: str
) -> None:
    Image.fromarray(np.zeros((100, 120, 3), np.uint8)).save(tmp_path / "drone.jpg")
    columns = {"id": np.array([1]), "class": np.array(["house"], object), "area_m2": np.array([6.0])}
    schema = pa.schema([("id", pa.int64()), ("class", pa.string()), ("area_m2", pa.float64())])
    source = tmp_path / "houses.geojson"
    with open_writer(
        "geojson", source, schema=schema, crs=None, provenance={"options": {"gsd": 0.1}}
    ) as writer:
        writer.write(FootprintBatch(np.array([shapely.box(10, 10, 30, 40)], object), columns))
    with Review(tmp_path / "r", open_target(tmp_path / "drone.jpg", footprints=source)) as review:
        edit(review, op="move", moves=[[[30, 40], [30, 50]], [[10, 40], [10, 50]]])
        export_review(review.folder, first := tmp_path / f"corrected{suffix}")
    read = gpd.read_parquet if suffix == ".parquet" else gpd.read_file
    assert read(first)["area_m2"].tolist() == pytest.approx([8.0])
    # The corrected file is reviewed in its turn.
    with Review(tmp_path / "r2", open_target(tmp_path / "drone.jpg", footprints=first)) as review:
        edit(review, op="move", moves=[[[30, 50], [30, 60]], [[10, 50], [10, 60]]])
        export_review(review.folder, second := tmp_path / "again" / f"corrected{suffix}")
    assert read(second)["area_m2"].tolist() == pytest.approx([10.0])


def test_what_a_network_said_is_left_empty_in_a_shapefile_too(scene: Path, footprints: Path) -> None:
    names = {"touches_ed": np.zeros(4, np.int32), "outline_io": 0.9, "confidence": 0.8}
    ops = [{"op": "move", "moves": [[[10, 10], [0, 10]]]}]
    table = corrected(scene, footprints, ops, names)
    assert table["outline_io"].isna().tolist() == [True, False, False, False]
    assert table["touches_ed"].tolist() == [1, 0, 0, 0]


def test_the_file_that_is_reviewed_is_not_written_over_from_another_folder(
    scene: Path, footprints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scene.parent)
    with Review(Path("r"), open_target(scene.name, footprints=footprints.name)):
        pass
    (scene.parent / "elsewhere").mkdir()
    monkeypatch.chdir(scene.parent / "elsewhere")
    with pytest.raises(InputError, match="must not be an input"):
        export_review("../r", f"../{footprints.name}")


def test_map_tiles_of_an_export_are_as_fine_as_the_scene(review: Review, tmp_path: Path) -> None:
    review.close()
    settings = json.loads((review.folder / "review.json").read_text())
    # As of a drone: the same pixels, of 3 mm.
    place = settings["frame"]["transform"]
    settings["frame"]["transform"] = [place[0] / 100, 0, place[2], 0, place[4] / 100, place[5]]
    (review.folder / "review.json").write_text(json.dumps(settings))
    with Review(review.folder, review.target):
        summary = export_review(review.folder, tmp_path / "corrected.pmtiles")
    assert read_header(Path(summary.files["corrected"])).zooms == (17, 22)
