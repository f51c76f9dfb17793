"""The one HTTP client of the house.

Every request of every room goes out here, past the address guard. It follows no redirect unless told to, keeps no
cookies, reads no proxy from the environment, and holds no answer whole unless asked: above it sit the protocols that
read bodies and event streams; below it, nothing of ours.

A client costs nothing until its first request: only then the library is loaded, which takes as long as all else of a
command that looks at a store. Two policies are two clients, so that no connection made under one is
used under the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, final

from holdfast.net.hops import Hop, checked_url
from holdfast.net.settings import NetSettings, Resolve
from holdfast.safety.addresses import AddressPolicy

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange
    from holdfast.net.pooling import Pools

__all__ = ("HttpClient",)

_LOADING = Lock()


@final
class HttpClient:
    """Sends HTTP requests to the addresses that a policy allows; usable from any event loop."""

    __slots__ = ("_exchange", "_policy", "_pools", "_resolve", "_settings")

    def __init__(
        self, policy: AddressPolicy, settings: NetSettings | None = None, *, resolve: Resolve | None = None
    ) -> None:
        self._policy = policy
        self._settings = settings or NetSettings()
        self._resolve = resolve
        self._pools: Pools | None = None
        self._exchange: Callable[[Hop, int], Exchange] | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None, *, redirects: int = 0) -> Exchange:
        """Returns a POST, sent when it is entered with `async with`.

        Raises:
            RequestRefused: the URL is none that is sent to.
        """
        exchange = self._exchange or self._load()
        return exchange(Hop("POST", checked_url(url), body, headers), redirects)

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
        exchange = self._exchange or self._load()
        return exchange(Hop(method, checked_url(url), body, headers), redirects)

    async def close(self) -> None:
        """Closes what is open in the running loop; a later request opens it again."""
        if self._pools is not None:
            await self._pools.close()

    async def __aenter__(self) -> HttpClient:
        """Returns itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes what is open in the running loop."""
        await self.close()

    def _load(self) -> Callable[[Hop, int], Exchange]:
        """Loads the library, and returns what makes an exchange."""
        from holdfast.net.exchange import Exchange  # noqa: PLC0415 - with the first request
        from holdfast.net.pooling import Pools  # noqa: PLC0415

        with _LOADING:  # two threads have the same pools
            if self._exchange is None:
                self._pools = Pools(self._policy, self._settings, self._resolve)
                self._exchange = partial(Exchange, self._pools)
            return self._exchange
