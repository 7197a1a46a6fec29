"""Polygons from files: only what they say they are, valid, in the CRS asked for."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import struct
from decimal import Decimal
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from geoseg.errors import InputError, MissingFileError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.vectors import class_name, is_vector_file, open_vector, read_features
from geoseg.io.writers import FootprintBatch, open_writer

UTM = CRS.from_epsg(32645)
SCENE = GeoBox(Affine(1, 0, 340_000, 0, -1, 3_060_010), UTM, 20, 100)
BOXES = [shapely.box(340_000 + 20 * i, 3_060_000, 340_010 + 20 * i, 3_060_008) for i in range(5)]


def frame(shapes: list[shapely.Geometry | None] | None = None, crs: CRS | None = UTM) -> gpd.GeoDataFrame:
    shapes = BOXES if shapes is None else shapes
    return gpd.GeoDataFrame({"name": [f"n{i}" for i in range(len(shapes))]}, geometry=shapes, crs=crs)


def save(path: Path, data: gpd.GeoDataFrame) -> Path:
    if path.suffix in (".parquet", ".geoparquet"):
        data.to_parquet(path)
    elif path.suffix in (".geojsonl", ".ndjson"):
        data.to_crs(4326).to_file(path, driver="GeoJSONSeq")
    elif path.suffix in (".geojson", ".json"):
        data.to_crs(4326).to_file(path, driver="GeoJSON")
    elif path.suffix in (".sqlite", ".gdb"):
        data.to_file(path, driver="SQLite" if path.suffix == ".sqlite" else "OpenFileGDB", layer="a")
    elif path.suffix == ".kml":
        data.to_crs(4326).rename(columns={"name": "Name"}).to_file(path, driver="KML", layer="houses")
    else:
        data.to_file(path)
    return path


SUFFIXES = (
    ".geojson",
    ".json",
    ".geojsonl",
    ".ndjson",
    ".gpkg",
    ".fgb",
    ".shp",
    ".parquet",
    ".kml",
    ".sqlite",
    ".gdb",
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format(suffix: str, tmp_path: Path) -> None:
    column = "Name" if suffix == ".kml" else "name"
    placed = (features := read_features(save(tmp_path / f"a{suffix}", frame()), column)).on(SCENE, "scene")
    assert features.values is not None
    found = dict(zip(features.values[placed.index], placed.geometry, strict=True))
    assert sorted(found) == [f"n{i}" for i in range(5)]
    expected = [shapely.box(20 * i, 2, 20 * i + 10, 10) for i in range(5)]
    difference = shapely.hausdorff_distance([found[f"n{i}"] for i in range(5)], expected)
    assert difference.max() < 0.02  # GeoJSON's seven digits


def test_only_what_lies_on_the_raster(tmp_path: Path) -> None:
    features = read_features(save(tmp_path / "a.geojson", frame()), "name")
    part = SCENE.window(Window(row_off=0, col_off=25, height=20, width=20))
    placed = features.on(part, "scene")
    assert placed.index.tolist() == [1, 2]
    assert placed.geometry[0].bounds == pytest.approx((-5, 2, 5, 10), abs=0.02)


def test_a_raster_over_the_antimeridian(tmp_path: Path) -> None:
    """Bounds in degrees are then the wrong way round."""
    crs = CRS.from_epsg(32601)
    sides = [shapely.box(179.98, 10, 179.99, 10.01), shapely.box(-179.99, 10, -179.98, 10.01)]
    path = save(tmp_path / "a.gpkg", frame(sides, CRS.from_epsg(4326)))
    x, y = 166_021, 1_107_000  # about longitude 180
    scene = GeoBox(Affine(10, 0, x - 10_000, 0, -10, y + 10_000), crs, 2000, 2000)
    assert len(read_features(path).on(scene, "scene").index) == 2


@pytest.mark.parametrize(("crs", "left", "pixel"), [(4326, 170, 0.1), (3857, 19e6, 1e4), (4326, 0, 1.44)])
def test_a_raster_that_runs_on_beyond_the_antimeridian(
    tmp_path: Path, crs: int, left: float, pixel: float
) -> None:
    """Files have from -180 on what such a raster has from 180 on."""
    halves = shapely.multipolygons(shapely.box([175, -180], 0, [180, -175], 1))
    sides = [halves, *shapely.box([-179, -180, 20], 0, [-178, 180, 21], 1)]
    path = save(tmp_path / "a.gpkg", frame(sides, CRS.from_epsg(4326)))
    scene = GeoBox(Affine(pixel, 0, left, 0, -pixel, 20 * pixel), CRS.from_epsg(crs), 40, 250)
    placed = read_features(path).on(scene, "scene")
    x = scene.transform.c + pixel * shapely.bounds(placed.geometry)[:, [0, 2]]
    if crs == 3857:
        x *= 180 / 20_037_508.342789244
    near = {0: (175, 185), 1: (181, 182), 2: (-180, 540), 3: (20, 21)}
    assert placed.index.tolist() == [0, 1, 2] + ([3] if left == 0 else [])
    np.testing.assert_allclose(x, [near[k] for k in placed.index], atol=1e-9)
    assert [shape.geom_type for shape in placed.geometry[:2]] == ["Polygon", "Polygon"]


@pytest.mark.parametrize(("file_crs", "scene_crs"), [(None, UTM), (UTM, None)])
def test_a_crs_on_one_side_only_is_refused(
    file_crs: CRS | None, scene_crs: CRS | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    frame(crs=file_crs).to_parquet(path)
    message = "a.parquet without one" if file_crs is None else "scene must have a CRS, as .*a.parquet has"
    with pytest.raises(InputError, match=message):
        read_features(path).on(GeoBox(SCENE.transform, scene_crs, 20, 100), "scene")


@pytest.mark.parametrize("way", ["note", "null", "far"])
def test_geojson_in_plain_coordinates(way: str, tmp_path: Path) -> None:
    """GeoJSON is lon/lat by its standard; these say, or show, that they are not."""
    path = tmp_path / "a.geojson"
    box = shapely.box(3, 4, 900 if way == "far" else 7, 9)
    if way == "note":
        with open_writer("geojson", path, schema=pa.schema([]), crs=None) as writer:
            writer.write(FootprintBatch(np.array([box]), {}))
    else:
        feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(box)}
        document = {"type": "FeatureCollection", "features": [feature]}
        path.write_text(json.dumps({"type": "x", "crs": None} | document if way == "null" else document))
    assert open_vector(path).crs is None
    [shape] = read_features(path).on(GeoBox(Affine.identity(), None, 20, 20), "photo").geometry
    assert shape.equals(box)


def test_small_numbers_in_geojson_are_degrees(tmp_path: Path) -> None:
    path = save(tmp_path / "a.geojson", frame([shapely.box(3, 4, 7, 9)], CRS.from_epsg(4326)))
    assert open_vector(path).crs == 4326
    with pytest.raises(InputError, match=r'photo must have a CRS, as .* write "crs": null into the GeoJSON'):
        read_features(path).on(GeoBox(Affine.identity(), None, 20, 20), "photo")


def test_a_crs_in_degrees_that_the_coordinates_can_not_be_in(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    frame().set_crs(4326, allow_override=True).to_file(path)
    with pytest.raises(InputError, match=r"must lie in its CRS, got \(340000.0, .* in EPSG:4326 in .*a.gpkg"):
        read_features(path)


class TestLayers:
    def two(self, path: Path) -> Path:
        driver = {".gpkg": "GPKG", ".sqlite": "SQLite", ".gdb": "OpenFileGDB"}[path.suffix]
        frame(BOXES[:2]).to_file(path, layer="first", driver=driver)
        frame(BOXES[2:]).to_file(path, layer="roofs", driver=driver, mode="a")
        return path

    @pytest.mark.parametrize("suffix", [".gpkg", ".sqlite", ".gdb"])
    def test_a_choice_must_be_made(self, suffix: str, tmp_path: Path) -> None:
        path = self.two(tmp_path / f"a{suffix}")
        with pytest.raises(InputError, match=r"must be chosen, got 2 of them: first, roofs"):
            read_features(path)
        with pytest.raises(InputError, match=r"layer of .* must be one of first, roofs, got 'third'"):
            read_features(path, layer="third")
        for features in (
            read_features(path, layer="roofs"),
            read_features(f"{path}|roofs"),
            read_features(f"{path}|layername=roofs"),
        ):
            assert len(features) == 3

    def test_tables_without_geometry_are_no_layers(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.gpkg", frame())
        pyogrio.write_dataframe(pd.DataFrame({"style": ["x"]}), path, layer="layer_styles")
        assert open_vector(path).layer == "a"

    def test_a_bar_may_be_part_of_a_name(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.gpkg|b.gpkg", frame())
        assert len(read_features(path)) == 5

    def test_formats_of_one_layer(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.fgb", frame())
        assert len(read_features(f"{path}|a")) == 5
        with pytest.raises(InputError, match=r"layer of a.fgb must be one of a, got 'b'"):
            read_features(path, layer="b")


def test_invalid_ones_are_repaired_and_others_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    spike = shapely.Polygon([(0, 0), (4, 0), (4, 4), (4, 9), (4, 4), (0, 4)])
    point, line = shapely.Point(1, 1), shapely.LineString([(0, 0), (1, 1)])
    shapes = [BOXES[0], bow_tie, spike, point, None, shapely.Polygon(), line]
    path = save(tmp_path / "a.gpkg", frame(shapes))
    with caplog.at_level(logging.WARNING):
        features = read_features(path, "name")
    assert features.values is not None
    assert features.values.tolist() == ["n0", "n1", "n2"]
    assert shapely.is_valid(features.geometry).all()
    assert shapely.area(features.geometry).tolist() == pytest.approx([80, 8, 16])
    assert (features.repaired, features.left_out) == (2, 4)
    assert "2 invalid polygons repaired" in caplog.text
    assert "4 rows without a polygon left out" in caplog.text
    every = read_features(path, "name", polygons_only=False)
    assert every.values is not None
    assert every.values.tolist() == ["n0", "n1", "n2", "n3", "n6"]


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp", ".parquet", ".geojsonl"])
def test_no_polygons_at_all(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".geojsonl":
        path.write_bytes(b"")
    elif suffix == ".geojson":
        path.write_text('{"type": "FeatureCollection", "features": []}')
    else:
        save(path, frame([]))
    assert len(read_features(path).on(SCENE, "scene").index) == 0


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", frame())
    assert len(read_features(path)) == 5
    save(path, frame(BOXES[:3]))
    assert len(read_features(path)) == 3


def test_a_change_beside_the_file_is_seen(tmp_path: Path) -> None:
    """The letters and columns of a shapefile, the tables of a folder and SQLite's journal lie elsewhere."""
    path = save(tmp_path / "a.shp", frame())

    def names(column: str = "name") -> list[str]:
        values = read_features(path, column).values
        assert values is not None
        return [str(value) for value in values]

    assert names()[0] == "n0"
    save(tmp_path / "b.shp", frame().assign(name="new"))
    (tmp_path / "b.dbf").replace(tmp_path / "a.dbf")
    assert names() == ["new"] * 5
    path = save(tmp_path / "a.gdb", frame())
    assert names()[0] == "n0"
    save(tmp_path / "b.gdb", frame().assign(name="new"))
    for table in (tmp_path / "b.gdb").iterdir():
        table.replace(path / table.name)
    assert names() == ["new"] * 5
    path = save(tmp_path / "a.gpkg", frame())
    with contextlib.closing(sqlite3.connect(path)) as database:
        for function in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):  # of GDAL's triggers
            database.create_function(function, 1, lambda shape: 0)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        assert names()[0] == "n0"
        database.execute("UPDATE a SET name = 'new'")
        database.commit()
        assert names() == ["new"] * 5


