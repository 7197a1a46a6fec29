"""``geoseg status``: what became of the scenes of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.common import AsJson, handle_errors, print_json
from geoseg.cli.progress import duration

if TYPE_CHECKING:
    from geoseg.pipeline.batch import SceneRecord

__all__ = ["count_of", "duration", "reason_of", "register", "scene_line", "unsure_text"]

_EPILOG = """Examples:

  geoseg status results

  geoseg status results --all

  geoseg status results --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog=_EPILOG)(status)


@handle_errors
def status(
    out: Annotated[Path, typer.Argument(help="Folder of the results of many scenes.")],
    every: Annotated[bool, typer.Option("--all", help="List finished scenes, too.")] = False,
    json: AsJson = False,
) -> None:
    """Say what became of the scenes of a "geoseg run": how many are done, and which are not.

    May be asked while the run is at work. Exit status: 0 all done, 1 not (yet), 2 bad input.
    """
    from geoseg.pipeline.batch.manifest import STATES, read_states

    records, facts, at_work = read_states(out)
    # The batch is what the last call named. What lies in the folder beside it is nobody's failure.
    earlier = [record for record in records if not record.listed]
    listed = [record for record in records if record.listed]
    counts = {state: sum(record.state == state for record in listed) for state in STATES}
    footprints = sum(record.footprints or 0 for record in listed)
    unsure = sum(record.unsure or 0 for record in listed)
    if json:
        scenes = [record.as_dict() for record in records]
        totals = {"at_work": at_work, "states": counts, "footprints": footprints, "unsure": unsure}
        print_json({**totals, "facts": facts, "scenes": scenes})
    else:
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        made = count_of(footprints, "footprint") + unsure_text(unsure)
        print(f"{count_of(len(listed), 'scene')}: {words or 'none'}; {made}")
        if at_work:
            print("a run is at work")
        for record in listed:
            # What needs nobody's attention is counted and not listed.
            if every or record.state not in ("done", "waiting"):
                print(scene_line(record))
        if earlier:
            print(f"{count_of(len(earlier), 'scene')} of earlier calls, which the last one did not name")
            for record in earlier if every else []:
                print(f"  {scene_line(record)}")
    # For scripts that wait: 0 only where nothing is left to do.
    if counts["done"] < len(listed):
        raise SystemExit(1)


def scene_line(record: SceneRecord) -> str:
    """A scene in one line."""
    if record.state in ("done", "incomplete"):
        text = f"{record.name}: {count_of(record.footprints or 0, 'footprint')}{unsure_text(record.unsure)}"
        if record.mpx is not None and record.seconds is not None:
            text += f", {record.mpx:.1f} Mpx in {duration(record.seconds)}"
        return text if record.state == "done" else f"{text}; incomplete: {reason_of(record)}"
    return f"{record.name}: {record.state}" + (f": {record.error}" if record.error else "")


def reason_of(record: SceneRecord) -> str:
    """Why a scene has no whole result, where no error says it."""
    if not record.failures:
        return "it was not finished"
    count = len(record.failures)
    some, are = ("1 region", "is") if count == 1 else (f"{count} regions", "are")
    return f"{some} could not be read and {are} missing"


def unsure_text(unsure: int | None) -> str:
    """How many footprints were left out as too unsure, behind the number of the others.

    Examples
    --------
    >>> unsure_text(3), unsure_text(0)
    (', 3 too unsure', '')
    """
    return f", {unsure} too unsure" if unsure else ""


def count_of(number: int, what: str) -> str:
    """A number of things.

    Examples
    --------
    >>> count_of(1, "scene"), count_of(2, "scene")
    ('1 scene', '2 scenes')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
