"""Lines of the journal, and what each does to the index, when it is made as when it is read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.files import LockedError
from geoseg.review.folder import hold_review, read_settings, settings_key
from geoseg.review.index import Index
from geoseg.review.journal import Journal, read_lines
from geoseg.review.objects import ReviewObject
from geoseg.review.scope import Change

__all__ = ["apply_line", "change_of", "line_of", "replay", "state_of"]


def line_of(change: Change) -> dict[str, Any]:
    """The part of a line that tells what changed."""
    return {
        "gone": [item.to_json() for item in change.gone],
        "new": [item.to_json() for item in change.new],
        **({"marks": [list(mark) for mark in change.marks]} if change.marks else {}),
    }


def change_of(line: Mapping[str, Any]) -> Change:
    """What a line changes; tags of the image are told by :func:`apply_line`."""
    return Change(
        [ReviewObject.from_json(item) for item in line["gone"]],
        [ReviewObject.from_json(item) for item in line["new"]],
        [(place, old, new) for place, old, new in line.get("marks", ())],
    )


def apply_line(index: Index, line: Mapping[str, Any], start: int, end: int, change: Change) -> None:
    """Bring the index from the state before a line to that after it.

    Parameters
    ----------
    index
        In a transaction.
    line
        The line.
    start, end
        Its bytes in the journal.
    change
        What it changes.
    """
    # An adopted image may be in the index already, as it was looked at.
    index.remove({item.id for item in (*change.gone, *change.new)})
    index.add(change.new)
    for place, _, status in change.marks:
        index.mark(place, status)
    if "file" in line:
        file = line["file"]
        index.set_image(line["image"], file["after"], line["tags"], previous=file["before"], adopted=True)
        index.put("last_image", line["image"])
    _take_step(index, line, start, change)
    newest = max((item.id for item in change.new), default=0)
    index.put("next_id", max(int(index.get("next_id", 1)), newest + 1))
    index.put("revision", line["revision"])
    # With the line in one transaction: a process killed here replays from a line that the index does not
    # have.
    index.put("journal", end)


def replay(index: Index, journal: Path) -> None:
    """Bring the index to the end of the journal."""
    for start, end, line in read_lines(journal, index.get("journal", 0)):
        with index.transaction():
            apply_line(index, line, start, end, change_of(line))


@contextmanager
def state_of(folder: Path) -> Iterator[Index]:
    """The state of a review without its target: of a running one as it is, else as the journal tells it.

    Raises
    ------
    InputError
        The folder is no review, or its index has to be made anew.
    """
    settings = read_settings(folder)
    path = folder / "index.sqlite"
    try:
        with hold_review(folder), closing(Journal(folder / "journal.jsonl")) as journal:
            # Kept where it does not fit: whoever reads only must not make the owner build it again.
            index = Index.open(path, settings_key(settings), keep=True)
            if index is None or index.get("journal", 0) > journal.size:
                raise InputError(
                    f"index of a review must be whole, got {path}. Open the review once, with "
                    f"`geoseg review {settings['target']}`, which makes it anew."
                )
            with closing(index):
                replay(index, journal.path)
                yield index
    except LockedError:
        # A running server keeps its index at the end of the journal.
        beside = Index.beside(path, settings_key(settings))
        if beside is None:
            raise InputError(
                f"review must be open to be read, got {folder}, which another process is opening. "
                "Wait until it prints its address."
            ) from None
        with closing(beside):
            yield beside


def _take_step(index: Index, line: Mapping[str, Any], start: int, change: Change) -> None:
    """What undo and redo take next: two chains through the edits.

    An edit leaves them only when others change the file that it was made in.
    """
    revision, undo_top, redo_top = line["revision"], index.get("undo_top"), index.get("redo_top")
    index.note(revision, start, line["image"], undo_top)
    if "undo" in line:
        edit = line["undo"]
        index.chain_redo(edit, redo_top)
        undo_top, redo_top = index.step(edit)[1], edit
    elif "redo" in line:
        edit = line["redo"]
        undo_top, redo_top = edit, index.step(edit)[2]
    elif line["op"]["op"] != "adopt":
        undo_top, redo_top = revision, None
    elif change.gone:
        # The file was changed by others: what stood in it before is no state that one could go back to.
        undo_top = index.leave_out(undo_top, line["image"], redo=False)
        redo_top = index.leave_out(redo_top, line["image"], redo=True)
    index.put("undo_top", undo_top)
    index.put("redo_top", redo_top)
