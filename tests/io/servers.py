"""An HTTP server of files that stalls, fails and recovers as it is told to."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: In a process of its own: GDAL now and then reads with the interpreter locked, and so locks out a server.
CODE = """
import socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    mode, requests, reads, sent = "ok", 0, 0, 0

    def log_message(self, *words): pass

    def do_HEAD(self): self.do_GET(body=False)

    def do_GET(self, body=True):
        cls = type(self)
        if self.path.startswith("/mode/"):
            cls.mode, cls.requests, cls.reads = self.path[6:], 0, 0
            self.send_response(204)
            return self.end_headers()
        cls.requests += 1
        cls.reads += body
        if self.path == "/asked":  # bytes of the pictures that were sent
            self.send_response(200)
            self.end_headers()
            return self.wfile.write(str(cls.sent).encode())
        try:
            content = open(sys.argv[1] + self.path, "rb").read()
        except OSError:
            return self.send_error(403 if cls.mode == "unlisted" else 404)
        if cls.mode.isdigit() or (cls.mode == "flaky" and cls.requests % 2):
            return self.send_error(int(cls.mode) if cls.mode.isdigit() else 503)
        if cls.mode.startswith("chunks") and "/." not in self.path:
            return self.send_error(int(cls.mode[6:]))
        late = cls.mode.startswith("late") and body and cls.reads < 8
        if late and not self.headers.get("Range", "").startswith("bytes=0-"):
            return self.send_error(int(cls.mode[4:]))
        first, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        kind, every = cls.mode[:-1], cls.mode[-1]
        bad = body and kind in ("drop", "cut") and cls.reads % int(every) == 0
        if kind == "drop" and bad:
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(end + 1 - start))
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.end_headers()
        if body:
            cls.sent += end + 1 - start
            cut = cls.mode == "stall" or (kind == "cut" and bad)
            self.wfile.write(content[start : start + 10 if cut else end + 1])
        if kind == "cut" and bad:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        if body and cls.mode == "stall":
            self.wfile.flush()
            time.sleep(30)

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Server:
    """A server of the files in a folder."""

    folder: Path
    root: str

    @property
    def url(self) -> str:
        """Of the scene."""
        return f"{self.root}/a.tif"

    def sent(self) -> int:
        """Bytes of files that it has sent so far."""
        with urllib.request.urlopen(f"{self.root}/asked") as answer:
            return int(answer.read())

    def behave(self, mode: str) -> None:
        """From now on: ``ok``, ``stall``, ``flaky`` (every other request fails), a status of HTTP,
        ``late503`` (this status for all but the begin of a file, seven times), ``chunks503`` (for all but the
        metadata of Zarr stores), ``unlisted`` (403 for what is not there), ``drop3`` or
        ``cut3`` (every third request for bytes has no answer, or the begin of one)."""
        urllib.request.urlopen(f"{self.root}/mode/{mode}").close()


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """A server of the files in a folder."""
    command = [sys.executable, "-c", CODE, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield Server(folder, f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.kill()
