"""The one HTTP client of the house.

Every request of every room goes out here, past the address guard. It follows no redirect unless told to, keeps no
cookies, reads no proxy from the environment, and holds no answer whole unless asked: above it sit the protocols that
read bodies and event streams; below it, nothing of ours.

A client costs nothing until its first request. Two policies are two clients, so that no connection made under one is
used under the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import final

from holdfast.net.exchange import Exchange
from holdfast.net.guarding import Resolve
from holdfast.net.hops import Hop, checked_url
from holdfast.net.pooling import NetSettings, Pools
from holdfast.safety.addresses import AddressPolicy

__all__ = ("HttpClient",)


@final
class HttpClient:
    """Sends HTTP requests to the addresses that a policy allows; usable from any event loop."""

    __slots__ = ("_pools",)

    def __init__(
        self, policy: AddressPolicy, settings: NetSettings | None = None, *, resolve: Resolve | None = None
    ) -> None:
        self._pools = Pools(policy, settings or NetSettings(), resolve)

    def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None, *, redirects: int = 0) -> Exchange:
        """Returns a POST, sent when it is entered with `async with`.

        Raises:
            RequestRefused: the URL is none that is sent to.
        """
        return self.request("POST", url, body, headers, redirects=redirects)

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, redirects: int = 0) -> Exchange:
        """Returns a GET, sent when it is entered with `async with`.

        Raises:
            RequestRefused: the URL is none that is sent to.
        """
        return self.request("GET", url, None, headers, redirects=redirects)

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        redirects: int = 0,
    ) -> Exchange:
        """Returns a request of any method, sent when it is entered with `async with`.

        Raises:
            RequestRefused: the URL is none that is sent to.
        """
        return Exchange(self._pools, Hop(method, checked_url(url), body, headers), redirects)

    async def close(self) -> None:
        """Closes what is open in the running loop; a later request opens it again."""
        await self._pools.close()

    async def __aenter__(self) -> HttpClient:
        """Returns itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes what is open in the running loop."""
        await self.close()
