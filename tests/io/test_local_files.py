"""Every file that pixels come from: seen by the fingerprint, watched, and never written over."""

from __future__ import annotations

import gzip
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import zarr
from rasters import noise, save

from geoseg.errors import InputError, MissingFileError, SceneError
from geoseg.geo.windows import Window
from geoseg.io import fingerprint, local_files
from geoseg.io.local_files import Watch, files_by_stem, walk_files
from geoseg.io.names import archive_head, container
from geoseg.io.sources import open_raster
from geoseg.pipeline.predict_scene import predict_scene

ALL = Window(row_off=0, col_off=0, height=8, width=8)


def write_vrt(path: Path, source: str, relative: int = 1) -> Path:
    path.write_text(
        "<VRTDataset rasterXSize='8' rasterYSize='8'><VRTRasterBand dataType='Byte' band='1'><SimpleSource>"
        f"<SourceFilename relativeToVRT='{relative}'>{source}</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def plain(folder: Path, seed: int) -> Path:
    return save(folder / "s.tif", noise(1, 8, 8, seed=seed))


def vrt_of_vrt(folder: Path, seed: int) -> str:
    plain(folder, seed)
    write_vrt(folder / "inner.vrt", "s.tif")
    return str(write_vrt(folder / "outer.vrt", "inner.vrt"))


def vrt_without_its_name(folder: Path, seed: int) -> str:
    plain(folder, seed)
    write_vrt(folder / "inner.tif", "s.tif")
    return str(write_vrt(folder / "outer.vrt", "inner.tif"))


def zipped(folder: Path, seed: int) -> str:
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.write(plain(folder, seed), "in/s.tif")
    return f"/vsizip/{folder}/a.zip/in/s.tif"


def zip_url(folder: Path, seed: int) -> str:
    return "zip://" + zipped(folder, seed).removeprefix("/vsizip/")


def tarred(folder: Path, seed: int) -> str:
    with tarfile.open(folder / "a.tar", "w") as file:
        file.add(plain(folder, seed), "s.tif")
    return f"/vsitar/{folder}/a.tar/s.tif"


def gzipped(folder: Path, seed: int) -> str:
    (folder / "s.tif.gz").write_bytes(gzip.compress(plain(folder, seed).read_bytes(), mtime=0))
    return f"/vsigzip/{folder}/s.tif.gz"


def vrt_of_zip(folder: Path, seed: int) -> str:
    return str(write_vrt(folder / "outer.vrt", zipped(folder, seed), relative=0))


def page(folder: Path, seed: int) -> str:
    return f"GTIFF_DIR:1:{plain(folder, seed)}"


def vrt_of_page(folder: Path, seed: int) -> str:
    plain(folder, seed)
    return str(write_vrt(folder / "outer.vrt", "GTIFF_DIR:1:s.tif"))


def geopackage(folder: Path, seed: int) -> str:
    (folder / "s.gpkg").unlink(missing_ok=True)
    save(folder / "s.gpkg", noise(3, 8, 8, seed=seed), driver="GPKG", RASTER_TABLE="t", TILE_FORMAT="PNG")
    return f"GPKG:{folder}/s.gpkg:t"


def netcdf(folder: Path, seed: int) -> str:
    rasterio.shutil.copy(plain(folder, seed), folder / "s.nc", driver="netCDF")
    return f'NETCDF:"{folder}/s.nc":Band1'


def zarr_array(folder: Path, seed: int) -> str:
    store = zarr.create_array(
        folder / "s.zarr", shape=(8, 8), chunks=(4, 4), dtype="u1", overwrite=True, zarr_format=2
    )
    store[:] = noise(1, 8, 8, seed=seed)[0]
    return f'ZARR:"{folder}/s.zarr"'


KINDS: list[Callable[[Path, int], str]] = [
    vrt_of_vrt, vrt_without_its_name, zipped, zip_url, tarred, gzipped, vrt_of_zip, page, vrt_of_page,
    geopackage, netcdf, zarr_array,
]  # fmt: skip


@pytest.mark.parametrize("make", KINDS)
def test_a_file_that_was_replaced_is_seen_at_any_depth(
    make: Callable[[Path, int], str], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    scene = open_raster(make(tmp_path / "a", 0))
    before, pixels = scene.fingerprint(), scene.read(ALL)
    assert scene.fingerprint() == before
    elsewhere: list[np.ndarray] = []
    ready, go = threading.Event(), threading.Event()

    def other_thread() -> None:
        scene.read(ALL)
        ready.set()
        go.wait()
        elsewhere.append(scene.read(ALL))

    thread = threading.Thread(target=other_thread)
    thread.start()
    ready.wait()
    make(tmp_path / "a", 1)
    go.set()
    thread.join()
    assert scene.fingerprint() != before
    assert (scene.read(ALL) != pixels).any()
    np.testing.assert_array_equal(elsewhere[0], scene.read(ALL))
    (tmp_path / "b").mkdir()
    if make not in (vrt_of_zip, tarred, geopackage, netcdf):  # which name a place or a time
        assert open_raster(make(tmp_path / "b", 1)).fingerprint() == scene.fingerprint()


@pytest.mark.parametrize("packed", ["gz", "tar.gz"])
def test_a_gzip_file_that_grew_is_read_as_it_is(packed: str, tmp_path: Path) -> None:
    whole = Window(row_off=0, col_off=0, height=256, width=256)
    for seed in (None, 1, None, 2):
        pixels = np.zeros((1, 256, 256), np.uint8) if seed is None else noise(1, 256, 256, seed=seed)
        path = save(tmp_path / "s.tif", pixels)
        if packed == "gz":
            (tmp_path / "s.tif.gz").write_bytes(gzip.compress(path.read_bytes()))
            name = f"/vsigzip/{tmp_path}/s.tif.gz"
        else:
            with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
                file.add(path, "s.tif")
            name = f"/vsitar/{tmp_path}/a.tar.gz/s.tif"
        np.testing.assert_array_equal(open_raster(name).read(whole), pixels)


@pytest.mark.parametrize("make", KINDS)
def test_no_input_is_written_over(make: Callable[[Path, int], str], tmp_path: Path) -> None:
    name = make(tmp_path, 0)
    files = open_raster(name).files()
    assert files
    inputs = [file for file in files if file.suffix in (".tif", ".zip", ".tar", ".gz", ".gpkg", ".vrt")]
    for file in inputs:
        content = file.read_bytes()
        with pytest.raises(InputError, match="output must not be an input"):
            predict_scene(name, lambda batch: batch[:, :1] / 255, file)
        assert file.read_bytes() == content


def test_watching_many_files_takes_little_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "_FEW_FILES", 0)
    watch = Watch(str(plain(tmp_path, 0)))
    assert not watch.changed()
    plain(tmp_path, 1)
    monkeypatch.setattr(local_files, "_SHARE_OF_TIME", 1e-9)
    assert watch.changed()
    assert not watch.changed()  # it has looked a moment ago


def test_a_vrt_is_known_without_opening_each_of_its_sheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = [save(tmp_path / f"sheet{k}.tif", noise(1, 8, 8, seed=k)) for k in range(5)]
    vrt = tmp_path / "all.vrt"
    sources = "".join(
        f"<SimpleSource><SourceFilename relativeToVRT='1'>{sheet.name}</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource>"
        for sheet in sheets
    )
    vrt.write_text(
        "<VRTDataset rasterXSize='8' rasterYSize='8'><VRTRasterBand dataType='Byte' band='1'>"
        f"{sources}</VRTRasterBand></VRTDataset>"
    )
    opened: list[str] = []
    opener = fingerprint.opened_header

    def noted(name: str) -> object:
        opened.append(Path(name).name)
        return opener(name)

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_lone_files", lambda names: set())
        asked = open_raster(vrt).fingerprint()
    monkeypatch.setattr(fingerprint, "opened_header", noted)
    assert open_raster(vrt).fingerprint() == asked
    assert set(opened) == {"all.vrt"}
    # A mask that comes beside a sheet is part of it, and so is each of its pixels.
    opened.clear()
    save(tmp_path / "sheet3.tif.msk", noise(1, 8, 8, seed=9))
    with_mask = open_raster(vrt).fingerprint()
    assert with_mask != asked
    assert set(opened) == {"all.vrt", "sheet3.tif"}
    save(sheets[4], noise(1, 8, 8, seed=99))
    assert open_raster(vrt).fingerprint() != with_mask


def test_what_lies_nowhere_is_not_said_to_be_known() -> None:
    assert not walk_files("https://host.invalid/a.tif").complete
    assert not walk_files("/vsimem/a.tif").complete
    assert walk_files("gone.tif").complete  # it has no pixels to give


def test_pixels_in_memory_are_looked_at(tmp_path: Path) -> None:
    with rasterio.MemoryFile(plain(tmp_path, 0).read_bytes(), ext=".tif") as memory:
        scene = open_raster(memory.name)
        before = scene.fingerprint()
        assert (scene.files(), scene.fingerprint()) == ([], before)
    with rasterio.MemoryFile(plain(tmp_path, 1).read_bytes(), filename=Path(memory.name).name) as other:
        assert open_raster(other.name).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("{0}/s.tif", "s.tif"),
        ("/vsizip/{0}/a.zip/in/s.tif", "a.zip"),
        ("/vsizip/{{{0}/a.zip}}/in/s.tif", "a.zip"),
        ("/vsitar//vsigzip/{0}/s.tif", "s.tif"),
        ("GTIFF_DIR:off:8:{0}/s.tif", "s.tif"),
        ('NETCDF:"/vsizip/{0}/a.zip/a.nc":v', "a.zip"),
        ("ZARR:{0}/z.zarr/a:0", "z.zarr"),
        ("HDF5:{0}/s.tif://group/a", "s.tif"),
        ("HDF5:s.tif://group/a", "s.tif"),
        ("HDF5:https://host.invalid/s.tif://group/a", None),
        ("/vsizip/{0}/none.zip/s.tif", None),
        ("/vsicurl/http://host.invalid/s.tif", None),
        ("a\0b", None),
    ],
)
def test_container(name: str, held: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped(tmp_path, 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.zarr").mkdir()
    (tmp_path / "z.zarr" / ".zgroup").write_text("{}")
    root = container(name.format(tmp_path))
    assert (None if root is None else root.absolute()) == (None if held is None else tmp_path / held)


class TestSecurity:
    """Nothing opens the network, or XML, by accident."""

    @pytest.mark.parametrize("wrap", [zipfile.ZipFile, None])
    def test_vrt_in_an_archive(self, wrap: object, tmp_path: Path) -> None:
        evil = write_vrt(tmp_path / "s.tif", "/vsicurl/http://host.invalid/a.tif", relative=0)
        if wrap is None:
            with tarfile.open(tmp_path / "a.tar", "w") as file:
                file.add(evil, "s.tif")
            name = f"/vsitar/{tmp_path}/a.tar/s.tif"
        else:
            with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
                file.write(evil, "s.tif")
            name = f"/vsizip/{tmp_path}/a.zip/s.tif"
        with pytest.raises(SceneError, match="none of the raster formats"):
            open_raster(name)
        with pytest.raises(SceneError, match="must be local files"):
            open_raster(write_vrt(tmp_path / "outer.vrt", name, relative=0))

    def test_vrt_by_name_in_an_archive(self, tmp_path: Path) -> None:
        zipped(tmp_path, 0)
        with pytest.raises(SceneError, match="a VRT must be a file of its own"):
            open_raster(f"/vsizip/{tmp_path}/a.zip/a.vrt")

    def test_a_comment_before_the_xml_hides_nothing(self, tmp_path: Path) -> None:
        text = write_vrt(tmp_path / "x", "/vsicurl/http://host.invalid/a.tif", relative=0).read_text()
        (tmp_path / "s.tif").write_text("P5 # " + text)
        with pytest.raises(SceneError, match="scene must be a raster file or a VRT"):
            open_raster(write_vrt(tmp_path / "outer.vrt", "s.tif"))

    @pytest.mark.parametrize("name", ["/vsisparse/a", "/vsisubfile/0_9,a.tif", "/vsistdin/", "/vsicrypt/a"])
    def test_other_file_systems(self, name: str) -> None:
        with pytest.raises(SceneError, match="file system of a scene must be"):
            open_raster(name)

    @pytest.mark.parametrize("name", ["/vsizip/none.zip/a.tif", "GTIFF_DIR:1:none.tif"])
    def test_missing_containers(self, name: str) -> None:
        with pytest.raises(MissingFileError, match="must lie in an existing file"):
            open_raster(name)

    def test_damaged_archives_show_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"PK\3\4 no zip")
        assert archive_head(f"/vsizip/{tmp_path}/a.zip/a.tif", 9) is None
        assert archive_head(f"/vsi7z/{tmp_path}/a.zip/a.tif", 9) is None


def test_what_is_known_by_samples_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = open_raster(plain(tmp_path, 0))
    assert scene.doubt(0) is None  # each byte was looked at
    linked = open_raster(netcdf(tmp_path, 0))
    assert linked.doubt(time.time()) == "netCDF files may link to others"
    monkeypatch.setattr(fingerprint, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(fingerprint, "_PIECE_BYTES", 16)
    assert scene.doubt(time.time() + 60) is None
    assert scene.doubt(0) == "it was written since, and is too large to be read whole"
    view = open_raster(plain(tmp_path, 0), bbox=(340_000, 3_059_998, 340_002, 3_060_000))
    assert view.doubt(0) == scene.doubt(0)
    with rasterio.MemoryFile(plain(tmp_path, 0).read_bytes(), ext=".tif") as memory:
        assert open_raster(memory.name).doubt(time.time()) == "it is no local file"


def test_a_link_that_leads_nowhere_counts_as_a_file_beside(tmp_path: Path) -> None:
    scene = plain(tmp_path, 0)
    before = open_raster(scene).fingerprint()
    (tmp_path / "s.tfw").symlink_to(tmp_path / "gone")
    (tmp_path / "s.ovr").symlink_to("s.ovr")
    files = files_by_stem(tmp_path, {"s"})["s"]
    stat = scene.stat()
    of_scene = ("s.tif", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    assert sorted(files) == [("s.ovr", 0, 0, 0), ("s.tfw", 0, 0, 0), of_scene]
    assert open_raster(scene).fingerprint() == before