@pytest.mark.parametrize("name", ["a.gml", "a.vrt", "a.csv", "a.txt", "a", "http://host.invalid/a"])
def test_other_kinds_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"suffix of a vector file must be one of \.geojson, "):
        open_vector(tmp_path / name if "//" not in name else name)


VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>http://host.invalid</SrcDataSource></OGRVRTLayer>'
)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".gdb"])
def test_content_must_fit_the_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    for text in (VRT, f"<kml><!-- {VRT} -->") if suffix == ".kml" else (VRT,):
        path.write_text(text)
        with pytest.raises(InputError, match="content of a vector file must fit its suffix"):
            open_vector(path)


@pytest.mark.parametrize("suffix", [".json", ".geojson", ".geojsonl"])
def test_json_is_read_by_one_driver(suffix: str, tmp_path: Path) -> None:
    """GDAL runs the command that such a file holds, which may read any file or host."""
    secret = save(tmp_path / "secret.geojson", frame())
    path = tmp_path / f"labels{suffix}"
    command = f"gdal vector pipeline ! read {secret}"
    path.write_text(json.dumps({"type": "gdal_streamed_alg", "command_line": command}))
    if suffix == ".geojsonl":  # a line that is no feature
        assert len(read_features(path)) == 0
    else:
        with pytest.raises(InputError, match="vector file must be readable"):
            read_features(path)


