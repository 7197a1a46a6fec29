"""A folder of sheets to footprints, against peers that take one: time, memory, cut houses, holes, going on.

    python benchmarks/batch.py                # 4 x 4 sheets of 1024 x 1024 pixels
    python benchmarks/batch.py --across 2     # 2 x 2

The sheets are cut from one generated ground, on which houses stand across their borders. All cases run one
small network of PyTorch, on the CPU with one thread. Each is a process of its own; its time starts after one
sheet for a warm-up, and its memory is what it takes above that moment. Columns:

- **time**: of the wall and of the processor, from sheets to polygons. The floor is that of the processor for
  each window of geoseg's grid, read and put through the network once, with nothing else.
- **whole, cut, missing**: houses that are one polygon of their own ground; several, or a part; none. The next
  column says what these are after a kill, where they differ.
- **going on**: killed (-9) when half of the sheets (of geoseg, half of the chunks) are finished, and given
  again: how much of the processor's time that takes. One that keeps all needs about 50 %.
- **damaged sheet**: one sheet has a block that can't be read. How many houses are missing then, and whether
  the job says so.

Peers are left out, and named, where they are not installed. Neither downloads anything for this.

- ``geo-inference`` (NRCan): TorchScript, its own 50 % overlap, one sheet a call, for it has no batch. ``pip
  install geo-inference``.
- ``geoai-py``: ``geoai.pipeline.Pipeline`` with ``predict_geotiff`` and ``raster_to_vector``, a checkpoint
  folder, and geoseg's window and overlap. Its own ``RasterToVectorStep`` fails in 0.40.1, for it names an
  argument that ``raster_to_vector`` does not have. ``pip install geoai-py``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from main_job import OVERLAP, WINDOW, Peak

#: Chunks of geoseg are as far from each other as its windows: the ground is small.
CHUNK = WINDOW - OVERLAP
SIDE, METERS, LEFT, TOP = 1024, 0.3, 350_000.0, 3_056_000.0
#: Pixels from house to house, and of a house: with these some stand across every border.
STEP, WIDE, TALL = 97, 37, 29
NAMES = {"geoseg": "**geoseg run**", "geo_inference": "NRCan geo-inference", "geoai": "geoai Pipeline"}


def house_corners(across: int) -> np.ndarray:
    """(n, 2) row and column of the upper left corner of each house."""
    places = range(40, across * SIDE - STEP, STEP)
    return np.array(list(itertools.product(places, places)))


def make_sheets(folder: Path, across: int) -> None:
    """The ground in sheets; one roof in eight has nothing in its blue band."""
    import rasterio
    from affine import Affine

    rng = np.random.default_rng(0)
    ground = rng.integers(20, 60, (3, across * SIDE, across * SIDE), dtype=np.uint8)
    for number, (row, col) in enumerate(house_corners(across)):
        color = (250, 240, 0) if number % 8 == 0 else (210, 200, 190)
        ground[:, row : row + TALL, col : col + WIDE] = np.array(color, np.uint8)[:, None, None]
    profile = {
        "driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "crs": "EPSG:32645",
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
    }  # fmt: skip
    for row, col in itertools.product(range(across), repeat=2):
        place = Affine(METERS, 0, LEFT + col * SIDE * METERS, 0, -METERS, TOP - row * SIDE * METERS)
        with rasterio.open(folder / f"sheet_{row}{col}.tif", "w", transform=place, **profile) as out:
            rows, cols = (slice(k * SIDE, (k + 1) * SIDE) for k in (row, col))
            out.write(ground[:, rows, cols])


def damage(folder: Path) -> None:
    """Spoil the middle of the second sheet."""
    path = sorted(folder.glob("*.tif"))[1]
    content = bytearray(path.read_bytes())
    # Around the begin of a block: in the middle of one GDAL takes other pixels for good ones.
    spoiled = slice(len(content) * 9 // 20, len(content) * 11 // 20)
    content[spoiled] = b"\xff" * len(content[spoiled])
    path.write_bytes(content)


def make_network() -> Any:
    """Bright is a house, as TorchScript; two convolutions beside it take time and change nothing."""
    import torch

    class Bright(torch.nn.Module):
        """Bytes in, probability out."""

        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(
                torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, padding=1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.float()
            idle = 0.0 * self.body(x / 255.0).mean(1, keepdim=True)
            return torch.sigmoid((x.mean(1, keepdim=True) - 128.0) / 4.0 + idle)

    torch.manual_seed(0)
    return torch.jit.script(Bright().eval())


class Network:
    """The network as a function of arrays, known again by its name."""

    def __init__(self) -> None:
        self._network = make_network()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(np.ascontiguousarray(batch))).numpy())

    def fingerprint(self) -> str:
        """The same for each process."""
        return "bright"


#: What a case does: sheets and a folder for results to files of polygons, and whether it says that some lack.
Job = Callable[[], tuple[Sequence[Path], bool]]


def floor(sheets: Path, out: Path) -> Job:
    """Read each window of the whole ground and run the network."""
    from geoseg.geo.windows import Window
    from geoseg.io.sources import open_raster

    network, scene = Network(), open_raster(sheets)
    height, width = scene.geobox.shape

    def starts(length: int) -> list[int]:
        return [*range(0, length - WINDOW, WINDOW - OVERLAP), length - WINDOW]

    def run() -> tuple[list[Path], bool]:
        for row, col in itertools.product(starts(height), starts(width)):
            network(scene.read(Window(row_off=row, col_off=col, height=WINDOW, width=WINDOW))[None])
        return [], False

    return run


def case_geoseg(sheets: Path, out: Path) -> Job:
    """The folder as one scene; what can't be read is listed. Chunks are small, as the ground is."""
    import geoseg

    network = Network()
    plain = {"min_area_m2": 4, "simplify_m": 0, "regularize": False}

    def run() -> tuple[list[Path], bool]:
        summary = geoseg.run_batch(
            sheets, network, out=out, window=WINDOW, overlap=OVERLAP, chunk=CHUNK, on_error="skip", **plain
        )
        files = [out / record.files["geojson"] for record in summary.scenes if "geojson" in record.files]
        return files, bool(summary.missing)

    return run


