"""Tenants: how much each may use, and what its agents may call.

A tenant is there as soon as somebody has a key of it. What is said of one here bounds it: requests by this server,
tokens and dollars by caps of its account in the ledger, in rolling windows, which hold for its runs wherever they are
driven. What its agents may call is a policy (`tools/authorising`) that holds for this tenant alone, and so beside
whatever holds for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.errors import UsageError
from holdfast.server.access.naming import check_tenant
from holdfast.server.access.principal import Rates
from holdfast.tools.authorising.policy import Draft, Policy

__all__ = ("Tenant", "check_rates", "policies_of")


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of one tenant."""

    rates: Rates = Rates()
    """Of all its people together."""
    each: Rates = Rates()
    """Of each of its users. A key that says something else of requests goes before it, and so does an issuer."""
    policy: Draft | None = None
    """What its agents may call, and which models they may ask. It names no tenants: it holds for this one."""


def policies_of(tenants: Mapping[str, Tenant]) -> tuple[Policy, ...]:
    """Returns the policies of tenants as a runtime takes them.

    Raises:
        UsageError: a tenant cannot be called so, or something is wrong with its policy.
    """
    found: list[Policy] = []
    for name, tenant in tenants.items():
        check_tenant(name)
        if tenant.policy is None:
            continue
        if tenant.policy.tenants:
            raise UsageError(f"the policy of the tenant {name!r} names tenants: take them out, it holds for this one")
        fields: dict[str, Any] = msgspec.structs.asdict(tenant.policy) | {"tenants": (name,)}
        found.append(Policy(**fields))
    return tuple(found)


def check_rates(rates: Rates) -> None:
    """Ends quietly where rates can be kept to.

    Raises:
        UsageError: one of them is nothing, less than nothing, or no number.
    """
    for name in ("requests", "tokens", "dollars"):
        value: float | None = getattr(rates, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"a rate of {value!r} {name} cannot be kept to: name more than 0, or leave it out")
