"""From one URL to the next: what may be asked for, and what a redirect may take along.

Pure. A URL is http or https, has a host and carries no user name. A redirect to another origin takes neither the
body nor any header that could be a key: only headers known to be harmless travel.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Final

import msgspec
from yarl import URL

from holdfast.errors import RequestRefused

__all__ = ("REDIRECTS", "Hop", "checked_url", "head_of", "next_hop", "origin_of")

REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
"""The statuses that point elsewhere."""

_HARMLESS: Final = frozenset(("accept", "accept-language", "content-type", "user-agent"))
_DEFAULTS: Final = {
    "host": "",
    "accept": "Accept: */*",
    "accept-encoding": "",
    "user-agent": "User-Agent: holdfast",
}
"""Header lines of every request, by name and in their order, where the caller gives no other."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAK: Final = re.compile(r"[\r\n\0]")
_FRAMING: Final = frozenset(("content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"))
_NUMERIC_HOST: Final = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)


class Hop(msgspec.Struct, frozen=True):
    """One request of a chain of redirects."""

    method: str
    url: URL
    body: bytes | None
    headers: Mapping[str, str] | None


def head_of(hop: Hop, unpacks: str) -> bytes:
    """Returns the request line and the headers, with the empty line that ends them (RFC 9112).

    `unpacks` is how an answer may be packed.

    Raises:
        ValueError: a header, or the method, would break out of its line, or wants to say how the body is framed.
    """
    head = _head_of(hop.method, hop.url, tuple(hop.headers.items()) if hop.headers else (), unpacks)
    if hop.body is None and hop.method in ("GET", "HEAD"):
        return head + b"\r\n"
    return b"%bContent-Length: %d\r\n\r\n" % (head, len(hop.body or b""))


@functools.lru_cache(maxsize=64)
def _head_of(method: str, url: URL, headers: tuple[tuple[str, str], ...], unpacks: str) -> bytes:
    """What does not depend on the body: a model's requests all begin alike."""
    if not _TOKEN.fullmatch(method):
        raise ValueError("the method is no word")
    own = {"host": f"Host: {url.host_port_subcomponent}", "accept-encoding": f"Accept-Encoding: {unpacks}"}
    fields = {**_DEFAULTS, **own}
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or _BREAK.search(value):
            raise ValueError("a header with a line break in it, or a name that is no word")
        fields[name.lower()] = f"{name}: {value}"
    if not _FRAMING.isdisjoint(fields):
        raise ValueError("the length and framing of a body, and the connection, are not the caller's to set")
    return "\r\n".join((f"{method} {url.raw_path_qs} HTTP/1.1", *fields.values(), "")).encode()


@functools.lru_cache(maxsize=1024)
def checked_url(text: str) -> URL:
    """Returns the URL, its host in plain form if it is a number.

    Raises:
        RequestRefused: the scheme is not http or https, there is no host, or there is a user name in it.
    """
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise RequestRefused("the text given is no URL; write it like 'https://host/path'") from None
    if url.scheme not in ("http", "https"):
        raise RequestRefused(f"the scheme {url.scheme!r} is not spoken here; use 'http' or 'https'")
    if not url.raw_host or not port:
        raise RequestRefused("the URL has no host or no port; write it like 'https://host/path'")
    if url.raw_user is not None or url.raw_password is not None:
        raise RequestRefused(f"the URL of host {url.host!r} has a user name in it; send credentials in a header")
    return _with_plain_host(url)


def origin_of(url: URL) -> str:
    """Returns scheme, host and port: as much of a URL as may be shown."""
    return str(url.origin())


def next_hop(hop: Hop, status: int, location: str) -> Hop:
    """Returns the request that a redirect asks for.

    Raises:
        RequestRefused: it leads to a URL that is not one, from https to http, or wants the body sent elsewhere.
    """
    try:
        url = checked_url(str(hop.url.join(URL(location))))
    except ValueError:
        raise RequestRefused(f"{origin_of(hop.url)!r} redirects to no URL; ask for the final URL") from None
    if hop.url.scheme == "https" and url.scheme == "http":
        raise RequestRefused(f"{origin_of(hop.url)!r} redirects from https to http; ask for the final URL")
    method, body, headers = hop.method, hop.body, hop.headers
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = _only(headers, lambda name: not name.startswith("content-"))
    if url.origin() != hop.url.origin():
        if body is not None:
            leads = f"{origin_of(hop.url)!r} redirects a request with a body to {origin_of(url)!r}"
            raise RequestRefused(f"{leads}; configure the final URL")
        headers = _only(headers, lambda name: name in _HARMLESS)
    return Hop(method, url, body, headers)


def _only(headers: Mapping[str, str] | None, keep: Callable[[str], bool]) -> Mapping[str, str] | None:
    if headers is None:
        return None
    return {name: value for name, value in headers.items() if keep(name.lower())}


def _with_plain_host(url: URL) -> URL:
    """`2130706433`, `0x7f.1` and `0177.0.0.1` are numbers to a socket: write them as the address they are."""
    host = (url.raw_host or "").rstrip(".")
    if not _NUMERIC_HOST.fullmatch(host):
        return url
    try:
        plain = str(IPv4Address(socket.inet_aton(host)))
    except OSError:
        return url  # a name of such letters
    return url if plain == url.raw_host else url.with_host(plain)
