"""What can be said of a server about who may: as a value, for its configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.server.access.tenants import Tenant
from holdfast.server.access.tokens.issuer import Issuer

__all__ = ("AccessSettings",)


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may use a server, and how much."""

    required: bool = False
    """Lets nobody in who was given nothing, also as long as there is no key and no user; a server that listens to
    other machines needs it.
    """
    tokens: str = ""
    """A list of tokens, as `name:token:role,...` (`HOLDFAST_API_TOKENS`)."""
    issuers: tuple[Issuer, ...] = ()
    tenants: dict[str, Tenant] = {}
    setup_token: str = ""
    """What makes the first user (`HOLDFAST_SETUP_TOKEN`); empty to have one drawn, which the server shows."""
    login_hours: Annotated[float, msgspec.Meta(gt=0, le=87_600)] = 24.0
    """How long after its last use a login is open."""
    https: bool | None = None
    """Whether this server is reached over https; None where browsers are to say so."""
    origins: tuple[str, ...] = ()
    """Addresses of pages that may use a login here, beside those of this server itself: `https://holdfast.example`."""
    strangers: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = 20.0
    """Requests a second of one address that has not said who it is; None for any number."""
    audit_days: Annotated[int, msgspec.Meta(ge=1)] = 90
    """How long the record of decisions is kept."""
