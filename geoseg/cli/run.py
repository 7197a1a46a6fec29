"""``geoseg run``: one scene in, footprints out. ``geoseg predict``: stitched probabilities as a COG."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.cli.common import handle_errors, print_json, progress_bar, report_failures
from geoseg.errors import InputError

if TYPE_CHECKING:
    from geoseg.pipeline.options import RunOptions

__all__ = ["register"]

_RUN_EXAMPLES = """Examples:

  geoseg run scene.tif --out results

  geoseg run scene.tif --model roads.zip --out results --format geojson,gpkg --overlap 256 --save-prob

  geoseg run scene.tif --out results --aoi district.geojson --threshold 0.6 --min-area-m2 10 --json
"""

_PREDICT_EXAMPLES = """Examples:

  geoseg predict scene.tif -o prob.tif

  geoseg predict scene.tif --model roads.zip -o prob.tif --dtype float32 --resolution native
"""

Scene = Annotated[
    str, typer.Argument(help="Scene: anything rasterio opens (GeoTIFF, COG, VRT, JPEG, PNG, ...).")
]
Model = Annotated[
    str | None,
    typer.Option(help="Bundle (folder or .zip) or .onnx file. Default: the building network that ships."),
]
Window = Annotated[
    str | None, typer.Option(help="Window in pixels: N, or WIDTH,HEIGHT. Default: the model's, else 512.")
]
Overlap = Annotated[
    str | None,
    typer.Option(help="Pixels shared by neighboring windows: N, or X,Y. Default: the model's, else 128."),
]
Blend = Annotated[str | None, typer.Option(help="smooth (tapered) or uniform (plain averaging).")]
BatchSize = Annotated[str, typer.Option(help="Windows a batch, or auto.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
EngineOption = Annotated[str, typer.Option(help="auto, torch, onnxruntime, openvino or compile.")]
Chunk = Annotated[int, typer.Option(help="Wanted side of a stored chunk in pixels.")]
Bands = Annotated[
    str | None, typer.Option(help="1-based bands, such as 3,2,1. Default: the first that the model needs.")
]
Resolution = Annotated[
    str | None,
    typer.Option(
        help="Ground meters per pixel to read at, or native. Default: the model's. Within 1 %: as stored."
    ),
]
Bbox = Annotated[
    str | None, typer.Option(help="minx,miny,maxx,maxy in the scene's CRS (pixels where it has none).")
]
Aoi = Annotated[
    Path | None, typer.Option(help="Vector file; pixels outside its polygons count as without data.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Throw away a kept run and begin again.")]
OnError = Annotated[str, typer.Option(help="A region that can't be read: fail, or skip it and list it.")]
Flips = Annotated[
    bool, typer.Option("--flips", help="Average over the 8 flips and turns (8 times the work).")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def register(app: typer.Typer) -> None:
    """Add ``run`` and ``predict``."""
    app.command("run", epilog=_RUN_EXAMPLES)(run)
    app.command("predict", epilog=_PREDICT_EXAMPLES)(predict)


@handle_errors
def run(
    scene: Scene,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; made if it is missing.")],
    model: Model = None,
    format: Annotated[
        str, typer.Option(help="geojson, gpkg, parquet, fgb, shp, geojsonseq; several with commas.")
    ] = "geojson",
    window: Window = None,
    overlap: Overlap = None,
    blend: Blend = None,
    threshold: Annotated[
        str | None, typer.Option(help="Probability that makes a pixel an object: one number, or one a class.")
    ] = None,
    min_area_m2: Annotated[float | None, typer.Option(help="Leave out smaller footprints.")] = None,
    simplify_m: Annotated[
        float | None, typer.Option(help="Simplify outlines within this tolerance in meters.")
    ] = None,
    connectivity: Annotated[
        int, typer.Option(help="8: pixels that touch at a corner are one object; 4: they are not.")
    ] = 8,
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    engine: EngineOption = "auto",
    chunk: Chunk = 1536,
    bands: Bands = None,
    resolution: Resolution = None,
    bbox: Bbox = None,
    aoi: Aoi = None,
    save_prob: Annotated[bool, typer.Option("--save-prob", help="Also write NAME.prob.tif, a COG.")] = False,
    save_mask: Annotated[bool, typer.Option("--save-mask", help="Also write NAME.mask.tif, a COG.")] = False,
    restart: Restart = False,
    on_error: OnError = "fail",
    flips: Flips = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Turn a scene into footprints: predict window by window, stitch, split, polygonize, write.

    Works in bounded memory on scenes of any size. Finished chunks are kept in OUT/NAME.geoseg: after a
    kill the same command goes on where it stopped. Exit status: 0 done, 1 not all could be done, 2 bad input.
    """
    options = make_options(
        formats=format, window=window, overlap=overlap, blend=blend, threshold=threshold,
        min_area_m2=min_area_m2, simplify_m=simplify_m, connectivity=connectivity, batch_size=batch_size,
        device=device, engine=engine,
        chunk=chunk, bands=bands, resolution=resolution, bbox=bbox, aoi=aoi, save_prob=save_prob,
        save_mask=save_mask, restart=restart, on_error=on_error, flips=flips,
    )  # fmt: skip
    from geoseg.models import tune_malloc
    from geoseg.pipeline.run import run_scene

    tune_malloc()
    with progress_bar(quiet) as progress:
        summary = run_scene(scene, model, out, options, progress=progress)
    _report(summary.as_dict(), quiet=quiet, json=json)


