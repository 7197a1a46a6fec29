"""Every format: round trip, equal bytes for equal features, nothing half-written."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from geoseg.errors import InputError, RunError
from geoseg.files.locks import side_folder
from geoseg.io.writers import (
    FORMATS,
    FootprintBatch,
    FootprintWriter,
    check_formats,
    check_unowned,
    open_writer,
    output_path,
    read_provenance,
)
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.io.writers.base import wkb_array
from geoseg.io.writers.checks import check_flatgeobuf, check_geopackage, check_shapefile, layer_metadata
from geoseg.io.writers.geojson_text import _texts
from geoseg.io.writers.ogr import OgrWriter
from geoseg.io.writers.pmtiles import check_pmtiles, read_header
from geoseg.io.writers.shapefile import dbf_names
from geoseg.vector.ragged import RaggedPolygons, ragged_polygons

UTM = CRS.from_epsg(32645)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("class", pa.string()),
        ("area_m2", pa.float64()),
        ("confidence", pa.float64()),
        ("touches_edge", pa.bool_()),
        ("scene", pa.string()),
        ("acquired", pa.string()),
    ]
)
EVERY = sorted(FORMATS)
WHOLE = [name for name in EVERY if name != "pmtiles"]  # formats that hold each feature once, as it is
TABLES = [name for name in WHOLE if not name.startswith("geojson")]  # formats that keep CRS and columns


def make(count: int, seed: int = 0) -> FootprintBatch:
    """Houses in UTM meters: rectangles, some with a hole, every seventh of two parts."""
    rng = np.random.default_rng(seed)
    x, y = 340_000 + 12 * np.arange(count), 3_060_000 + rng.integers(0, 3600, count) / 4
    shapes = shapely.box(x, y, x + 8, y + 6)
    hole = np.arange(count) % 5 == 0
    shapes[hole] = shapely.difference(shapes[hole], shapely.box(x + 2, y + 2, x + 4, y + 4)[hole])
    for i in range(0, count, 7):
        shapes[i] = shapely.MultiPolygon([shapes[i], shapely.box(x[i] + 8, y[i] + 6, x[i] + 9, y[i] + 7)])
    columns = {
        "id": np.arange(1, count + 1),
        "class": np.array(["building", "Straße"], object)[np.arange(count) % 2],
        "area_m2": shapely.area(shapes),
        "confidence": rng.uniform(0.5, 1, count),
        "touches_edge": np.arange(count) % 3 == 0,
        "scene": np.full(count, "scene-ä", object),
        "acquired": np.full(count, "2020-02-29", object),
    }
    return FootprintBatch(shapes, columns)


def save(
    format: str, path: Path, batch: FootprintBatch, crs: CRS | None = UTM, pieces: int = 3, pause: float = 0
) -> Path:
    with open_writer(format, path, schema=SCHEMA, crs=crs) as writer:
        cuts = np.linspace(0, len(batch), pieces + 1).astype(int).tolist()
        for start, stop in pairwise(cuts):
            writer.write(batch.rows(start, stop))
            time.sleep(pause)
    return path


def load(path: Path) -> gpd.GeoDataFrame:
    """Read back, in the order written (FlatGeobuf stores features in the order of its index)."""
    frame = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
    if path.suffix == ".pmtiles":  # which has a feature in each tile that it touches
        frame = frame.drop_duplicates("id")
    return frame.sort_values("id", ignore_index=True) if "id" in frame else frame


@pytest.mark.parametrize("format", WHOLE)
def test_round_trip(format: str, tmp_path: Path) -> None:
    batch = make(50)
    frame = load(save(format, output_path(tmp_path, "out", format), batch))
    assert len(frame) == 50
    assert frame.is_valid.all()
    truth = gpd.GeoSeries(batch.geometry, crs=UTM).to_crs(frame.crs)
    difference = (
        frame.geometry.to_crs(UTM).normalize().symmetric_difference(truth.to_crs(UTM).normalize()).area
    )
    assert difference.max() < (0.3 if format.startswith("geojson") else 1e-6)
    assert frame.crs == (4326 if format.startswith("geojson") else UTM)
    names = dbf_names(SCHEMA.names) if format == "shp" else SCHEMA.names
    for name, short in zip(SCHEMA.names, names):
        stored = frame[short].to_numpy()
        if batch.columns[name].dtype.kind == "f":
            np.testing.assert_allclose(stored.astype(float), batch.columns[name], rtol=1e-12)
        elif name == "acquired" and stored.dtype.kind == "M":  # GDAL takes ISO dates in GeoJSON for dates
            assert (stored.astype("M8[D]").astype(str) == batch.columns[name]).all()
        else:
            assert stored.tolist() == batch.columns[name].tolist()


@pytest.mark.parametrize("format", EVERY)
def test_a_name_without_the_suffix_of_its_format(format: str, tmp_path: Path) -> None:
    plain = save(format, output_path(tmp_path / "a", "houses.v2", format), make(3))
    other = save(format, tmp_path / "b" / "houses.v2.tmp", make(3))
    if format == "geojson":  # it holds its name
        return
    assert other.stat().st_size == plain.stat().st_size


@pytest.mark.parametrize("format", EVERY)
def test_equal_bytes_whenever_wherever_and_however_cut(format: str, tmp_path: Path) -> None:
    batch = make(300)
    contents = []
    for run, (pieces, pause) in enumerate([(1, 0.0), (7, 0.0), (2, 0.55)]):
        path = output_path(tmp_path / str(run), "out", format)
        save(format, path, batch, pieces=pieces, pause=pause)
        contents.append({file.name: file.read_bytes() for file in path.parent.iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) == (5 if format == "shp" else 1)


@pytest.mark.parametrize("format", ["gpkg", "parquet", "fgb", "shp", "geojson"])
def test_equal_bytes_with_more_features_than_one_batch(format: str, tmp_path: Path) -> None:
    batch = make(20_000)
    one = save(format, output_path(tmp_path / "a", "out", format), batch, pieces=1)
    many = save(format, output_path(tmp_path / "b", "out", format), batch, pieces=13)
    assert one.read_bytes() == many.read_bytes()
    assert len(load(many)) == 20_000


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize("crs", [UTM, None])
def test_empty_result_is_a_valid_file(format: str, crs: CRS | None, tmp_path: Path) -> None:
    path = output_path(tmp_path, "none", format)
    open_writer(format, path, schema=SCHEMA, crs=crs).close()
    if format == "geojsonseq":
        assert path.read_bytes() == b""
        return
    frame = load(path)
    assert len(frame) == 0
    if format in TABLES:
        names = dbf_names(SCHEMA.names) if format == "shp" else SCHEMA.names
        assert [name for name in frame.columns if name not in ("geometry", "bbox")] == list(names)
        assert frame.crs == crs


@pytest.mark.parametrize("format", WHOLE)
def test_without_crs_in_pixels(format: str, tmp_path: Path) -> None:
    batch = make(9)
    path = save(format, output_path(tmp_path, "pixels", format), batch, crs=None)
    frame = load(path)
    assert shapely.equals(frame.geometry.to_numpy(), batch.geometry).all()
    if format in TABLES:
        assert frame.crs is None
    if format == "geojson":
        assert "y down" in json.loads(path.read_text())["note"]


@pytest.mark.parametrize("format", ["gpkg", "fgb", "parquet"])
def test_polygons_declared_as_such(format: str, tmp_path: Path) -> None:
    batch = make(50)
    single = np.array([g.geom_type == "Polygon" for g in batch.geometry])
    batch = FootprintBatch(batch.geometry[single], {k: v[single] for k, v in batch.columns.items()})
    path = output_path(tmp_path, "single", format)
    with open_writer(format, path, schema=SCHEMA, crs=UTM, geometry_type="Polygon") as writer:
        writer.write(batch)
    assert set(load(path).geom_type) == {"Polygon"}


def test_several_writers_of_the_same_batches(tmp_path: Path) -> None:
    batch = make(100)
    writers: list[FootprintWriter] = [
        open_writer(format, output_path(tmp_path, "all", format), schema=SCHEMA, crs=UTM) for format in EVERY
    ]
    for writer in writers:
        writer.write(batch)
    for writer in writers:
        writer.close()
        writer.close()
    assert {len(load(output_path(tmp_path, "all", format))) for format in EVERY} == {100}
    assert [writer.count for writer in writers] == [100] * len(EVERY)


@pytest.mark.parametrize("format", EVERY)
def test_abort_leaves_the_old_file_alone(format: str, tmp_path: Path) -> None:
    path = save(format, output_path(tmp_path, "out", format), make(5))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    writer = open_writer(format, path, schema=SCHEMA, crs=UTM)
    writer.write(make(9000))
    writer.abort()
    writer.abort()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(KeyError), open_writer(format, path, schema=SCHEMA, crs=UTM) as writer:
        raise KeyError("stopped")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("format", EVERY)
def test_leftovers_of_a_killed_run_do_not_matter(format: str, tmp_path: Path) -> None:
    path = output_path(tmp_path, "out", format)
    stale = side_folder(path)
    stale.mkdir()
    (stale / path.name).write_bytes(b"half")
    save(format, path, make(5))
    assert not stale.exists()
    assert len(load(path)) == 5


def test_shapefile_drops_side_files_of_an_older_one(tmp_path: Path) -> None:
    path = save("shp", tmp_path / "out.shp", make(5))
    (tmp_path / "out.qix").write_bytes(b"old index")
    save("shp", path, make(3), crs=None)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".cpg", ".dbf", ".shp", ".shx"]
    assert (tmp_path / "out.cpg").read_text().strip() == "UTF-8"


_FULL_DISK = """
    import resource, shutil, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from {module} import {write} as write
    from geoseg.errors import RunError

    def limit(size):  # writes beyond it fail, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    path = Path({path!r})
    write(path)
    whole = {{file.name: file.read_bytes() for file in path.parent.iterdir()}}
    size = max(map(len, whole.values()))
    for most in [1000, size // 5, size * 8 // 10, size * 9 // 10, size - 3000, size - 1]:
        shutil.rmtree(path.parent)
        limit(most)
        try:
            write(path)
        except RunError as error:
            limit(resource.RLIM_INFINITY)
            assert str(error).startswith(f"cannot write {{path}}: "), error
            assert list(path.parent.iterdir()) == []
        else:
            raise SystemExit(f"nobody noticed that only {{most}} of {{size}} bytes could be written")
    # Tiles are cut in a database of their own, which takes more than they do.
    limit(resource.RLIM_INFINITY if path.suffix == ".pmtiles" else size)
    write(path)
    assert {{file.name: file.read_bytes() for file in path.parent.iterdir()}} == whole
    print("done")
"""


def check_full_disk(module: str, write: str, path: Path) -> None:
    """In a process of its own: fill the disk at several moments of a write, the last byte among them."""
    code = _FULL_DISK.format(tests=str(Path(__file__).parent), path=str(path), module=module, write=write)
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.stdout == "done\n", run.stderr[-2000:]


def write_many(path: Path) -> None:
    format = next(name for name, suffix in FORMATS.items() if suffix == path.suffix)
    save(format, path, make(3000))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("format", EVERY)
def test_full_disk(format: str, tmp_path: Path) -> None:
    check_full_disk("test_writers", "write_many", output_path(tmp_path / "out", "full", format))


@pytest.mark.parametrize("format", EVERY)
def test_unwritable_folder(format: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="output must be a place that can be written to"):
        open_writer(format, tmp_path / "file" / "out", schema=SCHEMA, crs=UTM)
    with pytest.raises(InputError, match="it is a folder"):
        open_writer(format, tmp_path, schema=SCHEMA, crs=UTM)


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"format must be one of geojson, .*got kml"):
        open_writer("kml", tmp_path / "a.kml", schema=SCHEMA, crs=UTM)
    writer = open_writer("geojson", tmp_path / "a.geojson", schema=SCHEMA, crs=UTM)
    batch = make(3)
    with pytest.raises(InputError, match="columns must be"):
        writer.write(FootprintBatch(batch.geometry, {"id": batch.columns["id"]}))
    with pytest.raises(InputError, match="3 rows"):
        writer.write(FootprintBatch(batch.geometry, {**batch.columns, "id": np.arange(2)}))
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_spike_that_reprojecting_makes_cross_itself_is_written(tmp_path: Path) -> None:
    """A corner that lies on another edge but for rounding: GEOS cannot snap what it became."""
    corners = [
        (85.64793302745656, 27.633256715310953),
        (85.64786112398022, 27.633260449636285),
        (85.64786115493698, 27.633260922440037),
        (85.64786018201409, 27.633246062944927),
        (85.64785695183272, 27.633196728219936),
        (85.64792885526735, 27.633192993895236),
        (85.6479297062007, 27.633205990116476),
        (85.64793095440096, 27.63322505375272),
        (85.64793131977035, 27.633230634001354),
        (85.6479316729028, 27.63323602735638),
    ]
    spike = shapely.Polygon(corners)
    assert not spike.is_valid
    path = tmp_path / "a.geojson"
    with open_writer("geojson", path, schema=SCHEMA, crs=CRS.from_epsg(4326), repair=True) as writer:
        writer.write(FootprintBatch(np.array([spike]), make(1).columns))
    document = json.loads(path.read_text(encoding="utf-8"))
    written = shapely.geometry.shape(document["features"][0]["geometry"])
    assert written.is_valid
    assert written.symmetric_difference(spike.buffer(0)).area < 0.01 * spike.area


def test_a_part_that_collapses_leaves_polygons(tmp_path: Path) -> None:
    """A part without an area is left out: it would make a collection of lines and polygons."""
    flat = shapely.Polygon([(20, 20), (21, 21), (20, 20)])
    crossed = shapely.Polygon([(10, 10), (12, 12), (12, 10), (10, 12)])
    path = tmp_path / "a.geojson"
    with open_writer("geojson", path, schema=SCHEMA, crs=CRS.from_epsg(4326), repair=True) as writer:
        writer.write(FootprintBatch(np.array([shapely.MultiPolygon([crossed, flat])]), make(1).columns))
    (feature,) = json.loads(path.read_text(encoding="utf-8"))["features"]
    written = shapely.geometry.shape(feature["geometry"])
    assert written.is_valid
    assert written.area == pytest.approx(2)


def test_geojson_follows_rfc_7946(tmp_path: Path) -> None:
    batch = make(20)
    batch.columns["confidence"][3] = np.nan
    batch.columns["acquired"][4] = None
    document = json.loads(save("geojson", tmp_path / "a.geojson", batch).read_text(encoding="utf-8"))
    assert "crs" not in document
    assert document["features"][3]["properties"]["confidence"] is None
    assert document["features"][4]["properties"]["acquired"] is None
    assert document["features"][1]["properties"]["class"] == "Straße"
    for feature in document["features"]:
        shape = feature["geometry"]
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        for shell, *holes in polygons:
            assert shapely.LinearRing(shell).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
            assert shell[0] == shell[-1]
            assert all(round(number, 7) == number for point in shell for number in point)
    lines = save("geojsonseq", tmp_path / "a.geojsonl", batch).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == document["features"]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 15),
    st.lists(
        st.tuples(*[st.floats(-1e10, 1e10) | st.floats(-1e-3, 1e-3) | st.floats(-180, 180)] * 2),
        min_size=3,
        max_size=9,
    ),
    st.booleans(),
    st.booleans(),
)
def test_numbers_are_written_as_python_writes_them(
    decimals: int, corners: list[tuple[float, float]], multi: bool, turn: bool
) -> None:
    xy = np.array([*corners, corners[0]])
    one = np.array([0, 1])
    shapes = RaggedPolygons(xy, np.array([0, len(xy)]), one, one, np.array([multi]))
    (text,) = _texts(shapes, np.array([turn]), decimals)
    ring = np.round(xy, decimals).tolist()[:: -1 if turn else 1]
    kind, coordinates = ("MultiPolygon", [[ring]]) if multi else ("Polygon", [ring])
    assert bytes(text).decode() == json.dumps({"type": kind, "coordinates": coordinates})


def test_attributes_are_written_as_json_writes_them(tmp_path: Path) -> None:
    columns = {
        '100 % "é"': np.array(["a\nb", None, "ü%s"], object),
        "mixed": np.array([1, True, 2.5], object),
        "number": np.array([1e-7, 1e22, -0.0]),
        "flag": np.array([True, False, True]),
        "small": np.array([1, 2, 3], np.uint8),
    }
    schema = pa.schema([(name, pa.string()) for name in columns])
    shapes = shapely.box([0, 2, 4], 0, [1, 3, 5], 1)
    with open_writer("geojson", tmp_path / "a.geojson", schema=schema) as writer:
        writer.write(FootprintBatch(shapes, columns))
    lines = (tmp_path / "a.geojson").read_text(encoding="utf-8").splitlines()[1:-1]
    for k, line in enumerate(lines):
        feature = {
            "type": "Feature",
            "properties": {name: column.tolist()[k] for name, column in columns.items()},
            "geometry": shapely.geometry.mapping(shapely.orient_polygons(shapes[k])),
        }
        assert line.rstrip(",") == json.dumps(feature, ensure_ascii=False)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE gpkg_contents SET srs_id = 0",
        "UPDATE gpkg_contents SET max_x = NULL",
        "UPDATE gpkg_contents SET data_type = 'attributes'",
        "DELETE FROM gpkg_geometry_columns",
        "DELETE FROM gpkg_spatial_ref_sys WHERE srs_id = 32645",
        "DELETE FROM gpkg_extensions",
        "UPDATE gpkg_ogr_contents SET feature_count = 4",
        "UPDATE gpkg_ogr_contents SET feature_count = NULL",
        "DROP TRIGGER trigger_insert_feature_count_out",
        "DROP TRIGGER rtree_out_geom_update6",
        "DROP TABLE gpkg_ogr_contents",
    ],
)
def test_a_geopackage_is_read_back_with_all_it_promises(damage: str, tmp_path: Path) -> None:
    batch = make(5)
    bounds = shapely.total_bounds(batch.geometry)
    path = save("gpkg", tmp_path / "out.gpkg", batch)
    check_geopackage(path, "out", 5, bounds)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(damage)
        database.commit()
    with pytest.raises(OSError, match="it came out incomplete"):
        check_geopackage(path, "out", 5, bounds)


@pytest.mark.parametrize("scale", [1e-6, 1 / 3, 0.3048006096012192])
def test_a_geopackage_holds_coordinates_of_all_digits(scale: float, tmp_path: Path) -> None:
    batch = make(5)
    places = shapely.transform(batch.geometry, lambda xy: xy * scale + (1e7 / 3, -100 / 7))
    path = save("gpkg", tmp_path / "out.gpkg", FootprintBatch(places, batch.columns))
    assert load(path).total_bounds.tolist() == shapely.total_bounds(places).tolist()


FEET = CRS.from_proj4("+proj=utm +zone=45 +datum=WGS84 +units=us-ft +type=crs")
KILOMETERS = CRS.from_proj4("+proj=utm +zone=45 +datum=WGS84 +units=km +type=crs")
BOUND = CRS.from_proj4(
    "+proj=utm +zone=33 +ellps=bessel +towgs84=570.8,85.7,462.8,4.998,1.587,5.261,3.56 +type=crs"
)
ROTATED = CRS.from_string(
    "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +to_meter=0.0174532925199433 +type=crs"
)


@pytest.mark.parametrize("format", TABLES)
@pytest.mark.parametrize("crs", [FEET, KILOMETERS, BOUND, ROTATED, CRS.from_epsg(2263)], ids=str)
def test_the_crs_comes_back_or_the_format_is_refused(format: str, crs: CRS, tmp_path: Path) -> None:
    """UTM in feet came back as UTM in meters; a shapefile lost the shift of the datum, or all of the CRS."""
    if format == "shp" and crs in (BOUND, ROTATED):
        with pytest.raises(InputError, match=r"that can hold the scene's CRS .*got shp.*Use parquet or gpkg"):
            check_formats([format], crs)
        assert list(tmp_path.iterdir()) == []
        return
    check_formats([format], crs)
    frame = load(save(format, output_path(tmp_path, "out", format), make(3), crs=crs))
    assert frame.crs.equals(crs, ignore_axis_order=True)
    back = Transformer.from_crs(frame.crs, 4326, always_xy=True).transform(1000, 2000)
    assert back == pytest.approx(
        Transformer.from_crs(crs, 4326, always_xy=True).transform(1000, 2000), abs=1e-9
    )


NAMES = ["(2) ortho", "#5 block", "a;b", "a\tb", "a\nb", "a!b", "[1]", "gpkg_x", 'q"u', "it's"]


@pytest.mark.parametrize("stem", NAMES)
@pytest.mark.parametrize("format", EVERY)
def test_any_name_of_a_scene_and_its_folder(format: str, stem: str, tmp_path: Path) -> None:
    tmp_path = tmp_path / stem
    path = save(format, output_path(tmp_path, stem, format), make(3))
    assert path.stat().st_size
    assert {file.stem for file in tmp_path.iterdir()} == {stem}
    plain = tmp_path.parent / "plain"
    plain.mkdir()
    for file in list(tmp_path.glob("*.*")):
        file.rename(plain / f"x{file.suffix}")
    assert len(load(plain / f"x{path.suffix}")) == 3


def test_a_geopackage_that_was_edited_is_the_user_s(tmp_path: Path) -> None:
    path = save("gpkg", tmp_path / "out.gpkg", make(3))
    drawn = gpd.read_file(path).iloc[:1]
    drawn.to_file(path, layer="mine")  # another layer stays, whatever becomes of ours
    check_unowned({"gpkg": path})
    drawn.to_file(path, layer="out", mode="a")
    with pytest.raises(InputError, match=r"got .*, which is neither, or was edited since. .*--overwrite"):
        check_unowned({"gpkg": path})
    check_unowned({"gpkg": path}, overwrite=True)


@pytest.mark.parametrize("format", EVERY)
def test_files_of_others_are_not_written_over(format: str, tmp_path: Path) -> None:
    """What geoseg wrote is known by a mark in the file itself, and replaced; the rest is the user's."""
    path = output_path(tmp_path, "out", format)
    check_unowned({format: path})
    save(format, path, make(3))
    check_unowned({format: path})
    save(format, path, make(0) if format != "geojsonseq" else make(2))
    check_unowned({format: path})
    frame = gpd.GeoDataFrame({"id": [7], "class": ["mine"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    path.unlink()
    driver = "PMTiles" if format == "pmtiles" else None  # whose suffix geopandas does not know
    frame.to_parquet(path) if format == "parquet" else frame.to_file(path, layer="out", driver=driver)
    with pytest.raises(InputError, match=r"output must be new or written by geoseg before, .*--overwrite"):
        check_unowned({format: path})
    check_unowned({format: path}, overwrite=True)
    path.write_bytes(b"not such a file at all")
    for side in path.parent.glob("out.dbf"):
        side.write_bytes(b"neither")
    with pytest.raises(InputError, match="--overwrite"):
        check_unowned({format: path})
    path.unlink()
    if format == "shp":  # a table of the user's without a shapefile
        with pytest.raises(InputError, match="--overwrite"):
            check_unowned({format: path})
    else:
        check_unowned({format: path})


def test_a_geopackage_keeps_its_other_layers(tmp_path: Path) -> None:
    path = tmp_path / "mine.gpkg"
    frame = gpd.GeoDataFrame({"name": ["a", "b"]}, geometry=shapely.box([0, 2], 0, [1, 3], 1), crs=4326)
    frame.to_file(path, layer="fields")
    check_unowned({"gpkg": path})
    for count in (5, 3):
        save("gpkg", path, make(count))
        check_unowned({"gpkg": path})
        assert sorted(pyogrio.list_layers(path)[:, 0]) == ["fields", "mine"]
        assert gpd.read_file(path, layer="fields")["name"].tolist() == ["a", "b"]
        mine = gpd.read_file(path, layer="mine")
        assert (len(mine), mine.crs) == (count, UTM)
    writer = open_writer("gpkg", path, schema=SCHEMA, crs=UTM)
    writer.write(make(9))
    before = path.read_bytes()
    writer.abort()
    assert path.read_bytes() == before


def test_antimeridian_in_utm(tmp_path: Path) -> None:
    across = (
        gpd.GeoSeries([shapely.box(179.9999, -17, 180.0001, -16.9998)], crs=4326).to_crs(32760).to_numpy()
    )
    columns = {name: col[:1] for name, col in make(1).columns.items()}
    with open_writer("geojson", tmp_path / "a.geojson", schema=SCHEMA, crs=CRS.from_epsg(32760)) as writer:
        writer.write(FootprintBatch(across, columns))
    (shape,) = gpd.read_file(tmp_path / "a.geojson").geometry
    assert shape.geom_type == "MultiPolygon"
    assert shape.is_valid
    widths = sorted(part.bounds[2] - part.bounds[0] for part in shape.geoms)
    assert widths[1] < 0.001
    assert split_at_antimeridian(across)[0] is across[0]


@pytest.mark.parametrize("pole", [3995, 3031])
def test_around_a_pole(tmp_path: Path, pole: int) -> None:
    """Everything near a pole, cut by squares: valid, and the same ground again."""
    rng = np.random.default_rng(0)
    squares = [shapely.box(x, y, x + 9e4, y + 9e4) for x, y in rng.uniform(-5e5, 5e5, (40, 2))]
    cap = shapely.Point(0, 0).buffer(6e5, quad_segs=64)
    donut = (
        shapely.Point(0, 0)
        .buffer(8e5, quad_segs=64)
        .difference(shapely.Point(0, 0).buffer(7e5, quad_segs=64))
    )
    shapes = np.array([cap, donut, cap.difference(shapely.union_all(squares)), *squares], object)
    shapes = np.array([max(shapely.get_parts(s), key=lambda part: part.area) for s in shapes], object)
    shapes = shapely.segmentize(shapes, 2000)  # straight lines near a pole are curves in degrees
    columns = {name: col[: len(shapes)] for name, col in make(len(shapes)).columns.items()}
    with open_writer("geojson", tmp_path / "a.geojson", schema=SCHEMA, crs=CRS.from_epsg(pole)) as writer:
        writer.write(FootprintBatch(shapes, columns))
    found = gpd.read_file(tmp_path / "a.geojson")
    assert found.is_valid.all()
    equal_area = {3995: "+proj=laea +lat_0=90", 3031: "+proj=laea +lat_0=-90"}[pole]
    dense = found.geometry.segmentize(0.2).to_crs(equal_area).area.to_numpy()
    expected = gpd.GeoSeries(shapes, crs=pole).segmentize(1000).to_crs(equal_area).area.to_numpy()
    np.testing.assert_allclose(dense, expected, rtol=0.01)


def test_degrees_that_run_on_beyond_180(tmp_path: Path) -> None:
    shapes = np.array(
        [shapely.box(179, 0, 181, 1), shapely.box(-170, 0, 170, 1), shapely.box(190, 0, 191, 1)]
    )
    columns = {name: col[:3] for name, col in make(3).columns.items()}
    with open_writer("geojson", tmp_path / "a.geojson", schema=SCHEMA, crs=CRS.from_epsg(4326)) as writer:
        writer.write(FootprintBatch(shapes, columns))
    found = gpd.read_file(tmp_path / "a.geojson").geometry
    assert [shape.bounds for shape in found] == [(-180, 0, 180, 1), (-170, 0, 170, 1), (-170, 0, -169, 1)]
    assert shapely.area(found.to_numpy()).tolist() == [2, 340, 1]


def test_parquet_metadata_and_row_groups(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    batch = make(40_000)
    path = save("parquet", tmp_path / "a.parquet", batch)
    file = pq.ParquetFile(path)
    geo = json.loads(file.metadata.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert geo["version"] == "1.1.0"
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert CRS.from_json_dict(column["crs"]) == UTM
    np.testing.assert_array_equal(column["bbox"], shapely.total_bounds(batch.geometry))
    assert file.metadata.num_row_groups == 3
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    west = gpd.read_parquet(path, bbox=(340_000, 3_060_000, 340_100, 3_061_000))
    assert 0 < len(west) < 20


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ([], []),
        (["id", "class"], ["id", "class"]),
        (["touches_edge"], ["touches_ed"]),
        (["touches_edge", "touches_edgy"], ["touches_ed", "touches__1"]),
        (["Area", "area"], ["Area", "area_1"]),
        (["größenklasse"], ["größenkl"]),
    ],
)
def test_dbf_names(names: list[str], short: list[str]) -> None:
    assert dbf_names(names) == short
    assert all(len(name.encode()) <= 10 for name in short)


def test_promoted_keeps_multipolygons() -> None:
    batch = make(8)
    out = shapely.from_wkb(wkb_array(batch.ragged, promoted=True).to_numpy(zero_copy_only=False))
    assert {g.geom_type for g in out} == {"MultiPolygon"}
    assert shapely.equals(out, batch.geometry).all()


@pytest.mark.parametrize("format", EVERY)
def test_arrays_are_written_as_geometries_are(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outlines that nobody moved go to the file without a geometry; large ones piece by piece."""
    batch = make(40)
    shapes = shapely.orient_polygons(batch.geometry)
    plain = save(format, tmp_path / f"a.{format}", FootprintBatch(shapes, batch.columns)).read_bytes()
    ragged = ragged_polygons(shapely.reverse(shapes))
    arrays = FootprintBatch(replace(ragged, backward=True), batch.columns)
    for most in (1 << 20, 8, 40):
        monkeypatch.setattr("geoseg.io.writers.geojson_text._PIECE_CORNERS", most)
        monkeypatch.setattr("geoseg.io.writers.lonlat._PIECE_CORNERS", most)
        assert save(format, tmp_path / f"a.{format}", arrays, pieces=2).read_bytes() == plain
    assert shapely.equals_identical(arrays.geometry, shapes).all()
    assert np.array_equal(arrays.ragged.bounds(), shapely.bounds(shapes))


@pytest.mark.parametrize("count", [0, 1, 2, 16, 17, 256, 257])
@pytest.mark.parametrize("format", ["gpkg", "fgb", "shp"])
def test_a_byte_less_is_noticed(format: str, count: int, tmp_path: Path) -> None:
    batch = make(count)
    batch_bounds = shapely.total_bounds(batch.geometry) if count else np.zeros(4)
    path = save(format, output_path(tmp_path, "out", format), batch)

    def check(path: Path, count: int) -> None:
        if format == "gpkg":
            check_geopackage(path, "out", count, batch_bounds)
        elif format == "fgb":
            check_flatgeobuf(path, count)
        else:
            check_shapefile(path, count, dbf_names(batch.columns))

    check(path, count)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(OSError, match="incomplete"):
        check(path, count)
    path.write_bytes(whole)
    if format != "fgb":  # whose header is not looked at
        with pytest.raises(OSError, match=f"{count} of {count + 1} features"):
            check(path, count + 1)


@pytest.mark.parametrize("at", [60, 68])
def test_a_geopackage_without_its_marks_is_noticed(at: int, tmp_path: Path) -> None:
    batch = make(9)
    path = save("gpkg", tmp_path / "out.gpkg", batch)
    content = path.read_bytes()
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 :])
    with pytest.raises(OSError, match=r"incomplete .1 of 2 marks of a GeoPackage"):
        check_geopackage(path, "out", 9, shapely.total_bounds(batch.geometry))


@pytest.mark.parametrize("lost", ["record", "column", "mark", "encoding"])
def test_all_that_a_shapefile_promises_is_read_back(lost: str, tmp_path: Path) -> None:
    batch = make(9)
    path = save("shp", tmp_path / "out.shp", batch)
    names = dbf_names(batch.columns)
    check_shapefile(path, 9, names)
    side = path.with_suffix(".cpg" if lost == "encoding" else ".dbf")
    content = bytearray(side.read_bytes())
    header = int.from_bytes(content[8:10], "little")
    at = {"record": len(content) - 60, "column": 32, "mark": header - 1, "encoding": 2}[lost]
    content[at] = 0
    side.write_bytes(content)
    with pytest.raises(OSError, match=f"incomplete .* {side.name}"):
        check_shapefile(path, 9, names)


def test_run_error_names_the_cause(tmp_path: Path) -> None:
    writer = open_writer("gpkg", tmp_path / "a.gpkg", schema=pa.schema([("id", pa.int64())]), crs=UTM)
    bad = FootprintBatch(np.full(5000, shapely.box(0, 0, 1, 1), object), {"id": np.array(["x"] * 5000)})
    with pytest.raises(RunError, match=r"cannot write .*a\.gpkg"):
        writer.write(bad)
    assert list(tmp_path.iterdir()) == []


ORIGIN = {
    "geoseg": "0.1.0",
    "scene": {"name": 'Straße "1" <&>', "fingerprint": "ab" * 32},
    "options": {"window": [512, 512], "split": 0.25},
}


def save_with_origin(format: str, path: Path, batch: FootprintBatch, pieces: int = 3) -> Path:
    with open_writer(format, path, schema=SCHEMA, crs=UTM, provenance=ORIGIN) as writer:
        for start, stop in pairwise(np.linspace(0, len(batch), pieces + 1).astype(int).tolist()):
            writer.write(batch.rows(start, stop))
    return path


@pytest.mark.parametrize("format", EVERY)
def test_a_file_says_what_it_was_made_from(format: str, tmp_path: Path) -> None:
    batch = make(50)
    one = save_with_origin(format, output_path(tmp_path / "a", "out", format), batch)
    other = save_with_origin(format, output_path(tmp_path / "b", "out", format), batch, pieces=5)
    assert read_provenance(one) == ORIGIN
    assert {file.name: file.read_bytes() for file in one.parent.iterdir()} == {
        file.name: file.read_bytes() for file in other.parent.iterdir()
    }
    silent = save(format, output_path(tmp_path / "c", "out", format), batch)
    assert read_provenance(silent) is None
    assert load(one).equals(load(silent))
    check_unowned({format: one})
    before = one.read_bytes()
    assert save_with_origin(format, one, batch).read_bytes() == before
    # Written anew by somebody who says nothing, it must not keep what was said of the file before.
    save(format, one, batch)
    assert read_provenance(one) is None
    assert {file.name for file in one.parent.iterdir()} == {file.name for file in silent.parent.iterdir()}


@pytest.mark.parametrize("format", EVERY)
def test_a_damaged_file_says_nothing_of_its_origin(format: str, tmp_path: Path) -> None:
    path = save_with_origin(format, output_path(tmp_path, "out", format), make(5))
    beside = sorted(tmp_path.glob("*.provenance.json"))
    for file in beside or [path]:
        file.write_bytes(file.read_bytes()[:40])
    assert read_provenance(path) is None
    assert read_provenance(tmp_path / "none.gpkg") is None
    assert read_provenance(tmp_path / "none.txt") is None


def test_layers_of_a_geopackage_have_an_origin_each(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=make(2).geometry, crs=UTM).to_file(
        tmp_path / "out.gpkg", layer="theirs", layer_metadata={"kept": "yes"}
    )
    for _ in range(2):
        path = save_with_origin("gpkg", tmp_path / "out.gpkg", make(5))
    assert read_provenance(path) == ORIGIN
    assert layer_metadata(path, "theirs") == {"kept": "yes"}
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM gpkg_metadata").fetchone() == (2,)


class TestPMTiles:
    def test_every_object_with_its_attributes_is_in_the_finest_tiles(self, tmp_path: Path) -> None:
        batch = make(200)
        with open_writer("pmtiles", tmp_path / "a.pmtiles", schema=SCHEMA, crs=UTM, zooms=(12, 17)) as writer:
            writer.write(batch)
        frame = gpd.read_file(tmp_path / "a.pmtiles")
        assert frame.crs == 3857
        whole = frame.dissolve("id").to_crs(UTM)
        assert whole.index.tolist() == batch.columns["id"].tolist()
        truth = gpd.GeoSeries(batch.geometry, index=whole.index, crs=UTM)
        # A unit of a tile is 6.6 cm there.
        assert whole.geometry.symmetric_difference(truth).area.max() < 0.1 * 30
        for name in ("class", "touches_edge", "scene", "acquired"):
            assert whole[name].tolist() == batch.columns[name].tolist(), name
        np.testing.assert_allclose(whole["confidence"], batch.columns["confidence"], rtol=1e-12)
        header = read_header(tmp_path / "a.pmtiles")
        assert header.zooms == (12, 17)
        assert header.metadata["vector_layers"][0]["id"] == "a"
        west, south, east, north = gpd.GeoSeries(batch.geometry, crs=UTM).to_crs(4326).total_bounds
        assert header.bounds == pytest.approx((west, south, east, north), abs=1e-5)

    def test_objects_on_the_antimeridian_lie_at_both_ends_of_the_map(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Drawn around the Earth, one of 20 m took a minute and 31,745 tiles; as one feature, seconds."""
        put, widths = OgrWriter._put, []

        def measured(self: OgrWriter, batch: FootprintBatch) -> None:
            left, _, right, _ = batch.ragged.bounds().T
            widths.extend(right - left)
            put(self, batch)

        monkeypatch.setattr(OgrWriter, "_put", measured)
        houses = shapely.box([179.9999, 180.0003], -17, [180.0001, 180.0004], -16.9999)
        path = tmp_path / "fiji.pmtiles"
        schema = pa.schema([("id", pa.int64())])
        with open_writer("pmtiles", path, schema=schema, crs=CRS.from_epsg(4326), zooms=(12, 18)) as writer:
            writer.write(FootprintBatch(houses, {"id": np.array([1, 2])}))
        assert (len(widths), max(widths) < 100) == (3, True)
        found = gpd.read_file(path).to_crs(4326)
        parts = found.bounds
        assert sorted(zip(found.id, parts.minx > 0)) == [(1, False), (1, True), (2, False)]
        assert read_header(path).tiles < 50
        assert (parts["maxx"] - parts["minx"]).max() < 2e-4
        assert parts["maxx"].max() == pytest.approx(180, abs=1e-7)
        assert parts["minx"].min() == pytest.approx(-180, abs=1e-7)

    def test_objects_beyond_the_end_of_the_map_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "pole.pmtiles"
        schema = pa.schema([("id", pa.int64())])
        houses = FootprintBatch(shapely.box([10, 10], [85, 86], 11, [86, 87]), {"id": np.array([1, 2])})
        with (
            pytest.raises(RunError, match=r"beyond 85\.05 degrees .* Leave out the format pmtiles"),
            open_writer("pmtiles", path, schema=schema, crs=CRS.from_epsg(4326), zooms=(0, 5)) as writer,
        ):
            writer.write(houses)
        assert not path.exists()

    def test_without_an_object(self, tmp_path: Path) -> None:
        path = tmp_path / "none.pmtiles"
        open_writer("pmtiles", path, schema=SCHEMA, crs=UTM, provenance=ORIGIN).close()
        header = read_header(path)
        assert (header.tiles, header.zooms) == (0, (11, 16))
        assert set(header.metadata["vector_layers"][0]["fields"]) == set(SCHEMA.names)
        assert read_provenance(path) == ORIGIN
        check_unowned({"pmtiles": path})
        save("pmtiles", path, make(3))
        assert len(load(path)) == 3

    def test_many_objects_have_directories_below_the_first(self, tmp_path: Path) -> None:
        """The specification leaves 16 KB for the first one, so tiles of many places need more."""
        steps = np.arange(70) * 0.5
        x, y = (axis.ravel() for axis in np.meshgrid(steps - 17, steps - 17))
        shapes = shapely.box(x, y, x + 0.001, y + 0.001)
        columns = {"id": np.arange(1, len(shapes) + 1)}
        schema = pa.schema([("id", pa.int64())])
        path = tmp_path / "wide.pmtiles"
        with open_writer("pmtiles", path, schema=schema, crs=CRS.from_epsg(4326), zooms=(13, 14)) as writer:
            writer.write(FootprintBatch(shapes, columns))
        assert read_header(path).tiles >= 2 * len(shapes)
        assert len(load(path)) == len(shapes)

    @pytest.mark.parametrize("crs", [None, "+proj=longlat +a=1737400 +b=1737400 +no_defs"])
    def test_what_is_at_no_place_on_the_earth_is_refused(self, crs: str | None, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"format must be one of gpkg, .* got pmtiles, which is a map"):
            check_formats(["pmtiles"], None if crs is None else CRS.from_user_input(crs))

    def test_a_gdal_without_the_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pyogrio, "list_drivers", lambda: {"GPKG": "raw"})
        with pytest.raises(InputError, match=r"got pmtiles\. Install pyogrio from PyPI"):
            check_formats(["pmtiles"], UTM)

    def test_a_tile_that_was_not_written_whole_is_noticed(self, tmp_path: Path) -> None:
        path = save("pmtiles", tmp_path / "a.pmtiles", make(50))
        whole = path.read_bytes()
        for at in (len(whole) - 400, 300):
            path.write_bytes(whole[:at] + bytes(30) + whole[at + 30 :])
            with pytest.raises(OSError, match="it came out incomplete"):
                check_pmtiles(path)
        path.write_bytes(whole[:-100])
        with pytest.raises(OSError, match="it came out incomplete"):
            check_pmtiles(path)
        # Offset and bytes of the metadata: more than a file can have.
        for at in (24, 32):
            path.write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8 :])
            with pytest.raises(ValueError, match="bytes early"):
                read_header(path)
            with pytest.raises(InputError, match="written by geoseg before"):
                check_unowned({"pmtiles": path})
        path.write_bytes(whole)
        check_pmtiles(path)
