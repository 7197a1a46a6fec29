"""Processes of this machine as workers: one model each, and no more threads than there are CPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from geoseg.cpus import thread_limits, usable_cpus
from geoseg.pipeline.workers.base import Workers

__all__ = ["process_workers", "worker_device"]

_device: str | None = None


def process_workers(count: int, devices: Sequence[str] = ()) -> Workers:
    """Start processes.

    Parameters
    ----------
    count
        Processes.
    devices
        Where their networks run: each process takes the next one, from the first again when all are taken.
        Empty: where the run's settings say.
    """
    # Not forked: this process has threads, and a fork would copy their locks as they happen to be.
    context = multiprocessing.get_context("spawn")

    def start() -> ProcessPoolExecutor:
        # Each process takes one entry, whichever is first.
        places = context.SimpleQueue()
        for number in range(count):
            places.put(devices[number % len(devices)] if devices else None)
        limits = thread_limits(max(1, usable_cpus() // count))
        return ProcessPoolExecutor(count, context, initializer=_begin, initargs=(limits, places))

    return Workers(start, count, apart=True)


def worker_device() -> str | None:
    """Device of the network in this process; None: as the settings say."""
    return _device


def _begin(limits: Mapping[str, str], places: Any) -> None:
    """First thing in a new process, before any library of numbers but NumPy is loaded."""
    global _device
    _device = places.get()
    os.environ.update(limits)
    # Ctrl-C goes to all processes of a terminal; the driver decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    from geoseg.models import tune_malloc

    tune_malloc()


def _end_with_driver() -> None:
    """A driver that is killed leaves its workers waiting for tasks forever: they end by themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
