"""CPUs that a process may use, by what the kernel says of its control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geoseg import cpus
from geoseg.cpus import respect_quota, usable_cpus

VERSION_2, VERSION_1 = "0::{}", "12:cpuset:/\n4:cpuacct,cpu:{}\n1:name=systemd:{}"


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for groups and limits; the machine has 64 CPUs, of which 8 are ours."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cpus, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cpus, "_LIMITS", tmp_path)
    return tmp_path


def put(limits: Path, groups: str, files: dict[str, str]) -> None:
    (limits / "cgroup").write_text(groups + "\n")
    for name, text in files.items():
        (limits / name).parent.mkdir(parents=True, exist_ok=True)
        (limits / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        (VERSION_2.format("/"), {"cpu.max": "200000 100000"}, 2),
        (VERSION_2.format("/"), {"cpu.max": "250000 100000"}, 3),  # rounded up
        (VERSION_2.format("/"), {"cpu.max": "20000 100000"}, 1),
        (VERSION_2.format("/"), {"cpu.max": "max 100000"}, 8),
        (VERSION_2.format("/"), {"cpu.max": "6400000 100000"}, 8),
        (VERSION_2.format("/"), {}, 8),
        # The narrowest of a group and those around it.
        (VERSION_2.format("/a/b"), {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        (VERSION_2.format("/a/b"), {"a/b/cpu.max": "200000 50000", "a/cpu.max": "500000 100000"}, 4),
        # A name of the machine that the container does not see, and one outside of what it sees.
        (VERSION_2.format("/docker/0a1b"), {"cpu.max": "200000 100000"}, 2),
        (VERSION_2.format("/../../other"), {"cpu.max": "200000 100000"}, 2),
        (
            VERSION_1.replace("{}", "/"),
            {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000", "cpu.max": "100 100"},
            2,
        ),
        (VERSION_1.replace("{}", "/"), {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (VERSION_1.replace("{}", "/d/e"), {"cpu/d/cpu.cfs_quota_us": "5", "cpu/d/cpu.cfs_period_us": "1"}, 5),
        (VERSION_1.replace("{}", "/"), {"cpu/cpu.cfs_quota_us": "50", "cpu/cpu.cfs_period_us": "0"}, 8),
    ],
)  # fmt: skip
def test_the_share_of_a_container_counts(
    limits: Path, groups: str, files: dict[str, str], count: int
) -> None:
    put(limits, groups, files)
    assert usable_cpus() == count


def test_where_the_kernel_says_nothing_all_of_ours_count(limits: Path) -> None:
    assert usable_cpus() == 8


@pytest.mark.parametrize(("quota", "threads"), [("200000", "2"), ("max", None)])
def test_libraries_of_numbers_keep_to_the_share(
    limits: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: str | None
) -> None:
    for name in cpus._THREADS:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")  # somebody who has set it knows better
    put(limits, VERSION_2.format("/"), {"cpu.max": f"{quota} 100000"})
    respect_quota()
    assert os.environ.get("OMP_NUM_THREADS") == os.environ.get("NUMBA_NUM_THREADS") == threads
    assert os.environ["MKL_NUM_THREADS"] == "7"
