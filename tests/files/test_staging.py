"""Folders on their way: whole or not at all, and nothing of dead runs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geoseg.errors import InputError, RunError
from geoseg.files import staging
from geoseg.files.staging import DiskFullError, StagedFolder, stop_if_full
from geoseg.projects.project import ProjectWriter, open_project

posix = pytest.mark.skipif(sys.platform == "win32", reason="folders are locked on POSIX systems only")

#: Makes a folder, says so, and waits to be killed.
HOLD = """
import sys, time
from pathlib import Path
from geoseg.files.staging import DiskFullError, StagedFolder, stop_if_full
staged = StagedFolder.beside(Path(sys.argv[1]))
(staged.path / "half").write_text("done")
print(staged.path.name, flush=True)
time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@posix
def test_folders_of_killed_runs_are_removed_and_those_of_living_ones_kept(tmp_path):
    target = tmp_path / "result"
    other = tmp_path / ".result.geojsonl.part"  # of a file of that name
    other.mkdir()
    run = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        held = run.stdout.readline().strip()
        StagedFolder.beside(target).discard()
        assert names(tmp_path) == sorted([other.name, held])
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert (tmp_path / held / "half").is_file()
        StagedFolder.beside(target).commit()
        assert names(tmp_path) == [other.name, "result"]
    finally:
        run.kill()
        run.communicate()


@posix
def test_what_a_killed_run_was_about_to_replace_comes_back(tmp_path):
    target = tmp_path / "result"
    old = StagedFolder.beside(target).path.with_suffix(".old")
    old.with_suffix(".part").rmdir()
    old.mkdir()
    (old / "mine").touch()
    StagedFolder.beside(target).discard()
    assert names(tmp_path) == ["result"]
    assert names(target) == ["mine"]
    old.mkdir()
    StagedFolder.beside(target).discard()
    assert names(tmp_path) == ["result"]
    assert names(target) == ["mine"]


def left_behind(tmp_path: Path, monkeypatch, name: str, boot: str) -> Path:
    """A folder of a dead run on some computer."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(staging, "_computer", lambda: (name, boot))
        staged = StagedFolder.beside(tmp_path / "result")
        os.close(staged._lock)  # as its death does
    return staged.path


@posix
def test_folders_of_other_computers_are_left_alone(tmp_path, monkeypatch):
    """A lock that one computer holds may not be seen by another."""
    name, boot = staging._computer()
    far = left_behind(tmp_path, monkeypatch, "f" * 8, "1" * 8)
    earlier = left_behind(tmp_path, monkeypatch, name, "0" * 8)
    container = left_behind(tmp_path, monkeypatch, "c" * 8, boot)
    assert names(tmp_path) == sorted(path.name for path in (far, earlier, container))
    mine = StagedFolder.beside(tmp_path / "result")
    assert names(tmp_path) == sorted([far.name, mine.path.name])
    assert str(os.getpid()) in mine.path.name
    mine.commit()
    assert names(tmp_path) == sorted([far.name, "result"])


@posix
@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
def test_rights_are_those_of_a_folder_the_user_makes(tmp_path, mask):
    before = os.umask(mask)
    try:
        staged = StagedFolder.beside(tmp_path / "result")
    finally:
        os.umask(before)
    assert staged.commit().stat().st_mode & 0o777 == 0o777 & ~mask


@posix
def test_a_link_to_a_folder_stays_a_link(tmp_path):
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.mkdir()
    link = out / "result"
    link.symlink_to(disk / "town")  # which is not there yet
    with ProjectWriter(link):
        assert names(out) == ["result"]
    assert link.is_symlink()
    assert names(disk) == ["town"]
    (disk / "town" / "meta.json").write_text("{}")
    with ProjectWriter(link, overwrite=True) as writer:
        (writer.folder / "ds" / "img").mkdir(parents=True)
    assert link.is_symlink()
    assert names(disk) == ["town"]
    assert [dataset.name for dataset in open_project(link).datasets] == ["ds"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "result"
    target.mkdir()
    (target / "old").touch()
    staged = StagedFolder.beside(target)
    (staged.path / "new").touch()
    assert names(target) == ["old"]
    with pytest.raises(RunError, match="made by someone else meanwhile"):
        staged.commit()
    assert names(target) == ["old"]
    assert staged.commit(replace=True) == target
    assert names(tmp_path) == ["result"]
    assert names(target) == ["new"]


def test_overwriting_takes_projects_only(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    ProjectWriter(home, overwrite=True).discard()
    (home / "letters.txt").touch()
    with pytest.raises(InputError, match="only a project or an empty folder"):
        ProjectWriter(home, overwrite=True)
    with pytest.raises(InputError, match="only a project or an empty folder"):
        ProjectWriter(home / "letters.txt", overwrite=True)
    (home / "meta.json").write_text("{}")
    with pytest.raises(InputError, match="only a project or an empty folder"):
        ProjectWriter(home, overwrite=True)
    (home / "letters.txt").rename(tmp_path / "letters.txt")
    (home / "photos").mkdir()
    (home / "photos" / "a.jpg").touch()
    with pytest.raises(InputError, match="only a project or an empty folder"):
        ProjectWriter(home, overwrite=True)
    (home / "photos" / "a.jpg").unlink()
    (home / "photos" / "img").mkdir()
    ProjectWriter(home, overwrite=True).discard()
    assert names(home) == ["meta.json", "photos"]


def test_a_place_that_can_t_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder that can be made"):
        ProjectWriter(tmp_path / "file" / "project").folder  # noqa: B018


def test_a_full_disk_is_told_from_other_reasons(tmp_path, monkeypatch):
    stop_if_full(OSError(errno.EACCES, "no"), tmp_path)
    with pytest.raises(DiskFullError, match="is full"):
        stop_if_full(OSError(errno.ENOSPC, "full"), tmp_path)

    with pytest.raises(DiskFullError, match="is full"):
        stop_if_full(OSError(errno.ENOSPC, "full", str(tmp_path / "made" / "a.tif")), tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="is full"):
        stop_if_full(RunError("libpng: Write Error"), tmp_path)
    assert names(tmp_path) == []


def test_another_disk_that_is_full_is_another_reason(tmp_path, monkeypatch):
    other = tmp_path / "cache"
    other.mkdir()
    monkeypatch.setattr(staging, "_device", lambda path: int(path.is_relative_to(other)))
    failure = OSError(errno.ENOSPC, "full", str(other / "part" / "a.bin"))
    stop_if_full(failure, tmp_path)
    with pytest.raises(DiskFullError, match="is full"):
        stop_if_full(failure, other)


def test_a_place_where_nothing_can_be_locked_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "_try_lock", lambda folder: (False, None))
    with pytest.raises(OSError, match="can be locked"):
        StagedFolder.beside(tmp_path / "out")
    assert not list(tmp_path.iterdir())
