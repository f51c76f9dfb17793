"""Who is believed to say who somebody is, and what is made of what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import UsageError
from holdfast.server.access.naming import HOME, check_tenant
from holdfast.server.access.principal import ROLES, Lane, Rates, Role

__all__ = ("FAMILIES", "Issuer", "claim_at", "texts_at")

FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512", "ES256K"), "EC"),
    "EdDSA": "OKP",
}
"""The algorithms that can be configured, each with the type of its keys. Those whose key is a shared secret are left
out, `none` too: a public key taken for a secret is how tokens are forged (RFC 8725, 2.1).
"""


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issuer of tokens.

    Raises:
        UsageError: something in it cannot be.
    """

    issuer: str
    """As its tokens name it, letter for letter."""
    audience: str | tuple[str, ...]
    """What its tokens have to be for, one of them."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    jwks_url: str = ""
    """Where its keys are; empty to have `<issuer>/.well-known/openid-configuration` say so."""
    tenant: str = ""
    """The tenant of everybody whom it knows; empty where `tenant_claim` says which."""
    tenant_claim: str = ""
    """Where in a token the tenant is, with dots: `org`, `app.tenant`."""
    tenants: tuple[str, ...] = ()
    """The tenants that a `tenant_claim` may name; `*` for any but the server's own."""
    user_claim: str = "sub"
    user_prefix: str = ""
    """Stands before each user, so that they are not those of another issuer, or of a key."""
    roles_claim: str = "roles"
    roles: dict[str, Role] = {}
    """Which role each of its roles is here; of several, all count. Others count for nothing."""
    default_role: Role | None = None
    """Of whoever has none of them; without it they may nothing."""
    agents_claim: str = ""
    """Where in a token the names of agents and models are that may be asked; empty for all."""
    leeway: Annotated[float, msgspec.Meta(ge=0, le=300)] = 30.0
    """Seconds by which its clock and ours may differ."""
    lane: Lane = "interactive"
    rates: Rates = Rates()
    """Of each of its people."""
    allowed_ranges: tuple[str, ...] = ()
    """Addresses that are not public, at which it is all the same: `10.1.0.0/16`."""

    def __post_init__(self) -> None:
        for each in self.algorithms:
            if each not in FAMILIES:
                raise UsageError(
                    f"the issuer {self.issuer!r} may not sign with {each!r}: configure some of {', '.join(FAMILIES)}"
                )
        if not self.algorithms or not self.audience:
            raise UsageError(f"the issuer {self.issuer!r} needs algorithms and an audience: name them")
        for url in (self.issuer, self.jwks_url or self.issuer):
            if urlsplit(url).scheme not in ("https", "http"):
                raise UsageError(f"{url!r} is no address of an issuer or its keys: write it as https://...")
        if not 0 <= self.leeway <= 300:
            raise UsageError(f"a leeway of {self.leeway:g} seconds cannot be meant: name 0 to 300")
        if unknown := [
            each for each in (*self.roles.values(), *filter(None, [self.default_role])) if each not in ROLES
        ]:
            raise UsageError(f"there is no role {unknown[0]!r}: write one of {', '.join(ROLES)}")
        self._check_tenants()
        if any(rate is not None and not 0 < rate < math.inf for rate in msgspec.structs.astuple(self.rates)):
            raise UsageError(f"the rates of the issuer {self.issuer!r} cannot be kept to: name more than 0")

    def _check_tenants(self) -> None:
        if bool(self.tenant) == bool(self.tenant_claim):
            raise UsageError(f"the issuer {self.issuer!r} needs a tenant or a tenant_claim: name one of them")
        if self.tenant_claim and not self.tenants:
            raise UsageError(
                f"the issuer {self.issuer!r} may name any tenant: write those that are its own into tenants, or ['*']"
            )
        for name in (*([self.tenant] if self.tenant else ()), *(each for each in self.tenants if each != "*")):
            check_tenant(name)

    def may_name(self, tenant: str) -> bool:
        """Whether it may speak of people of a tenant."""
        if self.tenant:
            return tenant == self.tenant
        return tenant in self.tenants or ("*" in self.tenants and tenant != HOME)


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """Returns what stands in claims under a dotted name, or under the very name; None where nothing does."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(part)
    return found


def texts_at(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Returns the texts of a claim that is one, several, or several with blanks between; none of anything else."""
    found = claim_at(claims, path)
    if isinstance(found, str):
        return tuple(found.split())
    if isinstance(found, list):
        return tuple(each for each in cast("list[Any]", found) if isinstance(each, str))
    return ()
