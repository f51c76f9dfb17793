"""Whose turn it is in a lane, how many run, and that each job ends once, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.laning import Gate, quick, turns
from tests.running import soon, until

from holdfast.flow.lane import Lane, Ticket
from holdfast.testing.clock import FakeClock


class Plain:
    """How a lane is to behave, told without regard for speed: the whole queue is one list in order of arrival."""

    def __init__(self) -> None:
        self.width = 0
        self.queued: list[tuple[str, int, int]] = []
        """User, priority and number."""
        self.users: list[str] = []
        self.running: list[int] = []

    def own(self, user: str) -> list[int]:
        mine = [(priority, number) for who, priority, number in self.queued if who == user]
        return [number for _, number in sorted(mine, key=lambda each: (-each[0], each[1]))]

    def submit(self, user: str, priority: int, number: int) -> None:
        self.queued.append((user, priority, number))
        if user not in self.users:
            self.users.append(user)
        self.fill()

    def leave(self, number: int) -> None:
        self.queued = [each for each in self.queued if each[2] != number]
        self.users = [user for user in self.users if self.own(user)]

    def fill(self) -> None:
        while self.queued and len(self.running) < self.width:
            user = self.users.pop(0)
            number = self.own(user)[0]
            self.users.append(user)
            self.leave(number)
            self.running.append(number)


class Lanes(RuleBasedStateMachine):
    """A lane beside the plain one, with everything that may happen to it in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.plain = Plain()
        self.log: list[str] = []
        self.gates: list[Gate] = []
        self.tickets: list[Ticket[str]] = []
        self.ended: dict[int, str] = {}
        self.lane = Lane(FakeClock(), 0)

    def act(self, action: Callable[[], object]) -> None:
        async def inside() -> None:
            action()
            await turns()

        self.loop.run_until_complete(inside())

    @rule(user=st.sampled_from("abcd"), priority=st.integers(-1, 1))
    def submit(self, user: str, priority: int) -> None:
        number = len(self.tickets)
        self.gates.append(Gate(f"{number}", self.log))
        self.act(lambda: self.tickets.append(self.lane.submit(self.gates[number], user=user, priority=priority)))
        self.plain.submit(user, priority, number)

    @rule(width=st.integers(0, 4))
    def resize(self, width: int) -> None:
        self.act(lambda: self.lane.resize(width))
        self.plain.width = width
        self.plain.fill()

    @precondition(lambda self: self.plain.running)
    @rule(data=st.data(), how=st.sampled_from(["finished", "failed", "cancelled"]))
    def end(self, data: st.DataObject, how: str) -> None:
        number = data.draw(st.sampled_from(self.plain.running))
        errors = {"failed": ValueError(number), "cancelled": asyncio.CancelledError()}
        self.act(lambda: self.gates[number].open(errors.get(how)))
        self.plain.running.remove(number)
        self.plain.fill()
        self.ended[number] = how

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.tickets) - 1))
        queued = number in [each[2] for each in self.plain.queued]
        answers: list[bool] = []
        self.act(lambda: answers.append(self.tickets[number].cancel()))
        assert answers == [queued]
        if queued:
            self.plain.leave(number)
            self.ended[number] = "cancelled"

    @invariant()
    def is_as_it_should_be(self) -> None:
        stats = self.lane.stats()
        plain = self.plain
        assert stats.queued_by_user == {user: len(plain.own(user)) for user in plain.users}
        assert (stats.width, stats.running, stats.queued) == (plain.width, len(plain.running), len(plain.queued))
        positions = {number: place for user in plain.users for place, number in enumerate(plain.own(user), 1)}
        for number, ticket in enumerate(self.tickets):
            state = self.ended.get(number) or ("queued" if number in positions else "running")
            assert ticket.state == state
            assert ticket.position == positions.get(number, 0)
        for how in ("finished", "failed", "cancelled"):
            assert getattr(stats, how) == list(self.ended.values()).count(how)

    def teardown(self) -> None:
        async def inside() -> None:
            for gate in self.gates:
                gate.open()
            await soon(self.lane.close())
            results = await asyncio.gather(*(each.result() for each in self.tickets), return_exceptions=True)
            for number, (ticket, result) in enumerate(zip(self.tickets, results, strict=True)):
                kinds = {"finished": str, "failed": ValueError, "cancelled": asyncio.CancelledError}
                assert isinstance(result, kinds[ticket.state])
                assert self.ended.get(number) in (None, ticket.state)

        self.loop.run_until_complete(inside())
        assert all(gate.runs <= 1 for gate in self.gates)
        self.loop.close()


