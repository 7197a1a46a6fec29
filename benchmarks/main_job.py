"""The main job against its floor and its peers: wall time, peak memory and seam error.

    python benchmarks/main_job.py speed              # the whole job against only running its windows
    python benchmarks/main_job.py speed --size 8192  # the same, with four times the windows
    python benchmarks/main_job.py memory   # peak memory, free network and resnet18, crop and whole scene
    python benchmarks/main_job.py peers    # MONAI, geoai and torchgeo: the README's table

Scene: oam_banepa (GEOSEG_DATA, by default ../shared/data); without it a scene of the demo. Every case is a
process of its own. Its wall time starts when everything is imported and the network is made, and its memory
is what it takes above that moment. Peers that are not installed (``pip install -e ".[peers]"``) are left out
and named.

``speed`` takes turns (floor, job, floor, job ...), so that a machine that slows down slows both. The floor is
eager PyTorch on random pixels in memory, with batches of 1, 2 and 4 windows, each in a process that begins as
cold as the job does. The ratio of a turn is the job's wall time over the *best* of its three floors, whatever
batch and engine the job has; beside it stands the ratio to the floor of the job's own batch. The last lines
are medians over all turns. Nothing else may run on the machine.

``--size`` chooses what the ratio is about. At 4096 the network takes half a minute on two cores, and what a
job costs once (kernels to load, checksums, locks, the last files) is a good part of all that is not network.
At 8192 it takes two minutes, as scenes of an ordinary size do.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WINDOW, OVERLAP = 512, 128
PEERS = {
    "monai": "MONAI sliding_window_inference",
    "geoai": "geoai predict_geotiff",
    "torchgeo": "torchgeo loop",
}


class Peak:
    """Highest anonymous memory above the start in MB (file pages not counted), sampled every 10 ms."""

    def __enter__(self) -> Peak:
        self.start = self.top = _anonymous()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._clock = time.perf_counter()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.top = max(self.top, _anonymous())

    def __exit__(self, *error: object) -> None:
        self.wall = time.perf_counter() - self._clock
        self._stop.set()
        self._thread.join()

    @property
    def above(self) -> float:
        """MB above the start."""
        return self.top - self.start


def _anonymous() -> float:
    # Anonymous pages are shared ones, too, where a library asks mmap for no others.
    with Path("/proc/self/status").open() as status:
        return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem"))) / 1024


def scene_file(folder: Path, size: int | None) -> Path:
    """The scene, or its upper left ``size`` x ``size`` pixels, as a tiled deflate GeoTIFF."""
    import rasterio
    from rasterio.windows import Window

    data = Path(os.environ.get("GEOSEG_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    source = data / "oam_banepa" / "scene_banepa_13cm.tif"
    if not source.exists():
        from geoseg.demo.scene import make_scene

        source = folder / "demo.tif"
        print(f"oam_banepa is not in {data}: a generated scene takes its place", file=sys.stderr)
        make_scene(source, folder / "truth.geojson", size=max(size or 0, 5120))
    target = folder / f"scene_{size or 'whole'}.tif"
    if target.exists():
        return target
    with rasterio.open(source) as src:
        height, width = (min(size or side, side) for side in (src.height, src.width))
        profile = {
            "driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8", "crs": src.crs,
            "transform": src.transform, "tiled": True, "blockxsize": 256, "blockysize": 256,
            "compress": "deflate",
        }  # fmt: skip
        with rasterio.open(target, "w", **profile) as out:
            for row in range(0, height, 1024):
                window = Window(0, row, width, min(1024, height - row))
                out.write(src.read([1, 2, 3], window=window), window=window)
    return target


def make_network(name: str) -> Any:
    """``resnet18``: smp.Unet with random weights, seed 0; ``free`` and ``identity``: red / 255."""
    import torch

    torch.manual_seed(0)
    if name == "resnet18":
        import segmentation_models_pytorch as smp

        return smp.Unet("resnet18", encoder_weights=None, classes=1).eval()

    class Scaled(torch.nn.Module):
        """Bytes in, as a bundle's normalization would have it."""

        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network(x / 255)

    if name == "scaled resnet18":
        return Scaled(make_network("resnet18")).eval()

    class Red(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:, :1] / (255.0 if float(x.max()) > 1.5 else 1.0)

    return Red().eval()


