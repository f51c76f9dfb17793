"""Processes that die between grant and settlement, and processes that want the last of what is left."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.durability.ledger_child import amount, spent

from holdfast.ledger.amounts import Amount, Cap
from holdfast.ledger.port import Denied, Grant
from holdfast.ledger.stores.sqlite import LEDGER, SqliteLedger
from holdfast.storage.sqlite import Database

CHILD = str(Path(__file__).with_name("ledger_child.py"))
CAP = Cap(tokens=10_000)
KILLS = 12


def start(what: str, path: Path, who: str) -> subprocess.Popen[str]:
    command = [sys.executable, CHILD, what, str(path), who]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_after(path: Path, who: str, lines: int) -> dict[int, str]:
    """Lets a child spend and kills it after so many lines; returns how far it said to have come with each grant."""
    heard: dict[int, str] = {}
    with start("spend", path, who) as child:
        assert child.stdout is not None
        for _ in range(lines):
            word, n = child.stdout.readline().split()
            heard[int(n)] = word
        child.kill()
        for line in child.stdout:  # what it said before it died
            word, n = line.split()
            heard[int(n)] = word
    return heard


@pytest.mark.requirement("ledger:kill-leaves-grant-open", "ledger:grants-below-cap")
async def test_a_grant_outlives_a_process_that_is_killed_and_its_key_gets_it_back(tmp_path: Path) -> None:
    luck = random.Random(4)
    path = tmp_path / "l.db"
    database = await Database.open(str(path), (LEDGER,))
    ledger = SqliteLedger(database)
    await ledger.set_caps(("local",), [CAP, Cap(tokens=9_000, window=7 * 86_400_000_000)])
    left_open = 0
    expected = Amount()
    for life in range(KILLS):
        who = f"w{life}"
        heard = kill_after(path, who, luck.randrange(1, 60))
        still_open = {grant.key: grant for grant in await ledger.open_grants(("local", who))}
        left_open += len(still_open)
        last = max(heard)
        for n, word in heard.items():
            again = await ledger.grant(("local", who, f"s{n % 3}", f"r{n}"), amount(n), f"{who}-{n}")
            assert isinstance(again, Grant)
            assert again.amount == amount(n)
            if word == "settled" or n < last:
                assert again.spent == spent(n), "what was acknowledged is there"
            elif f"{who}-{n}" in still_open:
                assert again == still_open[f"{who}-{n}"], "its key gets it back"
            settled = await ledger.settle(f"{who}-{n}", spent(n))
            assert settled.spent == spent(n), "it can be settled by whoever goes on"
            expected += spent(n)
        balance = await ledger.balance(("local",))
        assert (balance.open, balance.settled) == (Amount(), expected), "to the last unit"
    assert left_open, "some died between grant and settlement"
    await database.close()


@pytest.mark.requirement("ledger:concurrent-commits-exact")
async def test_processes_that_ask_at_once_get_exactly_the_cap_together(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    database = await Database.open(str(path), (LEDGER,), patience=20)
    ledger = SqliteLedger(database)
    await ledger.set_caps(("local",), [Cap(tokens=1003)])
    children = [start("drain", path, who) for who in ("ann", "ben")]
    for child in children:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    got = [int(child.communicate(timeout=60)[0].split()[1]) for child in children]
    assert all(got)
    assert sum(got) == 1003
    balance = await ledger.balance(("local",))
    assert balance.open == Amount(1003)
    assert isinstance(await ledger.grant(("local", "cid"), Amount(1), "late"), Denied)
    await database.close()
