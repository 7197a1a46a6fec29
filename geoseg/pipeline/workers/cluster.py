"""The workers of a dask cluster that exists."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

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
#: Seconds for which a run that ends early waits for the tasks that workers go on with, and between two looks.
_SETTLE, _LOOK = 120, 0.2
#: States of a task in a worker that does no more for it.
_ENDED = frozenset({"memory", "error", "released", "forgotten"})

logger = logging.getLogger(__name__)


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
        raise InputError(
            f"scheduler must be the address of a dask cluster, such as tcp://host:8786, got {address}, which "
            f"can't be reached ({_line(error)}). Start it with: dask scheduler"
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
    """How many networks a cluster runs at a time: its GPUs, else its machines.

    Raises
    ------
    InputError
        A worker has no geoseg, or another version of it.
    """
    answers = _answers(client, None)
    # Two threads of a GPU's worker offer two of them, and the network runs once at a time.
    gpus = sum(GPU in answer.offered for answer in answers.values())
    return gpus or max(1, len({address.rpartition(":")[0] for address in answers}))


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
    with probed(place) as probe:
        answers = _answers(client, probe)
    for address, answer in answers.items():
        if answer.problem is not None:
            raise unseen(place, f"{address} on {answer.host}", answer.problem)
    offered = {resource for answer in answers.values() for resource in answer.offered}
    network = {"resources": {GPU: 1}} if GPU in offered else {}
    others = {"resources": {TRACE: 1}} if TRACE in offered else {}
    return Workers(
        lambda: _ClusterExecutor(client, others),
        sum(threads.values()),
        apart=True,
        is_cluster=True,
        start_network=lambda: _ClusterExecutor(client, network),
        settle=partial(_settle, client),
    )


class _ClusterExecutor(Executor):
    """The executor of a client; its futures know the names of their tasks, to ask what became of them."""

    def __init__(self, client: Any, options: dict[str, Any]) -> None:
        # Not pure: two tasks with equal arguments write two files, and dask would do one of them.
        self._executor = client.get_executor(pure=False, **options)

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        # The part before the last hyphen is the name that the dashboard shows.
        key = f"{function.__name__}-{uuid.uuid4().hex}"
        future: Future[Any] = self._executor.submit(function, *args, key=key)
        future.key = key  # type: ignore[attr-defined]
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait)


def _settle(client: Any, cancelled: list[Future[Any]]) -> None:
    """Wait until no worker goes on with cancelled tasks, which the cluster forgets while they still write."""
    keys = [future.key for future in cancelled]  # type: ignore[attr-defined]
    end = time.monotonic() + _SETTLE
    while client.status == "running":
        # First, for the word of what is cancelled takes its time to the workers.
        time.sleep(_LOOK)
        try:
            answers = client.run(_going_on, keys, on_error="ignore")
        except (OSError, RuntimeError):
            return  # the cluster is gone, which the run has said
        if not any(answers.values()):
            return
        if time.monotonic() > end:
            logger.warning(
                "workers go on with tasks of a run that ended; what they write may stay in its store"
            )
            return


def _going_on(keys: list[str], dask_worker: Any) -> bool:
    """In a worker: whether it is at work on any of these tasks, or is about to be."""
    tasks = dask_worker.state.tasks
    return any(key in tasks and tasks[key].state not in _ENDED for key in keys)


class _Answer(NamedTuple):
    """What a worker says of itself: ``problem`` is why it does not see a probe, None where it does."""

    version: str
    host: str
    offered: list[str]
    problem: str | None


def _answers(client: Any, probe: tuple[str, str] | None) -> dict[str, _Answer]:
    """What all workers say of themselves, by their addresses; an InputError where one can't do any job."""
    answers = client.run(_look, probe, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, Exception):
            # An error of reading the task comes back as a plain exception whose text names the type.
            if any(kind in repr(answer) for kind in ("ModuleNotFoundError", "ImportError", "AttributeError")):
                raise InputError(
                    f"workers must have geoseg {VERSION} installed like the command, got none or another at "
                    f"{address} ({_line(answer)}). Install it there."
                )
            raise InputError(
                f"workers must answer, got an error of {address}: {_line(answer)}. Start it anew."
            )
        if answer.version != VERSION:
            raise InputError(
                f"workers must run geoseg {VERSION} like the command, got {answer.version} at {address}. "
                "Install the same version there."
            )
    return dict(answers)


def _look(probe: tuple[str, str] | None, dask_worker: Any) -> _Answer:
    """In a worker: what it says of itself."""
    offered = list(dask_worker.state.total_resources)
    return _Answer(VERSION, socket.gethostname(), offered, None if probe is None else seen(*probe))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
