"""Who does the tasks of a scene: threads, processes of this machine, or a dask cluster."""

from geoseg.pipeline.workers.base import Pending, Workers, thread_workers
from geoseg.pipeline.workers.opening import networks_at_once, open_workers, shared_workers
from geoseg.pipeline.workers.shared import Shared

__all__ = [
    "Pending",
    "Shared",
    "Workers",
    "networks_at_once",
    "open_workers",
    "shared_workers",
    "thread_workers",
]
