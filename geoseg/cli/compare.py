"""``geoseg compare``: two predictions of the same ground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.common import AsJson, NoBar, handle_errors, print_json, progress_bar

if TYPE_CHECKING:
    from geoseg.pipeline.comparison.result import Comparison, Estimate

__all__ = ["register"]

#: Places and failures that are printed: what changed most comes first, and a page or --json has the rest.
_SHOWN = 20

_EPILOG = (
    "Examples: [bold]geoseg compare projects/inf_01 projects/inf_02 --html changes.html[/bold] | "
    "[bold]geoseg compare projects/inf_01 projects/inf_02 --truth projects/checked --tag qa --json[/bold] | "
    "[bold]geoseg compare old.gpkg new.gpkg --truth houses.geojson --aoi reviewed.gpkg[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", epilog=_EPILOG)(compare)


@handle_errors
def compare(
    before: Annotated[Path, typer.Argument(help="The earlier prediction: a project or a vector file.")],
    after: Annotated[Path, typer.Argument(help="The later prediction, of the same kind.")],
    truth: Annotated[Path | None, typer.Option(help="What is true, of the same kind.")] = None,
    tag: Annotated[
        str | None,
        typer.Option(help="Projects: truth counts on images with this tag only, such as qa."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Projects: class to compare, TITLE or TITLE=TITLE_IN_THE_TRUTH; may be repeated. "
            r"\[all that both have, but for backgrounds]",
        ),
    ] = None,
    aoi: Annotated[Path | None, typer.Option(help="Files: vector file with the ground to look at.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of the greatest changes.")
    ] = None,
    json: AsJson = False,
    quiet: NoBar = False,
) -> None:
    """Compare two predictions: what changed, place by place, and which is nearer to the truth.

    With a truth it says when the second is worse, and states precision, recall and the error of the area
    with exact 95 % intervals, which hold for the whole where the judged places were drawn at random.
    """
    from geoseg.pipeline.comparison.compare import compare as run

    # TITLE alone stands for itself in the truth as well.
    parts = [text.partition("=") for text in classes or ()]
    wanted = {title: true_title or title for title, _, true_title in parts} or None
    if html is not None:
        from geoseg.files import check_page
        from geoseg.report.comparison import MAKER, write_comparison

        # Before the comparison: a page that may not be written is told at once, not after all is read.
        check_page(html, filter(None, (before, after, truth, aoi)), MAKER)
    with progress_bar(quiet or json) as progress:
        result = run(before, after, truth=truth, tag=tag, classes=wanted, aoi=aoi, progress=progress)
    if html is not None:
        write_comparison(result, html)
    if json:
        print_json(result.to_dict())
    else:
        _print(result)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    for name, reason in result.failures[:_SHOWN]:
        # On stderr, so that what a script reads as JSON stays JSON.
        print(f"failed: {name}: {reason}", file=sys.stderr)
    if result.failures:
        print(f"{len(result.failures)} could not be compared", file=sys.stderr)
        raise SystemExit(1)


def _print(result: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    console, objects = Console(), result.objects
    # Four decimals, for the places come in the order of these numbers.
    table = Table("place", "IoU", "before", "after", "gone", "new", "split", "merged")
    if result.fits is not None:
        table.add_column("truth IoU")
        table.add_column("F1")
    for place in result.places[:_SHOWN]:
        o = place.objects
        # Without a truth the table has no columns for it.
        row = [
            place.name,
            f"{place.iou:.4f}",
            *map(str, (o.before, o.after, o.gone, o.new, o.split, o.merged)),
        ]
        if place.before is not None and place.after is not None:
            row.append(f"{place.before.iou:.4f} -> {place.after.iou:.4f}")
            row.append(f"{place.before.f1:.4f} -> {place.after.f1:.4f}")
        table.add_row(*row)
    console.print(table)
    if len(result.places) > _SHOWN:
        console.print(f"... and {len(result.places) - _SHOWN} more that changed less (all with --json)")
    print(
        f"IoU of the two {result.iou:.4f}; {objects.before} objects before, {objects.after} after: "
        f"{objects.gone} gone, {objects.new} new, {objects.split} split, {objects.merged} merged"
    )
    if result.fits is None or result.quality is None:
        return
    where = f" with the tag {result.tag}" if result.tag else ""
    print(f"against the truth, on {result.judged} places{where}, with exact 95 % intervals:")
    for name, fit, quality in zip(("before", "after"), result.fits, result.quality):
        print(
            f"  {name:<6}  IoU {fit.iou:.4f}, F1 {fit.f1:.4f}; precision {_interval(quality.precision)}, "
            f"recall {_interval(quality.recall)}, median error of area {_interval(quality.area_error)}"
        )
    if result.worse:
        print(
            # Still exit status 0: the command did its work, and what follows is the reader's decision.
            "warning: the second is worse than the first. Take an earlier checkpoint "
            "(geoseg export RUN --checkpoint N), or correct more images.",
            file=sys.stderr,
        )


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    # Of too few objects there is a value, and nothing to say of how far off it may be.
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
