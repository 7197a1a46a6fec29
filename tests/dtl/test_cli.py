"""``geoseg dtl`` as a user meets it: exit statuses, one line for a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from dtl_projects import data_layer, save_layer, step, tutorial_graph
from typer.testing import CliRunner

from geoseg.cli.dtl import dtl_app

runner = CliRunner()


def geoseg_dtl(*arguments):
    return runner.invoke(dtl_app, [str(a) for a in arguments])


@pytest.fixture
def graph(tmp_path):
    """Writes a graph to a file."""

    def write(*layers):
        path = tmp_path / "graph.json"
        path.write_text(json.dumps(layers))
        return path

    return write


def test_run(make_project, graph, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent
    path = graph(data_layer("p"), step("multiply", {"multiply": 3}), save_layer("$out"))
    result = geoseg_dtl("run", path, "--projects", root, "--out", tmp_path, "--seed", 1)
    assert result.exit_code == 0, result.output
    assert "6 samples of 2 images" in result.stdout
    assert (tmp_path / "out" / "meta.json").is_file()
    again = geoseg_dtl("run", path, "--projects", root, "--out", tmp_path)
    assert again.exit_code == 2
    assert "exists" in again.stderr
    assert geoseg_dtl("run", path, "--projects", root, "--out", tmp_path, "--overwrite").exit_code == 0


def test_a_failed_image_is_exit_status_1(make_project, graph, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent
    (root / "p/ds/ann/a.png.json").write_text("{}")
    result = geoseg_dtl(
        "run", graph(data_layer("p"), save_layer("$in")), "--projects", root, "--out", tmp_path
    )
    assert result.exit_code == 1
    assert "1 images failed" in result.stderr
    assert (tmp_path / "out.failures.json").is_file()


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_graph_is_one_line_and_exit_status_2(make_project, graph, tmp_path, command):
    root = make_project("p").parent
    path = graph(data_layer("p"), step("flip", {"axis": "sideways"}), save_layer("$out"))
    out = ("--out", tmp_path / "results") if command == "run" else ()
    result = geoseg_dtl(command, path, "--projects", root, *out)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: graph.json: layer 2 (flip): $[1].settings.axis: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_check_counts_and_warns(make_project):
    root = make_project("roads_annotated", [f"{n}.png" for n in range(10)], titles=["road"]).parent
    result = geoseg_dtl("check", tutorial_graph("roads_0"), "--projects", root, "--json")
    assert result.exit_code == 0, result.output
    checked = json.loads(result.stdout)
    assert [row["count"] for row in checked["layers"]] == [
        [10, 10], [10, 10], [20, 20], [20, 20], [200, 200],
        [220, 220], [0, 220], [0, 220], [220, 220], [220, 220],
    ]  # fmt: skip
    assert checked["layers"][-1]["classes"] == ["road", "bg"]
    assert any("split_spatial" in warning for warning in checked["warnings"])
    table = geoseg_dtl("check", tutorial_graph("roads_0"), "--projects", root)
    assert "220" in table.stdout
    assert "warning: layer 6 (if)" in table.stderr
    plain = geoseg_dtl("check", tutorial_graph("kitti_0"))
    assert plain.exit_code == 0
    assert "…" not in plain.stdout  # long names are folded, not cut


def test_check_tells_sizes_that_will_fail(make_project, graph):
    root = make_project("p", size=(40, 60)).parent
    window = {"window": {"width": 50, "height": 50}, "min_overlap": {"x": 0, "y": 0}}
    result = geoseg_dtl(
        "check",
        graph(data_layer("p"), step("sliding_window", window), save_layer("$out")),
        "--projects",
        root,
    )
    assert result.exit_code == 0
    assert "layer 2 (sliding_window) will fail on samples of 60 x 40 pixels" in result.stderr


def test_check_tells_sides_that_reach_out(make_project, graph):
    root = make_project("p", size=(40, 60)).parent
    path = graph(data_layer("p"), step("crop", {"sides": {"left": "-5px"}}), save_layer("$out"))
    result = geoseg_dtl("check", path, "--projects", root, "--json")
    assert "layer 2 (crop) will fail on samples of 60 x 40 pixels" in json.loads(result.stdout)["warnings"][0]
    assert json.loads(result.stdout)["layers"][-1]["count"] == [0, 0]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_class_or_tag_that_never_arrives_is_told(make_project, graph, tmp_path, caplog, command):
    root = make_project("p", titles=["house"], tags=lambda index: ("seen",)).parent
    asked = (
        ({"include_classes": ["house", "huose"]}, "class 'huose'", "There are house."),
        ({"sum_object_area": 1, "classes": ["tree"]}, "class 'tree'", "There are house."),
        ({"tags": ["seen", "checked"]}, "tag 'checked'", "There are seen."),
    )
    for condition, missing, known in asked:
        branch = {
            "action": "if",
            "src": ["$in"],
            "dst": ["$yes", "$no"],
            "settings": {"condition": condition},
        }
        path = graph(data_layer("p"), branch, save_layer("$yes", "$no"))
        out = ("--out", tmp_path / missing) if command == "run" else ()
        result = geoseg_dtl(command, path, "--projects", root, *out)
        assert result.exit_code == 0
        told = " ".join((result.stderr + caplog.text).split())
        caplog.clear()
        assert f"layer 2 (if) looks for the {missing}, which does not arrive there" in told
        assert known in told
        assert told.count("looks for") == 1


def test_schema_is_json():
    result = geoseg_dtl("schema")
    assert result.exit_code == 0
    actions = {
        a
        for option in json.loads(result.stdout)["items"]["oneOf"]
        for a in option["properties"]["action"]["enum"]
    }
    assert {"flip", "mask_to_polygon", "split_spatial"} <= actions


def test_help_has_examples():
    for command in ("run", "check", "schema"):
        assert "Example" in geoseg_dtl(command, "--help").stdout


@pytest.fixture
def endless(make_project, graph, tmp_path):
    """A run with two workers that would take days, once it has written a sample; ended after the test."""
    root = make_project("p", ["a.png", "b.png"]).parent
    path = graph(data_layer("p"), step("multiply", {"multiply": 10**9}), save_layer("$out"))
    words = ["dtl", "run", path, "--projects", root, "--out", tmp_path / "out", "--workers", 2, "-q"]
    command = [sys.executable, "-m", "geoseg", *map(str, words)]
    # tests that run in the background of a shell hand on that Ctrl-C is ignored
    run = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    processes = [psutil.Process(run.pid)]
    try:
        assert wait_for(lambda: list(tmp_path.glob("out/*/.staging/*/*.png"))), "no sample was written"
        processes += processes[0].children(recursive=True)
        yield run, processes
    finally:
        for process in processes:
            if process.is_running():
                process.kill()
        run.communicate()


def test_a_killed_run_leaves_neither_a_result_nor_a_process(endless, tmp_path):
    run, processes = endless
    assert len(processes) >= 3
    run.kill()
    assert not psutil.wait_procs(processes, timeout=20)[1]
    assert not [entry for entry in (tmp_path / "out").iterdir() if not entry.name.startswith(".")]
    # the same command, with an end to it
    graph = json.loads((tmp_path / "graph.json").read_text())
    graph[1]["settings"]["multiply"] = 3
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    again = subprocess.run(run.args, capture_output=True, text=True, timeout=120)
    assert (again.returncode, again.stderr) == (0, "")
    assert len(list((tmp_path / "out/out/p__ds/img").iterdir())) == 6
    left = [entry.name for entry in (tmp_path / "out").iterdir()]
    assert left == ["out"] if os.name == "posix" else "out" in left


def test_a_killed_worker_is_told_in_one_line(endless, tmp_path):
    run, processes = endless
    worker = next(p for p in processes[1:] if any("spawn_main" in word for word in p.cmdline()))
    worker.kill()
    assert run.communicate(timeout=60)[1].startswith("error: a worker was ended from outside")
    assert run.returncode == 1
    assert not psutil.wait_procs(processes, timeout=20)[1]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal to a group")
def test_an_interrupted_run_says_so_in_one_line(endless, tmp_path):
    run, processes = endless
    os.killpg(run.pid, signal.SIGINT)  # as the terminal does
    assert run.communicate(timeout=30)[1] == "stopped\n"
    assert run.returncode == 130
    assert not psutil.wait_procs(processes, timeout=20)[1]
    assert list((tmp_path / "out").iterdir()) == []


def wait_for(condition, seconds=60):
    """What a condition gives as soon as it holds; it has some time for that."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return found