@pytest.mark.requirement("flow:lane-fair-across-users", "flow:lane-cancels-queued-only", "flow:lane-resizes-live")
def test_a_lane_does_what_a_plain_list_would_whatever_happens_to_it_in_whatever_order() -> None:
    run_state_machine_as_test(Lanes)


@pytest.mark.requirement("flow:lane-fair-across-users")
@pytest.mark.parametrize("width", [1, 3])
async def test_ten_thousand_jobs_of_one_user_delay_anothers_first_by_one_for_each_who_waits(width: int) -> None:
    lane, log = Lane(FakeClock(), 0), list[str]()
    for number in range(10_000):
        lane.submit(quick("crowd", log), user="crowd", priority=number)
    for user in ("x", "y"):
        for number in range(50):
            lane.submit(quick(user, log), user=user, priority=-number)
    lane.submit(quick("me", log), user="me", priority=-9)
    lane.resize(width)
    await soon(lane.close(drain=True), 30)
    assert log[:7] == ["crowd", "x", "y", "me", "crowd", "x", "y"]
    assert len(log) == 10_101


@pytest.mark.requirement("flow:lane-fair-across-users")
async def test_who_submits_again_as_soon_as_a_job_ends_goes_behind_those_who_wait() -> None:
    lane, log = Lane(FakeClock(), 1), list[str]()

    async def again() -> None:
        log.append("again")
        if len(log) < 50:
            lane.submit(again, user="eager", priority=9)

    gate = Gate("gate", [])
    lane.submit(gate, user="gate")
    lane.submit(again, user="eager")
    for user in "abc":
        lane.submit(quick(user, log), user=user)
        lane.submit(quick(user, log), user=user)
    gate.open()
    await until(lambda: len(log) > 40)
    assert log[:10] == ["again", "a", "b", "c", "again", "a", "b", "c", "again", "again"]
    await soon(lane.close())


class Storm:
    """Thousands of changes to one lane, thrown by dice, with a few turns of the event loop in between or none."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.lane = Lane(FakeClock(), 3)
        self.tickets: list[Ticket[int]] = []
        self.callers: list[asyncio.Task[int]] = []
        self.taken = 0
        self.ran: list[int] = []
        self.inside = 0

    async def job(self, number: int, naps: int) -> int:
        self.ran.append(number)
        self.inside += 1
        try:
            await turns(naps)
            if not number % 7:
                raise ValueError(number)
            return number
        finally:
            self.inside -= 1

    async def run(self, job: Callable[[], Coroutine[Any, Any, int]], user: str) -> int:
        self.taken += 1
        return await self.lane.run(job, user=user)

    def change(self, number: int) -> None:
        job = functools.partial(self.job, number, self.dice.randrange(12))
        user, priority = f"u{self.dice.randrange(9)}", self.dice.randrange(3)
        match self.dice.randrange(6):
            case 0:
                self.callers.append(asyncio.create_task(self.run(job, user)))
            case 1 if self.callers:
                self.dice.choice(self.callers[-40:]).cancel()
            case 2:
                self.lane.resize(self.dice.randrange(5))
            case 3 if self.tickets:
                self.dice.choice(self.tickets[-40:]).cancel()
            case _:
                self.tickets.append(self.lane.submit(job, user=user, priority=priority))
                self.taken += 1


@pytest.mark.requirement("flow:lane-never-forgets")
@pytest.mark.parametrize("seed", range(4))
async def test_no_job_is_forgotten_and_none_ends_twice_under_thousands_of_changes_at_once(seed: int) -> None:
    # A caller cancelled in the very turn in which its job fails leaves an error that nobody asks for.
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
    storm, before = Storm(seed), 0
    lane = storm.lane
    for number in range(5000):
        storm.change(number)
        stats = lane.stats()
        assert not stats.queued or stats.running >= stats.width, "room is left unused"
        assert stats.running <= max(before, stats.width), "one was started for which there is no room"
        before = stats.running
        for _ in range(storm.dice.randrange(3)):
            await turns(1)
            before = min(max(before, stats.width), lane.stats().running)
    lane.resize(2)
    await turns()
    await soon(lane.close(drain=True), 30)
    results = await asyncio.gather(*(each.result() for each in storm.tickets), return_exceptions=True)
    await asyncio.gather(*storm.callers, return_exceptions=True)
    for ticket, result in zip(storm.tickets, results, strict=True):
        kinds = {"finished": int, "failed": ValueError, "cancelled": asyncio.CancelledError}
        assert isinstance(result, kinds[ticket.state])
    stats = lane.stats()
    assert (stats.running, stats.queued, storm.inside) == (0, 0, 0)
    assert stats.finished + stats.failed + stats.cancelled == storm.taken
    assert len(storm.ran) == len(set(storm.ran))
    assert min(stats.finished, stats.failed, stats.cancelled) > 100
