"""Logging in and out, the first user, one's own password, and who one is."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from holdfast.server.access.buckets import client_name, whole_seconds
from holdfast.server.access.credentials import hash_of, same
from holdfast.server.access.naming import HOME, TenantName, UserName
from holdfast.server.access.principal import Lane, Role, Scope
from holdfast.server.access.users.user import User
from holdfast.server.doors.accounts.reaching import governed_of, who_of
from holdfast.server.governing.opening import LOGINS, Governed
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call, Route
from holdfast.types import TenantId

__all__ = ("ROUTES",)

_Password = Annotated[str, msgspec.Meta(max_length=1024, description="At least 12 characters, where it is a new one.")]
_BODY = 64 * 1024
"""The longest body of somebody whom nobody knows yet: all of them together are in memory at once."""
_Secret = Annotated[str, msgspec.Meta(max_length=1024, description="As the server showed it when it started.")]


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How one gets in here."""

    open: bool
    """Everybody on this machine is its user: nobody was given a key or a password yet."""
    login: bool
    """There are users, who log in with a name and a password."""
    setup_required: bool
    """There is no user yet; the first one is made with the set-up token."""
    issuers: tuple[str, ...] = ()
    """Whose tokens are taken."""


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first user: an admin."""

    token: _Secret
    name: UserName
    password: _Password


class LoginWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wants to log in."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    password: _Password
    tenant: TenantName = HOME


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password for oneself."""

    current: _Password
    new: _Password


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who one is here."""

    tenant: str
    user: str
    scopes: tuple[Scope, ...]
    how: Literal["local", "key", "user", "token"]
    id: str = ""
    role: Role | None = None
    """Of a user who logged in, and of a key that was made with one."""
    agents: tuple[str, ...] | None = None
    lane: Lane = "interactive"


async def auth_config(call: Call[None, None, None]) -> AuthConfig:
    """Says how one gets in here: open to this machine, with a login, with a key, or with a token of an issuer."""
    found = call.service.parts.get(Governed)
    if found is None:
        return AuthConfig(open=True, login=False, setup_required=False)
    fresh = await found.access.needs_setup()
    return AuthConfig(
        open=await found.access.open_to_all(),
        login=not fresh,
        setup_required=fresh,
        issuers=tuple(each.issuer for each in found.settings.issuers),
    )


async def setup(call: Call[None, None, Setup]) -> Answer[Me]:
    """Makes the first user, an admin, with the token that the server showed when it started, and logs them in."""
    governed = _attempt(call)
    if not same(hash_of(call.body.token), hash_of(governed.setup_token)):
        governed.audit.note("setup", call.body.name, refused="wrong_setup_token", client=call.client)
        raise Refused(
            403, "wrong_setup_token", "this is not the set-up token: it is shown where the server was started"
        )
    user = await governed.users.set_up(call.body.name, call.body.password)
    governed.access.closes()
    governed.audit.note("setup", user.name, user.principal(""), client=call.client)
    return await _enter(call, governed, user, 201)


async def login(call: Call[None, None, LoginWish]) -> Answer[Me]:
    """Logs a user in: the answer sets a cookie, which is all that later requests need."""
    governed = _attempt(call)
    found = await governed.logins.log_in(TenantId(call.body.tenant), call.body.name, call.body.password)
    if found is None:
        governed.audit.note("login", call.body.name, refused="wrong_login", client=call.client)
        told = "no user has this name and password in this tenant: try again, or ask an admin"
        raise Refused(401, "wrong_login", told)
    user, token = found
    governed.audit.note("login", user.name, user.principal(hash_of(token)[:16]), client=call.client)
    return _entered(call, governed, user, token, 200)


async def logout(call: Call[None, None, None]) -> Answer[None]:
    """Ends one's login; without one, it does nothing."""
    governed = governed_of(call)
    governed.logins.check_page("POST", call.headers)
    await governed.logins.leave(call.headers)
    return Answer(value=None, cookies=governed.logins.no_cookie(call.headers))


