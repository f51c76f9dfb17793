"""URLs in the one spelling under which they are compared, and patterns of them.

What two programs may read differently is not compared but refused: a name or password before the host, backslashes,
signs that cannot be seen, numbers that only some take for an address, names of hosts that two versions of the rules
for foreign letters spell differently, `..` in the path, slashes in disguise. So what passes leads where the pattern
says, whoever dials it. Which addresses a name may lead to is not decided here (`safety/addresses.py`).

A pattern is `scheme://host/path`: the scheme `http`, `https` or `*`; the host a name, an address, `*` for any, or
`*.name` for all that are below a name; a port, `*` for any, or none for that of the scheme. The path is where the
path of a URL has to begin, at a whole segment. Queries are not compared. A pattern that denies reads more generously:
without a port it means all, and upper and lower case of a path are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote

import msgspec

from holdfast.sandbox.policy.matching import canonical_host, canonical_path

__all__ = ("Location", "compile_url", "url_of")

_LONGEST: Final = 8192
_URL: Final = re.compile(r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<place>[^/?#]*)(?P<path>/[^?#]*)?(?P<rest>[?#].*)?")
_PATTERN: Final = re.compile(
    r"(?P<scheme>https?|\*)://(?P<host>\[[^\]/]*\]|[^/:]*)(?::(?P<port>\d{1,5}|\*))?(?P<path>/.*)?"
)
_PLACE: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>\d{1,5}))?")
_CLIMBS: Final = re.compile(r"/(?:\.|%2e){1,2}(?:;[^/]*)?(?:/|$)", re.IGNORECASE)
_PORTS: Final = {"http": 80, "https": 443}


class Location(msgspec.Struct, frozen=True, gc=False):
    """A URL, as far as it is compared."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def url_of(value: object, root: str = "") -> Location:
    """Returns a URL as it is compared.

    Raises:
        TypeError: it is no text.
        ValueError: it is no URL, or one that can be read in more than one way; says which.
    """
    if not isinstance(value, str):
        raise TypeError("a URL as text")
    if len(value) > _LONGEST:
        raise ValueError(f"it has {len(value):,} characters, and {_LONGEST:,} are the most of a URL")
    if "\\" in value or " " in value or not value.isprintable():
        raise ValueError("there is a backslash, a blank or a sign in it that cannot be seen")
    found = _URL.fullmatch(value)
    if found is None:
        raise ValueError("it is no URL of http or https: write one like https://host/path")
    scheme, path = found["scheme"].lower(), found["path"] or "/"
    if "@" in found["place"] or (found["path"] is None and "@" in (found["rest"] or "")):
        raise ValueError("there is a name or password before its host")
    place = _PLACE.fullmatch(found["place"])
    if place is None or int(place["port"] or 1) not in range(1, 65536):
        raise ValueError("its host and port cannot be told apart")
    port = int(place["port"]) if place["port"] else _PORTS[scheme]
    return Location(scheme, _host(place["host"]), port, _path(path))


def compile_url(pattern: str, *, denies: bool) -> Callable[[Location], bool]:
    """Returns whether a URL is among those that a pattern means.

    Raises:
        ValueError: it is no pattern; says what to write.
    """
    found = _PATTERN.fullmatch(pattern)
    if found is None or "\\" in pattern or "@" in pattern:
        raise ValueError(f"{pattern[:80]!r} is no pattern of URLs: write one like https://api.example.com/v1")
    path = found["path"] or "/"
    if any(sign in path for sign in "*?#"):
        raise ValueError("the path of a pattern is where paths begin: write it without *, ? and #")
    scheme, host, begins = found["scheme"], found["host"], _path(path).rstrip("/")
    any_host, below = host == "*", host.startswith("*.")
    host = "" if any_host else _host(host[2:] if below else host)
    port = None if found["port"] in (None, "*") else int(found["port"])
    any_port = found["port"] == "*" or (denies and port is None)
    begins = begins.casefold() if denies else begins

    def fits(url: Location) -> bool:
        if scheme not in ("*", url.scheme):
            return False
        if not any_host and not (url.host.endswith(f".{host}") if below else url.host == host):
            return False
        if not any_port and url.port != (port or _PORTS[url.scheme]):
            return False
        path = url.path.casefold() if denies else url.path
        return path == begins or path.startswith(f"{begins}/")

    return fits


def _host(host: str) -> str:
    if not host.isascii():
        host = _in_ascii(host)
    known = canonical_host(host)
    if known is None:
        raise ValueError("its host is neither a name nor an address that everybody reads alike")
    if ":" in known and (inside := IPv6Address(known).ipv4_mapped) is not None:
        return str(inside)
    return known


def _in_ascii(host: str) -> str:
    """Returns a name with foreign letters as it is looked up, where the old rules and the new ones agree on that."""
    from yarl import URL  # noqa: PLC0415 - most names have none

    try:
        old = host.encode("idna").decode("ascii").lower()
        new = URL.build(scheme="https", host=host).raw_host
    except (ValueError, UnicodeError):
        raise ValueError("its host is no name that can be looked up") from None
    if old != new:
        raise ValueError("its host is spelled one way by some programs and another way by others")
    return old


def _path(path: str) -> str:
    if not path.isascii():
        try:
            path = quote(path, safe="/%!$&'()*+,;=:@~-._\"<>[]^`{|}")
        except UnicodeEncodeError:
            raise ValueError("there are letters in its path that cannot be sent") from None
    known = None if _CLIMBS.search(path) else canonical_path(path)
    if known is None:
        raise ValueError("its path climbs, or hides something: write it without `.`, `..` and signs encoded twice")
    return known
