"""Stopping a run between two batches when it is asked to."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["StopRequest"]


class StopRequest:
    """Ctrl-C and SIGTERM as a wish, which training grants where nothing is half done.

    Between :meth:`watch` and :meth:`leave` the first of these signals sets :attr:`asked`; the second acts as
    it did before.
    An exception out of a signal handler could be lost (in a destructor) or leave a step half done.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def watch(self) -> None:
        """Take the signals over, where this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._ask) for number in numbers}

    def leave(self) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.leave()
