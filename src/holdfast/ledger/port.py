"""The port of the ledger: nothing is spent that was not granted before (brief 7).

Accounts form a tree, `tenant/user/session/root`; a cap may stand at any of them and bounds what it and all below it
spend together. Who wants to spend takes a *grant* on a path: it counts at every account of the path from that
moment on. When it is settled, what was spent counts instead and the rest is free again. So at every account

    settled + open grants <= cap

always, whoever dies in between, unless somebody reports to have spent more than was granted: that is charged in full,
because it is gone. Or the cap was lowered: then nothing more is granted until it holds again. Or it was spent before
anybody had a cap, and is reported without a grant: that is gone, too.

An open grant counts as a whole until somebody settles it; it never runs out, because nobody else can know what was
spent. What was spent under it counts in a window from its settlement, which is not before it was spent.

A settled grant is kept for `KEPT` and then forgotten, a few with every settlement; the sums it is part of stay. That is
as far back as any window reaches that can be set, so nobody adds it up again, and far longer than whoever goes on after
a crash takes to ask again with its key: who settles it again after that without a path hears that there is no such
grant, and nothing is charged. An open grant is never forgotten. So a ledger holds the grants that are open, those of a
year, and a row for each account.

Every adapter passes one conformance kit (`holdfast.testing.conformance.ledger`); each sentence of these docstrings is a
test in it. All times are µs UTC by the *store's* clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from holdfast.ledger.amounts import LONGEST, Account, Amount, Cap, Dimension

__all__ = ("KEPT", "KEY_LIMIT", "Balance", "Denied", "Grant", "Ledger", "Settled", "Standing")

KEY_LIMIT = 256
"""Characters of a grant's key: stores keep it, to know a request that comes twice."""
KEPT = LONGEST + LONGEST // 20
"""µs for which a settled grant is known: for the longest window, and three of its grains."""


