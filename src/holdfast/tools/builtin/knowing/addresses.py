"""When two URLs are the same place."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ("place_of",)

_PORTS = {"http": 80, "https": 443}


def place_of(url: str) -> str:
    """Returns what is the same for every spelling of a URL; nothing where it is none of the web.

    The letter case of scheme and host, the port that the scheme has anyway, a path that is missing, and the fragment
    say nothing about the place (RFC 3986, 6.2). Everything else does: nothing is guessed.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not host or parts.username is not None or parts.password is not None:
        return ""
    host = f"[{host}]" if ":" in host else host.rstrip(".")
    shown = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{host}{shown}{parts.path or '/'}{query}"
