"""The workers of a dask cluster that exists."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from geoseg.errors import InputError, MissingDependencyError
from geoseg.pipeline.workers.base import Workers
from geoseg.pipeline.workers.meeting import probed, seen
from geoseg.pipeline.workers.shared import unseen
from geoseg.version import VERSION

__all__ = ["GPU", "TRACE", "cluster_workers", "connected", "networks_of"]

#: Resources by which a cluster places tasks: where any worker offers the first, networks run on such workers
#: alone; where any offers the second, all other tasks run on those.
GPU, TRACE = "GPU", "CPU"
#: Seconds that a scheduler may take to answer.
_TIMEOUT = 10


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """A client of the cluster at an address.

    Raises
    ------
    InputError
        It can't be reached.
    MissingDependencyError
        ``distributed`` is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError(
            "--scheduler needs the package distributed, which is not installed. "
            "Install it with: pip install 'geoseg[distributed]'"
        ) from error
    try:
        # Not as the default, or dask arrays of the caller would compute there from now on.
        client = Client(address, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"scheduler must be the address of a dask cluster, such as tcp://host:8786, got {address}, which "
            f"can't be reached ({reason[:120]}). Start it with: dask scheduler"
        ) from error
    # It prints tracebacks of its own when a connection is lost, and the run says it in a line. Loggers of its
    # modules have levels of their own, by its configuration.
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {log: log.level for log in map(logging.getLogger, names)}
    for log in levels:
        log.setLevel(logging.CRITICAL)
    try:
        with client:
            yield client
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def networks_of(client: Any) -> int:
    """How many networks a cluster runs at a time: its GPUs, else its machines."""
    offers: dict[str, list[str]] = client.run(_offered)
    # Two threads of a GPU's worker offer two of them, and the network runs once at a time.
    gpus = sum(GPU in offered for offered in offers.values())
    return gpus or max(1, len({address.rpartition(":")[0] for address in offers}))


def cluster_workers(client: Any, place: str) -> Workers:
    """The workers of a cluster, after a look at whether they can do the job.

    Workers that join later take tasks as well; each task states the version of geoseg, and looks for the
    place, once more.

    Parameters
    ----------
    client
        A ``distributed.Client``.
    place
        Folder or address where they meet; see :func:`geoseg.files.depot_at`.

    Raises
    ------
    InputError
        There is no worker, one has another version of geoseg, or one does not see ``place``.
    """
    threads: dict[str, int] = dict(client.nthreads())
    if not threads:
        raise InputError(
            "scheduler must have at least one worker, got a cluster without any. Start some with: "
            f"dask worker {client.scheduler.address}"
        )
    with probed(place) as (address, token):
        answers = client.run(_look, address, token, on_error="return")
    offered: set[str] = set()
    for address, answer in answers.items():
        if isinstance(answer, ImportError | AttributeError):
            raise InputError(
                f"workers must have geoseg {VERSION} installed like the command, got none at {address} "
                f"({answer}). Install it there."
            )
        if isinstance(answer, Exception):
            raise InputError(f"workers must answer, got an error of {address}: {answer}. Start it anew.")
        version, problem, host, resources = answer
        offered.update(resources)
        if version != VERSION:
            raise InputError(
                f"workers must run geoseg {VERSION} like the command, got {version} at {address}. Install "
                "the same version there."
            )
        if problem is not None:
            raise unseen(place, f"{address} on {host}", problem)
    network = {"resources": {GPU: 1}} if GPU in offered else {}
    others = {"resources": {TRACE: 1}} if TRACE in offered else {}
    return Workers(
        # Not pure: two tasks with equal arguments write two files, and dask would do one of them.
        lambda: client.get_executor(pure=False, **others),
        sum(threads.values()),
        apart=True,
        is_cluster=True,
        start_network=lambda: client.get_executor(pure=False, **network),
    )


def _offered(dask_worker: Any) -> list[str]:
    """In a worker: the resources by which it takes tasks."""
    return list(dask_worker.state.total_resources)


def _look(probe: str, token: str, dask_worker: Any) -> tuple[str, str | None, str, list[str]]:
    """In a worker: the version of geoseg, why it does not see a probe, its machine, and what it offers."""
    return VERSION, seen(probe, token), socket.gethostname(), _offered(dask_worker)
