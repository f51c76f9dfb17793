"""Rates of tokens and dollars as caps of the ledger, which follow the configuration that names them.

Each cap is marked with the configuration that it comes from, and a server that starts brings those of its own up to
date: what is no longer named goes. A cap that a person set has no mark, and is never touched. Caps of another
configuration stay as long as some process serves by it; once none does, the next server that starts over the store
takes them away. So two servers with different configurations can share a store, the stricter cap of both holds, and
nothing outlives its file.

That a process serves by a configuration is a record in the store, written again every minute: one that was killed is
believed for `BELIEVED` seconds more.
"""

from __future__ import annotations

from typing import Final, final

import msgspec

from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_key
from holdfast.ledger.amounts import Account, Cap
from holdfast.ledger.port import Ledger
from holdfast.server.access.principal import Rates
from holdfast.server.access.settings import AccessSettings
from holdfast.server.access.shelf import Shelf
from holdfast.tools.keeping.port import KeyValues
from holdfast.types import digest_of, from_dollars

__all__ = ("BELIEVED", "DAY", "MINUTE", "Capping")

MINUTE: Final = 60_000_000
"""µs of the window in which tokens are counted."""
DAY: Final = 86_400_000_000
"""µs of the window in which dollars are counted."""
BELIEVED: Final = 180.0
"""Seconds after its last word for which a process is taken to serve."""
_MOST: Final = 10_000
"""Processes over one store, and tenants with caps, that are looked through."""


class _Serving(msgspec.Struct, frozen=True):
    """That a process serves by a configuration."""


@final
class Capping:
    """The caps of one configuration over one store, in one process."""

    def __init__(self, ledger: Ledger, values: KeyValues, clock: Clock, settings: AccessSettings, name: str) -> None:
        """Takes the configuration's `name`, by which it is known again: that of its file."""
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._shelf = Shelf(values, "configurations", _Serving, _MOST)
        self._origin = "serve:" + digest_of(name.encode()).removeprefix("sha256:")[:16]
        self._word = f"{self._origin}/{new_key()}"
        issued = [_caps(each.rates, "") for each in settings.issuers]
        self._issued = frozenset(cap.window for caps in issued for cap in caps)
        """Windows that some issuer caps for its people: only a token says for whom."""

    async def begin(self) -> None:
        """Brings the caps of all tenants to what the configuration says of them.

        Raises:
            StorageError: the store does not answer.
        """
        await self.alive()  # first: whoever finds a cap of this configuration finds that it is served by
        named: dict[Account, Rates] = {(name,): tenant.rates for name, tenant in self._settings.tenants.items()}
        for account in {*named, *await self._ledger.capped(1, limit=_MOST)}:
            await self.follow(account, named.get(account, Rates()))

    async def alive(self) -> None:
        """Writes that this process serves by the configuration."""
        await self._shelf.put(self._word, _Serving())

    async def end(self) -> None:
        """Takes that back. The caps stay: runs that are driven elsewhere are not let loose by a restart."""
        await self._shelf.remove(self._word)

    async def follow_user(self, account: Account, rates: Rates) -> None:
        """Brings the caps of a user's account to what the configuration says of whoever asks in their name. What an
        issuer caps stays when they come by a key.

        Raises:
            StorageError: they are as they were.
        """
        await self.follow(account, rates, self._issued)

    async def follow(self, account: Account, rates: Rates, staying: frozenset[int | None] = frozenset()) -> None:
        """Brings the caps of an account to what rates say; those of windows that are `staying` are not taken away.

        Raises:
            UsageError: the account cannot be called so.
            StorageError: they are as they were.
        """
        before = await self._ledger.caps(account)
        wanted = _caps(rates, self._origin)
        replaced = {cap.window for cap in wanted}
        others = [cap for cap in before if cap.origin not in ("", self._origin)]
        served = await self._served() if others else frozenset[str]()  # read after the caps: see `begin`
        kept = [
            cap
            for cap in before
            if not cap.origin
            or cap.origin in served
            or (cap.origin == self._origin and cap.window in staying - replaced)
        ]
        after = (*kept, *wanted)
        if set(after) != set(before):
            await self._ledger.set_caps(account, after)

    async def _served(self) -> frozenset[str]:
        """Returns the configurations by which some process serves, and forgets processes that died."""
        oldest = self._clock.now() - round(BELIEVED * 1e6)
        found: set[str] = set()
        for word, at in await self._shelf.names(limit=_MOST):
            if at >= oldest:
                found.add(word.partition("/")[0])
            else:
                await self._shelf.remove(word)
        return frozenset(found)


def _caps(rates: Rates, origin: str) -> tuple[Cap, ...]:
    tokens = None if rates.tokens is None else Cap(tokens=rates.tokens, window=MINUTE, origin=origin)
    dollars = None if rates.dollars is None else Cap(cost=from_dollars(rates.dollars), window=DAY, origin=origin)
    return tuple(cap for cap in (tokens, dollars) if cap is not None)
