"""Inference over a project: images a second against a plain loop over the same windows.

    python benchmarks/inference.py                    # 8 wide pictures, windows of 370 x 370
    python benchmarks/inference.py --images 4 --rounds 1 --network buildings     # the one that ships
    python benchmarks/inference.py --network cheap    # a network that costs nothing: all the rest

The loop does what a script of thirty lines would: it decodes each picture once, runs its windows one by one
through the same network, adds probabilities up, and writes a bitmap for each class. Both make the same
annotations, which is checked. Best of the rounds, one thread for the network either way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import geoseg
from geoseg.geo.windows import Grid
from geoseg.models.architectures import build_network
from geoseg.models.bundle import open_bundle, shipped_model
from geoseg.models.options import ArchitectureSpec
from geoseg.models.state import load_module
from geoseg.projects.figures import Annotation, Bitmap, LabeledObject, ProjectMeta
from geoseg.projects.project import Project, open_project
from geoseg.projects.writer import ProjectWriter

NAMES = ("bg", "vehicle")
SIZE = 256
WINDOW, OVERLAP = (370, 370), (0, 300)
CONFIG = {
    "mode": {
        "source": "sliding_window",
        "window": {"width": WINDOW[1], "height": WINDOW[0]},
        "min_overlap": {"x": OVERLAP[1], "y": OVERLAP[0]},
    },
}


def make_project(folder: Path, images: int) -> Project:
    """Pictures as wide as those of a car's camera."""
    rng = np.random.default_rng(0)
    with ProjectWriter(folder / "pictures", ProjectMeta()) as writer:
        for number in range(images):
            coarse = Image.fromarray(rng.integers(0, 255, (12, 40, 3), dtype=np.uint8))
            picture = coarse.resize((1242, 375), Image.Resampling.BICUBIC)
            writer.add("ds", f"{number:03}.png", None, lambda path, p=picture: p.save(path))
    return open_project(folder / "pictures")


def _random(name: str, encoder: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    return build_network(
        ArchitectureSpec(name=name, encoder=encoder), in_channels=3, classes=len(NAMES)
    ).eval()


#: Networks of two classes; weights make no difference to the time.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: _random("unet", "resnet18"),
    "unet_v2": lambda: _random("unet_v2"),
    "buildings": lambda: load_module(open_bundle(shipped_model())),
}


def make_predict(name: str) -> Any:
    """From (N, C, h, w) float32 to probabilities of two classes."""
    if name == "cheap":
        return lambda batch: np.stack([1 - batch[:, 0] / 255, batch[:, 0] / 255], axis=1).astype(np.float32)
    network = NETWORKS[name]().to(memory_format=torch.channels_last)

    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(memory_format=torch.channels_last)
            logits = network(pixels / 255)
            # One output says how likely its class is; the background is the rest.
            return (
                torch.cat([-logits, logits], 1).sigmoid().numpy()
                if logits.shape[1] == 1
                else (logits.softmax(1).numpy())
            )

    predict.fingerprint = lambda: "benchmark"  # type: ignore[attr-defined]
    return predict


def plain_loop(project: Project, predict: Any) -> dict[str, str]:
    """Text of each annotation."""
    texts = {}
    for item in project:
        pixels = np.asarray(Image.open(item.image)).transpose(2, 0, 1)
        shape = pixels.shape[1:]
        total, count = np.zeros((len(NAMES), *shape)), np.zeros(shape)
        for window in Grid(shape, WINDOW, OVERLAP):
            crop = torch.from_numpy(pixels[:, window.rows, window.cols].astype(np.float32))[None]
            seen = F.interpolate(crop, (SIZE, SIZE), mode="bilinear", align_corners=False).round()
            output = torch.from_numpy(np.ascontiguousarray(predict(seen.numpy())))
            total[:, window.rows, window.cols] += F.interpolate(output, WINDOW, mode="bilinear")[0].numpy()
            count[window.rows, window.cols] += 1
        classes = (total / count).argmax(axis=0)
        bitmaps = (Bitmap((0, 0), classes == index).tight() for index in range(len(NAMES)))
        objects = [
            LabeledObject(f"{n}_unet", b) for n, b in zip(NAMES, bitmaps, strict=True) if b is not None
        ]
        texts[item.name] = json.dumps(Annotation(*shape, tuple(objects)).to_json())
    return texts


def agreement(texts: dict[str, str], result: Project) -> float:
    """Share of pixels that both call the same."""
    same = []
    for item in result:
        drawn = []
        for annotation in (Annotation.from_json(json.loads(texts[item.name])), result.annotation(item)):
            values = np.zeros(annotation.shape, np.uint8)
            for one in annotation.objects:
                assert isinstance(one.figure, Bitmap)
                (x, y), (h, w) = one.figure.origin, one.figure.shape
                values[y : y + h, x : x + w][one.figure.mask] = 1 + (one.class_name == "vehicle_unet")
            drawn.append(values)
        same.append(np.mean(drawn[0] == drawn[1]))
    return float(np.mean(same))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--network", choices=[*NETWORKS, "cheap"], default="resnet18")
    given = parser.parse_args(arguments)
    predict = make_predict(given.network)
    times: dict[str, list[float]] = {"loop": [], "geoseg": []}
    # Beside a clock: seconds of the processor say the same on a machine that others use, too.
    cpu: dict[str, list[float]] = {"loop": [], "geoseg": []}
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name), given.images)
        # Once before the clock runs: kernels are compiled, the network warms up.
        warm = make_project(Path(name) / "warm", 1)
        geoseg.infer(
            warm.path, predict, CONFIG, Path(name) / "warmed", classes=NAMES, input_size=(SIZE, SIZE)
        )
        for _ in range(given.rounds):
            start, cpu_start = time.perf_counter(), time.process_time()
            texts = plain_loop(project, predict)
            times["loop"].append(time.perf_counter() - start)
            cpu["loop"].append(time.process_time() - cpu_start)
            start, cpu_start = time.perf_counter(), time.process_time()
            summary = geoseg.infer(
                project.path, predict, CONFIG, Path(name) / "result", classes=NAMES, input_size=(SIZE, SIZE),
                workers=given.workers, batch_size=given.batch, overwrite=True, restart=True,
            )  # fmt: skip
            times["geoseg"].append(time.perf_counter() - start)
            cpu["geoseg"].append(time.process_time() - cpu_start)
        same = agreement(texts, open_project(Path(name) / "result"))
    loop, ours = (given.images / min(times[way]) for way in ("loop", "geoseg"))
    print(f"plain loop  {loop:6.2f} images/s")
    print(f"geoseg      {ours:6.2f} images/s, {ours / loop:.2f} times as many; "
          f"{100 * summary.network_seconds / summary.seconds:.0f} % of the time in the network")  # fmt: skip
    print(f"CPU seconds {min(cpu['loop']):6.2f} and {min(cpu['geoseg']):.2f}, "
          f"{min(cpu['loop']) / min(cpu['geoseg']):.2f} times as few")  # fmt: skip
    print(f"pixels that both call the same: {100 * same:.4f} %")
    return {"loop": loop, "geoseg": ours, "same": same}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
