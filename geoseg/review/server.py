"""The review page's server: tiles, objects, edits. It serves one browser on this computer, as a rule."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any

from geoseg.errors import GeosegError, InputError, MissingDependencyError, SceneError
from geoseg.files import DiskFullError
from geoseg.review.export import export_review
from geoseg.review.legend import class_legend, tag_legend
from geoseg.review.pictures import TILE, PendingError, Pictures
from geoseg.review.security import Guard
from geoseg.review.store import Answer, Review, StaleError

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as error:  # pragma: no cover - where the extra is not installed
    raise MissingDependencyError(
        f"geoseg review needs starlette and uvicorn ({error}). Install them: pip install 'geoseg[review]'"
    ) from None

__all__ = ["bind", "make_app", "serve"]

#: Files of the page and their types. Nothing else is served.
_FILES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "index.html": "text/html; charset=utf-8",
}
#: Objects that a page draws one by one; a browser draws more than these slowly.
_MOST = 4000
#: Seconds after which a page may ask again for a tile that is being made.
_RETRY = "2"


def make_app(review: Review, guard: Guard) -> Starlette:
    """The server as an ASGI application.

    Parameters
    ----------
    review
        Open, and left open.
    guard
        Who may ask.
    """
    pictures = Pictures(review)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        pictures.stop()

    pages = _Pages(review, pictures)
    routes = [
        Route("/", pages.page),
        Route("/static/{name}", pages.static),
        Route("/api/review", _answered(pages.about)),
        Route("/api/images/{image:int}", _answered(pages.image)),
        Route("/api/objects/{image:int}", _answered(pages.objects)),
        Route("/api/object/{number:int}", _answered(pages.object)),
        Route("/api/places", _answered(pages.places)),
        Route("/api/changes", _answered(pages.changes)),
        Route("/api/tiles/{image:int}/{level:int}/{col:int}/{row:int}", _answered(pages.tile)),
        Route("/api/overlay/{image:int}/{layer}/{level:int}/{col:int}/{row:int}", _answered(pages.overlay)),
        Route("/api/edit", _posted(pages.edit), methods=["POST"]),
        Route("/api/undo", _posted(pages.undo), methods=["POST"]),
        Route("/api/redo", _posted(pages.redo), methods=["POST"]),
        Route("/api/export", _posted(pages.export), methods=["POST"]),
    ]
    middleware = [Middleware(guard.wrap), Middleware(GZipMiddleware, minimum_size=2000)]
    return Starlette(routes=routes, middleware=middleware, lifespan=life)


def _json(document: Any, status: int = 200, **headers: str) -> Response:
    text = json.dumps(document, ensure_ascii=False)
    # Names of files may hold bytes that are no text.
    return Response(text.encode(errors="replace"), status, headers, "application/json")


def _failed(error: BaseException, review_revision: int | None = None) -> Response:
    """An error as the page reads it: its status tells what to do."""
    document: dict[str, Any] = {"error": str(error)}
    # The page was behind, and loads the objects again.
    if isinstance(error, StaleError):
        return _json({**document, "revision": review_revision}, 409)
    # 503 with a time to wait: what is being made is no error to a browser.
    if isinstance(error, PendingError):
        return _json(document, 503, **{"Retry-After": _RETRY})
    if isinstance(error, DiskFullError):
        return _json(document, 507)
    # The file may come back, as one on a network drive.
    if isinstance(error, SceneError | FileNotFoundError):
        return _json(document, 503)
    return _json(document, 422 if isinstance(error, InputError) else 500)


def _answered(handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
    def wrapped(request: Request) -> Response:
        try:
            return handler(request)
        except (GeosegError, OSError) as error:
            return _failed(error)

    return wrapped


def _posted(handler: Callable[[Any], Response]) -> Any:
    from starlette.concurrency import run_in_threadpool

    async def wrapped(request: Request) -> Response:
        try:
            document = json.loads(await request.body())
            if not isinstance(document, dict):
                raise ValueError
        except (ValueError, RecursionError):
            return _json({"error": "a request must be a JSON object."}, 400)
        # Edits wait for the disk: in the loop they would hold up every tile.
        return await run_in_threadpool(handler, document)

    return wrapped


class _Pages:
    """What is answered to each address."""

    def __init__(self, review: Review, pictures: Pictures) -> None:
        self._review, self._pictures = review, pictures

    def page(self, request: Request) -> Response:
        """The page itself."""
        return Response(_file("index.html"), media_type=_FILES["index.html"])

    def static(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params["name"]
        # By a list of names and never by a path.
        if name not in _FILES:
            return _json({"error": f"no such file: {name}"}, 404)
        return Response(_file(name), media_type=_FILES[name])

    def about(self, request: Request) -> Response:
        """What is reviewed."""
        review = self._review
        can_undo, can_redo = review.can
        places, accepted = review.place_counts()
        return _json(
            {
                "title": review.target.title,
                "kind": review.target.kind,
                "revision": review.revision,
                "undo": can_undo,
                "redo": can_redo,
                "images": len(review.images.names),
                "places": places,
                "accepted": accepted,
                "classes": class_legend(review),
                "tags": tag_legend(review),
                "before": review.target.before is not None,
                "pyramid": self._pictures.done,
                "tile": TILE,
            }
        )

    def image(self, request: Request) -> Response:
        """Size of an image, its tags."""
        number = request.path_params["image"]
        height, width = self._review.shape(number)
        objects, tags = self._review.facts(number)
        return _json(
            {
                "id": number,
                "name": self._review.image_name(number),
                "height": height,
                "width": width,
                "levels": self._pictures.levels(number),
                "tags": tags,
                "objects": objects,
                "revision": self._review.revision,
            }
        )

    def objects(self, request: Request) -> Response:
        """Objects in a box."""
        box = _numbers(request.query_params.get("box", ""), 4)
        most = int(_numbers(request.query_params.get("most", str(_MOST)), 1)[0])
        before = _layer(request.query_params.get("layer", "now"))
        # Taken before the objects: an edit in between makes them newer than it says, and the page asks once
        # more.
        revision = self._review.revision
        items = self._review.objects(
            request.path_params["image"], box, before=before, most=max(0, min(most, _MOST))
        )
        if isinstance(items, int):
            return _json({"revision": revision, "dense": True, "count": items})
        return _json({"revision": revision, "objects": [item.shown() for item in items]})

    def object(self, request: Request) -> Response:
        """One object with its values."""
        item = self._review.object(request.path_params["number"])
        values = {} if item.is_verbatim else item.values
        return _json({**item.shown(), "values": {name: _plain(value) for name, value in values.items()}})

    def places(self, request: Request) -> Response:
        """Part of the list."""
        first = int(_numbers(request.query_params.get("from", "0"), 1)[0])
        count = int(_numbers(request.query_params.get("count", "200"), 1)[0])
        # Taken before the places, as for objects: the page puts parts together that are of one revision.
        revision = self._review.revision
        places = self._review.places(max(0, first), max(0, min(count, 20_000)))
        rows = [
            {
                "id": place.id,
                "rank": place.rank,
                "image": place.image,
                "name": place.name,
                "box": list(place.box) if place.box[2] > 0 else None,
                "qa": place.qa,
                "status": place.status,
                "uncertain": place.uncertain,
                "expected_iou": place.expected_iou,
            }
            for place in places
        ]
        total, accepted = self._review.place_counts()
        return _json({"revision": revision, "total": total, "accepted": accepted, "places": rows})

    def changes(self, request: Request) -> Response:
        """Images that were edited since a revision."""
        since = int(_numbers(request.query_params.get("since", "0"), 1)[0])
        return _json({"revision": self._review.revision, "images": self._review.images_since(since)})

    def tile(self, request: Request) -> Response:
        """A part of an image."""
        params = request.path_params
        tile = self._pictures.tile(params["image"], params["level"], params["col"], params["row"])
        if tile is None:
            return Response(status_code=204)
        return Response(tile[0], media_type=tile[1], headers={"Cache-Control": "private, max-age=600"})

    def overlay(self, request: Request) -> Response:
        """Objects of a part of an image, drawn."""
        params = request.path_params
        tile = self._pictures.overlay(
            params["image"], _layer(params["layer"]), params["level"], params["col"], params["row"]
        )
        return Response(status_code=204) if tile is None else Response(tile, media_type="image/png")

    def edit(self, document: Any) -> Response:
        """Make an edit."""
        image, op = document.get("image"), document.get("op")
        return self._stepped(
            document, lambda revision: self._review.edit(revision, _whole(image, "image"), op)
        )

    def undo(self, document: Any) -> Response:
        """Take back an edit."""
        return self._stepped(document, self._review.undo)

    def redo(self, document: Any) -> Response:
        """Make an edit again."""
        return self._stepped(document, self._review.redo)

    def _stepped(self, document: Any, step: Callable[[int], Answer]) -> Response:
        try:
            answer = step(_whole(document.get("revision"), "revision"))
            change = answer.change
            new = [item.shown() for item in change.new]
            return _json(
                {
                    "revision": answer.revision,
                    "undo": answer.can_undo,
                    "redo": answer.can_redo,
                    "image": answer.image,
                    "gone": [item.id for item in change.gone],
                    "new": new,
                    "marks": [list(mark) for mark in change.marks],
                    "tags": self._review.facts(answer.image)[1],
                    "box": change.bounds(),
                }
            )
        except (GeosegError, OSError) as error:
            return _failed(error, self._review.revision)

    def export(self, document: Any) -> Response:
        """Write the corrected footprints into the review's own folder: a page names no paths."""
        try:
            summary = export_review(self._review.folder, self._review.folder / "corrected.gpkg")
        except (GeosegError, OSError) as error:
            return _failed(error)
        return _json({"files": summary.files, "footprints": summary.footprints, "edited": summary.edited})


@cache
def _file(name: str) -> bytes:
    return (resources.files("geoseg.review") / "static" / name).read_bytes()


def _numbers(text: str, count: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
        if len(values) == count and all(abs(value) < 2**40 for value in values):  # NaN is not below it
            return values
    except ValueError:
        pass
    raise InputError(f"a query must have {count} numbers, got {text[:80]!r}.")


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number, got {value!r}.")
    return value


def _layer(text: str) -> bool:
    if text not in ("now", "before"):
        raise InputError(f"layer must be now or before, got {text[:80]!r}.")
    return text == "before"


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and value != value else value


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises
    ------
    InputError
        The port is taken, or the host is not this computer's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port that was used a moment ago can be had at once, not after a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)  # now: a browser that is opened before the server is up then waits for it
    except OSError as error:
        listener.close()
        raise InputError(
            f"port must be free on {host}, got {port}: {error.strerror}. Give another --port."
        ) from None
    return listener


def serve(review: Review, guard: Guard, listener: socket.socket) -> None:
    """Serve until the process is told to end."""
    import uvicorn

    config = uvicorn.Config(make_app(review, guard), log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[listener])
