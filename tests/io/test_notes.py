"""Notes of several processes."""

from __future__ import annotations

import os
import pickle

from geoseg.io.notes import SharedNotes


def in_another_process(notes: SharedNotes, *pairs: tuple[str, str]) -> None:
    """What a process that was given the notes does, told by its number."""
    copy = pickle.loads(pickle.dumps(notes))
    before = os.getpid
    try:
        os.getpid = lambda: before() + 1
        for pair in pairs:
            copy.add(*pair)
        assert [pair for pair in copy.read() if pair in pairs] == list(pairs)
    finally:
        os.getpid = before


def test_notes_of_all_are_read_and_removed() -> None:
    notes = SharedNotes()
    assert notes.add("a", "first")
    assert not notes.add("a", "first")
    assert not notes._path.exists()
    in_another_process(notes, ("b", "two\nlines \u2028 here"), ("c", "\udcff"))
    assert notes.read() == [("a", "first"), ("b", "two\nlines \u2028 here"), ("c", "\udcff")]
    with notes._path.open("a") as file:
        file.write('[1, "half')  # on its way, or cut by a full disk
    assert len(notes.read()) == 3
    in_another_process(notes, ("d", "glued to the half line"), ("e", "whole"))
    assert notes.read()[3:] == [("e", "whole")]
    path = notes._path
    del notes
    assert not path.exists()


def test_notes_that_can_t_be_written_are_told(tmp_path, caplog) -> None:
    notes = SharedNotes()
    notes._path = tmp_path / "nowhere" / "notes"
    in_another_process(notes, ("a", "b"))
    assert "can't be written" in caplog.text
