"""From a path to whoever answers it.

A path is taken apart before it is decoded: `a%2Fb` is one name, and never two. Where a route says so its last name may
have slashes as they are, and nothing else begins like it: `a/b` is that one name then. Names that lead elsewhere (`.`
and `..`), or hold what cannot be shown, are no names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast.server.routing.endpoint import Endpoint

__all__ = ("Table",)


@final
class _Node:
    """The paths that begin alike."""

    __slots__ = ("endpoint", "fixed", "name", "named", "rest")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.named: _Node | None = None
        """What follows any name."""
        self.endpoint: Endpoint | None = None
        self.name = ""
        self.rest = False
        """Whether what follows belongs to the name."""


@final
class Table:
    """All paths: an ASGI application."""

    def __init__(self, endpoints: Mapping[str, Endpoint], otherwise: ASGIApp) -> None:
        self._otherwise = otherwise
        self._whole = {path.encode(): endpoint for path, endpoint in endpoints.items() if "{" not in path}
        self._root = _Node()
        self._names: dict[Endpoint, tuple[str, ...]] = {}
        for path, endpoint in endpoints.items():
            node, names = self._root, list[str]()
            for part in path.split("/")[1:]:
                if part.startswith("{"):
                    names.append(part[1:-1])
                    node.named = node = node.named or _Node()
                else:
                    node = node.fixed.setdefault(part, _Node())
            node.endpoint, node.rest = endpoint, endpoint.rest
            self._names[endpoint] = tuple(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or one wish for a socket."""
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            endpoint = self._whole.get(raw)
            if endpoint is not None:
                scope["path_params"] = {}
                await endpoint(scope, receive, send)
                return
            found = self._find(raw)
            if found is not None:
                scope["path_params"] = found[1]
                await found[0](scope, receive, send)
                return
        await self._otherwise(scope, receive, send)

    def _find(self, raw: bytes) -> tuple[Endpoint, dict[str, str]] | None:
        """Returns who answers a path, with its names; without them where one is none, and so nothing is there."""
        parts = [_name(part) for part in raw.split(b"/")[1:]]
        names: list[str | None] = []
        endpoint = _walk(self._root, parts, 0, names)
        if endpoint is None:
            return None
        found = dict(zip(self._names[endpoint], names, strict=True))
        return endpoint, {} if None in names else {name: text or "" for name, text in found.items()}


def _walk(node: _Node, parts: list[str | None], at: int, names: list[str | None]) -> Endpoint | None:
    if at == len(parts):
        return node.endpoint
    part = parts[at]
    if part and (fixed := node.fixed.get(part)) is not None:
        found = _walk(fixed, parts, at + 1, names)
        if found is not None:
            return found
    if part != "" and node.named is not None:
        names.append(part)
        found = _walk(node.named, parts, at + 1, names)
        if found is not None:
            return found
        names.pop()
        if node.named.rest:
            rest = [each for each in parts[at:] if each]
            names.append("/".join(rest) if len(rest) == len(parts) - at else None)
            return node.named.endpoint
    return None


def _name(part: bytes) -> str | None:
    """Returns a part of a path, decoded; None where it is no name."""
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text not in (".", "..") and text.isprintable() else None
