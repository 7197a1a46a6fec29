"""From the settings of a run to workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.pipeline.workers.base import Workers
from geoseg.pipeline.workers.meeting import probed, seen
from geoseg.pipeline.workers.shared import unseen

__all__ = ["networks_at_once", "open_workers", "shared_workers"]


@contextmanager
def open_workers(settings: RunSettings, out: Path, client: Any = None) -> Iterator[Workers | None]:
    """The workers that settings ask for, while a job lasts; None: this process alone.

    Parameters
    ----------
    settings
        ``workers``, ``devices``, ``scheduler`` and ``store`` count.
    out
        Existing folder of the results, which workers on other machines must see where no store is given.
    client
        A ``distributed.Client`` whose cluster does the work, in place of the settings.

    Raises
    ------
    InputError
        A cluster that can't be reached, or one whose workers can't do this job.
    """
    # Devices name workers, too: two GPUs are two processes, each with a network of its own.
    count = max(settings.workers, len(settings.devices or ()))
    if client is not None or settings.scheduler is not None:
        if count > 1:
            raise InputError(
                f"workers must be 1 with a cluster, which has its own, got {count}. Leave out --workers and "
                "--devices."
            )
        from geoseg.pipeline.workers.cluster import cluster_workers, connected

        opened = connected(settings.scheduler) if client is None else nullcontext(client)
        place = settings.store or str(out.absolute())
        with opened as cluster, cluster_workers(cluster, place) as workers:
            yield workers
        return
    if count == 1:
        yield None
        return
    # A GPU and a CPU differ in the last bits, and chunks of both in one store would be the result of neither.
    kinds = sorted({device.partition(":")[0] for device in settings.devices or ()})
    if len(kinds) > 1:
        raise InputError(
            f"devices must be of one kind, for results differ between them, got {' and '.join(kinds)}. Give "
            "those of one kind."
        )
    from geoseg.pipeline.workers.processes import process_workers

    with process_workers(count, settings.devices or ()) as workers:
        if settings.store is not None:
            # One answers for all, of one machine. An address in memory is seen by this process alone.
            with probed(settings.store) as probe:
                problem = workers.submit(seen, *probe).result()
            if problem is not None:
                raise unseen(settings.store, "a process of this machine", problem)
        yield workers


def networks_at_once(settings: RunSettings) -> int:
    """How many networks run at a time, each about as fast as that of one process alone.

    GPUs count, and machines of a cluster. Processes that share a GPU, or the CPUs of a machine, do not.

    Raises
    ------
    InputError
        A cluster that can't be reached.
    """
    if settings.scheduler is None:
        return max(1, len({device for device in settings.devices or () if device.partition(":")[0] != "cpu"}))
    from geoseg.pipeline.workers.cluster import connected, networks_of

    with connected(settings.scheduler) as client:
        return networks_of(client)


@contextmanager
def shared_workers(
    given: Workers | None, settings: RunSettings, out: Path, client: Any = None
) -> Iterator[Workers | None]:
    """Workers that somebody else opened, which stay open, else those of :func:`open_workers`."""
    if given is not None:
        yield given
        return
    with open_workers(settings, out, client) as workers:
        yield workers
