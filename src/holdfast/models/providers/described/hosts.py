"""Addresses that people may write in a short form: those of Ollama.

Not here: which variable is read when (the providers, of models and of embeddings).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from holdfast.errors import UsageError

__all__ = ("ollama_url",)

_PORT = 11434
_PORTS = {"http": 80, "https": 443}
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What a server listens on is no address to send to; the same variable tells a server and its clients."""


def ollama_url(host: str) -> str:
    """Returns the URL that a value of `OLLAMA_HOST` stands for, without a slash at its end.

    It may be a name, an address, a port or a URL, and is read as the official client reads it: without a scheme it has
    Ollama's port, with one that scheme's own; a user's name in it is nobody's.

    Raises:
        UsageError: it is no address.
    """
    host = host.strip()
    scheme, mark, rest = host.partition("://")
    if not mark:
        scheme, rest = "http", host
    scheme = scheme.lower()
    port = _PORTS.get(scheme, 0) if mark else _PORT
    shown = host.rpartition("@")[2]
    wrong = UsageError(
        f"OLLAMA_HOST is {shown!r}, which is no address: write it like 'host:port', '127.0.0.1:{_PORT}' or "
        "'https://host'"
    )
    if not port or (mark and not rest):
        raise wrong
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        name, port = parts.hostname or "127.0.0.1", parts.port or port
    except ValueError:
        raise wrong from None
    name = _ANY.get(name, name)
    where = f"[{name}]" if ":" in name else name
    return f"{scheme}://{where}:{port}/{parts.path.strip('/')}".rstrip("/")
