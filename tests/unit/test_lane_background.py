"""Jobs that nobody waits for, and those who wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laning import Gate
from tests.running import soon

from holdfast.errors import LaneFull
from holdfast.flow.lane import Lane
from holdfast.testing.clock import FakeClock


@pytest.mark.requirement("flow:lane-background")
async def test_who_waits_for_a_job_finds_a_place_however_much_goes_on_in_the_background() -> None:
    lane, log = Lane(FakeClock(), 4), list[str]()
    gates = [Gate(f"back {number}", log) for number in range(6)]
    behind = [lane.submit(gate, user="robot", background=True) for gate in gates]
    assert [ticket.state for ticket in behind] == ["running"] * 3 + ["queued"] * 3
    waited = Gate("waited for", log)
    ticket = lane.submit(waited, user="ann")
    assert ticket.state == "running"
    later = lane.submit(Gate("second", log), user="ann")
    gates[0].open()
    await soon(behind[0].result())
    assert (later.state, behind[3].state) == ("running", "queued")
    assert (lane.stats().queued, lane.stats().queued_by_user) == (3, {"robot": 3})
    assert behind[5].position == 3
    assert behind[5].cancel()
    for gate in (*gates, waited):
        gate.open()
    await soon(ticket.result())
    await soon(behind[4].result())
    assert later.state == "running"
    lane.resize(0)


@pytest.mark.requirement("flow:lane-background")
async def test_a_lane_of_one_place_lets_the_background_have_it_and_bounds_count_both() -> None:
    lane, log = Lane(FakeClock(), 1, max_queued=2), list[str]()
    runs = Gate("runs", log)
    first = lane.submit(runs, user="robot", background=True)
    assert first.state == "running"
    second, third = Gate("second", log), Gate("third", log)
    behind = lane.submit(second, user="robot", background=True)
    ahead = lane.submit(third, user="ann")
    with pytest.raises(LaneFull):
        lane.submit(Gate("too many", log), user="ann")
    runs.open()
    await soon(first.result())
    assert (ahead.state, behind.state) == ("running", "queued")
    third.open()
    second.open()
    await soon(behind.result())
    await soon(lane.close())
    assert log == ["runs", "third", "second"]


@given(width=st.integers(0, 12), jobs=st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=40))
async def test_nothing_queues_that_may_run_and_the_background_never_has_every_place(
    width: int, jobs: list[tuple[bool, str]]
) -> None:
    lane, log = Lane(FakeClock(), width), list[str]()
    gates = [Gate(f"{number}", log) for number in range(len(jobs))]
    tickets = [lane.submit(gate, user=user, background=back) for gate, (back, user) in zip(gates, jobs, strict=True)]
    ahead = [ticket.state for ticket, (back, _) in zip(tickets, jobs, strict=True) if not back]
    behind = [ticket.state for ticket, (back, _) in zip(tickets, jobs, strict=True) if back]
    most = width - -(-width // 4) if width > 1 else width
    assert behind.count("running") <= most
    assert ahead.count("running") + behind.count("running") <= width
    if "queued" in ahead:
        assert ahead.count("running") + behind.count("running") == width
    for gate in gates:
        gate.open()
    if width:
        await soon(lane.close(drain=True))
        assert all(ticket.state == "finished" for ticket in tickets)
    else:
        await soon(lane.close())
