"""Kills and harms geoseg's jobs at their file operations, and looks at what is left.

Run it as a program::

    python tests/torture/torture.py           # every operation of every job, some ten minutes
    python tests/torture/torture.py --points 6

It compiles ``faults.c``, starts itself once more with it loaded, does each job once undisturbed, and then in
forked processes, each harmed at one operation. After each of them the folder must hold nothing under a
final name but what the undisturbed job wrote, byte for byte; then the same job runs again, unharmed, and the
whole folder must equal that of the undisturbed one. Prints a JSON table of counts.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
COUNT, KILL, FULL, BROKEN, VANISH = range(5)
HARMS = {"killed": KILL, "disk full": FULL, "input/output error": BROKEN, "folder moved away": VANISH}
#: What a forked process ends with: done, refused in one line, or a traceback.
DONE, REFUSED, BUG = 0, 3, 4


def compile_faults(folder: Path) -> Path:
    """The library that counts and harms; needs a C compiler."""
    library = folder / "faults.so"
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O1", "-shared", "-fPIC", "-w", "-o", str(library), str(HERE / "faults.c"), "-ldl"]
    subprocess.run(command, check=True)
    return library


@dataclass(frozen=True)
class Job:
    """A job: ``run(folder)`` writes into a folder that it makes."""

    name: str
    run: Callable[[Path], object]
    #: Names in the folder that exist as soon as the result does.
    lists: tuple[str, ...] = ()


def make_jobs(inputs: Path) -> list[Job]:
    """The jobs that write, on small inputs with something in each of them that can't be read."""
    import rasterio
    from affine import Affine

    from geoseg.config.run import RunSettings
    from geoseg.dtl import parse_graph, run_graph
    from geoseg.pipeline.predict_scene import predict_scene
    from geoseg.pipeline.run import run_scene
    from geoseg.pipeline.vectorize_raster import vectorize_raster
    from geoseg.projects.exchange import export_project, import_source, read_source
    from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, Polygon, ProjectMeta
    from geoseg.projects.writer import ProjectWriter

    inputs.mkdir(parents=True)
    blocks = np.random.default_rng(0).integers(0, 2, (1, 16, 20), np.uint8).repeat(8, 1).repeat(8, 2)
    noise = np.random.default_rng(1).integers(0, 9, blocks.shape, np.uint8)
    profile = {
        "driver": "GTiff", "count": 1, "height": 128, "width": 160, "dtype": "uint8", "crs": "EPSG:32645",
        "transform": Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000), "tiled": True, "blockxsize": 32,
        "blockysize": 32, "compress": "deflate",
    }  # fmt: skip
    for name, pixels in (("scene.tif", blocks * 240 + noise), ("mask.tif", blocks)):
        with rasterio.open(inputs / name, "w", **profile) as out:
            out.write(pixels)
        content = (inputs / name).read_bytes()
        (inputs / name).write_bytes(content[:-20])  # cuts the last block

    image = np.random.default_rng(2).integers(0, 255, (3, 24, 32), np.uint8)
    project = inputs / "town"
    square = Polygon(np.array([[4.0, 4], [20, 4], [20, 18], [4, 18]]))
    with ProjectWriter(project, ProjectMeta((ClassMeta("house", "polygon", (200, 0, 0)),))) as writer:
        for name in ("a.tif", "b.tif", "broken.tif"):
            annotation = Annotation(24, 32, (LabeledObject("house", square),))
            writer.add("d", name, annotation, lambda path: _write_image(path, image))
    (project / "d" / "img" / "broken.tif").write_bytes(b"no image")
    graph = parse_graph(
        [
            {"action": "data", "src": ["town/*"], "dst": "$a", "settings": {"classes_mapping": "default"}},
            {"action": "flip", "src": ["$a"], "dst": "$b", "settings": {"axis": "vertical"}},
            {"action": "save", "src": ["$b"], "dst": "flipped", "settings": {}},
        ]
    )
    settings = RunSettings(
        window=(32, 32), overlap=(8, 8), chunk=64, on_error="skip", save_mask=True,
        formats=("geojson", "gpkg", "parquet"),
    )  # fmt: skip
    vectors = RunSettings(formats=("fgb", "shp"), chunk=64, on_error="skip")
    network, images = Bright(), project / "d" / "img"
    scene, mask = inputs / "scene.tif", inputs / "mask.tif"
    return [
        Job(
            "run",
            lambda out: run_scene(scene, network, out, settings),
            ("scene.geojson.failures.json", "scene.mask.tif.failures.json"),
        ),
        Job(
            "predict",
            lambda out: predict_scene(scene, network, out / "p.tif", settings),
            ("p.tif.failures.json",),
        ),
        Job(
            "vectorize",
            lambda out: vectorize_raster(mask, out, vectors),
            ("mask.fgb.failures.json", "mask.shp.failures.json"),
        ),
        Job(
            "import",
            lambda out: import_source(read_source("images", images), out / "p", overwrite=True),
            ("p.failures.json",),
        ),
        Job("export", lambda out: _export(export_project, project, out / "coco"), ("coco.failures.json",)),
        Job("dtl", lambda out: run_graph(graph, inputs, out, overwrite=True), ("flipped.failures.json",)),
    ]


