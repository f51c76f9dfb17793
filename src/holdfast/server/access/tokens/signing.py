"""The keys that an issuer signs with, as it publishes them (RFC 7517).

They are fetched when they are needed, kept for a while, and fetched again in the background when they are older than
that, so that a request waits for them only the first time. A token that names a key that is not among them has them
fetched again: an issuer signs with a new key as soon as it has published it. But who sends tokens decides what they
name, so that is done once in `BETWEEN` seconds at most, whoever asks and however many they are. An issuer that cannot
be reached is believed by the keys it had for `STALE` seconds more.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar, final

import msgspec

from holdfast.errors import NetError
from holdfast.flow.clock import Clock
from holdfast.flow.interrupting import Interruptible
from holdfast.net.client import HttpClient
from holdfast.server.access.tokens.issuer import Issuer
from holdfast.server.problems import Refused

__all__ = ("BETWEEN", "FRESH", "STALE", "SigningKeys")

FRESH: Final = 600.0
"""Seconds after which keys are fetched again."""
STALE: Final = 24 * 3600.0
"""Seconds for which keys are used that could not be fetched again."""
BETWEEN: Final = 30.0
"""Seconds between two fetches that somebody's token can cause, and between two that failed."""
_WHOLE: Final = 10.0
"""Seconds that a fetch may take."""
_LARGEST: Final = 256 * 1024
_MOST: Final = 100
"""Keys of one issuer."""


_Read = TypeVar("_Read")


class _Published(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Discovered(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _Unusable(Exception):
    """What the issuer says is of no use."""


@final
class SigningKeys:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer, client: HttpClient, clock: Clock) -> None:
        self._issuer = issuer
        self._client = client
        self._clock = clock
        self._keys: list[dict[str, Any]] | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self.fetches = 0
        """How often they were asked for."""
        self.failure = ""
        """Why that did not work the last time; empty where it did."""

    async def of(self, kid: str | None, family: str, algorithm: str) -> dict[str, Any] | None:
        """Returns the key of that name and type that may have signed with that algorithm; without a name, the only one
        of that type. None where there is none.

        Raises:
            Refused: the issuer cannot be reached, and has not been for too long.
        """
        await self._see()
        found = self._find(kid, family, algorithm)
        if found is None and kid is not None and (self._fetching is not None or self._may_try()):
            await self._fetch()  # or wait for the one that is under way
            found = self._find(kid, family, algorithm)
        return found

    async def close(self) -> None:
        """Stops fetching."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _see(self) -> None:
        """Ends quietly when there are keys that may be used."""
        age = self._clock.monotonic() - self._fetched_at
        if self._keys is None or age >= STALE:
            if self._may_try():
                await self._fetch()
            elif self._fetching is not None:
                await asyncio.shield(self._fetching)
            if self._keys is None or self._clock.monotonic() - self._fetched_at >= STALE:
                raise Refused(
                    503,
                    "issuer_unreachable",
                    "the issuer of this token does not hand out the keys it signs with: try again later",
                    headers={"retry-after": f"{BETWEEN:.0f}"},
                )
        elif age >= FRESH and self._may_try():
            self._begin()

    def _may_try(self) -> bool:
        return self._fetching is None and (
            self._tried_at is None or self._clock.monotonic() - self._tried_at >= BETWEEN
        )

    async def _fetch(self) -> None:
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        """Has them fetched, by one task for all who wait."""
        if self._fetching is None:
            self._tried_at = self._clock.monotonic()
            self._fetching = asyncio.create_task(self._bring())
            self._fetching.add_done_callback(self._over)
        return self._fetching

    def _over(self, task: asyncio.Task[None]) -> None:
        if self._fetching is task:
            self._fetching = None

    async def _bring(self) -> None:
        self.fetches += 1
        try:
            with Interruptible(self._clock, _WHOLE) as scope:
                url = self._issuer.jwks_url or await self._discover()
                published = await self._json(url, _Published)
                self._keys = published.keys[:_MOST]
                self._fetched_at = self._clock.monotonic()
                self.failure = ""
            if scope.interrupted:
                self.failure = f"no answer within {_WHOLE:.0f} seconds"
        except (NetError, _Unusable) as error:
            self.failure = str(error)

    async def _discover(self) -> str:
        base = self._issuer.issuer.rstrip("/")
        found = await self._json(f"{base}/.well-known/openid-configuration", _Discovered)
        if found.issuer != self._issuer.issuer:
            raise _Unusable(f"the document of {self._issuer.issuer!r} is one of {found.issuer[:200]!r}")
        if base.startswith("https:") and not found.jwks_uri.startswith("https:"):
            raise _Unusable("an issuer that is asked over https names keys that are not")
        return found.jwks_uri

    async def _json(self, url: str, kind: type[_Read]) -> _Read:
        async with self._client.get(url, {"accept": "application/json"}) as answer:
            body = await answer.body(_LARGEST)
            if answer.status != 200:
                raise _Unusable(f"it answers with {answer.status}")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _Unusable(f"it answers with something else: {error}") from error

    def _find(self, kid: str | None, family: str, algorithm: str) -> dict[str, Any] | None:
        fitting = [
            key
            for key in self._keys or ()
            if key.get("kty") == family
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None
