"""Who may ask the server of a review, and what the page may do."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from geoseg.errors import InputError

__all__ = ["MOST_BYTES", "Guard"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Largest request.
MOST_BYTES = 64 * 2**20
_COOKIE = "geoseg-review"
#: What neither a cookie nor an address cuts short or writes another way; & and + mean more in an address.
_TOKEN = re.compile(r"[A-Za-z0-9!$'()*./:=?@_~-]+")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
#: The page's own files and pictures, and requests to this server: nothing of any other machine, no script in
#: the page itself, no frame around it.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True)
class Guard:
    """Which requests are answered.

    A page of another site that is open in the same browser can send requests to this computer, and a name of
    its own can be made to mean this computer. The first is told by ``Origin``, the second by ``Host``.

    Attributes
    ----------
    host, port
        Where the server listens.
    token
        What others must know who ask from elsewhere; None where only this computer can ask.
    """

    host: str
    port: int
    token: str | None = None

    def __post_init__(self) -> None:
        # It stands in an address and in a cookie, which cut others short: nobody would get in.
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise InputError(
                "token must be letters, digits and signs of !$'()*-./:=?@_~ alone, got another or none. "
                "Give another --token."
            )

    def address(self) -> str:
        """What a person opens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        end = "" if self.token is None else f"?token={self.token}"
        return f"http://{host}:{self.port}/{end}"

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason of a request that is not answered."""
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_known(host):
            return 403, "this host is not served here."
        if origin is not None and origin != f"http://{host}":
            return 403, "requests of other pages are refused."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "requests of other pages are refused."
        # The raw path too: a dot may come encoded.
        path = scope.get("raw_path") or scope["path"].encode()
        if ".." in scope["path"] or b".." in path or b"%2e" in path.lower():
            return 400, "a path must be without dots."
        if self.token is not None and not self._knows_token(headers.get("cookie", "")):
            return 403, "a token is needed: open the address that the server printed."
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip()
            length = headers.get("content-length", "")
            # JSON is never sent across sites without asking first, and a length is known before it is read:
            # a body in chunks has none, whatever length stands beside.
            if kind != "application/json":
                return 415, "a request must be application/json."
            if "transfer-encoding" in headers or not length.isdigit() or int(length) > MOST_BYTES:
                return 413, f"a request must have at most {MOST_BYTES} bytes."
        elif scope["method"] not in ("GET", "HEAD"):
            return 405, "this method is not served here."
        return None

    def _is_known(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        if not name or port != str(self.port):
            return False
        if self.host in ("127.0.0.1", "localhost", "::1"):
            return name in _LOOPBACK
        # Behind a token any name will do: the cookie belongs to the name that it was given to.
        return self.token is not None

    def _knows_token(self, cookies: str) -> bool:
        try:
            morsel = SimpleCookie(cookies).get(_COOKIE)
        except CookieError:
            return False
        return self._is_token("" if morsel is None else morsel.value)

    def _is_token(self, text: str) -> bool:
        # In a time that does not depend on how many characters are right.
        return self.token is not None and hmac.compare_digest(text.encode(), self.token.encode())

    def wrap(self, application: Application) -> Application:
        """An application behind the guard."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                if scope["type"] == "lifespan":
                    await application(scope, receive, send)
                return
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            if scope["path"] == "/" and self._is_token(query.get("token", [""])[0]):
                # The token leaves the address, where a neighbor could read it.
                cookie = f"{_COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
                return await _plain(send, 303, "", {"location": "/", "set-cookie": cookie})
            refusal = self.refusal(scope)
            if refusal is not None:
                return await _plain(send, refusal[0], refusal[1], {})

            async def hardened(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    names = {key.lower() for key, _ in message["headers"]}
                    extra = dict(_HEADERS)
                    if b"cache-control" not in names:
                        extra["cache-control"] = "no-store"
                    message["headers"] = [*message["headers"], *_raw(extra)]
                await send(message)

            await application(scope, receive, hardened)

        return guarded


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _plain(send: Send, status: int, text: str, headers: dict[str, str]) -> None:
    content = text.encode()
    head = {**_HEADERS, "content-type": "text/plain; charset=utf-8", "content-length": str(len(content))}
    await send({"type": "http.response.start", "status": status, "headers": _raw({**head, **headers})})
    await send({"type": "http.response.body", "body": content})