class Bright:
    """A network: the values themselves, over 255."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch[:, :1] / np.float32(255)

    def fingerprint(self) -> str:
        return "bright"


def _write_image(path: Path, pixels: np.ndarray) -> None:
    import rasterio

    with rasterio.open(path, "w", driver="GTiff", count=3, height=24, width=32, dtype="uint8") as out:
        out.write(pixels)


def _export(export: Callable[..., object], project: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)  # an export refuses a folder that is there
    export(project, "coco", out)


def listing(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by name. Lines of a store's record may come in any order, and some twice."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file():
            content = path.read_bytes()
            name = str(path.relative_to(folder))
            # Each run that ends says once that the scene was there, also where one did so before.
            lines = b"\n".join(sorted(set(content.split(b"\n"))))
            found[name] = lines if name.endswith("chunks.log") else content
    return found


def same(name: str, content: bytes, expected: bytes | None) -> bool:
    """Whether two files are equal; of a TIFF the pixels: a write that failed may be done again elsewhere."""
    if content == expected or expected is None or not name.endswith(".tif"):
        return content == expected
    from rasterio.io import MemoryFile

    with MemoryFile(content) as a, MemoryFile(expected) as b, a.open() as one, b.open() as other:
        return one.profile == other.profile and bool((one.read() == other.read()).all())


def is_side(name: str) -> bool:
    """Whether a file has a temporary name or lies in a folder that has one, or belongs to a kept run."""
    parts = Path(name).parts
    return any(part.startswith(".") or part.endswith(".geoseg") for part in parts)


class Torture:
    """One process that does the jobs, and forks one for each time it harms them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults = ctypes.CDLL(None)
        self.counts: dict[str, Counter[str]] = {}
        self.problems: list[str] = []

    def forked(self, job: Job, out: Path, at: int, mode: int) -> tuple[int, int, str]:
        """Do a job in a forked process; its exit status (or minus the signal), its operations, its words."""
        read, write = os.pipe()
        child = os.fork()
        if not child:
            status, words = DONE, ""
            os.close(read)
            self.faults.torture_arm(os.fsencode(out), ctypes.c_long(at), mode)
            try:
                job.run(out)
            except BaseException as error:
                status, words = _status_of(error)
            os.write(write, f"{self.faults.torture_count()} {words[-4000:]}".encode())
            os._exit(status)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            text = pipe.read().decode()
        _, state = os.waitpid(child, 0)
        count, _, words = text.partition(" ")
        return os.waitstatus_to_exitcode(state), int(count or 0), words

    def torture(self, job: Job, harms: dict[str, int | None]) -> None:
        """Do a job undisturbed, then harm it in each way at so many of its operations (None: at each)."""
        counts = self.counts.setdefault(job.name, Counter())
        whole = self.folder / f"{job.name}-whole"
        status, operations, words = self.forked(job, whole, 0, COUNT)
        expected = listing(whole)
        if status != DONE or not all(name in expected for name in job.lists):
            self.problems.append(f"{job.name}, undisturbed: {status} {words} {sorted(expected)}")
            return
        counts["operations"] = operations
        for harm, points in harms.items():
            mode = HARMS[harm]
            for at in _spread(operations, points):
                out = self.folder / f"{job.name}-{mode}-{at}"
                self._once(job, out, at, mode, expected, f"{job.name}, {harm} at operation {at}")
                counts[harm] += 1
                shutil.rmtree(out, ignore_errors=True)
                shutil.rmtree(out.with_name(f"{out.name}.gone"), ignore_errors=True)

    def _once(self, job: Job, out: Path, at: int, mode: int, expected: dict[str, bytes], what: str) -> None:
        status, _, words = self.forked(job, out, at, mode)
        if status == -signal.SIGSEGV and mode != KILL:
            # GDAL 3.12 crashes where it can't make the .cpg of a shapefile: no result, and no silence
            self.counts[job.name]["crashed in GDAL"] += 1
        elif status not in (DONE, -signal.SIGKILL if mode == KILL else REFUSED):
            self.problems.append(f"{what}: {status} {words}")
            return
        left = listing(out)
        finished = {name: content for name, content in left.items() if not is_side(name)}
        results = finished.keys() - set(job.lists)
        if results and not all(name in finished for name in job.lists):
            self.problems.append(f"{what}: a result without its list: {sorted(results)}")
        # a list that is longer says what is missing from the result: an image, or a region
        if all(finished.get(name) == expected[name] for name in job.lists if name in finished):
            wrong = sorted(name for name in finished if not same(name, finished[name], expected.get(name)))
            if wrong:
                self.problems.append(f"{what}: not what the job writes: {wrong}")
            absent = sorted(name for name in expected if not is_side(name) and name not in finished)
            if status == DONE and absent and mode != VANISH:
                self.problems.append(f"{what}: ended well without {absent}")
        status, _, words = self.forked(job, out, 0, COUNT)
        again = listing(out)
        differ = sorted(name for name in {*again, *expected} if again.get(name) != expected.get(name))
        if status != DONE or differ:
            self.problems.append(f"{what}, and again: {status} {words} differ: {differ}")

    def damage_chunks(self, job: Job) -> None:
        """Harm each chunk of a finished run's store in each way, and run again."""
        whole = self.folder / f"{job.name}-whole"
        expected = listing(whole)
        for chunk in sorted(name for name in expected if "/prob/c/" in name):
            for harm, change in DAMAGES.items():
                out = self.folder / "damaged"
                shutil.copytree(whole, out)
                change(out / chunk)
                status, _, words = self.forked(job, out, 0, COUNT)
                again = listing(out)
                if status != DONE or again != expected:
                    self.problems.append(f"{job.name}, {chunk} {harm}: {status} {words}")
                self.counts[job.name][f"chunk {harm}"] += 1
                shutil.rmtree(out)


