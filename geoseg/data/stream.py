"""Samples whose number is not known before they are made, for torch's DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import IterableDataset, get_worker_info

__all__ = ["SampleStream", "Shards"]


class Shards(Protocol):
    """What can be iterated in parts, as :func:`geoseg.dtl.open_graph` gives it."""

    def shard(self, index: int, count: int) -> Iterator[Any]:
        """Part ``index`` of ``count``; all parts together are the whole."""


class SampleStream(IterableDataset[Any]):
    """An iterable data set in which each worker process makes its own share.

    Parameters
    ----------
    samples
        What :func:`geoseg.dtl.open_graph` gave where it can't tell how many samples there are. Where it can,
        they are a map-style data set themselves.
    """

    def __init__(self, samples: Shards) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        return self.samples.shard(worker.id, worker.num_workers) if worker else self.samples.shard(0, 1)