def count_windows(path: Path) -> int:
    """Windows of the grid."""
    import rasterio

    from geoseg.geo.windows import Grid

    with rasterio.open(path) as src:
        return len(Grid(src.shape, (WINDOW, WINDOW), (OVERLAP, OVERLAP)))


def case_floor(path: Path, out: Path, net: str, batch: str) -> dict[str, Any]:
    """Only the network: as many windows as the job has, eager PyTorch."""
    import torch

    from geoseg.models import tune_malloc

    tune_malloc()
    network = make_network(net).to(memory_format=torch.channels_last)
    batches, rest = divmod(count_windows(path), int(batch))
    x = torch.rand(int(batch), 3, WINDOW, WINDOW).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(batches):
            network(x)
        if rest:
            network(x[:rest])
    return {"wall": time.perf_counter() - start}


def case_geoseg(path: Path, out: Path, net: str, engine: str) -> dict[str, Any]:
    """``run_scene``: footprints and all; for ``identity`` the stitched float32 raster."""
    import rasterio

    import geoseg.pipeline.vectorize  # noqa: F401
    from geoseg.config.run import RunSettings
    from geoseg.models import as_predictor, tune_malloc
    from geoseg.pipeline.predict_scene import predict_scene
    from geoseg.pipeline.run import run_scene

    tune_malloc()
    network = make_network("scaled resnet18" if net == "resnet18" else net)
    # random weights say about 0.5 everywhere; at 0.9 they give no confetti that would swamp the writing
    settings = RunSettings(
        window=WINDOW, overlap=OVERLAP, threshold=0.9, resolution="native",
        dtype="float32" if net == "identity" else "uint8",
    )  # fmt: skip
    predictor = as_predictor(network, device="cpu", engine=engine, classes=("building",), in_channels=3,
                             activation="none" if net != "resnet18" else "sigmoid")  # fmt: skip
    if engine != "torch":
        predictor(np.zeros((1, 3, WINDOW, WINDOW), np.uint8))  # converts the network
    with Peak() as peak:
        if net == "identity":
            summary = predict_scene(path, predictor, out / "prob.tif", settings)
        else:
            summary = run_scene(path, predictor, out, settings)
    batch = predictor.batch_size_default(settings.window)
    result = {"network_s": summary.network_seconds, "windows": summary.windows_run, "batch": batch}
    if net == "identity":
        with rasterio.open(out / "prob.tif") as got:
            result["seam"] = seam_error(path, got.read(1))
    return {"wall": peak.wall, "peak": peak.above, **result}


def case_monai(path: Path, out: Path, net: str, engine: str) -> dict[str, Any]:
    """Whole scene in a tensor, gaussian weights, batch 4; probabilities written as GeoTIFF."""
    import rasterio
    import torch
    from monai.inferers import sliding_window_inference

    network = make_network(net).to(memory_format=torch.channels_last)
    with Peak() as peak, torch.inference_mode():
        with rasterio.open(path) as src:
            profile, image = src.profile, src.read()
        x = torch.from_numpy(image)[None].float().div_(255)
        got = sliding_window_inference(
            x, WINDOW, 4, lambda b: network(b.contiguous(memory_format=torch.channels_last)),
            overlap=OVERLAP / WINDOW, mode="gaussian",
        )  # fmt: skip
        prob = got[0, 0].numpy() if net == "identity" else torch.sigmoid(got)[0, 0].numpy()
        _write(out / "monai.tif", profile, prob)
    return {
        "wall": peak.wall,
        "peak": peak.above,
        "seam": seam_error(path, prob) if net == "identity" else None,
    }


