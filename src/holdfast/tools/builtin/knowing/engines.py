"""Which engine searches, where it is, and how it is asked.

Without a word of anybody it is DuckDuckGo's page for simple browsers, which wants no key. An engine of one's own is
named by the program, or by `HOLDFAST_SEARCH_ENGINE` and `HOLDFAST_SEARCH_URL`; then its address is an operator's word,
and may be one inside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Literal, cast, get_args
from urllib.parse import urlencode, urlsplit

import msgspec

from holdfast.errors import UsageError
from holdfast.tools.builtin.fetching.decoding import decoded
from holdfast.tools.builtin.knowing.hits import Hit, hits_in_json, hits_in_page

__all__ = ("ENGINES", "Asking", "Engine", "WebSearch", "configured")

Engine = Literal["duckduckgo", "searxng", "brave", "tavily"]
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)

_ADDRESSES: Final[dict[str, str]] = {
    "duckduckgo": "https://html.duckduckgo.com",
    "brave": "https://api.search.brave.com",
    "tavily": "https://api.tavily.com",
}
_PATHS: Final[dict[str, str]] = {
    "duckduckgo": "/html/",
    "searxng": "/search",
    "brave": "/res/v1/web/search",
    "tavily": "/search",
}
_SECRETS: Final = {"brave": "brave-api-key", "tavily": "tavily-api-key"}
_FOUND: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "searxng": (("results",), "content"),
    "brave": (("web", "results"), "description"),
    "tavily": (("results",), "content"),
}
"""Where each has its hits, and what it calls a snippet."""


class Asking(msgspec.Struct, frozen=True):
    """A request to an engine."""

    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    """What is posted; None for a GET."""


class WebSearch(msgspec.Struct, frozen=True, kw_only=True):
    """An engine as it is configured.

    Raises:
        UsageError: there is no such engine, or its address is missing or none.
    """

    engine: Engine = "duckduckgo"
    base_url: str = ""
    """Where it is, without the path of its search; empty for its usual place."""
    secret: str = ""
    """The name of the secret that is its key; empty for the usual name, where it wants one."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"there is no search engine {self.engine!r}: write {', '.join(ENGINES)}")
        address = self.base_url or _ADDRESSES.get(self.engine, "")
        if not address:
            raise UsageError(f"{self.engine} has no usual place: give its address (base_url or HOLDFAST_SEARCH_URL)")
        try:
            parts = urlsplit(address)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise UsageError(f"the search engine's address {address!r} is none: write it like 'https://host'")

    @property
    def wants(self) -> str:
        """The name of the secret it wants; empty for none."""
        return self.secret or _SECRETS.get(self.engine, "")

    @property
    def address(self) -> str:
        """Where it is asked."""
        base = self.base_url or _ADDRESSES[self.engine]
        path = _PATHS[self.engine]
        if self.engine == "duckduckgo" and urlsplit(base).path not in ("", "/"):
            return base  # its light version has another path
        return base if base.endswith(path) else base.rstrip("/") + path

    def asking(self, query: str, count: int, key: str) -> Asking:
        """Returns the request for so many hits."""
        if self.engine == "tavily":
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            return Asking(self.address, headers, msgspec.json.encode({"query": query, "max_results": count}))
        if self.engine == "duckduckgo":
            return Asking(f"{self.address}?{urlencode({'q': query})}", {"Accept": "text/html"})
        own: dict[str, str | int] = {"format": "json"} if self.engine == "searxng" else {"count": count}
        headers = {"Accept": "application/json"}
        if key:
            headers |= {"X-Subscription-Token": key} if self.engine == "brave" else {"Authorization": f"Bearer {key}"}
        return Asking(f"{self.address}?{urlencode({'q': query, **own})}", headers)

    def hits(self, data: bytes, header: str, url: str, most: int) -> list[Hit]:
        """Returns what an answer holds; `header` is its Content-Type.

        Raises:
            ToolFailure: it is none of this engine.
        """
        if self.engine == "duckduckgo":
            return hits_in_page(decoded(data, header), url, most)
        path, text = _FOUND[self.engine]
        return hits_in_json(data, path, text, most)


def configured(environ: Mapping[str, str] | None = None) -> WebSearch:
    """Returns the engine that the environment names; DuckDuckGo where it names none.

    Raises:
        UsageError: what it names is none.
    """
    found = os.environ if environ is None else environ
    engine = found.get("HOLDFAST_SEARCH_ENGINE", "") or "duckduckgo"
    return WebSearch(engine=cast("Engine", engine), base_url=found.get("HOLDFAST_SEARCH_URL", ""))
