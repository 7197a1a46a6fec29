"""Streams in torch's DataLoader: a graph's samples, shared out among processes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dtl_projects import data_layer, save_layer, step, write_project
from torch import distributed
from torch.utils.data import DataLoader

from geoseg.data.stream import SampleStream
from geoseg.dtl import MappedSamples, open_graph, parse_graph

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

HALF = {"min_percent": 30, "max_percent": 60}
CROP = step("crop", {"random_part": {"width": HALF, "height": HALF}}, "$many", "$crop")
#: Whether a sample passes is not known before it is made.
SOME = step("if", {"condition": {"min_objects_count": 0}}, "$crop", ["$out", "null"])


def name_and_window(sample):
    sample.pixels.read()
    return f"{sample.origin.name} {sample.key.hex()} {sample.pixels.source_window}"


def damage(image: Path) -> None:
    """Spoil pixels, which shows when they are read."""
    data = bytearray(image.read_bytes())
    data[1000:1400] = bytes(400)
    image.write_bytes(data)


def opened(folder: Path, *, known: bool = False, images: int = 5):
    """Crops of a project, three an image."""
    write_project(folder, "p", [f"{n}.png" for n in range(images)])
    multiply = step("multiply", {"multiply": 3}, "$in", "$many")
    layers = [data_layer("p"), multiply, CROP, *([] if known else [SOME])]
    graph = parse_graph([*layers, save_layer("$crop" if known else "$out")])
    return open_graph(graph, folder, seed=3, transform=name_and_window)


@pytest.mark.parametrize("workers", [0, 2, 7])
def test_workers_make_each_sample_once(tmp_path, workers):
    samples = opened(tmp_path)
    assert not isinstance(samples, MappedSamples)
    here = Counter(samples)
    assert (len(here), here.total()) == (15, 15)
    assert Counter(DataLoader(SampleStream(samples), batch_size=None, num_workers=workers)) == here
    assert samples.failures == []


@pytest.mark.parametrize(("known", "context"), [(True, "fork"), (False, "fork"), (False, "spawn")])
def test_workers_that_are_kept_follow_the_epoch(tmp_path, known, context):
    if sys.platform == "win32" and context == "fork":
        pytest.skip("no fork on Windows")
    samples = opened(tmp_path, known=known, images=3)
    assert isinstance(samples, MappedSamples) == known
    loader = DataLoader(
        samples if known else SampleStream(samples),
        batch_size=None,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=context,
    )
    first = sorted(loader)
    assert sorted(loader) == first
    loader.dataset.set_epoch(1)
    second = sorted(loader)
    assert len(second) == 9
    assert not set(first) & set(second)
    assert sorted(samples) == second
    loader.dataset.set_epoch(0)
    assert sorted(loader) == first == sorted(samples)


def test_an_epoch_that_has_begun_stays_as_it_is(tmp_path):
    samples = opened(tmp_path)
    whole = list(samples)
    begun = iter(samples)
    head = [next(begun)]
    samples.set_epoch(1)
    assert head + list(begun) == whole


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_what_fails_in_a_worker_is_told(tmp_path, context, capfd):
    if sys.platform == "win32" and context == "fork":
        pytest.skip("no fork on Windows")
    samples = opened(tmp_path)
    damage(tmp_path / "p/ds/img/1.png")
    (tmp_path / "p/ds/ann/4.png.json").write_text("{")
    options = {"batch_size": None, "num_workers": 2, "multiprocessing_context": context}
    found = list(DataLoader(SampleStream(samples), **options))
    assert Counter(text.split()[0] for text in found) == {"0.png": 3, "2.png": 3, "3.png": 3}
    told = samples.failures
    assert Counter(image for image, _ in told) == {"p/ds/1.png": 1, "p/ds/4.png": 1}
    assert "is not valid JSON" in dict(told)["p/ds/4.png"]
    if context == "spawn":  # a forked one writes where pytest listens
        error = capfd.readouterr().err
        assert "p/ds/4.png left out: " in error
        assert error.count("p/ds/1.png left out: ") == 1
    notes = samples._failures._path
    assert notes.is_file()
    del samples
    assert not notes.exists()


def test_what_fails_here_is_told(tmp_path, caplog):
    samples = opened(tmp_path)
    damage(tmp_path / "p/ds/img/1.png")
    assert len(list(samples)) == 12
    assert [image for image, _ in samples.failures] == ["p/ds/1.png"]
    assert caplog.text.count("p/ds/1.png left out: ") == 1
    assert not samples._failures._path.exists()


#: One process of a group; prints what its workers made.
RANK = """
import json, sys
from pathlib import Path
import torch.distributed as distributed
from torch.utils.data import DataLoader
import test_stream
from geoseg.data.stream import SampleStream

def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    samples = test_stream.opened(folder / str(rank), images=9)
    stream = SampleStream(samples)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="fork")
    print(json.dumps(list(loader)))
    distributed.destroy_process_group()

if __name__ == "__main__":
    main()
"""


def test_a_stream_that_is_sent_elsewhere_knows_its_place(tmp_path, monkeypatch):
    """A spawned worker has no group; it makes a share of what its process would."""
    stream = SampleStream(opened(tmp_path, images=9))
    whole = list(stream)
    shares = []
    for rank in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(distributed, "is_initialized", lambda: True)
            patch.setattr(distributed, "get_rank", lambda rank=rank: rank)
            patch.setattr(distributed, "get_world_size", lambda: 2)
            sent = pickle.dumps(stream)
        shares.append(list(pickle.loads(sent)))
    assert Counter(shares[0] + shares[1]) == Counter(whole)
    assert min(map(len, shares)) >= 9


@pytest.mark.skipif(sys.platform != "linux", reason="one way of meeting is enough")
def test_processes_of_a_group_share_a_stream(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    runs = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        for rank in range(2)
    ]
    try:
        shares = [json.loads(run.communicate(timeout=400)[0]) for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.communicate()
    whole = Counter(opened(tmp_path / "whole", images=9))
    assert Counter(shares[0] + shares[1]) == whole
    assert min(map(len, shares)) >= 9
