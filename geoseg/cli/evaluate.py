"""``geoseg evaluate``: a prediction against the truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.cli.common import AsJson, NoBar, handle_errors, print_json, progress_bar

if TYPE_CHECKING:
    from geoseg.pipeline.evaluation.files import Evaluation
    from geoseg.scores.shapes import NeighborMeasures

__all__ = ["register"]

_EPILOG = (
    "Examples: [bold]geoseg evaluate houses.geojson truth.gpkg --aoi labeled.geojson[/bold] | "
    "[bold]geoseg evaluate mask.tif truth.geojson --json[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", epilog=_EPILOG)(evaluate)


@handle_errors
def evaluate(
    pred: Annotated[Path, typer.Argument(help="Prediction: a vector file or a raster.")],
    truth: Annotated[Path, typer.Argument(help="Truth: a vector file or a raster.")],
    aoi: Annotated[Path | None, typer.Option(help="Vector file with the area to look at.")] = None,
    iou: Annotated[float, typer.Option(help="IoU from which two objects match.")] = 0.5,
    class_column: Annotated[
        str | None, typer.Option(help="Column with the class, in every vector file.")
    ] = None,
    score_column: Annotated[
        str | None, typer.Option(help=r"Column of PRED that ranks it \[confidence, score or conf].")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help=r"Rasters: values from here on are objects \[of probabilities their run's, or 0.5; "
            "of others all but 0]."
        ),
    ] = None,
    boundary: Annotated[float, typer.Option(help="Width of the boundary IoU's strip, in meters.")] = 1.0,
    # Not measured unless it is asked for: it compares each file with itself, once more over all polygons.
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage", help="Also measure overlaps, gaps and shared walls of neighbors in each file."
        ),
    ] = False,
    json: AsJson = False,
    quiet: NoBar = False,
) -> None:
    """Score a prediction against the truth: objects, outlines and pixels.

    Distances are in meters whatever the coordinate reference system. Objects cut by the area of interest
    are treated alike on both sides: those with less than half of their area inside count only as partners.
    """
    from geoseg.pipeline.evaluation.files import evaluate_files

    with progress_bar(quiet or json) as progress:
        result = evaluate_files(
            pred,
            truth,
            aoi=aoi,
            iou=iou,
            class_column=class_column,
            score_column=score_column,
            threshold=threshold,
            boundary_distance=boundary,
            coverage=coverage,
            progress=progress,
        )
    if json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    console = Console()
    # Where a side is a raster there are no objects to match.
    if result.objects is not None:
        console.print(_object_table(result))
    if result.neighbors is not None:
        console.print(_neighbor_table(result.neighbors, result.unit))
    console.print(_pixel_table(result))


def _number(value: float | int, unit: str = "") -> str:
    # A ratio without anything to divide by is not 0, which would be the worst score there is.
    if isinstance(value, float) and math.isnan(value):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}{unit}"


def _object_table(result: Evaluation) -> Any:
    from rich.table import Table

    whole = result.objects
    # One column a class beside all of them: a mean hides the class that failed.
    columns = {"all": whole, **result.objects_by_class}
    ranked = f"ranked by {result.score_column}" if result.score_column else "not ranked"
    table = Table(title=f"Objects (predictions {ranked})", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    unit = f" {result.unit}"
    at = f"IoU {whole.iou_threshold:g}" if whole else ""
    rows: list[tuple[str, str, str]] = [
        ("truths", "truths", ""), ("predictions", "predictions", ""),
        (f"matched at {at}", "matched", ""), ("false", "false", ""), ("missed", "missed", ""),
        (f"precision at {at}", "precision", ""), (f"recall at {at}", "recall", ""), (f"F1 at {at}", "f1", ""),
        ("AP 0.5", "ap50", ""), ("AP 0.5:0.95", "ap", ""), ("panoptic quality", "panoptic_quality", ""),
        ("split truths", "splits", ""), ("merging predictions", "merges", ""),
        ("mean IoU of matches", "mean_iou", ""), ("boundary IoU", "boundary_iou", ""),
        ("PoLiS", "polis", unit), ("Hausdorff, mean", "hausdorff", unit),
        ("Hausdorff, 95 %", "hausdorff_p95", unit), ("vertex ratio", "vertex_ratio", ""),
        ("C-IoU", "c_iou", ""), ("max tangent angle", "max_tangent_angle", "\N{DEGREE SIGN}"),
        ("F1 of holes", "hole_f1", ""),
        ("repaired truths", "repaired_truths", ""), ("repaired predictions", "repaired_predictions", ""),
        ("dropped truths", "dropped_truths", ""), ("dropped predictions", "dropped_predictions", ""),
    ]  # fmt: skip
    for label, field, suffix in rows:
        values = [getattr(scores, field) for scores in columns.values()]
        # Broken polygons are rare; four rows of zeros would have to be read every time.
        if field.startswith(("repaired", "dropped")) and not any(values):
            continue
        table.add_row(label, *(_number(value, suffix) for value in values))
    return table


def _neighbor_table(neighbors: dict[str, NeighborMeasures], unit: str) -> Any:
    from rich.table import Table

    table = Table(title="Neighbors within each file", title_justify="left")
    # Of the truth as well: where annotators leave gaps, a prediction without them differs from it.
    for name in ("", "overlap", "gaps", "shared walls", "walls apart", "share of shared walls"):
        table.add_column(name, justify="right" if name else "left")
    for side, name in (("pred", "predictions"), ("truth", "truths")):
        measures = neighbors[side]
        areas = [_number(value, f" {unit}2") for value in (measures.overlap, measures.gap)]
        lengths = [_number(value, f" {unit}") for value in (measures.shared, measures.apart)]
        table.add_row(name, *areas, *lengths, _number(measures.shared_share))
    return table


def _pixel_table(result: Evaluation) -> Any:
    from rich.table import Table

    pixels = result.pixels
    table = Table(title=f"Pixels ({result.pixel_method})", title_justify="left")
    for name in ("class", "IoU", "F1", "precision", "recall", "accuracy"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for entry in pixels.classes:
        table.add_row(
            entry.name, *(_number(v) for v in (entry.iou, entry.f1, entry.precision, entry.recall)), ""
        )
    means = (pixels.iou, pixels.f1, pixels.precision, pixels.recall, pixels.accuracy)
    # Accuracy counts right pixels of all classes together, so it stands in this row alone.
    table.add_row("mean" if len(pixels.classes) > 1 else "all", *(_number(value) for value in means))
    return table