def test_broken_and_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="vector file must exist"):
        open_vector(tmp_path / "none.gpkg")
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": [')
    with pytest.raises(InputError, match="vector file must be readable") as caught:
        open_vector(tmp_path / "a.geojson")
    assert "\n" not in str(caught.value)
    (tmp_path / "b.gdb").write_text("")
    with pytest.raises(InputError, match="must be a folder with tables"):
        open_vector(tmp_path / "b.gdb")
    (tmp_path / "c.geojson").mkdir()
    with pytest.raises(InputError, match="vector file must be readable"):
        open_vector(tmp_path / "c.geojson")
    with pytest.raises(InputError, match=r"column must be one of .*d.gpkg \(name\), got 'kind'"):
        read_features(save(tmp_path / "d.gpkg", frame()), "kind")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((1, 1.0, np.uint8(1), np.float32(1), np.int64(1), Decimal(1), "1", b"1", " 1 "), "1"),
        ((0, -0.0, np.int8(0), "0"), "0"),
        ((-3, -3.0), "-3"),
        ((True, np.True_, "True"), "True"),
        ((False, np.False_), "False"),
        ((0.5, np.float32(0.5), Decimal("0.5"), "0.5"), "0.5"),
        (("road", " road", "road  ", "\troad\n", b"road", np.str_("road")), "road"),
        (("1.0",), "1.0"),  # text is not a number: a zone "1.10" is not "1.1"
        (("01",), "01"),
        ((1e300,), "1e+300"),
        ((float("inf"),), "inf"),
        ((None, float("nan"), np.float32("nan"), Decimal("nan"), pd.NA, pd.NaT, np.datetime64("NaT")), None),
        (("", "  "), None),
        (([1, 2],), "[1, 2]"),
    ],
)  # fmt: skip
def test_what_a_class_is_called(values: tuple[object, ...], name: str | None) -> None:
    assert [class_name(value) for value in values] == [name] * len(values)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp", ".parquet"])
