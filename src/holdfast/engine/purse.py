"""The money of one run: a grant in the ledger, which grows as it is used up.

A run takes grants only where somebody else may spend from the same account: where an account above it has a cap, or
where it may start others that share its limits. Everything else is bounded by the run's own limits alone, and books
nothing.

The log says on which path a run draws before it takes the grant, so whoever goes on after a crash finds it, and
whoever ends the run settles it; the ledger knows a grant by the run's key, so taking it twice is taking it once.
"""

from __future__ import annotations

from typing import final

from holdfast.engine.state import Run
from holdfast.errors import UnknownPrice, UsageError
from holdfast.ledger.amounts import DIMENSIONS, MOST, Account, Amount, Cap, Dimension
from holdfast.ledger.port import Denied, Ledger
from holdfast.models.calling import Allowance, Reservation
from holdfast.types import EventId, StreamId, digest_of

__all__ = ("Purse", "key_of", "own")

_AHEAD = 4
"""How many calls like the one that is next are taken out of the ledger at once."""
_SECONDS = 30
"""How much time a call is taken to need."""


def key_of(stream: StreamId, run: EventId) -> str:
    """Returns the key of a run's grant: that of no other run, also of a session that has this one's name later."""
    return digest_of(f"{stream}/{run}".encode())


def own(run: Run, now: int) -> Amount:
    """Returns what a run has spent, its children's left out: theirs is in grants of their own."""
    time = 0 if run.setup.setup.lineage else max(0, now - run.started_at)
    tokens = max(0, run.tokens - run.below_tokens)
    return Amount(min(tokens, MOST), min(run.own_cost, MOST), min(time, MOST))


@final
class Purse:
    """What one run may spend by the ledger's word."""

    def __init__(self, ledger: Ledger, account: Account, key: str, cap: Cap | None, *, family: bool = False) -> None:
        """`cap` is what the whole tree may spend, of the run at its root.

        One of a `family` takes nothing ahead: what it holds while it waits for the others, they have not.
        """
        self.account = account
        self._ledger = ledger
        self._key = key
        self._cap = cap
        self._ahead = 1 if family else _AHEAD
        self._granted: Amount | None = None
        self._caps: list[tuple[Cap, ...]] | None = None
        """Those of each account of the path, when they were last looked at."""

    async def cover(self, spent: Amount, call: Reservation, model: str) -> Allowance | Denied:
        """Returns what the run may spend from here on, enough for a call like this one or as much as is left of it.

        Raises:
            UnknownPrice: dollars are capped and nobody knows what the model costs.
            UsageError: somebody has settled what the run took, which so is no leave to spend any more.
            StorageError: the ledger refuses.
        """
        if self._granted is None:
            await self.open()
        if call.cost is None and any(cap.cost is not None for caps in self._caps or () for cap in caps):
            raise UnknownPrice(
                f"the price of {model!r} is unknown, so a cap of dollars on account {'/'.join(self.account)!r} cannot "
                "be kept: cap tokens instead, or give the price with Runtime.open(prices={...})"
            )
        wanted = Amount(call.tokens, call.cost or 0, _SECONDS * 1_000_000 if spent.time else 0)
        if self._granted is None or not (spent + wanted).within(self._granted):
            answer = await self._take(spent, wanted)
            if isinstance(answer, Denied):
                return answer
        assert self._granted is not None
        left = self._granted.beyond(spent)
        return Allowance(left.tokens, left.cost if call.cost is not None else None)

    async def short_of(self, spent: Amount, dimension: Dimension, needed: int) -> Denied | None:
        """Returns the cap that keeps so much more of one dimension from a run that holds a grant; None where so much is
        there by now. What the run did not spend is given back for that: it is asked for again with the next `cover`.

        Raises:
            StorageError: the ledger refuses.
        """
        assert self._granted is not None
        place = DIMENSIONS.index(dimension)
        # What it holds itself would be in its own way, and nobody could say when enough is free.
        self._granted = (await self._ledger.shrink(self._key, spent.smaller(self._granted))).amount
        numbers = list(self._granted.numbers)
        numbers[place] = max(numbers[place], min(MOST, spent.numbers[place] + needed))
        size = Amount(*numbers)
        answer = await self._ledger.grow(self._key, size, least=size)
        if isinstance(answer, Denied):
            return answer
        self._granted = answer.amount
        return None

    def left(self, denied: Denied, spent: Amount) -> int:
        """Returns what the run itself has left of a cap: what it holds and did not spend is its own."""
        held = Amount() if self._granted is None else self._granted.beyond(spent)
        return denied.left + held.numbers[DIMENSIONS.index(denied.dimension)]

    async def open(self) -> None:
        """Sees to it that the whole tree is bounded before anybody of it spends; the same again changes nothing.

        Raises:
            StorageError: the ledger refuses.
        """
        if self._cap is not None and not await self._ledger.caps(self.account):
            await self._ledger.set_caps(self.account, (self._cap,))
        self._caps = await self._look()

    async def recapped(self) -> bool:
        """Returns whether caps were set or taken away since they were looked at.

        Raises:
            StorageError: the ledger refuses.
        """
        return self._caps is not None and await self._look() != self._caps

    def forget(self) -> None:
        """Lets go of what is known of the grant, which somebody has changed: it is asked for again."""
        self._granted = None

    async def _look(self) -> list[tuple[Cap, ...]]:
        return [await self._ledger.caps(self.account[: depth + 1]) for depth in range(len(self.account))]

    async def _take(self, spent: Amount, wanted: Amount) -> Denied | None:
        """Takes as much as is asked for, with something ahead; near a cap, what is left."""
        ahead = spent + Amount(*(number * self._ahead for number in wanted.numbers))
        least = spent + Amount(min(1, wanted.tokens), min(1, wanted.cost), min(1, wanted.time))
        denied: Denied | None = None
        for amount, enough in ((ahead, spent + wanted), (spent + wanted, least)):
            size = amount.larger(self._granted or Amount()).smaller(Amount(MOST, MOST, MOST))
            answer = await (
                self._ledger.grant(self.account, size, self._key, least=enough)
                if self._granted is None
                else self._ledger.grow(self._key, size, least=enough)
            )
            if isinstance(answer, Denied):
                denied = answer
                continue
            if not answer.open:
                raise UsageError(
                    f"what this run took out of account {'/'.join(self.account)!r} was settled while it was open, so "
                    "nobody knows what it may spend: abort the run, and start another one"
                )
            first, self._granted = self._granted is None, answer.amount
            if first and not (spent + wanted).within(answer.amount):
                return await self._take(spent, wanted)  # it was taken before its process died: it may have to grow
            return None
        return denied
