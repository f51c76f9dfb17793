"""The console's files: each with the headers that bound what its page can do, whole, compressed once, and kept.

A file that is named by its content may be kept for ever. The page itself is asked for each time, and its tag says
whether it is another one. Each of its own paths is the page, which finds its way by itself; what else is not a file is
not there.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import msgspec
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from holdfast.server.problems import PROBLEM, Refused
from holdfast.server.routing.heading import headers_of
from holdfast.server.streams.sending import send_whole

__all__ = ("ROUTES", "Console", "Front")

_ASSETS: Final = Path(__file__).parent / "assets"
_BASE: Final = "/console"
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
_PAGES: Final = re.compile(r"|new|sessions/[^/]+")
"""Paths of the page: the start, a new session, and one that there is."""
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class _File(msgspec.Struct, frozen=True):
    """A file as it is sent."""

    data: bytes
    small: bytes
    """The same, compressed; empty where that gains nothing."""
    media_type: str
    tag: str
    lasts: bool
    """Whether its name says what is in it."""


def _read(folder: Path) -> dict[str, _File]:
    found: dict[str, _File] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            data, name = path.read_bytes(), path.relative_to(folder).as_posix()
            small = b"" if path.suffix == ".woff2" else gzip.compress(data, 9, mtime=0)
            tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
            found[name] = _File(data, small, _TYPES[path.suffix], tag, name.startswith("files/"))
    return found


@final
class Console(BaseRoute):
    """Everything below `/console`."""

    def __init__(self, folder: Path = _ASSETS) -> None:
        self._folder = folder
        self._files: dict[str, _File] | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for the console."""
        path: str = scope.get("path", "")
        ours = scope["type"] == "http" and (path == _BASE or path.startswith(f"{_BASE}/"))
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        head = scope["method"] == "HEAD"
        if not head and scope["method"] != "GET":
            await _refuse(Refused(405, "method_not_allowed", "send GET, HEAD", headers={"allow": "GET, HEAD"}), send)
            return
        if scope["path"] == _BASE:
            await _redirect(send)
            return
        if self._files is None:
            self._files = _read(self._folder)
        file = self._find(scope["path"][len(_BASE) + 1 :])
        if file is None:
            detail = "the console has no such file: load its page again" if self._files else "the console was not built"
            await _refuse(Refused(404, "not_found", detail), send)
            return
        await _send(file, headers_of(scope["headers"]), send, head=head)

    def _find(self, name: str) -> _File | None:
        files = self._files or {}
        return files.get("index.html" if _PAGES.fullmatch(name) else name)


@final
class Front(BaseRoute):
    """The root, for browsers: to the console."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a browser wants to see a page at the root."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
            return Match.NONE, {}
        wanted = headers_of(scope["headers"]).get("accept", "")
        return (Match.FULL if "text/html" in wanted else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await _redirect(send)


ROUTES: Final[tuple[BaseRoute, ...]] = (Console(), Front())
"""Of the console, for whoever puts an application together."""


async def _redirect(send: Send) -> None:
    headers = {**_HEADERS, "location": f"{_BASE}/", "cache-control": "no-cache", "vary": "accept"}
    await send_whole(b"", "", 307, headers, (), send)


async def _refuse(refused: Refused, send: Send) -> None:
    told = PROBLEM(refused.problem())
    headers = {**_HEADERS, **told.headers, **refused.headers, "cache-control": "no-store"}
    await send_whole(told.body, told.media_type, refused.status, headers, (), send)


async def _send(file: _File, asked: Mapping[str, str], send: Send, *, head: bool) -> None:
    headers = {
        **_HEADERS,
        "etag": file.tag,
        "cache-control": _FOR_EVER if file.lasts else "no-cache",
        "vary": "accept-encoding",
    }
    if file.tag in (each.strip().removeprefix("W/") for each in asked.get("if-none-match", "").split(",")):
        await send_whole(b"", "", 304, headers, (), send)
        return
    data = file.data
    if file.small and _takes_gzip(asked.get("accept-encoding", "")):
        data, headers = file.small, {**headers, "content-encoding": "gzip"}
    await send_whole(data, file.media_type, 200, headers, (), send, bodiless=head)


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.split(","):
        name, _, weight = each.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "").rstrip("0") not in ("q=", "q=0.")
    return False
