"""The headers of a request as one value each; what may be said once only, and is said twice, is refused."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.server.problems import Refused

__all__ = ("ONCE", "check_once", "headers_of")

ONCE = frozenset(
    (
        *(b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"idempotency-key"),
        *(b"last-event-id", b"origin", b"x-api-key", b"x-request-id"),
    )
)
"""What a proxy in front and this server could read differently, if it came twice."""


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Returns headers by their lower-case names; those that come several times are joined as HTTP says."""
    found: dict[str, str] = {}
    for key, value in raw:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1")
        if name in found:
            found[name] += f"{'; ' if name == 'cookie' else ', '}{text}"
        else:
            found[name] = text
    return found


def check_once(raw: Iterable[tuple[bytes, bytes]]) -> None:
    """Ends quietly where nothing is said twice that may be said once.

    Raises:
        Refused: something is.
    """
    seen: set[bytes] = set()
    for key, _ in raw:
        if key in ONCE:
            if key in seen:
                raise Refused(400, "doubled_header", f"the header {key.decode()!r} came twice: send it once")
            seen.add(key)