def case_geoai(path: Path, out: Path, net: str, engine: str) -> dict[str, Any]:
    """``predict_geotiff`` as it comes: spline weights, batch 4."""
    import rasterio
    import torch
    from geoai.inference import predict_geotiff

    network = make_network(net).to(memory_format=torch.channels_last)
    target = out / "geoai.tif"
    with Peak() as peak:
        predict_geotiff(
            network, str(path), str(target), tile_size=WINDOW, overlap=OVERLAP, device="cpu", verbose=False
        )
    with rasterio.open(target) as got:
        seam = seam_error(path, got.read(1)) if net == "identity" else None
    return {"wall": peak.wall, "peak": peak.above, "seam": seam}


def case_torchgeo(path: Path, out: Path, net: str, engine: str) -> dict[str, Any]:
    """GridGeoSampler, DataLoader and plain averaging, as its users write it."""
    import rasterio
    import torch
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler, Units

    network = make_network(net).to(memory_format=torch.channels_last)
    with Peak() as peak, torch.inference_mode():
        data = RasterDataset(str(path))
        sampler = GridGeoSampler(data, size=WINDOW, stride=WINDOW - OVERLAP, units=Units.PIXELS)
        with rasterio.open(path) as src:
            profile, inverse, (height, width) = src.profile, ~src.transform, src.shape
        total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        for sample in DataLoader(data, batch_size=4, sampler=sampler, collate_fn=stack_samples):
            images = sample["image"].float().div(255).contiguous(memory_format=torch.channels_last)
            scores = network(images)
            scores = scores if net == "identity" else torch.sigmoid(scores)
            for score, where in zip(scores[:, 0].numpy(), sample["bounds"], strict=True):
                col, row = (round(v) for v in inverse * _upper_left(where))
                top, left = max(row, 0), max(col, 0)
                part = score[top - row : height - row, left - col : width - col]
                total[top : top + part.shape[0], left : left + part.shape[1]] += part
                count[top : top + part.shape[0], left : left + part.shape[1]] += 1
        prob = total / np.maximum(count, 1)
        _write(out / "torchgeo.tif", profile, prob)
    return {
        "wall": peak.wall,
        "peak": peak.above,
        "seam": seam_error(path, prob) if net == "identity" else None,
    }


def _upper_left(bounds: Any) -> tuple[float, float]:
    if hasattr(bounds, "minx"):
        return bounds.minx, bounds.maxy
    if isinstance(bounds, tuple):
        return bounds[0].start, bounds[1].stop
    x_start, _, _, _, y_stop = (float(v) for v in bounds.flatten()[:5])
    return x_start, y_stop


def _write(path: Path, profile: dict[str, Any], prob: np.ndarray) -> None:
    import rasterio

    with rasterio.open(path, "w", **{**profile, "count": 1, "dtype": "uint8"}) as out:
        out.write(np.rint(np.clip(prob, 0, 1) * 254).astype(np.uint8), 1)


def seam_error(path: Path, got: np.ndarray) -> float:
    """Largest difference between the stitched identity and the scene, anywhere to the last corner."""
    import rasterio

    with rasterio.open(path) as src:
        return float(np.abs(got - src.read(1).astype(np.float32) / 255).max())


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "floor": case_floor, "geoseg": case_geoseg, "monai": case_monai, "geoai": case_geoai,
    "torchgeo": case_torchgeo,
}  # fmt: skip