def _status_of(error: BaseException) -> tuple[int, str]:
    """As the command line sees it: one line and a status, or a traceback."""
    from geoseg.errors import GeosegError

    if isinstance(error, GeosegError | OSError | MemoryError):
        return REFUSED, str(error)
    return BUG, "".join(traceback.format_exception(error))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped": _flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
    "made a folder": _folder,
}


def _spread(operations: int, points: int | None) -> Iterator[int]:
    """Numbers of operations, from the first to the last."""
    if points is None or points >= operations:
        yield from range(1, operations + 1)
    else:
        yield from sorted({1 + round(k * (operations - 1) / (points - 1)) for k in range(points)})


def torture_here(folder: Path, points: dict[str, int | None], names: list[str] | None = None) -> Torture:
    """Torture all jobs in this process, which has the faults loaded."""
    torture = Torture(folder)
    warm = make_jobs(folder / "warm")  # so that forks find all loaded, but no file of the jobs open
    for job in warm:
        job.run(folder / "warm-out" / job.name)
    for job in make_jobs(folder / "inputs"):
        if names and job.name not in names:
            continue
        torture.torture(job, points)
        if job.name == "run":
            torture.damage_chunks(job)
    return torture


def main() -> None:
    """Compile, start again with the faults loaded, torture, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, help="operations of a job to harm in each way [all]")
    parser.add_argument("--jobs", nargs="*", help="only these")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geoseg-torture-") as folder:
        if "torture_arm" not in os.environ.get("GEOSEG_TORTURE", ""):
            library = compile_faults(Path(folder))
            environment = os.environ | {"LD_PRELOAD": str(library), "GEOSEG_TORTURE": "torture_arm"}
            command = [sys.executable, __file__, *sys.argv[1:]]
            raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
        points = dict.fromkeys(HARMS, arguments.points)
        torture = torture_here(Path(folder), points, arguments.jobs)
        print(json.dumps({"counts": torture.counts, "problems": torture.problems}, indent=2))
        raise SystemExit(1 if torture.problems else 0)


if __name__ == "__main__":
    main()
