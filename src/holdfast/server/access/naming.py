"""Names of whoever asks: what a tenant, a user and an agent may be called."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import quote

import msgspec

from holdfast.errors import UsageError
from holdfast.ledger.amounts import account_id
from holdfast.types import SessionId, TenantId, stream_id, tenant_of

__all__ = ("HOME", "KeyName", "TenantName", "UserName", "check_login", "check_tenant", "check_user", "user_of")

HOME: Final = TenantId("local")
"""The tenant of whoever runs the server. Its admins may name other tenants; those of other tenants only their own."""

TenantName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", description="A tenant.")]
UserName = Annotated[
    str,
    msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._@+-]{0,63}$", description="A user who logs in: in lower case."),
]
KeyName = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$", description="A key, by its id.")]
_LOGIN: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


def check_tenant(name: str) -> TenantId:
    """Returns a tenant by its name.

    Raises:
        UsageError: it cannot be one's name.
    """
    return tenant_of(stream_id(TenantId(name), SessionId("any")))


def check_user(tenant: TenantId, name: str) -> str:
    """Returns the name of a user in whose name a key acts.

    Raises:
        UsageError: no account can have it.
    """
    account_id((tenant, name))
    return name


def check_login(name: str) -> str:
    """Returns the name of a user who logs in.

    Raises:
        UsageError: it cannot be one.
    """
    if not _LOGIN.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} cannot be the name of a user: use 1 to 64 lower-case letters, digits, dots, dashes, "
            "underscores, @ or +, the first a letter or digit"
        )
    return name


def user_of(subject: str) -> str:
    """Returns the user for whoever an issuer calls so. No two get the same; those that need no change get none.

    Raises:
        UsageError: it is empty or too long.
    """
    name = subject if subject.isascii() and subject.isprintable() and not set(subject) & {"/", "%"} else ""
    return check_user(HOME, name or quote(subject, safe=" !#$&'()*+,:;=?@[]|"))