class Grant(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Leave to spend. It may be used only while it is `open`."""

    key: str
    path: Account
    amount: Amount
    opened_at: int
    spent: Amount | None = None
    """What it was settled at; None while it is open."""
    settled_at: int | None = None

    @property
    def open(self) -> bool:
        """Whether nobody has settled it."""
        return self.spent is None


class Denied(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A cap is in the way; nothing was granted. Of several, the one that is in the way longest."""

    account: Account
    cap: Cap
    dimension: Dimension
    wanted: int
    """What was asked for at least."""
    left: int
    """What is left of the cap."""
    again_at: int | None = None
    """When so much of the window will have passed that the request fits, if nothing else is spent meanwhile. None when
    waiting alone does not help: the cap is for ever or too small, or open grants are in the way."""

    @property
    def reason(self) -> str:
        """One line for a person."""
        span = "for ever" if self.cap.window is None else f"in any {self.cap.window / 1e6:g} s"
        limit = getattr(self.cap, self.dimension)
        return (
            f"account {'/'.join(self.account)!r} may spend {limit} of {self.dimension} {span}, of which {self.left} "
            f"is left and {self.wanted} is wanted"
        )


class Settled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A grant that is over."""

    key: str
    granted: Amount
    spent: Amount
    """What was charged: by the first settlement, if there were several."""

    @property
    def returned(self) -> Amount:
        """The rest, which is free again."""
        return self.granted.beyond(self.spent)

    @property
    def exceeded(self) -> bool:
        """Whether more was spent than was granted, in any dimension."""
        return not self.spent.within(self.granted)


class Standing(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How an account stands with one of its caps."""

    cap: Cap
    used: Amount
    """What counts against it: open grants, and what was settled (within the window)."""

    @property
    def left(self) -> tuple[int | None, int | None, int | None]:
        """What is left of it, in the order of `DIMENSIONS`; None where it is unbounded."""
        tokens, cost, time = (
            None if limit is None else max(0, limit - used)
            for limit, used in zip(self.cap.limits, self.used.numbers, strict=True)
        )
        return tokens, cost, time


class Balance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What was done with an account and those below it."""

    account: Account
    settled: Amount
    """Since ever, or since it began anew."""
    open: Amount
    """In grants that nobody has settled."""
    standings: tuple[Standing, ...]
    """One for each of its caps, in their order."""


class Ledger(Protocol):
    """All accounts of one store. An account that nobody has used exists: it is empty and has no caps.

    Each method that changes something does so in one transaction, and it is durable when the method returns; may a
    caller not hear the answer, it can ask again.
    """

    async def grant(self, path: Account, amount: Amount, key: str, *, least: Amount | None = None) -> Grant | Denied:
        """Takes an amount out of every account on the path, or out of none.

        It is granted if at each account, in each dimension it has some of, every cap covers what was settled (within
        its window), the open grants and this. If it is not covered and `least` is given, as much of each dimension as
        all caps cover is granted, if that is at least `least`. Otherwise nothing is.

        A key that was granted before gives that grant as it is now, whatever the amounts are this time: it may have
        grown or be settled. A key that was denied was not used up.

        Raises:
            UsageError: a name, a number or the key is not valid, `least` is more than the amount, or the key belongs
                to a grant on another path; nothing was done.
            StorageError: nothing was granted, or the answer got lost: ask again with the same key.
        """
        ...

    async def grow(self, key: str, amount: Amount, *, least: Amount | None = None) -> Grant | Denied:
        """Makes an open grant as large as `amount`, by the rule of `grant`; `least`, too, is its whole size.

        A dimension of which it has more already stays as it is, so that the same call again changes nothing. If it
        is denied, the grant stays as it is.

        Raises:
            UsageError: as for `grant`, or there is no open grant of that key.
            StorageError: as for `grant`.
        """
        ...

    async def shrink(self, key: str, amount: Amount) -> Grant:
        """Makes an open grant as small as `amount`: the rest is free again at every account on its path.

        A dimension of which it has less already stays as it is, so that the same call again changes nothing. Whoever
        shrinks a grant has spent no more than that, and spends nothing more before it has grown again.

        Raises:
            UsageError: the amount is not valid, or there is no open grant of that key.
            StorageError: the grant is as it was, or the answer got lost: do it again.
        """
        ...

    async def settle(self, key: str, spent: Amount, *, path: Account | None = None) -> Settled:
        """Ends a grant: what was spent is charged at every account on its path, the rest is free again.

        What is over the grant is charged in full, and the answer says so. The first settlement counts: a later one
        changes nothing and gives the answer of the first, whatever it says itself, because the first was nearer to
        what happened.

        With a `path`, what was spent before anything was granted is charged there, whatever the caps say: a key of
        which there is no grant is that of an empty one, which ends at once, and is known from then on.

        Raises:
            UsageError: there is no grant of that key, or it was settled longer ago than `KEPT`, and no path is given;
                the grant is on another path; or a name, the key or the amount is not valid.
            StorageError: nothing was settled, or the answer got lost: do it again.
        """
        ...

    async def release(self, key: str) -> Settled:
        """Settles a grant of which nothing was spent.

        Raises:
            UsageError: there is no grant of that key.
            StorageError: as for `settle`.
        """
        ...

    async def set_caps(self, account: Account, caps: Sequence[Cap]) -> None:
        """Replaces the caps of an account, none included.

        What was spent before counts, also for a window that is new. A cap may be lower than what is used already: then
        nothing more is granted until it is not.

        Raises:
            UsageError: the account's name is not valid, or a window is longer than `LONGEST`.
            StorageError: nothing was changed, or the answer got lost: do it again.
        """
        ...

    async def reset(self, account: Account) -> None:
        """Has an account begin anew: it has no caps, and what was settled before counts there no more, whatever
        caps and windows it is given later. At the accounts above it and below it everything stays.

        For a name that is free again, so that whoever has it next pays nothing for who had it.

        Raises:
            UsageError: grants on its path are open, or its name is not valid; nothing was changed.
            StorageError: nothing was changed, or the answer got lost: do it again.
        """
        ...

    async def caps(self, account: Account) -> tuple[Cap, ...]:
        """Returns the caps of an account itself, in the order in which they were set."""
        ...

    async def capped(self, depth: int, *, limit: int = 1000) -> list[Account]:
        """Returns accounts of at most so many names that have caps, by their names."""
        ...

    async def balance(self, account: Account) -> Balance:
        """Returns what was settled and is open at an account, and how it stands with each of its caps now."""
        ...

    async def open_grants(self, path: Account = (), *, limit: int = 100, after: Grant | None = None) -> list[Grant]:
        """Returns open grants whose path begins with those names, by path and key; with no names, all of them.

        `after` is the last one of the page before.
        """
        ...
