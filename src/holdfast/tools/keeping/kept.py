"""What a call may keep, and where: one value that the gateway gives to calls which ask for it."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from holdfast.errors import UsageError
from holdfast.storage.blobs import BlobStore
from holdfast.tools.keeping.port import Caps, KeyValues, Place
from holdfast.types import TenantId

__all__ = ("FILES", "LONGEST_KEY", "SCOPES", "VALUES", "Kept", "Scope", "places_of_session", "scope_named")

Scope = Literal["agent", "user", "session"]
"""Who shares what is kept: the runs of one agent for one user, all runs for that user, or those of one session."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
LONGEST_KEY = 512
"""Characters of a key."""
VALUES = Caps(count=10_000, total=64 * 1024**2)
"""What the values of one scope may be."""
FILES = Caps(count=2_000, total=2 * 1024**3)
"""What the files of one scope may be."""


def scope_named(name: str) -> Scope:
    """Returns a scope by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in SCOPES:
        raise UsageError(f"there is no scope {name!r}: write one of {', '.join(map(repr, SCOPES))}")
    return name


def places_of_session(tenant: TenantId, session: str) -> tuple[Place, ...]:
    """Returns where runs of a session keep what is of it alone: it goes with the session."""
    return tuple(_place(tenant, kind, "session", [session]) for kind in ("value", "file"))


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may keep."""

    values: KeyValues
    blobs: BlobStore
    tenant: TenantId
    user: str
    agent: str
    session: str
    scope: Scope = "agent"

    def place(self, kind: Literal["value", "file"]) -> Place:
        """Returns where values or files of its scope are."""
        owner = {
            "agent": [self.user, self.agent],
            "user": [self.user],
            "session": [self.session],
        }[self.scope]
        return _place(self.tenant, kind, self.scope, owner)

    def within(self, scope: Scope) -> Kept:
        """Returns the same for another scope."""
        return msgspec.structs.replace(self, scope=scope)


def _place(tenant: TenantId, kind: str, scope: Scope, owner: list[str]) -> Place:
    return Place(tenant, msgspec.json.encode([kind, scope, *owner]).decode())
