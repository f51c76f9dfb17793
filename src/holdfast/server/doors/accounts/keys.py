"""Keys: made, listed, rotated, revoked. All of it is for admins; what is written of a key is shown once."""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.server.access.keys.keeping import GRACE, LONGEST_GRACE
from holdfast.server.access.keys.key import Key, Wish
from holdfast.server.access.naming import KeyName, TenantName
from holdfast.server.access.principal import Lane, Rates, Role, Scope
from holdfast.server.doors.accounts.reaching import Limit, OfTenant, check_agents, governed_of, iso, tenant_for
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Route

__all__ = ("ROUTES",)

_Text = Annotated[str, msgspec.Meta(max_length=128)]
_Agent = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_YEARS = 10 * 366 * 86_400


class InKey(msgspec.Struct, frozen=True):
    """A key, by its id."""

    key: KeyName


class KeysQuery(OfTenant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys."""

    after: Annotated[str, msgspec.Meta(max_length=16)] = ""
    """The last id of the page before."""
    limit: Limit = 100


class EndQuery(OfTenant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key ends."""

    forget: bool = False
    """Removes it with all that is known of it; without that it stays known as revoked."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as somebody wants it."""

    user: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+:-]{0,127}$")]
    """In whose name it acts."""
    name: _Text = ""
    """What it is for."""
    role: Role | None = None
    """Without a role and scopes: a writer."""
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(max_length=16)] = ()
    """Beside those of the role, or without one."""
    agents: Annotated[tuple[_Agent, ...], msgspec.Meta(max_length=200)] | None = None
    """The agents and models it may ask, by name or with a star at the end; null for all."""
    lane: Lane = "interactive"
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    expires_in_seconds: Annotated[int, msgspec.Meta(ge=1, le=_YEARS)] | None = None
    tenant: TenantName | None = None


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a key is rotated."""

    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_GRACE)] = GRACE
    """For how long what was written of it before is still good."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key, without its secret."""

    id: str
    tenant: str
    user: str
    state: str
    """`active`, `expired` or `revoked`."""
    name: str = ""
    role: Role | None = None
    scopes: tuple[Scope, ...]
    agents: tuple[str, ...] | None = None
    lane: Lane = "interactive"
    requests_per_second: float | None = None
    created_at: str | None = None
    created_by: str = ""
    expires_at: str | None = None
    rotated_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    """Of a use by another process, up to a minute late."""
    key: str = ""
    """What is sent to be recognised. It is shown this once, and only its hash is kept."""


class KeysView(msgspec.Struct, frozen=True):
    """A page of keys."""

    keys: tuple[KeyView, ...]
    after: str
    """After which to go on; empty at the end."""


async def list_keys(call: Call[None, KeysQuery, None]) -> KeysView:
    """Lists the keys of a tenant in the order of their ids, page by page."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    found, after = await governed.keys.listed(tenant, call.query.after, call.query.limit)
    used = await governed.keys.uses.last([each.id for each in found])
    now = governed.clock.now()
    return KeysView(tuple(_view(each, now, used.get(each.id)) for each in found), after)


async def create_key(call: Call[None, None, NewKey]) -> KeyView:
    """Makes a key. What has to be sent to be recognised is in this answer, and is never shown again."""
    governed, body = governed_of(call), call.body
    tenant = tenant_for(call.who, body.tenant)
    check_agents(call.who, body.agents)
    now = governed.clock.now()
    wish = Wish(
        tenant=tenant,
        user=body.user,
        name=body.name,
        role=body.role or (None if body.scopes else "writer"),
        scopes=body.scopes,
        agents=body.agents,
        lane=body.lane,
        rates=Rates(requests=body.requests_per_second),
        expires_at=None if body.expires_in_seconds is None else now + body.expires_in_seconds * 1_000_000,
    )
    key, text = await governed.keys.create(wish, by=call.who.user)
    governed.access.closes()
    governed.audit.note("key.created", f"{tenant}/{key.id} for {key.user}", call.who, client=call.client)
    return _view(key, now, None, text)


async def show_key(call: Call[InKey, OfTenant, None]) -> KeyView:
    """Returns a key, without its secret."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    key = _there(await governed.keys.get(tenant, call.where.key))
    used = await governed.keys.uses.last([key.id])
    return _view(key, governed.clock.now(), used.get(key.id))


async def rotate_key(call: Call[InKey, OfTenant, Rotation]) -> KeyView:
    """Gives a key another secret, which is in this answer and never shown again. The one before is good for a while."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    check_agents(call.who, _there(await governed.keys.get(tenant, call.where.key)).agents)
    found = await governed.keys.rotate(tenant, call.where.key, call.body.grace_seconds)
    if found is None:
        raise _none()
    governed.audit.note("key.rotated", f"{tenant}/{call.where.key}", call.who, client=call.client)
    return _view(found[0], governed.clock.now(), None, found[1])


async def end_key(call: Call[InKey, EndQuery, None]) -> None:
    """Revokes a key: at once in the process that answers, within a second in every other. Streams it opened go on."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    if await governed.keys.revoke(tenant, call.where.key) is None:
        raise _none()
    if call.query.forget:
        await governed.keys.forget(tenant, call.where.key)
    said = "key.forgotten" if call.query.forget else "key.revoked"
    governed.audit.note(said, f"{tenant}/{call.where.key}", call.who, client=call.client)


def _there(key: Key | None) -> Key:
    if key is None:
        raise _none()
    return key


def _none() -> Refused:
    return Refused(404, "unknown_key", "there is no key of this id: /v1/keys lists them")


def _view(key: Key, now: int, used: int | None, text: str = "") -> KeyView:
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        user=key.user,
        state=key.state(now),
        name=key.name,
        role=key.role,
        scopes=tuple(sorted(key.all_scopes)),
        agents=key.agents,
        lane=key.lane,
        requests_per_second=key.rates.requests,
        created_at=iso(key.created_at),
        created_by=key.created_by,
        expires_at=iso(key.expires_at),
        rotated_at=iso(key.rotated_at),
        revoked_at=iso(key.revoked_at),
        last_used_at=iso(used),
        key=text,
    )


_ONE = "/v1/keys/{key}"
ROUTES = (
    Route(method="GET", path="/v1/keys", handle=list_keys, scope="admin", tag="keys", errors=(404,)),
    Route(method="POST", path="/v1/keys", handle=create_key, scope="admin", tag="keys", status=201, errors=(404, 409)),
    Route(method="GET", path=_ONE, handle=show_key, scope="admin", tag="keys", errors=(404,)),
    Route(method="DELETE", path=_ONE, handle=end_key, scope="admin", tag="keys", status=204, errors=(404, 409)),
    Route(method="POST", path=f"{_ONE}/rotate", handle=rotate_key, scope="admin", tag="keys", errors=(404, 409)),
)
