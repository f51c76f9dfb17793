"""Accounts that live as long as the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import final

from holdfast.flow.clock import Clock, SystemClock
from holdfast.ledger.amounts import Account, Amount, Cap, account_id, check_amount
from holdfast.ledger.port import Balance, Denied, Grant, Ledger, Settled
from holdfast.ledger.stores import booking
from holdfast.ledger.stores.booking import Rows
from holdfast.ledger.stores.tallies import Grain, Tally

__all__ = ("MemoryLedger",)


@final
class MemoryLedger(Ledger):
    """Tallies and grants in dictionaries; nothing is awaited between reading and writing them."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._rows = _Rows()

    async def grant(self, path: Account, amount: Amount, key: str, *, least: Amount | None = None) -> Grant | Denied:
        """Takes an amount out of every account on the path, or out of none.

        Raises:
            UsageError: something is not valid, or the key belongs to a grant on another path.
        """
        account_id(path)
        booking.check_request(key, amount, least)
        return booking.grant(self._rows, path, amount, key, least, self._clock.now())

    async def grow(self, key: str, amount: Amount, *, least: Amount | None = None) -> Grant | Denied:
        """Makes an open grant as large as `amount`.

        Raises:
            UsageError: something is not valid, or there is no open grant of that key.
        """
        booking.check_request(key, amount, least)
        return booking.grow(self._rows, key, amount, least, self._clock.now())

    async def shrink(self, key: str, amount: Amount) -> Grant:
        """Makes an open grant as small as `amount`: the rest is free again.

        Raises:
            UsageError: the amount is not valid, or there is no open grant of that key.
        """
        check_amount(amount)
        return booking.shrink(self._rows, key, amount)

    async def settle(self, key: str, spent: Amount, *, path: Account | None = None) -> Settled:
        """Ends a grant: what was spent is charged, the rest is free again.

        Raises:
            UsageError: there is no grant of that key and no path, it is on another one, or something is not valid.
        """
        booking.check_settlement(key, spent, path)
        return booking.settle(self._rows, key, spent, path, self._clock.now())

    async def release(self, key: str) -> Settled:
        """Settles a grant of which nothing was spent.

        Raises:
            UsageError: there is no grant of that key.
        """
        return await self.settle(key, Amount())

    async def set_caps(self, account: Account, caps: Sequence[Cap]) -> None:
        """Replaces the caps of an account.

        Raises:
            UsageError: the account's name is not valid, or a window is longer than `LONGEST`.
        """
        booking.set_caps(self._rows, account, caps, self._clock.now())

    async def reset(self, account: Account) -> None:
        """Has an account begin anew, without caps.

        Raises:
            UsageError: grants on its path are open, or its name is not valid.
        """
        booking.reset(self._rows, account, self._clock.now())

    async def caps(self, account: Account) -> tuple[Cap, ...]:
        """Returns the caps of an account itself."""
        return tuple(standing.cap for standing in (await self.balance(account)).standings)

    async def capped(self, depth: int, *, limit: int = 1000) -> list[Account]:
        """Returns accounts of at most so many names that have caps."""
        return self._rows.capped(depth, limit)

    async def balance(self, account: Account) -> Balance:
        """Returns what was settled and is open at an account, and how it stands with its caps."""
        return booking.standing(self._rows, account, self._clock.now())

    async def open_grants(self, path: Account = (), *, limit: int = 100, after: Grant | None = None) -> list[Grant]:
        """Returns open grants whose path begins with those names, by path and key."""
        return self._rows.open_grants(path, limit, after)


class _Rows(Rows):
    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}
        self._open: dict[str, Grant] = {}
        self._settled: deque[Grant] = deque()
        """In the order of their settlements."""
        self._tallies: dict[str, Tally] = {}

    def grant(self, key: str) -> Grant | None:
        return self._grants.get(key)

    def tallies(self, accounts: Sequence[str]) -> dict[str, Tally]:
        return {account: self._tallies[account] for account in accounts if account in self._tallies}

    def history(self, account: str, since: int, grain: int) -> Sequence[Grain]:
        path = tuple(account.split("/"))
        sums: dict[int, Amount] = {}
        for grant in self._grants.values():
            if grant.spent is None or grant.settled_at is None or grant.settled_at <= since:
                continue
            if grant.path[: len(path)] == path:
                number = grant.settled_at // grain
                sums[number] = sums.get(number, Amount()) + grant.spent
        return [(number, *sums[number].numbers) for number in sorted(sums)]

    def put(self, grant: Grant | None, tallies: Mapping[str, Tally]) -> None:
        self._tallies.update(tallies)
        if grant is None:
            return
        self._grants[grant.key] = grant
        if grant.open:
            self._open[grant.key] = grant
        else:
            self._open.pop(grant.key, None)
            self._settled.append(grant)

    def forget(self, until: int) -> None:
        while self._settled and (self._settled[0].settled_at or 0) <= until:
            del self._grants[self._settled.popleft().key]

    def capped(self, depth: int, limit: int) -> list[Account]:
        found = sorted(account for account, tally in self._tallies.items() if tally.caps and account.count("/") < depth)
        return [tuple(account.split("/")) for account in found[:limit]]

    def open_grants(self, path: Account, limit: int, after: Grant | None) -> list[Grant]:
        if path:
            account_id(path)
        least = _place(after) if after else ("", "")
        found = [each for each in self._open.values() if each.path[: len(path)] == path and _place(each) > least]
        return sorted(found, key=_place)[: max(limit, 0)]


def _place(grant: Grant) -> tuple[str, str]:
    return "/".join(grant.path), grant.key
