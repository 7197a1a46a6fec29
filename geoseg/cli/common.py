"""What every command shares: errors to exit statuses, the progress bar, JSON output."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer

from geoseg.errors import GeosegError
from geoseg.typing import Progress, no_progress

__all__ = ["Json", "Model", "Quiet", "handle_errors", "print_json", "progress_bar", "report_failures"]

Model = Annotated[
    str | None,
    typer.Option(help="Bundle (folder or .zip) or .onnx file. Default: the building network that ships."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]

F = TypeVar("F", bound=Callable[..., Any])


def handle_errors(command: F) -> F:
    """Turn errors into one clear line on stderr and the exit status that belongs to them."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A name with a letter that the terminal does not have, or bytes that are no text, must not end
            # a command whose work is done.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return command(*args, **kwargs)
        except GeosegError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        except UnicodeEncodeError as error:  # GDAL and the formats of footprints want names in UTF-8
            print(f"error: names of files must be UTF-8, got {error.object!r}. Rename it.", file=sys.stderr)
            raise SystemExit(2) from None
        except BrokenPipeError:
            raise SystemExit(1) from None
        except ImportError as error:
            # what the system says of a library that memory is too short for, as under `ulimit -v`
            if "failed to map segment" not in str(error):
                raise
            print(
                f"error: memory is too short to load {error}. Raise the limit (ulimit -v).", file=sys.stderr
            )
            raise SystemExit(1) from None
        except (OSError, MemoryError) as error:
            reason = str(error) or "out of memory"
            print(f"error: {' '.join(reason.split())}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt as stop:
            print(f"stopped: {stop}" if stop.args else "stopped", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped  # type: ignore[return-value]


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """A rich bar on stderr, one line a stage; nothing where stderr is no terminal or ``quiet`` is set."""
    if quiet or not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[info]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: float, total: float, **info: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, info="")
            text = " ".join(
                f"{value:.3g} {name.replace('_per_s', '/s').replace('_', ' ')}"
                for name, value in info.items()
            )
            bar.update(tasks[stage], completed=done, total=total, info=text)

        yield report


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout; letters that it does not have are escaped as JSON escapes them."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, default=str)
    print(text)


def report_failures(failures: Sized, files: Mapping[str, str]) -> None:
    """Say how many regions could not be read, and end with exit status 1 if there are any."""
    if failures:
        some, are = ("1 region", "is") if len(failures) == 1 else (f"{len(failures)} regions", "are")
        listed = files.get("failures", "the summary")
        print(
            f"error: {some} could not be read and {are} missing from the result; see {listed}",
            file=sys.stderr,
        )
        raise SystemExit(1)