def case_geo_inference(sheets: Path, out: Path) -> Job:
    """A call for each sheet, as its command is used in a loop of a shell."""
    from geo_inference.geo_inference import GeoInference

    script = out.parent / "network.pt"
    make_network().save(str(script))
    peer = GeoInference(
        model=str(script), work_dir=str(out), mask_to_vec=True, device="cpu", num_classes=1,
        prediction_threshold=0.5,
    )  # fmt: skip

    def run() -> tuple[list[Path], bool]:
        failed = False
        for sheet in sorted(sheets.glob("*.tif")):
            try:
                peer(inference_input=str(sheet), patch_size=WINDOW, workers=1)
            except Exception as error:
                failed = True
                print(f"{sheet.name}: {error}", file=sys.stderr)
        return sorted(out.glob("*_polygons_*.geojson")), failed

    return run


def case_geoai(sheets: Path, out: Path) -> Job:
    """Its pipeline with a checkpoint folder; what fails is passed over, as it does by itself."""
    from geoai.inference import predict_geotiff
    from geoai.pipeline import FunctionStep, Pipeline
    from geoai.utils.raster import raster_to_vector

    network = make_network()

    def predict(item: dict[str, Any]) -> dict[str, Any]:
        target = out / Path(item["input_path"]).name
        predict_geotiff(
            network, item["input_path"], str(target), tile_size=WINDOW, overlap=OVERLAP, device="cpu",
            preprocess_fn=lambda tile: tile.astype(np.float32), verbose=False, output_dtype="uint8",
            output_nodata=255, postprocess_fn=lambda prob: (prob > 0.5).astype(np.uint8),
        )  # fmt: skip
        return {**item, "output_path": str(target), "output_dir": str(out)}

    def vectorize(item: dict[str, Any]) -> dict[str, Any]:
        mask = Path(item["output_path"])
        raster_to_vector(str(mask), str(mask.with_suffix(".geojson")), min_area=4, simplify_tolerance=None)
        return item

    steps = [FunctionStep("predict", predict), FunctionStep("vectorize", vectorize)]
    peer = Pipeline(steps, checkpoint_dir=str(out / "checkpoints"), quiet=True)

    def run() -> tuple[list[Path], bool]:
        items = [{"input_path": str(sheet)} for sheet in sorted(sheets.glob("*.tif"))]
        done = peer.run(items=items)
        return sorted(out.glob("sheet_*.geojson")), bool(done.failed)

    return run


CASES = {
    "floor": floor, "geoseg": case_geoseg, "geo_inference": case_geo_inference, "geoai": case_geoai
}  # fmt: skip


#: What is there when a part is finished.
FINISHED = {
    "geoseg": "*/*.geoseg/prob/c/0/*/*", "geo_inference": "*_polygons_*.geojson", "geoai": "sheet_*.geojson"
}  # fmt: skip


