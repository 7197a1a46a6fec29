"""Faults of the network under GDAL, which takes some of them for the content of a file.

GDAL asks a server again after an answer that says so (503, say), and after some broken connections. After
others, such as one that is closed without an answer, it goes on as if the file ended there: a sound scene
would be called damaged, and left out by whoever skips what is damaged. What GDAL tells a debugger of its
requests shows the difference.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio.env

__all__ = ["DEBUG_KEYS", "NetworkFaults", "hearing_faults", "retry_waits"]

#: What GDAL calls its file systems of the network where it tells of requests.
DEBUG_KEYS = "VSICURL,S3,GS,AZURE,ADLS,OSS,SWIFT"
#: No answer, or less than the length that the answer states.
_FAULT = re.compile(
    r"response_code=(?:(0)\b(?:, msg=(.*))?|20[06], msg=(.+))|(Request .* failed with .*=20[06])"
)
#: A server that is busy or ill, or that does not let this client in any more: no word about a file. What GDAL
#: asks for ahead of time (``failed with``) it asks for once more.
_STATUS = re.compile(r"(?<!failed with )response_code=(?:(429|5\d\d)|(40[13]))\b")
#: What GDAL looks for beside every raster, and does without: no answer about it matters.
_BESIDE = re.compile(r"\.(?:gmac|ovr|aux|msk|aux\.xml)\)", re.IGNORECASE)
_MISSING = re.compile(r"response_code=(?:404|410)\b")
#: Where rasterio logs what GDAL says.
_LOGS = ("rasterio._env", "rasterio._err")


class NetworkFaults:
    """What went wrong between this machine and servers while it was listened to.

    Attributes
    ----------
    last
        The last fault, in GDAL's words; empty: none.
    cut
        Whether an answer was cut. GDAL keeps what came of it, so its handle must be opened anew.
    denied
        The last answer that refused this client; empty: none. Stores give it for what is not there, too: it
        is a fault only where something is known to be there, or taken for empty where it is not.
    missing
        What was not there, in GDAL's words, which name the address.
    """

    def __init__(self) -> None:
        self.last, self.cut, self.denied = "", False, ""
        self.missing: set[str] = set()
        self._before: str | None = None

    def note(self, message: str) -> None:
        """Take in what GDAL tells."""
        if "Retrying again" in message and self._before is not None:
            self.last = self._before  # GDAL asks once more, and tells of that answer
        self._before = None
        if _BESIDE.search(message):
            return
        if _MISSING.search(message):
            self.missing.add(message)
        if match := _FAULT.search(message):
            self.last = match[2] or match[3] or match[4] or "no answer"
            self.cut |= match[1] is None
        elif match := _STATUS.search(message):
            if match[2]:
                self.denied = f"HTTP response code: {match[2]}"
            else:
                self._before, self.last = self.last, f"HTTP response code: {match[1]}"


class _Ear(logging.Filter):
    """Hears GDAL tell of its requests, and keeps that from the logs of others."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.own, self.parent = log.level, log.parent or logging.getLogger()

    def filter(self, record: logging.LogRecord) -> bool:
        faults: NetworkFaults | None = getattr(_heard, "faults", None)
        if faults is not None:
            faults.note(record.getMessage())
        return record.levelno >= (self.own or self.parent.getEffectiveLevel())


#: ``faults``: those that the thread listens to.
_heard = threading.local()


@functools.cache
def _listen() -> None:
    for log in map(logging.getLogger, _LOGS):
        log.addFilter(_Ear(log))
        log.setLevel(logging.DEBUG)  # what it does not let through, a filter does not see


@contextmanager
def hearing_faults(remote: bool = True) -> Iterator[NetworkFaults]:
    """Faults of this thread's requests, where there are any; :data:`DEBUG_KEYS` have to be set."""
    if not remote:
        yield NetworkFaults()
        return
    _listen()
    before = getattr(_heard, "faults", None)
    _heard.faults = faults = NetworkFaults()
    try:
        yield faults
    finally:
        _heard.faults = before  # what was put right inside does not concern those around


def retry_waits() -> Iterator[float]:
    """Seconds to wait before each new try, as GDAL itself counts them."""
    times = int(rasterio.env.get_gdal_config("GDAL_HTTP_MAX_RETRY") or 0)
    delay = float(rasterio.env.get_gdal_config("GDAL_HTTP_RETRY_DELAY") or 1)
    for k in range(times):
        yield delay * 2**k
