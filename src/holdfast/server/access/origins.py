"""Whether a request of a browser was made by our own pages.

A browser sends the cookies of a login along with whatever any page has it send. So what changes something, or opens a
socket, and shows no more than a cookie has to come from a page of this server: browsers name the page's origin, and no
page can have them name another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from holdfast.server.problems import Refused

__all__ = ("changes", "check_origin", "is_https")

_LOOKS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def changes(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request may change something, or opens a socket by which it can."""
    return method not in _LOOKS or "upgrade" in headers.get("connection", "").lower()


def check_origin(headers: Mapping[str, str], ours: Collection[str]) -> None:
    """Ends quietly where a page of this server made the request: one whose host is the one that was asked, or that is
    among `ours` (`https://holdfast.example`, for where a proxy asks under another name).

    Raises:
        Refused: another page made it, or the browser does not say which.
    """
    origin = headers.get("origin", "")
    if origin:
        if origin in ours or _host(origin) == headers.get("host", "").lower() != "":
            return
        said = f"a page of {origin[:100]!r} may not use somebody's login here"
    elif headers.get("sec-fetch-site") in ("same-origin", "none"):
        return
    else:
        said = "a request with a login's cookie has to say which page it comes from (Origin)"
    raise Refused(
        403, "foreign_origin", f"{said}: send a key instead, or add the page's address to the server's origins"
    )


def is_https(headers: Mapping[str, str]) -> bool:
    """Whether the page that made a request was fetched over https, as the browser says."""
    return headers.get("origin", "").startswith("https://")


def _host(origin: str) -> str:
    """Returns host and port as the header `host` has them: without the port that goes without saying."""
    try:
        parts = urlsplit(origin)
        return parts.netloc.lower() if parts.scheme in ("http", "https") and "@" not in parts.netloc else ""
    except ValueError:
        return ""
