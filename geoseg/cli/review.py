"""``geoseg review``: the page on which a person looks at what was found and corrects it."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from geoseg.cli.common import Json, Quiet, handle_errors, print_json, progress_bar

__all__ = ["register"]

_EXAMPLES = """Examples:

  geoseg review town.tif --footprints results/town.gpkg

  geoseg review town.tif --footprints new.gpkg --before old.gpkg

  geoseg review projects/roads

  geoseg review export town.review -o corrected.gpkg
"""


class _OpenByDefault(TyperGroup):
    """``geoseg review TARGET`` opens; ``geoseg review export DIR`` exports. A folder "export" is ./export."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command that is meant before what it is given."""
        if not args:
            args = ["-h"]
        if args[0] not in self.commands:
            args = ["open", *args]
        return super().parse_args(ctx, args)


_review = typer.Typer(
    cls=_OpenByDefault,
    help="Open a page on this computer to look at footprints or a project, and correct them.",
    no_args_is_help=False,
)


def register(app: typer.Typer) -> None:
    """Add ``review``."""
    app.add_typer(_review, name="review")


@_review.command("open", epilog=_EXAMPLES)
@handle_errors
def open_review(
    target: Annotated[str, typer.Argument(help="Annotated project (a folder with meta.json) or scene.")],
    footprints: Annotated[
        str | None, typer.Option(help="Footprints of the scene to correct, a vector file. Default: none.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="Another prediction to compare with: vector file, or project.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="More classes, separated by commas. Footprints without a class get the first one. For a "
            "project: NAME:SHAPE, which is added to its meta.json."
        ),
    ] = None,
    class_column: Annotated[str | None, typer.Option(help=r"Column with the class \[class].")] = None,
    probabilities: Annotated[
        str | None, typer.Option(help="Raster of `geoseg predict`: uncertain places come first in the list.")
    ] = None,
    dir: Annotated[Path | None, typer.Option(help="Folder of the review. Default: TARGET.review.")] = None,
    block: Annotated[
        int | None, typer.Option(min=64, max=8192, help=r"Side of a place in the list, in pixels \[512].")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help=r"Seed of the random fifth, which is for measuring \[0]."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8050,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Any but this computer's own needs a token, which is printed."
        ),
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="Token that the page asks for with --host. Default: a random one.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    quiet: Quiet = False,
) -> None:
    """Open a page on this computer to look at footprints or a project, and correct them.

    Each edit is on the disk before the page shows it. A scene and its footprints are never changed.

    Edits are kept in the review's folder; `geoseg review export` writes the corrected file.

    Annotations of a project are written at each edit.
    """
    from geoseg.io.gdal_env import check_path
    from geoseg.review.folder import default_folder
    from geoseg.review.security import Guard
    from geoseg.review.server import bind, serve
    from geoseg.review.store import Review
    from geoseg.review.targets import open_target

    if not Path(target).is_dir():
        # GDAL opens more than files: strings that connect to databases and services are refused.
        check_path(target)
    opened = open_target(
        target,
        footprints=footprints,
        before=before,
        classes=[name.strip() for name in classes.split(",")] if classes else (),
        class_column=class_column,
    )
    probability = None
    if probabilities is not None:
        from geoseg.io.sources import open_raster

        probability = open_raster(probabilities)
    folder = default_folder(target) if dir is None else dir
    is_local = host in ("127.0.0.1", "localhost", "::1")
    # Whoever reaches the address edits. On this computer that is its user; elsewhere 128 random bits must be
    # known.
    known = token or (None if is_local else secrets.token_urlsafe(16))
    with progress_bar(quiet) as progress:
        review = Review(folder, opened, seed=seed, block=block, probability=probability, progress=progress)
    # The port is bound before the address is printed, for 0 takes a free one, and a taken one is an error.
    with review, bind(host, port) as listener:
        guard = Guard(host, listener.getsockname()[1], known)
        # Flushed: a script that starts the server reads the address from a pipe.
        print(f"review of {target}, kept in {folder}: {guard.address()}", flush=True)
        if not quiet:
            if review.left_out:
                print(
                    f"note: {review.left_out:,} rows of {footprints} are no polygons, or have no place on "
                    "the ground: they are left out here and in an export.",
                    file=sys.stderr,
                )
            print("Ctrl-C ends it; nothing is lost.", file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(guard.address())
        serve(review, guard, listener)


@_review.command("export", epilog="Example: [bold]geoseg review export town.review -o corrected.gpkg[/bold]")
@handle_errors
def export(
    review: Annotated[Path, typer.Argument(help="Folder of the review.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File for the corrected footprints; its suffix tells the format."),
    ],
    overwrite: Annotated[bool, typer.Option(help="Replace files that geoseg did not write.")] = False,
    json: Json = False,
) -> None:
    """Write the corrected footprints, and the accepted places beside them (reviewed, qa).

    What nobody edited comes out to the last bit as it went in.

    `reviewed` is the area of interest for training on the corrected file.

    `qa` holds the places that were drawn at random, for measuring only.
    """
    from geoseg.review.export import export_review

    summary = export_review(review, out, overwrite=overwrite)
    if json:
        print_json(summary.as_dict())
        return
    print(f"{summary.footprints} footprints, {summary.edited} of them edited; {summary.rejected} rejected")
    for path in summary.files.values():
        print(path)
