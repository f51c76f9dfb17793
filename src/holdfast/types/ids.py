"""Names of things, as distinct types so that one cannot be passed for another.

A stream id carries its tenant (`local/s-4f2a…`), so that no key, query or blob can forget whose it is.
"""

from __future__ import annotations

import re
from typing import NewType

from holdfast.errors import UsageError

__all__ = (
    "BatchId",
    "CallId",
    "Digest",
    "EventId",
    "SessionId",
    "StreamId",
    "TenantId",
    "WorkerId",
    "session_of",
    "stream_id",
    "tenant_of",
)

TenantId = NewType("TenantId", str)
"""Who owns the data; `local` on a laptop."""
SessionId = NewType("SessionId", str)
"""One session's name within its tenant."""
StreamId = NewType("StreamId", str)
"""`tenant/session`."""
EventId = NewType("EventId", str)
BatchId = NewType("BatchId", str)
CallId = NewType("CallId", str)
"""A tool call's id, as the model gave it."""
WorkerId = NewType("WorkerId", str)
Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def stream_id(tenant: str, session: str) -> StreamId:
    """Returns the id of a session's stream.

    Raises:
        UsageError: a name is empty, too long, or holds characters a key may not have.
    """
    if not (_NAME.fullmatch(tenant) and _NAME.fullmatch(session)):
        what, name = ("session", session) if _NAME.fullmatch(tenant) else ("tenant", tenant)
        raise UsageError(
            f"{what} {name!r} is not a valid name: use 1 to 128 letters, digits, dots, dashes, colons "
            "or underscores, the first a letter or digit"
        )
    return StreamId(f"{tenant}/{session}")


def tenant_of(stream: StreamId) -> TenantId:
    """Returns whose stream it is."""
    return TenantId(stream.partition("/")[0])


def session_of(stream: StreamId) -> SessionId:
    """Returns the session's name within its tenant."""
    return SessionId(stream.partition("/")[2])
