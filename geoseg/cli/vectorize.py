"""``geoseg vectorize``: a mask, a class map or probabilities to polygons; no network needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import handle_errors, print_json, progress_bar, report_failures
from geoseg.errors import InputError

__all__ = ["register"]

_EXAMPLES = """Examples:

  geoseg vectorize mask.tif -o houses.gpkg

  geoseg vectorize landcover.tif -o results --format parquet,fgb --class-names building,road,water

  geoseg vectorize prob.tif -o houses.geojson --threshold 0.6 --min-area-m2 10 --simplify-m 0.5
"""


def register(app: typer.Typer) -> None:
    """Add ``vectorize``."""
    app.command("vectorize", epilog=_EXAMPLES)(vectorize)


@handle_errors
def vectorize(
    raster: Annotated[
        str, typer.Argument(help="Mask, class map (0 = background) or probabilities; any raster format.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File (format by suffix) or folder.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="geojson, gpkg, parquet, fgb, shp, geojsonseq; several with commas. Default: by suffix."
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(help="Names of the values 1, 2, ... (or of the bands) with commas; one name for all."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability that makes a pixel an object. Default 0.5; 8-bit values are p * 255."),
    ] = None,
    connectivity: Annotated[
        int, typer.Option(help="8: pixels that touch at a corner are one object; 4: they are not.")
    ] = 8,
    min_area_m2: Annotated[
        float, typer.Option(min=0, help="Leave out smaller objects (pixels without a CRS).")
    ] = 0.0,
    simplify_m: Annotated[
        float, typer.Option(min=0, help="Simplify outlines within this tolerance in meters.")
    ] = 0.0,
    bands: Annotated[str | None, typer.Option(help="1-based bands, such as 2 or 1,2.")] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Wanted side of a chunk in pixels.")] = 2048,
    on_error: Annotated[
        str, typer.Option(help="A region that can't be read: fail, or skip it and list it.")
    ] = "fail",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Turn a raster into polygons: valid, with holes, the same whatever the chunks, in bounded memory."""
    from geoseg.pipeline.vectorize_raster import vectorize_raster

    with progress_bar(quiet) as progress:
        summary = vectorize_raster(
            raster,
            out,
            formats=_words(format),
            bands=_numbers(bands),
            threshold=threshold,
            class_names=_words(class_names),
            connectivity=connectivity,
            min_area_m2=min_area_m2,
            simplify_m=simplify_m,
            chunk=chunk,
            on_error=on_error,  # type: ignore[arg-type]
            progress=progress,
        )
    if json:
        print_json(summary.as_dict())
    elif not quiet:
        for note in summary.notes:
            print(f"note: {note}", file=sys.stderr)
        left_out = f", {summary.too_small} too small" if summary.too_small else ""
        print(f"{summary.footprints} footprints{left_out} in {summary.seconds:.1f} s")
        for path in summary.files.values():
            print(path)
    report_failures(summary.failures, summary.files)


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"--bands must be numbers separated by commas, got {text!r}.") from None
