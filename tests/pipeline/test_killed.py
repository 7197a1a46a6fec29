"""Drivers and a scheduler as processes that are killed: the same call, given again, ends the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_towns import brightness, results, save, settings, town

from geoseg.pipeline.run import run_scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="processes are killed by a signal"),
]

#: What a person gives again: a script, for it needs no network with weights. It says how many windows it ran.
_SCRIPT = """
import json
import sys

from shared_towns import brightness, settings

from geoseg.errors import GeosegError
from geoseg.pipeline.run import run_scene

if __name__ == "__main__":
    scene, out, given = sys.argv[1:]
    try:
        summary = run_scene(scene, brightness(0.3), out, settings(batch_size=2, **json.loads(given)))
    except GeosegError as error:
        sys.exit(f"error: {error}")
    print(summary.windows_run, summary.windows)
"""

#: Seconds that anything may take, on a machine with much else to do.
_PATIENCE = 240


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("scene") / "town.tif", town())


@pytest.fixture(scope="module")
def alone(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Results of one process that nobody kills."""
    folder = tmp_path_factory.mktemp("alone")
    # The same network: its closure is part of what the files say of their origin.
    run_scene(scene, brightness(0.3), folder, settings(batch_size=2))
    return results(folder)


@contextlib.contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process, which does not outlive the test."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def driver(folder: Path, scene: Path, **given: Any) -> Iterator[subprocess.Popen[str]]:
    script = folder / "job.py"
    script.write_text(_SCRIPT)
    with started(script, scene, folder / "out", json.dumps(given)) as process:
        yield process


def waited(until: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not until():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def finished_chunks(folder: Path) -> int:
    log = folder / "out" / "town.geoseg" / "chunks.log"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def descendants(process: int) -> list[int]:
    """Processes that a process started, and that these started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [number for child in map(int, children) for number in (child, *descendants(child))]


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def finish(folder: Path, scene: Path, alone: dict[str, bytes], **given: Any) -> None:
    """Give the call again; it goes on with what is there, to the same bytes."""
    with driver(folder, scene, **given) as again:
        output, errors = again.communicate(timeout=_PATIENCE)
    assert again.returncode == 0, errors
    now, all_of_them = map(int, output.split())
    assert now < all_of_them - 1  # the first window is always run, to count the outputs
    assert results(folder / "out") == alone
    assert not (folder / "out" / "town.geoseg" / "parts").exists()


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler and two workers as processes: its address, and the scheduler."""
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    quiet = ["--no-dashboard", "--scheduler-file", file]
    with started("-m", "distributed.cli.dask_scheduler", "--port", "0", *quiet) as scheduler:
        waited(file.is_file, "the scheduler")
        worker = ["-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *quiet]
        with started(*worker), started(*worker):
            yield json.loads(file.read_text())["address"], scheduler


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks /proc for children")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_driver_takes_its_workers_along_and_goes_on(tmp_path, scene, alone, elsewhere) -> None:
    given = {"workers": 2} | ({"store": f"file://{tmp_path}/meeting"} if elsewhere else {})
    with driver(tmp_path, scene, **given) as process:
        waited(lambda: finished_chunks(tmp_path) >= 8, "chunks")
        workers = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(workers) >= 2
    assert not (tmp_path / "out" / "town.geojson").exists()
    waited(lambda: not any(map(alive, workers)), "the end of the workers")
    # What they had put aside is of no use to the next call, which takes other names.
    place = next((tmp_path / "meeting").iterdir()) if elsewhere else tmp_path / "out" / "town.geoseg"
    assert any((place / "parts").iterdir())
    finish(tmp_path, scene, alone, **given)
    assert not (place / "parts").exists()


def test_a_driver_of_a_cluster_may_be_killed_and_its_scheduler_as_well(tmp_path, scene, alone) -> None:
    with dask_cluster(tmp_path) as (address, scheduler):
        with driver(tmp_path, scene, scheduler=address) as process:
            waited(lambda: finished_chunks(tmp_path) >= 8, "chunks")
            process.send_signal(signal.SIGKILL)
            process.wait()
        kept = finished_chunks(tmp_path)
        # The workers may still be at what the killed driver gave them.
        with driver(tmp_path, scene, scheduler=address) as process:
            waited(lambda: finished_chunks(tmp_path) > kept, "more chunks")
            scheduler.send_signal(signal.SIGKILL)
            _, errors = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 1
        (line,) = errors.strip().splitlines()
        assert line.startswith("error: the cluster can't be reached any more")
    assert not (tmp_path / "out" / "town.geojson").exists()
    with dask_cluster(tmp_path) as (address, _):
        finish(tmp_path, scene, alone, scheduler=address)