def count_parts(case: str, across: int) -> int:
    """How many chunks or sheets a case has."""
    return (-(-across * SIDE // CHUNK) if case == "geoseg" else across) ** 2


def count_houses(files: Sequence[Path], across: int) -> dict[str, int]:
    """Houses that are whole, cut and missing in files of polygons."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    row, col = house_corners(across).T
    left, top = LEFT + col * METERS, TOP - row * METERS
    houses = shapely.box(left, top - TALL * METERS, left + WIDE * METERS, top)
    frames, broken = [], 0
    for path in files:
        try:
            frames.append(gpd.read_file(path).to_crs("EPSG:32645"))
        except Exception:  # what a kill left half written
            broken += 1
    found = pd.concat(frames).geometry.to_numpy() if frames else np.array([], object)
    # Half a pixel less: the polygon of a neighbor's border is no part of a house.
    house, polygon = shapely.STRtree(found).query(shapely.buffer(houses, -METERS / 2), "intersects")
    pieces = np.bincount(house, minlength=len(houses))
    common = shapely.area(shapely.intersection(houses[house], found[polygon]))
    union = shapely.area(shapely.union(houses[house], found[polygon]))
    is_whole = np.zeros(len(houses), bool)
    is_whole[house[common >= 0.95 * union]] = True
    is_whole &= pieces == 1
    missing = int((pieces == 0).sum())
    whole = int(is_whole.sum())
    counts = {"whole": whole, "cut": len(houses) - whole - missing, "missing": missing}
    return counts | ({"broken files": broken} if broken else {})


def run_case(case: str, sheets: Path, out: Path, across: int) -> None:
    """In a process of its own: print a line when it begins, and one with what it gave."""
    import torch

    torch.set_num_threads(1)
    out.mkdir(exist_ok=True)
    # What they print themselves must not come between.
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as name:
        (folder := Path(name) / "sheet").mkdir()
        (done := Path(name) / "done").mkdir()
        make_sheets(folder, 1)
        CASES[case](folder, done)()
        job = CASES[case](sheets, out)
    before = time.process_time()
    with Peak() as peak, contextlib.redirect_stdout(io.StringIO()):
        files, says_so = job()
    figures = {"wall": peak.wall, "cpu": time.process_time() - before, "peak": peak.above, "says_so": says_so}
    houses = {} if case == "floor" else count_houses(files, across)
    print(json.dumps({**figures, **houses}), flush=True)


def measure(case: str, sheets: Path, out: Path, across: int, kill: bool = False) -> Any:
    """What a case gave; None where it was killed."""
    command = [sys.executable, __file__, "case", case, str(sheets), str(out), str(across)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet
    ) as process:
        while kill and process.poll() is None:
            if len(list(out.glob(FINISHED[case]))) * 2 >= count_parts(case, across):
                process.kill()
                return None
            time.sleep(0.01)
        output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{case} failed:\n{errors[-2000:]}")
    print(f"{out.name}: {output.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
    return json.loads(output.strip().splitlines()[-1])


def row_of(case: str, folder: Path, across: int, floor_s: float) -> str:
    """A row of the table."""
    place = functools.partial(Path, folder)
    whole = measure(case, place("sheets"), place(f"{case}_whole"), across)
    measure(case, place("sheets"), place(f"{case}_killed"), across, kill=True)
    again = measure(case, place("sheets"), place(f"{case}_killed"), across)
    hurt = measure(case, place("damaged"), place(f"{case}_damaged"), across)
    lost, told = hurt["missing"] - whole["missing"], "said" if hurt["says_so"] else "not said"
    counts = ("whole", "cut", "missing", "broken files")
    left = {name: again[name] for name in counts if again.get(name, 0) != whole.get(name, 0)}
    note = ", then " + ", ".join(f"{count} {name}" for name, count in left.items()) if left else ""
    cells = [
        NAMES[case],
        f"{whole['wall']:.1f} s, {whole['cpu']:.1f} s ({whole['cpu'] / floor_s:.2f} x)",
        f"+{whole['peak']:.0f} MB",
        *(str(whole[name]) for name in counts[:3]),
        f"{again['cpu'] / whole['cpu']:.0%}{note}",
        f"{lost} more missing, {told}",
    ]
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str] | None = None) -> list[str]:
    """Print the table, as Markdown; returns its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--across", type=int, default=4, help="sheets along a side")
    parser.add_argument("--cases", default="geoseg,geo_inference,geoai", help="which, with commas")
    given = parser.parse_args(words)
    across: int = given.across
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("sheets", "damaged"):
            (folder / kind).mkdir()
            make_sheets(folder / kind, across)
        damage(folder / "damaged")
        floor_s = measure("floor", folder / "sheets", folder / "floor", across)["cpu"]
        print(f"{len(house_corners(across))} houses on {across} x {across} sheets of {SIDE} x {SIDE} pixels; "
              f"floor {floor_s:.1f} s\n")  # fmt: skip
        print("| | wall, processor (x floor) | memory | whole | cut | missing | going on | damaged sheet |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for case in given.cases.split(","):
            if importlib.util.find_spec(case) is None:
                print(f"{case} is not installed: left out", file=sys.stderr)
                continue
            rows.append(row_of(case, folder, across, floor_s))
            print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        warnings.simplefilter("ignore")
        run_case(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
