"""Access without keys: whoever sits at this machine may everything.

A page of any site can have a browser on this machine send requests to it. Such a request names the page it comes
from, or reaches this machine under a name that is none of its own, and is turned away. So is what a proxy on this
machine passes on for somebody elsewhere: to be behind one is to be open to whoever reaches it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import final
from urllib.parse import urlsplit

from holdfast.server.access.port import Asked
from holdfast.server.access.principal import EVERYTHING, Principal
from holdfast.server.problems import Refused
from holdfast.types import TenantId

__all__ = ("LocalAccess",)

_OURS = frozenset(("localhost", "127.0.0.1", "::1"))
_PASSED_ON = ("x-forwarded-for", "x-real-ip")
"""Headers in which proxies say for whom they ask."""


@final
class LocalAccess:
    """Recognises everybody on this machine as its user."""

    def __init__(self, tenant: str = "local", user: str = "user") -> None:
        self._principal = Principal(tenant=TenantId(tenant), user=user, scopes=EVERYTHING, how="local")

    async def identify(self, asked: Asked) -> Principal | None:
        """Returns the one user, for a request that was made on this machine on purpose.

        Raises:
            Refused: a page of another site made it, or somebody on another machine.
        """
        host = asked.headers.get("host", "")
        if _name(f"//{host}") not in _OURS:
            raise Refused(
                403,
                "foreign_host",
                f"this server has no keys and answers only as localhost, not as {host[:100]!r}: ask it at its "
                "own address, or create a key (holdfast serve keys create)",
            )
        origin = asked.headers.get("origin", "")
        if origin and _name(origin) not in _OURS:
            raise Refused(
                403,
                "foreign_origin",
                f"a page of {origin[:100]!r} may not ask a server without keys: create a key for it",
            )
        if "forwarded" in asked.headers or not _all_here(asked.headers):
            raise Refused(
                403,
                "foreign_client",
                "this server has no keys, and a proxy passes this on for another machine: create a key (holdfast serve "
                "keys create)",
            )
        return self._principal

    async def close(self) -> None:
        """Holds nothing."""


def _all_here(headers: Mapping[str, str]) -> bool:
    named = [each.strip() for name in _PASSED_ON for each in headers.get(name, "").split(",") if each.strip()]
    try:
        return all(ipaddress.ip_address(each).is_loopback for each in named[:10]) and len(named) <= 10
    except ValueError:
        return False


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
