"""Whatever happens in whatever order, settled and open grants stay within every cap: both ledgers against a model.

Two sides use one ledger: grants at once, answers that get lost and are asked for again, one side dropped without a word
between grant and settlement, windows that move, caps that change meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.conformance.ledger_model import Entry, Model

from holdfast.ledger.amounts import Account, Amount, Cap
from holdfast.ledger.port import KEPT, Denied, Grant, Ledger
from holdfast.ledger.stores.memory import MemoryLedger
from holdfast.ledger.stores.sqlite import LEDGER, SqliteLedger
from holdfast.storage.sqlite import Database
from holdfast.testing.clock import FakeClock

PATHS: tuple[Account, ...] = (
    ("t", "a", "s1", "r1"),
    ("t", "a", "s1", "r2"),
    ("t", "a", "s2", "r1"),
    ("t", "b", "s1", "r1"),
    ("t-2", "a", "s1", "r1"),
)
ACCOUNTS = sorted({path[:depth] for path in PATHS for depth in range(1, 5)})
WINDOWS = (None, 61, 600, 6000)

amounts = st.builds(Amount, st.integers(0, 9), st.integers(0, 9), st.integers(0, 3))
bound = st.none() | st.integers(0, 30)
caps = st.builds(lambda tokens, rest, window: Cap(tokens=tokens, window=window, **rest), st.integers(0, 30),
                 st.fixed_dictionaries({"cost": bound, "time": bound}), st.sampled_from(WINDOWS))  # fmt: skip
paths = st.sampled_from(PATHS)
numbers = st.integers(0, 10**6)
sides = st.integers(0, 1)


class Interleavings(RuleBasedStateMachine):
    """The rules; a subclass says where the ledger is."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(1_000_000_007)
        self.model = Model()
        self.keys = 0
        self.sides: list[Ledger] = [self.run(self.opened()) for _ in range(2)]

    async def opened(self) -> Ledger:
        raise NotImplementedError

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(call, 20))

    def new_key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"

    def keys_of(self, *, open: bool) -> list[str]:
        return [key for key, each in self.model.entries.items() if each.known and (each.spent is None) is open]

    def judge(self, answer: Grant | Denied, path: Account, wanted: Amount, least: Amount | None) -> None:
        """Holds an answer to what was left before it was given; the model has not heard of it yet."""
        now = self.clock.now()
        expected = self.model.granted(path, wanted, least, now)
        if isinstance(answer, Grant):
            assert answer.amount == expected
            return
        assert expected is None
        needed = wanted if least is None else least
        assert answer.left < answer.wanted == getattr(needed, answer.dimension)
        assert answer.cap in self.model.caps[answer.account]
        if answer.again_at is None:
            assert self.model.granted(path, needed, None, now + 10**9) is None, "no waiting would have helped"
        else:
            assert self.model.granted(path, needed, None, answer.again_at) is not None, "it fits when it was said to"
            assert self.model.granted(path, needed, None, answer.again_at - 1) is None, "and not before"

    def keep(self, answer: Grant | Denied) -> None:
        if isinstance(answer, Grant) and answer.key not in self.model.entries:
            self.model.entries[answer.key] = Entry(answer.path, answer.amount)

    @rule(path=paths, amount=amounts, spare=st.none() | amounts, side=sides)
    def ask(self, path: Account, amount: Amount, spare: Amount | None, side: int) -> None:
        least = None if spare is None else amount.smaller(spare)
        answer = self.run(self.sides[side].grant(path, amount, self.new_key(), least=least))
        self.judge(answer, path, amount, least)
        self.keep(answer)

    @rule(path=paths, amount=amounts, side=sides, turns=st.integers(0, 4))
    def lose_the_answer_and_ask_again(self, path: Account, amount: Amount, side: int, turns: int) -> None:
        key = self.new_key()

        async def lose() -> Any:
            asking = asyncio.create_task(self.sides[side].grant(path, amount, key))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return await self.sides[1 - side].grant(path, amount, key)

        answer = self.run(lose())
        self.judge(answer, path, amount, None)
        self.keep(answer)

    @precondition(lambda self: self.keys_of(open=True) + self.keys_of(open=False))
    @rule(which=numbers, amount=amounts, side=sides)
    def ask_with_a_key_that_was_used(self, which: int, amount: Amount, side: int) -> None:
        keys = self.keys_of(open=True) + self.keys_of(open=False)
        key = keys[which % len(keys)]
        entry = self.model.entries[key]
        answer = self.run(self.sides[side].grant(entry.path, amount, key))
        assert (answer.amount, answer.spent) == (entry.amount, entry.spent)

    @rule(wishes=st.lists(st.tuples(paths, amounts), min_size=2, max_size=12), settling=st.booleans())
    def do_much_at_once(self, wishes: list[tuple[Account, Amount]], settling: bool) -> None:
        done = self.keys_of(open=True) if settling else []
        keys = [self.new_key() for _ in wishes]

        async def at_once() -> list[Grant | Denied]:
            asking = [self.sides[n % 2].grant(*wish, keys[n]) for n, wish in enumerate(wishes)]
            ending = [self.sides[n % 2].settle(key, self.model.entries[key].amount) for n, key in enumerate(done)]
            return (await asyncio.gather(*asking, *ending))[: len(wishes)]  # type: ignore[return-value]

        answers = self.run(at_once())
        for key in done:
            self.end(key, self.model.entries[key].amount)
        for answer in answers:
            self.keep(answer)
        for (path, amount), answer in zip(wishes, answers, strict=True):
            if isinstance(answer, Denied) and not settling:
                assert self.model.granted(path, amount, None, self.clock.now()) is None, "no more would have fitted"

    def end(self, key: str, spent: Amount) -> None:
        entry = self.model.entries[key]
        entry.spent, entry.at = spent, self.clock.now()
        if not spent.within(entry.amount):
            self.model.excuse(entry.path, self.clock.now())

    @precondition(lambda self: self.keys_of(open=True))
    @rule(which=numbers, spent=amounts, exceed=st.sampled_from((False, False, False, True)), side=sides)
    def settle(self, which: int, spent: Amount, exceed: bool, side: int) -> None:
        keys = self.keys_of(open=True)
        key = keys[which % len(keys)]
        entry = self.model.entries[key]
        spent = spent if exceed else spent.smaller(entry.amount)
        settled = self.run(self.sides[side].settle(key, spent))
        assert (settled.granted, settled.spent) == (entry.amount, spent)
        assert settled.exceeded is not spent.within(entry.amount)
        self.end(key, spent)

    @rule(path=paths, spent=amounts, side=sides, twice=st.booleans())
    def settle_what_nobody_granted(self, path: Account, spent: Amount, side: int, twice: bool) -> None:
        key = self.new_key()
        for number in range(1 + twice):
            settled = self.run(self.sides[(side + number) % 2].settle(key, spent, path=path))
            assert (settled.granted, settled.spent) == (Amount(), spent)
        self.model.entries[key] = Entry(path, Amount())
        self.end(key, spent)

    @precondition(lambda self: self.keys_of(open=False))
    @rule(which=numbers, spent=amounts, side=sides)
    def settle_again(self, which: int, spent: Amount, side: int) -> None:
        keys = self.keys_of(open=False)
        key = keys[which % len(keys)]
        assert self.run(self.sides[side].settle(key, spent)).spent == self.model.entries[key].spent

    @precondition(lambda self: self.keys_of(open=True))
    @rule(which=numbers, amount=amounts, spare=st.none() | amounts, side=sides, twice=st.booleans())
    def grow(self, which: int, amount: Amount, spare: Amount | None, side: int, twice: bool) -> None:
        keys = self.keys_of(open=True)
        key = keys[which % len(keys)]
        entry = self.model.entries[key]
        least = None if spare is None else amount.smaller(spare)
        more = amount.beyond(entry.amount)
        needed = more if least is None else least.beyond(entry.amount)
        extra = self.model.granted(entry.path, more, needed, self.clock.now())
        answer = self.run(self.sides[side].grow(key, amount, least=least))
        assert isinstance(answer, Grant) is (extra is not None)
        if extra is not None:
            entry.amount += extra
            assert answer.amount == entry.amount
        if twice:
            assert self.run(self.sides[1 - side].grow(key, amount, least=least)) == answer

    @precondition(lambda self: self.keys_of(open=True))
    @rule(which=numbers, amount=amounts, side=sides, twice=st.booleans())
    def shrink(self, which: int, amount: Amount, side: int, twice: bool) -> None:
        keys = self.keys_of(open=True)
        key = keys[which % len(keys)]
        entry = self.model.entries[key]
        entry.amount = entry.amount.smaller(amount)
        for number in range(1 + twice):
            assert self.run(self.sides[(side + number) % 2].shrink(key, amount)).amount == entry.amount

    @rule(account=st.sampled_from(ACCOUNTS), some=st.lists(caps, max_size=3), side=sides)
    def change_the_caps(self, account: Account, some: list[Cap], side: int) -> None:
        self.run(self.sides[side].set_caps(account, some))
        self.model.caps[account] = tuple(some)
        self.model.excuse(account, self.clock.now())

    @rule(micros=st.sampled_from((1, 9, 10, 11, 60, 100, 599, 601, 6100)))
    def wait(self, micros: int) -> None:
        self.run(self.clock.advance(micros / 1e6))

    @precondition(lambda self: self.keys_of(open=False))
    @rule()
    def wait_until_what_was_settled_may_be_forgotten(self) -> None:
        self.run(self.clock.advance(KEPT / 1e6 + 1))
        for key in self.keys_of(open=False):
            self.model.entries[key].known = False

    @rule(side=sides)
    def drop_a_side_without_a_word(self, side: int) -> None:
        self.sides[side] = self.run(self.opened())

    @rule(path=st.sampled_from([(), *ACCOUNTS]), side=sides)
    def list_what_is_open(self, path: Account, side: int) -> None:
        found = self.run(self.sides[side].open_grants(path))
        mine = {k: e.amount for k, e in self.model.entries.items() if e.spent is None and e.path[: len(path)] == path}
        assert {each.key: each.amount for each in found} == mine

    @invariant()
    def nothing_is_above_its_cap(self) -> None:
        assert self.model.over(self.clock.now()) == []

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        async def balances() -> list[Any]:
            return await asyncio.gather(*(self.sides[n % 2].balance(each) for n, each in enumerate(ACCOUNTS)))

        for balance in self.run(balances()):
            account = balance.account
            assert (balance.open, balance.settled) == (self.model.open(account), self.model.settled(account))
            assert tuple(each.cap for each in balance.standings) == self.model.caps.get(account, ())
            for each in balance.standings:
                assert each.used == self.model.used(account, each.cap, self.clock.now())

    def teardown(self) -> None:
        self.runner.close()


class InMemory(Interleavings):
    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        super().__init__()

    async def opened(self) -> Ledger:
        self.ledger = self.ledger or MemoryLedger(self.clock)
        return self.ledger


class InSqlite(Interleavings):
    """Each side, and whoever comes after one that was dropped, opens the file itself."""

    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        self.opened_ones: list[Database] = []
        super().__init__()

    async def opened(self) -> Ledger:
        path = str(Path(self.folder.name) / "l.db")
        self.opened_ones.append(await Database.open(path, (LEDGER,), synchronous="normal"))
        return SqliteLedger(self.opened_ones[-1], self.clock)

    def teardown(self) -> None:
        async def close() -> None:
            for database in self.opened_ones:
                await database.close()

        self.run(close())
        super().teardown()
        self.folder.cleanup()


@pytest.mark.requirement("ledger:grants-below-cap", "ledger:stores-agree")
@pytest.mark.parametrize(("machine", "examples"), [(InMemory, 60), (InSqlite, 25)], ids=["memory", "sqlite"])
def test_settled_and_open_grants_stay_within_every_cap(machine: Callable[[], Interleavings], examples: int) -> None:
    tries = settings(max_examples=examples, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(machine, settings=tries)  # type: ignore[arg-type]
