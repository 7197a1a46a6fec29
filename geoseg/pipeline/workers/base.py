"""Tasks for an executor of ``concurrent.futures``, given again where a worker died."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from geoseg.errors import RunError
from geoseg.files import os_reason

__all__ = ["Pending", "Workers", "thread_workers"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Times that a task is given to workers which die before it is done. A task that is killed by chance is done
#: the next time; one that needs more memory than there is kills its worker each time.
_TRIES = 4


class Pending(Generic[T]):
    """A task that was given to workers; used in place of its future, which may break with its worker."""

    def __init__(
        self,
        workers: Workers,
        network: bool,
        function: Callable[..., T],
        args: Any,
        ended: SimpleQueue[Pending[Any]] | None,
    ) -> None:
        self.workers, self.network, self.function, self.args = workers, network, function, args
        self.ended = ended
        self.tries = 0
        # Number of deaths before it was given the last time.
        self.deaths = 0
        self.future: Future[T] | None = None

    def follow(self, future: Future[T]) -> None:
        """Take a future for the result from now on."""
        self.future = future
        if self.ended is not None:
            ended = self.ended
            future.add_done_callback(lambda _: ended.put(self))

    def result(self) -> T:
        """Wait for the result.

        Raises
        ------
        RunError
            Its worker died, again and again; or the cluster is gone.
        """
        return self.workers.wait_for(self)

    def cancel(self) -> None:
        """Do not begin it, where it has not begun yet."""
        self.workers.forget(self)
        if self.future is not None:
            self.future.cancel()

    def done(self) -> bool:
        """Whether it has ended."""
        return self.future is not None and self.future.done()


class Workers:
    """Workers that tasks are given to, in order.

    There is no queue and no scheduler here: whoever gives tasks keeps a bounded number of them in flight.

    Parameters
    ----------
    start
        Starts an executor; called again when one broke because a process died.
    count
        Tasks that are done at a time.
    apart
        Whether the workers are other processes, which share no memory with this one.
    start_network
        The same for tasks that run the network; None: one executor does all.
    is_cluster
        Whether a scheduler stands between this process and the workers, which may end.
    settle
        Waits until workers have ended what they go on with of tasks whose futures were cancelled; None: a
        future that has begun can't be cancelled.

    Attributes
    ----------
    notes
        What the user should know of them; whoever tells it takes it with :meth:`take_notes`.
    """

    def __init__(
        self,
        start: Callable[[], Executor],
        count: int,
        *,
        apart: bool,
        start_network: Callable[[], Executor] | None = None,
        is_cluster: bool = False,
        settle: Callable[[list[Future[Any]]], None] | None = None,
    ) -> None:
        self.count, self.apart, self.is_cluster = count, apart, is_cluster
        self.notes: list[str] = []
        self._start, self._start_network = start, start_network or start
        self._settle = settle
        self._lock = threading.RLock()
        self._executor = start()
        self._network = self._executor if start_network is None else start_network()
        self._deaths, self._stopped = 0, False
        # In the order in which they were given, so that they are given again in that order.
        self._pending: dict[int, Pending[Any]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # What has begun is waited for: it may be about to write a file.
        for executor in {id(x): x for x in (self._executor, self._network)}.values():
            executor.shutdown(wait=True)

    @property
    def in_flight(self) -> int:
        """Tasks that whoever gives them should have in flight.

        Results are taken in order, so that a slow task holds up those behind it: with four for each worker,
        none is idle until it takes four times as long as they.
        """
        return 4 * self.count if self.apart else self.count + 1

    def submit(
        self,
        function: Callable[..., T],
        *args: Any,
        network: bool = False,
        ended: SimpleQueue[Pending[Any]] | None = None,
    ) -> Pending[T]:
        """Give a task; with ``network`` to a worker that runs the network.

        ``ended`` takes it when it has ended, well or not; once more where it had to be given again.
        """
        pending: Pending[T] = Pending(self, network, function, args, ended)
        with self._lock:
            if self._stopped:
                raise _stopped()
            self._pending[id(pending)] = pending
            error = self._give(pending)
            if error is not None:
                # It broke a moment ago, and nobody who waits for a result has seen that yet.
                self._renew(self._deaths, error)
        return pending

    def stop(self) -> None:
        """Take no more tasks; those that have not begun are taken back: who waits for them gets an error."""
        with self._lock:
            self._stopped = True
            for pending in list(self._pending.values()):
                pending.cancel()

    def take_back(self, tasks: Iterable[Pending[Any]]) -> None:
        """Take back tasks that have not begun, and wait for those that have: they may be about to write."""
        given = list(tasks)
        for pending in given:
            pending.cancel()
        futures = [pending.future for pending in given if pending.future is not None]
        wait([future for future in futures if not future.cancelled()])
        cancelled = [future for future in futures if future.cancelled()]
        if self._settle is not None and cancelled:
            self._settle(cancelled)

    def take_notes(self) -> list[str]:
        """Notes that nobody took yet, each once."""
        notes, self.notes = list(dict.fromkeys(self.notes)), []
        return notes

    def forget(self, pending: Pending[Any]) -> None:
        """Do not give a task again."""
        with self._lock:
            self._pending.pop(id(pending), None)

    def wait_for(self, pending: Pending[T]) -> T:
        """Result of a task, however often it has to be given."""
        while True:
            with self._lock:
                # Both under the lock: between the two another thread may give the task again.
                future, deaths = pending.future, pending.deaths
            assert future is not None
            try:
                result = future.result()
            except BrokenExecutor as error:
                with self._lock:
                    if id(pending) not in self._pending:
                        raise _stopped() from None  # it was taken back, and is not given again
                    self._renew(deaths, error)
                continue
            except CancelledError:
                self.forget(pending)
                raise self._not_given(None) from None
            except BaseException as error:
                self.forget(pending)
                if type(error).__name__ == "KilledWorker":  # of distributed, which is not loaded here
                    raise self._died(str(error)) from error
                raise
            self.forget(pending)
            return result

    def _give(self, pending: Pending[Any]) -> BrokenExecutor | None:
        """Give a task to a worker; the error where the executor is broken.

        What else goes wrong becomes the task's own result: whoever waits for it is told, and nobody else.
        """
        pending.tries, pending.deaths = pending.tries + 1, self._deaths
        if pending.tries > _TRIES:
            _fail(pending, self._died(f"one task was given to {_TRIES} of them"))
            return None
        executor = self._network if pending.network else self._executor
        try:
            pending.follow(executor.submit(pending.function, *pending.args))
        except BrokenExecutor as error:
            return error
        except (RuntimeError, OSError) as error:  # a client that was closed, or no process to be had
            _fail(pending, self._not_given(error))
        return None

    def _renew(self, deaths: int, error: BrokenExecutor) -> None:
        """Start anew after a process died, and give again what is not done."""
        with self._lock:
            if deaths != self._deaths:
                return  # another thread has done it
            broken: BrokenExecutor | None = error
            # It may break again while tasks are given. This ends, for each of them is given a few times only.
            while broken is not None:
                self._deaths += 1
                note = "a worker died and its tasks were given again; the system may be short of memory"
                logger.warning("%s (%s)", note, broken)
                self.notes.append(note)
                # Not waited for: the processes that are left may hang on the one that died.
                self._executor.shutdown(wait=False)
                try:
                    self._executor = self._network = self._start()
                except (RuntimeError, OSError) as failed:
                    # Each that waits is told: their futures stay broken, and nobody would renew them again.
                    for pending in self._pending.values():
                        if pending.future is None or not pending.future.done() or _is_broken(pending.future):
                            _fail(pending, self._not_given(failed))
                    return
                broken = None
                for pending in list(self._pending.values()):
                    future = pending.future
                    finished = future is not None and future.done() and not _is_broken(future)
                    if broken is None and not finished and pending.deaths < self._deaths:
                        broken = self._give(pending)

    def _not_given(self, error: Exception | None) -> RunError:
        """Why a task has no worker: the run was stopped, the cluster is gone, or the system gives no more."""
        if self._stopped or (error is None and not self.is_cluster):
            return _stopped()
        if self.is_cluster:
            return RunError(
                "the cluster can't be reached any more: its scheduler ended or the connection was cut. "
                "Finished chunks are kept: give the same command again to go on."
            )
        reason = "" if error is None else f" ({os_reason(error)})"
        return RunError(
            f"a worker could not be started{reason}. The system may be short of memory or processes: use "
            "fewer workers. Finished chunks are kept: the same command goes on."
        )

    def _died(self, detail: str) -> RunError:
        script = "" if self.is_cluster else ' A script must begin its work under if __name__ == "__main__":.'
        return RunError(
            f"workers died again and again ({detail}). The system may be short of memory: use fewer workers "
            f"or a smaller --chunk. Finished chunks are kept: the same command goes on.{script}"
        )


def _fail(pending: Pending[Any], error: RunError) -> None:
    """Let whoever waits for a task get an error."""
    failed: Future[Any] = Future()
    failed.set_exception(error)
    pending.follow(failed)


def _stopped() -> RunError:
    return RunError("the run was stopped; finished chunks are kept.")


def _is_broken(future: Future[Any]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def thread_workers(count: int) -> Workers:
    """Threads of this process."""
    return Workers(lambda: ThreadPoolExecutor(count, thread_name_prefix="geoseg-work"), count, apart=False)
