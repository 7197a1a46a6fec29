"""Stopping a run between two batches when it is asked to."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["StopRequest"]


class StopRequest:
    """Ctrl-C and SIGTERM as a wish, which training grants where nothing is half done.

    Used with ``with``: inside, the first of these signals sets :attr:`requested`; the second acts as it did
    before.

    Parameters
    ----------
    watch
        Whether signals are taken over at all. One of several processes that stopped by itself would leave the
        others waiting for its gradients.
    """

    def __init__(self, watch: bool = True) -> None:
        # A wish and no exception: one out of a signal handler could be lost in a destructor, or leave a step
        # half done.
        self.requested = False
        # Python hands signals to the main thread only.
        self._watch = watch and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._watch:
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        # Who presses Ctrl-C twice does not want to wait for the end of the step.
        self.__exit__()
