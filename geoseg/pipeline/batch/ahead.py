"""Scenes that follow one another without the workers running dry between them."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from geoseg.pipeline.workers import Workers

__all__ = ["worked_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def worked_ahead(
    items: Iterable[T], begin: Callable[[T], object], work: Callable[[T], R], workers: Workers | None
) -> Generator[tuple[T, Callable[[], R]], None, None]:
    """Items in order, each with a call that gives its result, while those behind it are at work already.

    The tail of a scene, its last chunks and the writing of its files, is too little for many workers: they
    have the blocks of the next scenes to do meanwhile. Without workers a call does the work itself, and
    nothing is begun ahead.

    Parameters
    ----------
    items
        In the order in which they are begun and given back.
    begin
        Called in this thread before an item's work; what it raises is raised by the item's call.
    work
        Called in a thread of its own where there are workers.
    workers
        Who does the tasks of all items; stopped when not all results are asked for. None: this thread does
        all.
    """
    if workers is None:

        def both(item: T) -> R:
            begin(item)
            return work(item)

        for item in items:
            yield item, functools.partial(both, item)
        return
    # One scene more than is being finished; with many workers a small scene has tasks for some of them only.
    ahead, todo = 2 + workers.count // 8, iter(items)
    running: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(ahead, thread_name_prefix="geoseg-scene") as pool:
        try:
            while True:
                for item in itertools.islice(todo, ahead - len(running)):
                    running.append((item, _begun(item, begin, work, pool)))
                if not running:
                    break
                item, future = running.popleft()
                # The call and not its result: whoever takes it decides what a failure means for the others.
                yield item, future.result
        except BaseException:
            # The threads of the others wait for tasks, and would go on to their end.
            workers.stop()
            raise


def _begun(
    item: T, begin: Callable[[T], object], work: Callable[[T], R], pool: ThreadPoolExecutor
) -> Future[R]:
    try:
        begin(item)
    except Exception as error:  # noqa: BLE001  # it is raised again where the result is asked for
        failed: Future[R] = Future()
        failed.set_exception(error)
        return failed
    return pool.submit(work, item)