async def me(call: Call[None, None, None]) -> Me:
    """Says who one is here, and what one may."""
    who = await who_of(call, "GET", "/v1/auth/me")
    role = None
    if who.how == "user" and (user := await governed_of(call).users.known(who.tenant, who.user)) is not None:
        role = user.role
    elif who.how == "key" and (key := await governed_of(call).keys.get(who.tenant, who.id)) is not None:
        role = key.role
    return Me(
        tenant=who.tenant,
        user=who.user,
        scopes=tuple(sorted(who.scopes)),
        how=who.how,
        id=who.id,
        role=role,
        agents=who.agents,
        lane=who.lane,
    )


async def change_password(call: Call[None, None, PasswordChange]) -> Answer[Me]:
    """Gives oneself another password. All logins are over, and a new one begins with the answer."""
    governed = _attempt(call)
    who = await who_of(call, "POST", "/v1/auth/change-password")
    if who.how != "user":
        raise Refused(409, "no_password", f"a {who.how} has no password: log in as the user whose it is")
    if await governed.users.matches(who.tenant, who.user, call.body.current) is None:
        governed.audit.note("password.change", who.user, who, refused="wrong_password", client=call.client)
        raise Refused(403, "wrong_password", "this is not your password now: write it into `current`")
    user = await governed.users.set_password(who.tenant, who.user, call.body.new)
    if user is None:
        raise Refused(409, "again", "somebody has removed this user at the same time")
    governed.audit.note("password.change", who.user, who, client=call.client)
    return await _enter(call, governed, user, 200)


def _attempt(
    call: Call[None, None, Setup] | Call[None, None, LoginWish] | Call[None, None, PasswordChange],
) -> Governed:
    """Counts an attempt, made by a page of ours or by no page.

    Raises:
        Refused: another page made it, or there were too many from this address.
    """
    governed = governed_of(call)
    governed.logins.check_page("POST", call.headers)
    seconds = governed.attempts.take(client_name(call.client), LOGINS)
    if seconds:
        governed.audit.note("login", "", refused="too_many_attempts", client=call.client)
        raise Refused(
            429,
            "too_many_attempts",
            "too many attempts to log in came from this address: wait as long as `retry-after` says",
            headers={"retry-after": whole_seconds(seconds)},
        )
    return governed


async def _enter(
    call: Call[None, None, Setup] | Call[None, None, PasswordChange], governed: Governed, user: User, status: int
) -> Answer[Me]:
    return _entered(call, governed, user, await governed.logins.enter(user), status)


def _entered(
    call: Call[None, None, Setup] | Call[None, None, LoginWish] | Call[None, None, PasswordChange],
    governed: Governed,
    user: User,
    token: str,
    status: int,
) -> Answer[Me]:
    who = user.principal(hash_of(token)[:16])
    value = Me(
        tenant=who.tenant, user=who.user, scopes=tuple(sorted(who.scopes)), how=who.how, id=who.id, role=user.role
    )
    return Answer(value=value, status=status, cookies=(governed.logins.cookie(token, call.headers),))


ROUTES = (
    Route(method="GET", path="/v1/auth/config", handle=auth_config, scope=None, tag="auth"),
    Route(
        method="POST",
        path="/v1/auth/setup",
        handle=setup,
        scope=None,
        tag="auth",
        status=201,
        errors=(403, 404, 409),
        body_bytes=_BODY,
    ),
    Route(
        method="POST",
        path="/v1/auth/login",
        handle=login,
        scope=None,
        tag="auth",
        errors=(401, 403, 404),
        body_bytes=_BODY,
    ),
    Route(method="POST", path="/v1/auth/logout", handle=logout, scope=None, tag="auth", status=204, errors=(403, 404)),
    Route(method="GET", path="/v1/auth/me", handle=me, scope=None, tag="auth", errors=(401, 403)),
    Route(
        method="POST",
        path="/v1/auth/change-password",
        handle=change_password,
        scope=None,
        tag="auth",
        errors=(401, 403, 404, 409),
        body_bytes=_BODY,
    ),
)
