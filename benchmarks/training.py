"""Training data: chips per second from one huge scene, and how much of a training step waits for them.

    python benchmarks/training.py --data ../shared/data
    python benchmarks/training.py --data ../shared/data --chips 64 --steps 4     # a quick try

Compared with reading pre-cut PNG tiles of the very same pixels and masks, and with torchgeo's
RandomGeoSampler where torchgeo is installed (labels drawn by its VectorDataset). All read 512 x 512 crops
of oam_banepa with two workers, after one batch to start them. Every way runs in turn, several times; the
best of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from geoseg.data.dataset import ChipDataset, join_chips, train_loader
from geoseg.data.sampler import BatchSampler
from geoseg.training.config import parse_train_settings
from geoseg.training.setup import Prepared, build, prepare

SIZE, BATCH, WORKERS = 512, 8, 2


def prepared(data: Path, chips: int, size: int = SIZE) -> Prepared:
    """Scene and labels of oam_banepa, split by file so that the whole labeled ground is drawn from."""
    folder = data / "oam_banepa"
    scene = {
        "path": str(folder / "scene_banepa_13cm.tif"),
        "labels": str(folder / "buildings_dev.geojson"),
        "aoi": str(folder / "aoi_dev.geojson"),
    }
    document = {
        "input_size": {"width": size, "height": size},
        "data": {"scenes": [{**scene, "part": "train"}, {**scene, "part": "val"}], "split": {"by": "file"}},
        "sampler": {"chips_per_epoch": chips},
        "classes": ["building"],
    }
    return prepare(parse_train_settings(document), Path())


def rate(make: Callable[[], Iterable[Any]], chips: int) -> float:
    """Chips per second of a loader, its first batch not counted."""
    batches = iter(make())
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return min(chips - BATCH, count * BATCH) / (time.perf_counter() - start)


class Tiles(Dataset[dict[str, Any]]):
    """PNG tiles and masks, read by PIL."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = np.asarray(Image.open(self.folder / f"{index}.png")).transpose(2, 0, 1)
        mask = np.array(Image.open(self.folder / f"{index}_mask.png"))
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "target": torch.from_numpy(mask),
            "auxiliary": torch.zeros(0, *mask.shape),
            "name": str(index),
        }


def cut_tiles(found: Prepared, chips: int, folder: Path) -> None:
    """The chips of the plan's first epoch as PNG."""
    dataset = ChipDataset(found.opened.areas, (SIZE, SIZE))
    refs = [ref for batch in found.epochs.batches(0, BATCH, WORKERS) for ref in batch][:chips]
    for index, ref in enumerate(refs):
        chip = dataset[ref]
        Image.fromarray(chip["image"].permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
        Image.fromarray(chip["target"].numpy()).save(folder / f"{index}_mask.png")


def geoseg_loader(found: Prepared, chips: int) -> Iterable[Any]:
    """What training uses."""
    sampler = BatchSampler(found.epochs, BATCH, WORKERS, 0, -(-chips // BATCH))
    return train_loader(ChipDataset(found.opened.areas, (SIZE, SIZE)), sampler)


def torchgeo_loader(data: Path, chips: int) -> Callable[[], Iterable[Any]] | None:
    """The same ground, size and number of chips by torchgeo; None where it is not installed."""
    try:
        from torchgeo.datasets import RasterDataset, VectorDataset, stack_samples
        from torchgeo.samplers import RandomGeoSampler
    except ImportError as error:
        print(f"torchgeo is left out: {error}")
        return None

    class Scene(RasterDataset):
        filename_glob = "scene_banepa_13cm.tif"
        separate_files = False

    class Labels(VectorDataset):
        filename_glob = "buildings_dev.geojson"

    folder = str(data / "oam_banepa")

    def fresh() -> Iterable[Any]:
        # Opened anew each time: its file handles must not be inherited by workers.
        scene = Scene(folder)
        both = scene & Labels(folder, crs=scene.crs, res=scene.res)
        sampler = RandomGeoSampler(both, size=SIZE, length=chips)
        return DataLoader(
            both, batch_size=BATCH, sampler=sampler, num_workers=WORKERS, collate_fn=stack_samples
        )

    return fresh


def waiting(data: Path, steps: int) -> tuple[float, float]:
    """Seconds of waiting for data and seconds in all, over training steps of a resnet18 U-Net on the CPU."""
    found = prepared(data, (steps + 1) * BATCH, 256)
    settings = parse_train_settings(
        {"architecture": {"name": "unet", "encoder": "resnet18"}, "input_size": {"width": 256, "height": 256}}
    )
    network = build(settings, 3, 2).train()
    optimizer = torch.optim.Adam(network.parameters())
    sampler = BatchSampler(found.epochs, BATCH, WORKERS, 0, steps + 1)
    batches = iter(train_loader(ChipDataset(found.opened.areas, (256, 256)), sampler))
    next(batches)
    waited, start = 0.0, time.perf_counter()
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        optimizer.zero_grad()
        logits = network(batch.image.float() / 255)
        torch.nn.functional.cross_entropy(logits, batch.target.long(), ignore_index=255).backward()
        optimizer.step()
    return waited, time.perf_counter() - start


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--chips", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = prepared(options.data, options.chips)
    with tempfile.TemporaryDirectory() as folder:
        cut_tiles(found, options.chips, Path(folder))
        tiles = Tiles(Path(folder), options.chips)
        ways: dict[str, Callable[[], Iterable[Any]]] = {
            "geoseg, windows of the scene": lambda: geoseg_loader(found, options.chips),
            "PNG tiles cut before": lambda: DataLoader(
                tiles, batch_size=BATCH, shuffle=True, num_workers=WORKERS, collate_fn=join_chips
            ),
        }
        other = torchgeo_loader(options.data, options.chips)
        if other is not None:
            ways["torchgeo RandomGeoSampler"] = other
        best = dict.fromkeys(ways, 0.0)
        for _ in range(options.repeats):
            for name, make in ways.items():
                best[name] = max(best[name], rate(make, options.chips))
    ours = best["geoseg, windows of the scene"]
    for name, value in best.items():
        print(f"{name:32} {value:8.1f} chips/s   geoseg is {ours / value:.2f} x")
    waited, total = waiting(options.data, options.steps)
    print(
        f"waiting for data                 {100 * waited / total:8.2f} % of a resnet18 U-Net step on the CPU"
    )


if __name__ == "__main__":
    main()
