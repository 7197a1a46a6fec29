"""Folders on their way: whole or not at all, and nothing of dead runs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geoseg.errors import InputError, RunError
from geoseg.files import (
    DiskFullError,
    LockedError,
    Staged,
    disk,
    hold,
    locks,
    remove_folder,
    stop_if_full,
    write_text,
)
from geoseg.projects.project import open_project
from geoseg.projects.writer import ProjectWriter

posix = pytest.mark.skipif(sys.platform == "win32", reason="folders can't be opened on other systems")

#: Begins a folder, says so, and waits to be killed.
HOLD = """
import sys, time
from geoseg.files import Staged
staged = Staged.folder(sys.argv[1])
(staged.path / "half").write_text("done")
print(staged.path.name, flush=True)
time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_second_run_is_refused_and_folders_of_a_killed_one_are_removed(tmp_path):
    target = tmp_path / "result"
    other = tmp_path / ".result.geojsonl.part"  # of a file of that name
    other.mkdir()
    run = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        begun = run.stdout.readline().strip()
        with pytest.raises(LockedError, match=f"another run is working on {target}"):
            Staged.folder(target)
        write_text(tmp_path / "neighbor.txt", "free")
        assert names(tmp_path) == sorted([other.name, begun, ".result.lock", "neighbor.txt"])
        run.kill()
        run.wait()
        assert (tmp_path / begun / "half").is_file()
        Staged.folder(target).commit()
        assert names(tmp_path) == [other.name, "neighbor.txt", "result"]
    finally:
        run.kill()
        run.communicate()


def test_a_target_is_held_by_one_thread_by_whatever_path(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with hold(tmp_path / "real" / "a.txt"), hold(tmp_path / "link" / "a.txt", tmp_path / "real" / "b.txt"):
        write_text(tmp_path / "real" / "a.txt", "by the thread that holds it")
        with ThreadPoolExecutor(1) as pool:
            for path in (tmp_path / "link" / "a.txt", tmp_path / "real" / "b.txt"):
                with pytest.raises(LockedError, match="another run is working on"):
                    pool.submit(write_text, path, "by another").result()
    assert names(tmp_path / "real") == ["a.txt"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(write_text, tmp_path / "link" / "a.txt", "by another").result()
    assert (tmp_path / "real" / "a.txt").read_text() == "by another"


def test_a_name_as_long_as_file_systems_take(tmp_path):
    for name in ("n" * 255, "ü" * 127):
        with hold(tmp_path / name):
            write_text(tmp_path / name, "x")
    assert names(tmp_path) == sorted(["n" * 255, "ü" * 127])


def test_what_a_killed_run_was_about_to_replace_comes_back(tmp_path):
    target = tmp_path / "result"
    old = locks.side_folder(target).with_suffix(".old")
    old.mkdir()
    (old / "mine").touch()
    Staged.folder(target).discard()
    assert names(tmp_path) == ["result"]
    assert names(target) == ["mine"]
    old.mkdir()
    Staged.folder(target).discard()
    assert names(tmp_path) == ["result"]
    assert names(target) == ["mine"]


def left_behind(target: Path, monkeypatch, name: str, boot: str) -> Path:
    """A folder of a dead run on some computer."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(locks, "_computer", lambda: (name, boot))
        folder = locks.side_folder(target)
    folder.mkdir()
    return folder


def test_folders_of_other_computers_are_left_alone(tmp_path, monkeypatch):
    """A lock that one computer holds may not be seen by another."""
    name, boot = locks._computer()
    target = tmp_path / "result"
    far = left_behind(target, monkeypatch, "f" * 8, "1" * 8)
    left_behind(target, monkeypatch, name, "0" * 8)  # before it was started anew
    left_behind(target, monkeypatch, "c" * 8, boot)  # in a container
    mine = Staged.folder(target)
    assert names(tmp_path) == sorted([far.name, mine.path.name, ".result.lock"])
    assert str(os.getpid()) in mine.path.name
    mine.commit()
    assert names(tmp_path) == sorted([far.name, "result"])


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError()])
def test_without_locks_nothing_of_others_is_removed(tmp_path, monkeypatch, error):
    import filelock

    def no_locks(self):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    other = locks.side_folder(tmp_path / "result")
    other.mkdir()
    with Staged.folder(tmp_path / "result"):
        pass
    assert names(tmp_path) == sorted([other.name, "result"])


def test_a_folder_loses_its_name_before_it_is_removed(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "chunk").touch()
    with monkeypatch.context() as killed:
        killed.setattr(locks.shutil, "rmtree", lambda *_, **__: None)
        remove_folder(folder)
    (left,) = names(tmp_path)
    assert left.startswith(".store.run-")
    with hold(folder):
        assert names(tmp_path) == [".store.lock"]
    folder.mkdir()
    remove_folder(folder)
    assert names(tmp_path) == []


def test_a_file_and_its_sides_take_their_places_together(tmp_path):
    target = tmp_path / "a.shp"
    for end in (".shp", ".dbf", ".qix", ".txt"):
        target.with_suffix(end).write_text("old")
    with Staged.file(target, sides=(".dbf", ".qix")) as staged:
        staged.path.write_text("new")
        staged.path.with_suffix(".dbf").write_text("new")
        (staged.path.parent / "scratch").touch()
        assert target.read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.shp": "new",
        "a.dbf": "new",
        "a.txt": "old",
    }


def test_what_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), Staged.file(path) as staged:
        staged.path.write_text(f"half {1 / 0}")
    with (
        pytest.raises(DiskFullError, match=r"cannot write .*a\.txt: No space left on device\. Check"),
        Staged.file(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), Staged.file(path):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "input.tif"))
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_a_place_that_can_t_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output must be a place that can be written to, got .*file/a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "")
    with pytest.raises(InputError, match="it is a folder"):
        write_text(tmp_path, "")
    assert names(tmp_path) == ["file"]


@posix
def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a device or a pipe"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["pipe"]


@posix
@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
def test_rights_are_those_of_a_folder_the_user_makes(tmp_path, mask):
    before = os.umask(mask)
    try:
        staged = Staged.folder(tmp_path / "result")
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
    staged = Staged.folder(target)
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
    with pytest.raises(InputError, match="place that can be written to"):
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
    monkeypatch.setattr(disk, "_device", lambda path: int(path.is_relative_to(other)))
    failure = OSError(errno.ENOSPC, "full", str(other / "part" / "a.bin"))
    stop_if_full(failure, tmp_path)
    with pytest.raises(DiskFullError, match="is full"):
        stop_if_full(failure, other)
