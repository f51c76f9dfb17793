"""Users: who can log in, and as what. All of it is for admins."""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.server.access.naming import TenantName, UserName
from holdfast.server.access.principal import Role
from holdfast.server.access.users.passwords import new_password
from holdfast.server.access.users.user import User
from holdfast.server.doors.accounts.reaching import Limit, OfTenant, check_agents, governed_of, iso, tenant_for
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Route

__all__ = ("ROUTES",)

_Password = Annotated[str, msgspec.Meta(min_length=12, max_length=1024)]


class InUser(msgspec.Struct, frozen=True):
    """A user, by their name."""

    user: UserName


class UsersQuery(OfTenant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which users."""

    after: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The last name of the page before."""
    limit: Limit = 100


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user as somebody wants them."""

    name: UserName
    role: Role = "reader"
    password: _Password | None = None
    """Without one, one is drawn, and shown this once."""
    tenant: TenantName | None = None


class RoleChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user is from now on."""

    role: Role


class PasswordReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password; without one, one is drawn, and shown this once."""

    password: _Password | None = None


class UserView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user."""

    name: str
    tenant: str
    role: Role
    created_at: str | None
    created_by: str = ""
    password_at: str | None = None
    """When the password was set."""
    password: str = ""
    """One that was drawn: it is shown this once, and kept nowhere."""


class UsersView(msgspec.Struct, frozen=True):
    """A page of users."""

    users: tuple[UserView, ...]
    after: str
    """After which to go on; empty at the end."""


async def list_users(call: Call[None, UsersQuery, None]) -> UsersView:
    """Lists the users of a tenant by their names, page by page."""
    tenant = tenant_for(call.who, call.query.tenant)
    found, after = await governed_of(call).users.listed(tenant, call.query.after, call.query.limit)
    return UsersView(tuple(map(_view, found)), after)


async def add_user(call: Call[None, None, NewUser]) -> UserView:
    """Adds a user. Without a password one is drawn, and shown in this answer and never again."""
    governed, body = governed_of(call), call.body
    tenant = tenant_for(call.who, body.tenant)
    check_agents(call.who, None)
    drawn = "" if body.password else new_password()
    user = await governed.users.add(tenant, body.name, body.role, body.password or drawn, by=call.who.user)
    governed.access.closes()
    governed.audit.note("user.added", f"{tenant}/{user.name} as {user.role}", call.who, client=call.client)
    return _view(user, drawn)


async def show_user(call: Call[InUser, OfTenant, None]) -> UserView:
    """Returns a user."""
    user = await governed_of(call).users.get(tenant_for(call.who, call.query.tenant), call.where.user)
    return _view(_there(user))


async def change_user(call: Call[InUser, OfTenant, RoleChange]) -> UserView:
    """Gives a user another role. The last admin of a tenant stays one."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    check_agents(call.who, None)
    user = _there(await governed.users.set_role(tenant, call.where.user, call.body.role))
    governed.audit.note("user.role", f"{tenant}/{user.name} as {user.role}", call.who, client=call.client)
    return _view(user)


async def reset_password(call: Call[InUser, OfTenant, PasswordReset]) -> UserView:
    """Gives a user another password and ends all their logins. One that is drawn is shown in this answer only."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    check_agents(call.who, None)
    drawn = "" if call.body.password else new_password()
    user = _there(await governed.users.set_password(tenant, call.where.user, call.body.password or drawn))
    governed.audit.note("user.password", f"{tenant}/{user.name}", call.who, client=call.client)
    return _view(user, drawn)


async def remove_user(call: Call[InUser, OfTenant, None]) -> None:
    """Removes a user and ends all their logins. The last admin of a tenant cannot be removed."""
    governed, tenant = governed_of(call), tenant_for(call.who, call.query.tenant)
    if not await governed.users.remove(tenant, call.where.user):
        raise _nobody()
    governed.audit.note("user.removed", f"{tenant}/{call.where.user}", call.who, client=call.client)


def _there(user: User | None) -> User:
    if user is None:
        raise _nobody()
    return user


def _nobody() -> Refused:
    return Refused(404, "unknown_user", "there is no user of this name: /v1/auth/users lists them")


def _view(user: User, drawn: str = "") -> UserView:
    return UserView(
        name=user.name,
        tenant=user.tenant,
        role=user.role,
        created_at=iso(user.created_at),
        created_by=user.created_by,
        password_at=iso(user.changed_at),
        password=drawn,
    )


_ONE = "/v1/auth/users/{user}"
ROUTES = (
    Route(method="GET", path="/v1/auth/users", handle=list_users, scope="admin", tag="users", errors=(404,)),
    Route(
        method="POST", path="/v1/auth/users", handle=add_user, scope="admin", tag="users", status=201, errors=(404, 409)
    ),
    Route(method="GET", path=_ONE, handle=show_user, scope="admin", tag="users", errors=(404,)),
    Route(method="PATCH", path=_ONE, handle=change_user, scope="admin", tag="users", errors=(404, 409)),
    Route(method="DELETE", path=_ONE, handle=remove_user, scope="admin", tag="users", status=204, errors=(404, 409)),
    Route(
        method="POST",
        path=f"{_ONE}/reset-password",
        handle=reset_password,
        scope="admin",
        tag="users",
        errors=(404, 409),
    ),
)