def measure(case: str, path: Path, net: str, choice: str = "torch") -> dict[str, Any]:
    """Run a case in a process of its own; ``choice`` is an engine, of the floor the windows of a batch."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "case", case, str(path), out, net, choice]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def speed(folder: Path, size: int, runs: int) -> None:
    """Wall time of the whole job over that of the network alone, for each engine that is installed."""
    path = scene_file(folder, size)
    engines = ["torch"] + [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    print(f"scene {size} x {size}, {count_windows(path)} windows, smp.Unet('resnet18'), {WINDOW}/{OVERLAP}")
    walls: dict[str, list[float]] = {}
    ratios: dict[str, list[tuple[float, float]]] = {engine: [] for engine in engines}
    for _ in range(runs):
        floors = {batch: measure("floor", path, "resnet18", str(batch))["wall"] for batch in (1, 2, 4)}
        for batch, floor in floors.items():
            walls.setdefault(f"floor, batch {batch}", []).append(floor)
            print(f"  floor, batch {batch}: {floor:.1f} s", flush=True)
        best = min(floors.values())
        for engine in engines:
            job = measure("geoseg", path, "resnet18", engine)
            wall, outside = job["wall"], job["wall"] - job["network_s"]
            walls.setdefault(f"{engine}, batch {job['batch']}", []).append(wall)
            ratios[engine].append((wall / best, wall / floors[job["batch"]]))
            print(f"  {engine}, batch {job['batch']}: {wall:.1f} s, {outside:.1f} s of it outside the "
                  f"network, ratio {wall / best:.3f}", flush=True)  # fmt: skip
    print(f"medians of {runs}")
    for what, seconds in walls.items():
        print(f"  {what}: {np.median(seconds):.1f} s")
    for engine, pairs in ratios.items():
        to_best, to_own = np.median(pairs, axis=0)
        print(f"{engine}: wall / floor = {to_best:.3f} (best batch), {to_own:.3f} (the job's own batch)")


def memory(folder: Path, size: int) -> None:
    """Peak memory above everything imported; crop and whole scene."""
    for net in ("free", "resnet18"):
        crop = measure("geoseg", scene_file(folder, size), net)
        whole = measure("geoseg", scene_file(folder, None), net)
        print(f"{net}: {size} crop +{crop['peak']:.0f} MB, whole scene +{whole['peak']:.0f} MB, "
              f"ratio {whole['peak'] / crop['peak']:.2f}", flush=True)  # fmt: skip


def peers(folder: Path, size: int) -> None:
    """The table of the README, as Markdown."""
    path = scene_file(folder, size)
    rows = []
    for case in list(CASES)[1:]:
        if case != "geoseg" and importlib.util.find_spec(case) is None:
            print(f"{case} is not installed: left out", file=sys.stderr)
            continue
        timed, exact = measure(case, path, "resnet18"), measure(case, path, "identity")
        rows.append((PEERS.get(case, "**geoseg run** (torch, footprints too)"), timed, exact["seam"]))
    base = rows[0][1]
    print(
        f"| {size} x {size} px, U-Net resnet18, {WINDOW}/{OVERLAP} | wall | peak memory | seam error |\n"
        "|---|---|---|---|"
    )
    for name, got, seam in rows:
        print(f"| {name} | {got['wall']:.1f} s ({got['wall'] / base['wall']:.2f} x) | "
              f"+{got['peak']:.0f} MB ({got['peak'] / base['peak']:.1f} x) | {seam:.1e} |")  # fmt: skip


def main() -> None:
    """Arguments in, figures out."""
    if sys.argv[1:2] == ["case"]:
        warnings.simplefilter("ignore")
        case, path, out, net, engine = sys.argv[2:]
        print(json.dumps(CASES[case](Path(path), Path(out), net, engine)))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "memory", "peers"))
    parser.add_argument(
        "--size",
        type=int,
        default=4096,
        help="side of the crop in pixels; 8192 for the ratio of large scenes",
    )
    parser.add_argument("--runs", type=int, default=3, help="turns of floor and job (speed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.what == "speed":
            speed(Path(folder), args.size, args.runs)
        elif args.what == "memory":
            memory(Path(folder), args.size)
        else:
            peers(Path(folder), args.size)


if __name__ == "__main__":
    main()
