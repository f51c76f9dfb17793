"""Headers that are sent beside a provider's own: which ones can be, and what two of one name come to.

Not here: headers that providers read from the environment themselves (`providers/custom_headers.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast.errors import UsageError

__all__ = ("CREDENTIALS", "checked_header", "joined")

CREDENTIALS = frozenset(
    ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "x-amz-security-token")
)
"""Headers in which keys are sent."""
_FRAMING = frozenset(
    (
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "upgrade"),
        *("keep-alive", "te", "trailer", "expect", "accept-encoding", "x-amz-date", "x-amz-content-sha256"),
    )
)
"""Headers that say how a request is to be read."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def checked_header(name: str, value: str, *, credentials: bool = False) -> str:
    """Returns a header's name when it can be sent beside those of a provider.

    Raises:
        UsageError: it cannot; nothing of the value is shown.
    """
    lower = name.lower()
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a header: take letters, digits and dashes")
    if lower in _FRAMING:
        raise UsageError(f"the header {name!r} says how a request is read, and is not yours to set: leave it out")
    if lower in CREDENTIALS and not credentials:
        raise UsageError(f"the header {name!r} would replace the key: give the key as one, with key= or Access(keys=…)")
    if not isinstance(value, str) or not (value.isascii() and value.isprintable()):  # pyright: ignore[reportUnnecessaryIsInstance] - anybody may call
        raise UsageError(f"the value of the header {name!r} cannot be sent: take printable ASCII text on one line")
    return name


def joined(*several: Mapping[str, str]) -> dict[str, str]:
    """Returns the headers of all; a name that comes twice has both values (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for headers in several:
        for name, value in headers.items():
            before = found.get(name.lower())
            found[name.lower()] = value if before is None else f"{before}, {value}"
    return found
