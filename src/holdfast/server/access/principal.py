"""Whoever a request is made for: one user of one tenant, and what they may.

Roles are names for sets of scopes, and a scope is what a route asks for (source: Orloj 6.5, layers 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from holdfast.types import TenantId

__all__ = ("EVERYTHING", "ROLES", "SCOPES", "How", "Lane", "Principal", "Rates", "Role", "Scope")

Scope = Literal["sessions:read", "sessions:write", "waits:answer", "models:call", "metrics:read", "admin"]
"""What a route asks for: looking at sessions, starting and steering them, answering what they ask, having a model or
an agent answer through a model door, figures of the process, and deciding who may.
"""
SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERYTHING: frozenset[Scope] = frozenset(SCOPES)

Role = Literal["reader", "writer", "controller", "admin"]
ROLES: Mapping[Role, frozenset[Scope]] = {
    "reader": frozenset(("sessions:read", "metrics:read")),
    "writer": frozenset(("sessions:read", "metrics:read", "sessions:write", "waits:answer", "models:call")),
    "controller": frozenset(("sessions:read", "metrics:read", "waits:answer")),
    "admin": EVERYTHING,
}
"""What each role may. A controller answers and looks, and starts nothing."""

How = Literal["local", "key", "user", "token"]
Lane = Literal["interactive", "autonomous"]


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody may use in a window that moves; None is any amount."""

    requests: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    """Requests in a second, on average; as many as in five seconds may come at once."""
    tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tokens in a minute."""
    dollars: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    """US dollars in a day."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """One user of one tenant, as they were recognised."""

    tenant: TenantId
    user: str
    scopes: frozenset[Scope]
    how: How
    """`local` is whoever reaches a server without keys, which listens on this machine alone."""
    id: str = ""
    """Which key, login or token it was; never the secret itself."""
    agents: tuple[str, ...] | None = None
    """The agents and models they may ask, by name or with a star at the end; None for all."""
    lane: Lane = "interactive"
    """Whether somebody waits for the answer: what nobody waits for lets the others go first."""
    rates: Rates = Rates()
    """This one's own, within those of the tenant."""

    def may(self, scope: Scope) -> bool:
        """Whether a route that asks for this scope is open to them."""
        return scope in self.scopes

    def may_ask(self, name: str) -> bool:
        """Whether this agent or model is among those they may ask."""
        if self.agents is None:
            return True
        return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in self.agents)