@handle_errors
def predict(
    scene: Scene,
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoTIFF to write, such as prob.tif.")],
    model: Model = None,
    dtype: Annotated[str, typer.Option(help="uint8 (scaled by 1/254, nodata 255) or float32.")] = "uint8",
    window: Window = None,
    overlap: Overlap = None,
    blend: Blend = None,
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    engine: EngineOption = "auto",
    chunk: Chunk = 1536,
    bands: Bands = None,
    resolution: Resolution = None,
    bbox: Bbox = None,
    aoi: Aoi = None,
    restart: Restart = False,
    on_error: OnError = "fail",
    flips: Flips = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write stitched probabilities as a cloud-optimized GeoTIFF, one band a class.

    The same command once more finds that the file is there, and predicts nothing.
    """
    options = make_options(
        window=window, overlap=overlap, blend=blend, batch_size=batch_size, device=device, engine=engine,
        chunk=chunk, bands=bands, resolution=resolution, bbox=bbox, aoi=aoi, restart=restart,
        on_error=on_error, flips=flips,
    )  # fmt: skip
    from geoseg.models import tune_malloc
    from geoseg.pipeline.run import predict_scene

    tune_malloc()
    with progress_bar(quiet) as progress:
        summary = predict_scene(scene, model, out, options, dtype=dtype, progress=progress)
    _report(summary.as_dict(), quiet=quiet, json=json)


def make_options(**given: Any) -> RunOptions:
    """Options from what was typed.

    Raises
    ------
    ConfigError
        A value that is impossible.
    """
    from geoseg.config import parse_settings
    from geoseg.pipeline.options import RunOptions

    values = dict(given)
    for name in ("window", "overlap"):
        pair = _numbers(values.get(name), name, int, most=2)
        if pair is not None:
            values[name] = pair[0] if len(pair) == 1 else (pair[1], pair[0])
    values["bands"] = _numbers(values.get("bands"), "bands", int)
    values["bbox"] = _numbers(values.get("bbox"), "bbox", float, most=4, least=4)
    if "threshold" in values:
        limits = _numbers(values["threshold"], "threshold", float)
        values["threshold"] = limits[0] if limits is not None and len(limits) == 1 else limits
    if values.get("batch_size") == "auto":
        del values["batch_size"]
    elif "batch_size" in values:
        (values["batch_size"],) = _numbers(values["batch_size"], "batch-size", int, most=1) or (None,)
    if values.get("resolution") != "native":
        (values["resolution"],) = _numbers(values.get("resolution"), "resolution", float, most=1) or (None,)
    return parse_settings(RunOptions, values, source="options")


def _numbers(
    text: str | None, name: str, kind: type, *, least: int = 1, most: int | None = None
) -> tuple[Any, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--{name} must be numbers separated by commas, got {text!r}.") from None
    if len(found) < least or (most is not None and len(found) > most):
        wanted = {1: "one number", 2: "one number or two", 4: "four numbers"}.get(most or 0, "numbers")
        raise InputError(f"--{name} must be {wanted}, got {text}.")
    return found


def _report(summary: dict[str, Any], *, quiet: bool, json: bool) -> None:
    if json:
        print_json(summary)
    elif not quiet:
        for note in summary["notes"]:
            print(f"note: {note}", file=sys.stderr)
        done = f"{summary['mpx']:.1f} Mpx in {summary['seconds']:.1f} s"
        if summary["footprints"] is not None:
            done = f"{summary['footprints']} footprints, {done}"
        print(f"{done} ({summary['windows_run']} of {summary['windows']} windows were predicted now)")
        for path in summary["files"].values():
            print(path)
    report_failures(summary["failures"], summary["files"])
