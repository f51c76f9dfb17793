"""A process that spends by a ledger in SQLite and says each step, for tests that kill it or race it.

ledger_child.py spend PATH WHO         one grant after another, each settled, until it is killed or denied
ledger_child.py drain PATH WHO         many grants at once, until nothing is left; says how many it got
"""

from __future__ import annotations

import asyncio
import os
import sys

from holdfast.ledger.amounts import Amount
from holdfast.ledger.port import Grant
from holdfast.ledger.stores.sqlite import LEDGER, SqliteLedger
from holdfast.storage.sqlite import Database

AT_ONCE = 25


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def amount(n: int) -> Amount:
    return Amount(1 + n % 5, n % 3)


def spent(n: int) -> Amount:
    return Amount(1 + n % 5 - n % 2)


async def spend(ledger: SqliteLedger, who: str) -> None:
    n = 0
    while True:
        key = f"{who}-{n}"
        say(f"ask {n}")
        if not isinstance(await ledger.grant(("local", who, f"s{n % 3}", f"r{n}"), amount(n), key), Grant):
            return
        say(f"granted {n}")
        await ledger.settle(key, spent(n))
        say(f"settled {n}")
        n += 1


async def drain(ledger: SqliteLedger, who: str) -> None:
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    got = asked = 0
    while True:
        calls = (ledger.grant(("local", who), Amount(1), f"{who}-{asked + n}") for n in range(AT_ONCE))
        answers = await asyncio.gather(*calls)
        granted = sum(isinstance(answer, Grant) for answer in answers)
        asked, got = asked + AT_ONCE, got + granted
        if granted < AT_ONCE:
            break
    say(f"got {got}")


async def main() -> None:
    what, path, who = sys.argv[1:]
    database = await Database.open(path, (LEDGER,), patience=20)
    await {"spend": spend, "drain": drain}[what](SqliteLedger(database), who)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main())