@pytest.mark.parametrize("kind", ["Int64", "Float64", "object"])
def test_classes_are_called_alike_in_every_format(suffix: str, kind: str, tmp_path: Path) -> None:
    """A missing value turns whole numbers into floats, or into objects."""
    data = frame(BOXES[:3]).assign(
        kind=pd.array([1, None, 2], dtype=kind) if kind != "object" else ["1", None, "2"]
    )
    values = read_features(save(tmp_path / f"a{suffix}", data), "kind").values
    assert values is not None
    assert sorted(class_name(value) or "-" for value in values) == ["-", "1", "2"]


def test_a_shapefile_without_its_other_files(tmp_path: Path) -> None:
    path = save(tmp_path / "a.shp", frame())
    path.with_suffix(".shx").unlink()
    with pytest.raises(InputError, match=r"a.shx.* A shapefile is several files .*: copy them all"):
        read_features(path)
    path = save(tmp_path / "b.shp", frame())
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match="vector file must state its CRS, as scene does"):
        read_features(path).on(SCENE, "scene")


@pytest.mark.parametrize("declared", [True, False])
def test_curves_are_refused_with_what_to_do(declared: bool, tmp_path: Path) -> None:
    """Arcs that were digitized as such; none of the libraries that draw polygons knows them."""
    path = tmp_path / "a.gpkg"
    frame(BOXES[:1]).to_file(path, geometry_type="Unknown")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for (trigger,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{trigger}"')
        circle = (0, 0, 5, 5, 10, 0, 5, -5, 0, 0)
        arc = struct.pack("<BII10d", 1, 8, 5, *(float(value) for value in circle))
        blob = b"GP\x00\x01" + struct.pack("<i", 32645) + struct.pack("<BII", 1, 10, 1) + arc
        database.execute("UPDATE a SET geom = ?", (blob,))
        if declared:
            database.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = 'CURVEPOLYGON'")
            database.execute("PRAGMA writable_schema = 1")
            database.execute("UPDATE sqlite_master SET sql = replace(sql, 'GEOMETRY', 'CURVEPOLYGON')")
    with pytest.raises(InputError, match="Make lines of its curves with ogr2ogr -nlt CONVERT_TO_LINEAR"):
        read_features(path)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
@pytest.mark.parametrize("stated", [True, False])
def test_letters_of_shapefiles(encoding: str, stated: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.shp"
    frame(BOXES[:1]).assign(name="Gebäude").to_file(path, encoding=encoding)
    if not stated:
        path.with_suffix(".cpg").unlink()
        table = path.with_suffix(".dbf")
        table.write_bytes(table.read_bytes()[:29] + b"\0" + table.read_bytes()[30:])
    if encoding == "cp1252" and not stated:
        with pytest.raises(InputError, match=r"State the encoding of its text in a .cpg file beside it"):
            read_features(path, "name")
        path.with_suffix(".cpg").write_text("cp1252")
    values = read_features(path, "name").values
    assert values is not None
    assert values.tolist() == ["Gebäude"]


@pytest.mark.parametrize(
    "name", ["a!b.geojson", "#5 b.gpkg", "a?b.gpkg", "a;b.geojson", "(2).fgb", "ä ö.gpkg"]
)
def test_names_of_files(name: str, tmp_path: Path) -> None:
    plain = save(tmp_path / f"plain{Path(name).suffix}", frame())
    assert len(read_features(plain.rename(tmp_path / name))) == 5


@pytest.mark.parametrize("stem", ["a!b", "a;b", "a|b", "a\tb", "a\nb", "file:a", "http:x"])
@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".shp", ".parquet", ".gdb", ".kml"])
def test_names_that_would_be_taken_for_others(
    stem: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "b.gpkg", frame(BOXES[:1]))  # what the part behind the mark would be
    plain = save(tmp_path / f"plain{suffix}", frame())
    for file in [plain] if plain.is_dir() else list(tmp_path.glob("plain.*")):
        file.rename(tmp_path / (stem + file.suffix))
    name = stem + suffix
    features = read_features(name)
    assert len(features) == 5
    assert features.source.crs is not None
    column = features.source.columns[0]
    values = read_features(tmp_path / name, column).values
    assert values is not None
    assert len(set(values.tolist())) == 5
    assert is_vector_file(name)
    if features.source.layer is not None:  # as a message would name it
        assert len(read_features(str(features.source))) == 5


