"""Ten thousand grants later a grant costs what it cost at first: counted in SQLite's own steps, not in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.ledger.amounts import GRAINS, Amount, Cap
from holdfast.ledger.port import Denied, Grant
from holdfast.ledger.stores.sqlite import LEDGER, SqliteLedger
from holdfast.storage.sqlite import Database
from holdfast.testing.clock import FakeClock

RUN = ("local", "ann", "s1", "r1")
WEEK = 7 * 24 * 3600 * 1_000_000
GRANTS = 10_000
LONGEST = "select max(length(tally)) from ledger_account"


async def steps_of(database: Database, call: Callable[[], Awaitable[object]]) -> int:
    """Returns how many instructions of SQLite's machine the writer ran for a call."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    await database.write(lambda c: c.set_progress_handler(count, 1))
    await call()
    await database.write(lambda c: c.set_progress_handler(None, 0))
    return counted


@pytest.mark.requirement("ledger:constant-cost")
async def test_a_grant_after_ten_thousand_looks_at_no_more_than_the_first(tmp_path: Path) -> None:
    clock = FakeClock()
    database = await Database.open(str(tmp_path / "l.db"), (LEDGER,), synchronous="normal")
    ledger = SqliteLedger(database, clock)
    await ledger.set_caps(("local",), [Cap(tokens=10**9), Cap(cost=10**9, window=WEEK)])
    await ledger.set_caps(RUN[:2], [Cap(tokens=10**9, window=3600 * 1_000_000)])

    async def one(n: int) -> None:
        assert isinstance(await ledger.grant(RUN, Amount(5, 5), f"k{n}"), Grant)
        if n % 10:  # a thousand stay open
            await ledger.settle(f"k{n}", Amount(4, 4))

    costs: list[int] = []
    sizes: list[int] = []
    for start in range(0, GRANTS, 50):
        await asyncio.gather(*(one(n) for n in range(start, start + 50)))
        await clock.advance(3600)
        if start in (500, GRANTS - 50):
            costs.append(await steps_of(database, lambda n=start: one(GRANTS + n + 1)))
            sizes.append(await database.read(lambda c: c.execute(LONGEST).fetchone()[0]))
    early, late = costs
    assert 0 < late <= 1.2 * early
    assert sizes[-1] <= 40 * 2 * (GRAINS + 2), "a window's past is dropped"
    assert isinstance(await ledger.grant(RUN, Amount(10**9), "too much"), Denied)
    standing = (await ledger.balance(("local",))).standings[0]
    settled = GRANTS - GRANTS // 10 + 2
    assert standing.used == Amount(4 * settled + GRANTS // 2, 4 * settled + GRANTS // 2), "to the last unit"
    await database.close()
