"""Engines against eager PyTorch on the same windows in the same run: time ratio and largest difference.

Run with ``python benchmarks/engines.py [--window 512] [--rounds 5]``. The engines take turns, so that a
busy moment of the machine hits all of them; each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from geoseg.models.architectures import build_network
from geoseg.models.digests import module_digest
from geoseg.models.engines import Engine, make_engine
from geoseg.models.options import ArchitectureSpec
from geoseg.models.runtimes import ENGINES, missing_packages

NETWORKS = {
    "unet(resnet18)": ArchitectureSpec(name="unet", encoder="resnet18"),
    "unet(lite0)": ArchitectureSpec(
        name="unet", encoder="tu-tf_efficientnet_lite0", kwargs={"decoder_channels": [192, 96, 64, 32, 16]}
    ),
}


def measure(
    network: nn.Module, names: list[str], window: int, rounds: int
) -> dict[str, tuple[float, float, float]]:
    """Seconds a window, seconds of the first call, and largest difference of probabilities to eager."""
    x = torch.rand(1, 3, window, window)
    cpu, key = torch.device("cpu"), module_digest(network)
    engines: dict[str, Engine] = {name: make_engine(name, network, cpu, key) for name in names}
    first = {name: _seconds(lambda e=engine: e(x)) for name, engine in engines.items()}  # type: ignore[misc]
    want = engines["torch"](x)
    apart = {
        name: float((engine(x).sigmoid() - want.sigmoid()).abs().max()) for name, engine in engines.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, engine in engines.items():
            taken[name].append(_seconds(lambda e=engine: e(x)))  # type: ignore[misc]
    return {name: (statistics.median(taken[name]), first[name], apart[name]) for name in names}


def batches(network: nn.Module, sizes: tuple[int, ...], window: int, rounds: int) -> dict[int, float]:
    """Seconds a window of eager PyTorch at several batch sizes."""
    engine = make_engine("torch", network, torch.device("cpu"), "")
    inputs: dict[int, Tensor] = {size: torch.rand(size, 3, window, window) for size in sizes}
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(rounds + 1):
        for size, x in inputs.items():
            seconds = _seconds(lambda v=x: engine(v)) / size  # type: ignore[misc]
            if turn:
                taken[size].append(seconds)
    return {size: statistics.median(values) for size, values in taken.items()}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print one table a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--engines", default="torch,onnxruntime,openvino", help=f"of {', '.join(ENGINES[1:])}"
    )
    parser.add_argument("--malloc", action="store_true", help="keep freed memory first (glibc)")
    arguments = parser.parse_args()
    if arguments.malloc:
        from geoseg.models import tune_malloc

        print("tune_malloc:", tune_malloc())
    names = [name for name in arguments.engines.split(",") if not missing_packages(name)]
    names = ["torch", *(name for name in names if name != "torch")]
    for label, spec in NETWORKS.items():
        network = build_network(spec, in_channels=3, classes=1)
        results = measure(network, names, arguments.window, arguments.rounds)
        base = results["torch"][0]
        print(f"\n{label}, {arguments.window} x {arguments.window}, {torch.get_num_threads()} threads")
        for name, (seconds, first, apart) in results.items():
            print(
                f"  {name:<12} {seconds * 1000:7.1f} ms  ratio to eager {seconds / base:.2f}"
                f"  first call {first:5.1f} s  largest difference {apart:.1e}"
            )
        for size, seconds in batches(network, (1, 2, 4), arguments.window, arguments.rounds).items():
            print(f"  eager batch {size}  {seconds * 1000:6.1f} ms a window, ratio {seconds / base:.2f}")


if __name__ == "__main__":
    main()
