"""What every command shares: errors to exit statuses, the progress bar, JSON output."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from geoseg.cli.progress import progress_bar
from geoseg.errors import GeosegError
from geoseg.files import failures_file

if TYPE_CHECKING:
    from geoseg.projects.formats.transfer import Failure

__all__ = [
    "AsJson",
    "Json",
    "Model",
    "NoBar",
    "Quiet",
    "handle_errors",
    "print_json",
    "print_notes",
    "progress_bar",
    "report_images",
    "report_summary",
]

#: Failures that are printed one by one; the file beside the result has all of them.
_SHOWN = 50

Model = Annotated[
    str | None,
    typer.Option(help="Bundle (folder or .zip) or .onnx file. Default: the building network that ships."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
# Of commands whose result is what they print, and is printed all the same.
NoBar = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

F = TypeVar("F", bound=Callable[..., Any])


def handle_errors(command: F) -> F:
    """Turn errors into one clear line on stderr and the exit status that belongs to them."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except GeosegError as error:
            # All that the user can mend is told by its message; a traceback would bury it.
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        except UnicodeEncodeError as error:
            # Bytes of a path that are no text reach us as lone surrogates. GDAL and the formats of footprints
            # want names in UTF-8, which has none.
            print(f"error: names of files must be UTF-8, got {error.object!r}. Rename it.", file=sys.stderr)
            raise SystemExit(2) from None
        except BrokenPipeError:
            # The reader of stdout (`| head`) has gone, so there is nobody to tell.
            raise SystemExit(1) from None
        except ImportError as error:
            # What the system says of a library that memory is too short for, as under `ulimit -v`. Any other
            # failed import is a fault of ours or of the installation, and keeps its traceback.
            if "failed to map segment" not in str(error):
                raise
            print(
                f"error: memory is too short to load {error}. Raise the limit (ulimit -v).", file=sys.stderr
            )
            raise SystemExit(1) from None
        except (OSError, MemoryError) as error:
            # Most MemoryErrors have no text; those of libraries have several lines, and an error is one.
            reason = str(error) or "out of memory"
            print(f"error: {' '.join(reason.split())}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt as stop:
            # A run says with the signal what is kept; 130 is what shells expect of Ctrl-C (128 + SIGINT).
            print(f"stopped: {stop}" if stop.args else "stopped", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped  # type: ignore[return-value]


def print_notes(notes: Iterable[str]) -> None:
    """Notes go to stderr, so that a script may read the paths of the results from stdout."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout; letters that it does not have are escaped as JSON escapes them."""
    # Paths and times stand as text: a summary may hold either, and JSON has neither.
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, default=str)
    print(text)


class Summary(Protocol):
    """What a job on a scene or a raster tells when it is done."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know, one sentence each."""

    @property
    def files(self) -> Mapping[str, str]:
        """Paths of what was written, by kind."""

    @property
    def failures(self) -> Sized:
        """Regions that could not be read."""

    def as_dict(self) -> Mapping[str, Any]:
        """All of it, for JSON."""


def report_summary(summary: Summary, done: str, *, quiet: bool, json: bool, also: Sequence[str] = ()) -> None:
    """Print a summary, and end with exit status 1 where regions could not be read.

    Parameters
    ----------
    done
        What was made, in one line.
    also
        Files beside the results.
    """
    if json:
        print_json(summary.as_dict())
    elif not quiet:
        print_notes(summary.notes)
        print(done)
        for path in (*summary.files.values(), *also):
            print(path)
    if summary.failures:
        count = len(summary.failures)
        regions, are = ("1 region", "is") if count == 1 else (f"{count} regions", "are")
        list_of_them = summary.files.get("failures", "the summary")
        print(
            f"error: {regions} could not be read and {are} missing from the result; see {list_of_them}",
            file=sys.stderr,
        )
        raise SystemExit(1)


def report_images(notes: Sequence[str], failures: Sequence[Failure], result: Path) -> None:
    """Notes, and images that are missing from a project, on stderr; exit status 1 where there are any."""
    print_notes(notes)
    for failure in failures[:_SHOWN]:
        print(f"failed: {failure.image}: {failure.reason}", file=sys.stderr)
    if failures:
        details = failures_file(result)
        print(f"{len(failures)} failed, all listed in {details}", file=sys.stderr)
        raise SystemExit(1)
