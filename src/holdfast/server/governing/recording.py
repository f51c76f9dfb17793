"""One decision, as it is recorded, and how many of them lie together."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from holdfast.server.parts import Heard

__all__ = ("Decision", "Record", "plain", "record_of")

Decision = Literal["allowed", "refused"]
_LONGEST: Final = 128


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked for what, and whether they were let. Everything that a client names is plain text of bounded length."""

    at: int
    """µs UTC, when it was answered."""
    verdict: Decision
    """`refused` is what was turned away for who asked, or how much: 401, 403, 429. What failed for another reason was
    allowed.
    """
    method: str = ""
    route: str = ""
    """As it is declared; for what is no request, what was done: `user.added`."""
    about: str = ""
    """What it was done to: a user, a key by its id."""
    scope: str = ""
    status: int = 0
    code: str = ""
    tenant: str = ""
    """Empty where nobody was recognised."""
    user: str = ""
    how: str = ""
    id: str = ""
    """Which key, login or token it was."""
    client: str = ""
    request_id: str = ""


_REFUSING: Final = frozenset((401, 403, 429))


def record_of(heard: Heard, at: int) -> Record:
    """Returns what is recorded of a request."""
    who = heard.who
    return Record(
        at=at,
        verdict="refused" if heard.status in _REFUSING else "allowed",
        method=plain(heard.method, 16),
        route=heard.route,
        scope=heard.scope,
        status=heard.status,
        code=heard.code,
        tenant="" if who is None else who.tenant,
        user="" if who is None else plain(who.user),
        how="" if who is None else who.how,
        id="" if who is None else plain(who.id),
        client=plain(heard.client, 64),
        request_id=plain(heard.request_id),
    )


def plain(text: str, longest: int = _LONGEST) -> str:
    """Returns a text that harms nobody who reads it: no line breaks, no signs that steer a terminal, not too long."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:longest])
