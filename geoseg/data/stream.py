"""Samples whose number is not known before they are made, for torch's DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

__all__ = ["SampleStream", "Shards"]


class Shards(Protocol):
    """What can be iterated in parts, as :func:`geoseg.dtl.open_graph` gives it."""

    def shard(self, index: int, count: int) -> Iterator[Any]:
        """Part ``index`` of ``count``; all parts together are the whole."""

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, in processes that were started with it too."""


class SampleStream(IterableDataset[Any]):
    """An iterable data set in which each worker process makes its own share.

    Where torch.distributed is set up, each of its processes makes a share too; all of them must have the same
    number of workers. Shares are whole images, so one process may have more samples than another: join them
    at the end of an epoch, as by ``torch.distributed.algorithms.Join``.

    Parameters
    ----------
    samples
        What :func:`geoseg.dtl.open_graph` gave where it can't tell how many samples there are. Where it can,
        they are a map-style data set themselves.
    """

    def __init__(self, samples: Shards) -> None:
        self.samples = samples
        self._place = (0, 1)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from the next iteration on, workers that are kept included."""
        self.samples.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rank, ranks = self._distributed()
        # Ranks and workers are numbered through, so that together they make each sample once.
        return self.samples.shard(rank * workers + number, ranks * workers)

    def _distributed(self) -> tuple[int, int]:
        """Rank and number of ranks; a worker that was not forked knows only what it was sent."""
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return self._place

    def __getstate__(self) -> dict[str, Any]:
        # Asked here, in the parent: a spawned worker has no process group to ask.
        return {**self.__dict__, "_place": self._distributed()}
