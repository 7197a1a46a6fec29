"""How many CPUs this process may use, and the threads that libraries of numbers start by themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["respect_quota", "thread_limits", "usable_cpus"]

#: What libraries of numbers read when they are loaded; torch goes by the first two, and the engines by torch.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
#: The groups of a process, and where the kernel shows their limits.
_GROUPS, _LIMITS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
#: What respect_quota() has set: workers inherit it, and it is no wish of the user's.
_by_quota: dict[str, str] = {}


def usable_cpus() -> int:
    """CPUs that this process may use: in a container or under a batch system fewer than the machine has.

    Those it may run on, or the share of CPU time that its control groups leave it, rounded up.

    References
    ----------
    Linux kernel, admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (cpu.cfs_quota_us).
    """
    return max(1, math.ceil(min(_seen_cpus(), _quota())))


def thread_limits(count: int) -> dict[str, str]:
    """Environment in which libraries of numbers start so many threads; what the user has set is left out."""
    return {name: str(count) for name in _THREADS if os.environ.get(name) in (None, _by_quota.get(name))}


def respect_quota() -> None:
    """Keep the same libraries to the CPU time of a container: they look at its CPUs alone.

    With a thread for each CPU of the machine, all of them are stopped together as soon as the share is used
    up, for most of the time.
    """
    if (count := usable_cpus()) < _seen_cpus():
        _by_quota.update(thread_limits(count))
        os.environ.update(_by_quota)


def _seen_cpus() -> int:
    """CPUs that the process may run on."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on; PYTHON_CPU_COUNT sets it
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float:
    """CPUs' worth of time that control groups leave this process; infinite without a limit."""
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    return min((quota for line in lines for quota in _quotas(line)), default=math.inf)


def _quotas(line: str) -> Iterator[float]:
    """Limits of a group, and of all those around it, by its line in ``/proc/self/cgroup``."""
    _, controllers, path = line.split(":", 2)
    # A container may see the machine's name of its group, and its limits at the root.
    steps = [step for step in path.split("/") if step not in ("", "..")]
    places = ["/".join(steps[:count]) for count in range(len(steps) + 1)]
    for place in places:
        if not controllers:  # version 2
            quota, _, period = _read(_LIMITS / place / "cpu.max").partition(" ")
        elif "cpu" in controllers.split(","):
            # A folder, or a link to that of several controllers, whose order is not always that of the line.
            folder = _LIMITS / "cpu" / place
            quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        else:
            return
        # "max", or -1, is none.
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
