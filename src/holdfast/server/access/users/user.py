"""A user, a login, and what a first one needs, as they are kept."""

from __future__ import annotations

import msgspec

from holdfast.server.access.principal import ROLES, Principal, Role
from holdfast.types import TenantId

__all__ = ("Admins", "Login", "Starting", "User", "place_of")


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who logs in."""

    tenant: TenantId
    name: str
    role: Role
    password: str
    """What is kept of it."""
    generation: int = 0
    """Of their logins: those of an earlier one are over. It grows when the password is another."""
    created_at: int
    created_by: str = ""
    changed_at: int
    """When the password was set, µs UTC."""

    def principal(self, login: str) -> Principal:
        """Returns for whom a login of theirs speaks."""
        return Principal(tenant=self.tenant, user=self.name, scopes=ROLES[self.role], how="user", id=login)


class Login(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A login that may be open. It lies under the hash of its token."""

    tenant: TenantId
    name: str
    generation: int
    born: int
    """When its user was made: another one of the same name has none of the logins of the one before."""
    began_at: int
    seen_at: int
    """About when it was last used, µs UTC."""


class Admins(msgspec.Struct, frozen=True):
    """Those users of a tenant who are counted as admins. Whoever is counted is one; who just became one may not be
    counted yet, and who is about to be none is counted no more.
    """

    names: tuple[str, ...] = ()


class Starting(msgspec.Struct, frozen=True):
    """Somebody is making the first user."""

    at: int


def place_of(tenant: TenantId, name: str) -> str:
    """Returns under which name a user lies."""
    return f"{tenant}/{name}"
