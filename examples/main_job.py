"""The main job in Python: a scene in, footprints out, in one call and step by step.

    python examples/main_job.py                       # on a small generated town, scored against its truth
    python examples/main_job.py --scene my.tif        # on a scene of your own
    python examples/main_job.py --real                # on oam_banepa, found through GEOSEG_DATA

Step by step everything is lazy: nothing is read or predicted before a line asks for it, and then chunk by
chunk. The command `geoseg run` does the same with a store on disk, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import geoseg


def step_by_step(scene_path: Path, model: Any, out: Path) -> Path:
    """Open, predict, threshold, split, polygonize, write."""
    resolution = model.card.options.gsd if model.card is not None else None
    scene = geoseg.open_scene(scene_path, resolution=resolution)
    print(f"scene       {dict(scene.sizes)}, {scene.dtype}, {scene.rio.crs}")

    prob = geoseg.predict(scene, model, window=512, overlap=128)
    mask = prob.sel({"class": "building"}) > 0.5  # no data is NaN, and NaN > 0.5 is False
    labels = geoseg.split_masks(mask).compute()
    print(f"buildings   {int(labels.max())}")

    footprints = geoseg.polygonize(labels)
    footprints["area_m2"] = footprints.geometry.to_crs(footprints.estimate_utm_crs()).area.round(1)
    footprints = footprints[footprints["area_m2"] >= 8]
    path = out / f"{scene_path.stem}.steps.gpkg"
    footprints.to_file(path)
    print(f"footprints  {len(footprints)} of at least 8 m2 in {path}")
    return path


def in_one_call(scene_path: Path, model: Any, out: Path) -> Path:
    """The same with the driver: bounded memory, restart after a kill, confidence, several formats."""
    summary = geoseg.run(scene_path, model, out=out, formats=("geojson", "parquet"), min_area_m2=8)
    print(f"one call    {summary.footprints} footprints in {summary.seconds:.0f} s")
    return Path(summary.files["geojson"])


def score(prediction: Path, truth: Path) -> None:
    """Compare with the truth: ground covered, and objects."""
    from geoseg.pipeline.evaluation.files import evaluate_files

    result = evaluate_files(prediction, truth)
    assert result.objects is not None
    print(f"score       IoU {result.pixels.iou:.3f}, F1 of objects at IoU 0.5 {result.objects.f1:.3f}")


def choose_scene(args: argparse.Namespace) -> tuple[Path, Path | None]:
    """The scene to work on, and its truth where it is known."""
    if args.scene is not None:
        return args.scene, None
    if args.real:
        data = Path(
            os.environ.get("GEOSEG_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data")
        )
        return data / "oam_banepa" / "scene_banepa_13cm.tif", None
    from geoseg.demo.run import prepare_scene

    scene, truth = args.out / "small-town.tif", args.out / "small-town.truth.geojson"
    prepare_scene(scene, truth, size=args.size, seed=5)
    return scene, truth


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="The main job in Python.")
    parser.add_argument("--scene", type=Path, help="a scene of your own")
    parser.add_argument("--real", action="store_true", help="use oam_banepa from GEOSEG_DATA")
    parser.add_argument("--out", type=Path, default=Path("main-job"), help="folder of the results")
    parser.add_argument("--size", type=int, default=1536, help="pixels a side of the generated town")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    scene, truth = choose_scene(args)
    model = geoseg.load_model()  # the building network that ships
    step_by_step(scene, model, args.out)
    files = in_one_call(scene, model, args.out)
    if truth is not None:
        score(files, truth)


if __name__ == "__main__":
    main()