def test_odd_geojson(tmp_path: Path) -> None:
    """No geometry, an empty one, a collection, three dimensions; a byte order mark before it all."""
    square = shapely.geometry.mapping(shapely.box(0, 0, 1, 1))
    point = {"type": "Point", "coordinates": [0, 0]}
    tall = {"type": "Polygon", "coordinates": [[[0, 0, 9], [1, 0, 9], [1, 1, 9], [0, 0, 9]]]}
    shapes = [None, {"type": "Polygon", "coordinates": []}, tall]
    shapes.append({"type": "GeometryCollection", "geometries": [square, point]})
    features = [{"type": "Feature", "properties": None, "geometry": shape} for shape in shapes]
    path = tmp_path / "a.geojson"
    text = json.dumps({"type": "FeatureCollection", "features": features})
    path.write_text(text, encoding="utf-8-sig")
    found = read_features(path)
    assert (shapely.area(found.geometry).tolist(), found.left_out) == ([0.5, 1.0], 2)
    path.write_text(json.dumps(square))
    assert len(read_features(path)) == 1


def test_real_labels(data_dir: Path) -> None:
    features = read_features(data_dir / "oam_banepa" / "buildings_dev.geojson")
    assert len(features) > 1000
    assert shapely.is_valid(features.geometry).all()
