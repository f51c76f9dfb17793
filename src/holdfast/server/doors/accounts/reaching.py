"""What all routes of this door do first: find who may, and whose things somebody may look at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from holdfast.server.access.naming import HOME, TenantName
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import Principal
from holdfast.server.governing.opening import Governed
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.types import TenantId

__all__ = ("Limit", "OfTenant", "check_agents", "governed_of", "iso", "tenant_for", "who_of")

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="How many at most.")]


class OfTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose."""

    tenant: TenantName | None = None
    """Only for admins of the server's own tenant; without it, one's own."""


def governed_of(call: Call[Any, Any, Any]) -> Governed:
    """Returns who may use this server.

    Raises:
        Refused: it was started without.
    """
    found = call.service.parts.get(Governed)
    if found is None:
        raise Refused(404, "no_accounts", "this server keeps no keys and no users: nothing can be changed here")
    return found


async def who_of(call: Call[Any, Any, Any], method: str, path: str) -> Principal:
    """Returns who makes a request of a route that asks for no scope, and still has to be made by somebody.

    Raises:
        Refused: nobody who is recognised.
    """
    who = await call.service.access.identify(Asked(method=method, path=path, headers=call.headers, client=call.client))
    if who is None:
        raise Refused(
            401,
            "unauthenticated",
            "say who you are: log in, or send a key as `Authorization: Bearer ...`",
            headers={"www-authenticate": 'Bearer realm="holdfast"'},
        )
    return who


def tenant_for(who: Principal, wanted: str | None) -> TenantId:
    """Returns whose things an admin may look at and change: their own tenant's, unless they run the server.

    Raises:
        Refused: another tenant's.
    """
    if wanted is None or wanted == who.tenant:
        return who.tenant
    if who.tenant != HOME:
        raise Refused(403, "foreign_tenant", "you may look at and change your own tenant only: leave `tenant` out")
    return TenantId(wanted)


def check_agents(who: Principal, agents: Sequence[str] | None) -> None:
    """Ends quietly where what is made or handed out may ask nobody whom whoever does it may not; None is all, as a
    user may who logs in.

    Raises:
        Refused: it may ask somebody else.
    """
    if who.agents is None:
        return
    if agents is None or not all(map(who.may_ask, agents)):
        raise Refused(
            403, "agents_missing", "this may ask only whom you may ask yourself: have somebody do it who may ask all"
        )


def iso(at: int | None) -> str | None:
    """Returns µs UTC as people read them."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
