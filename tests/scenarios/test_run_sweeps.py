"""A sweep over a store that many tenants share: each runtime takes up its own, and reads the list a few times over."""

from __future__ import annotations

import pytest
from tests.running import MODEL, Wrapped, scene, soon

from holdfast import Agent
from holdfast.flow.ids import is_alive, worker_name
from holdfast.journal.port import Letter
from holdfast.types import StreamId, WorkerId, stream_id

OTHERS = 2_000


class Counting(Wrapped):
    """Counts the sessions that are listed as due."""

    listed = 0

    async def due(self, limit: int = 100, *, within: int = 0) -> list[StreamId]:
        found: list[StreamId] = await self.inner.due(limit, within=within)
        Counting.listed += len(found)
        return found


@pytest.mark.requirement("runtime:sweep-linear")
async def test_a_sweep_finds_its_own_behind_thousands_of_others_and_lists_each_a_few_times() -> None:
    async with scene(["done"], wrap=Counting) as s:
        for number in range(OTHERS):
            letter = Letter(key="k", kind="steer", body=b"{}", actor="somebody")
            await s.runtime.journal.post(stream_id(f"tenant{number}", "s"), letter)
        run = await s.runtime.start(Agent(MODEL), "go", session="s")
        await soon(run.result())
        await s.runtime.journal.post(stream_id("local", "s"), Letter(key="x", kind="pause", body=b"{}", actor="me"))
        Counting.listed = 0
        assert await s.runtime.sweep() == 1
    assert OTHERS < Counting.listed <= 4 * OTHERS


@pytest.mark.requirement("server_frame:goes-on")
async def test_a_sweep_takes_up_at_once_what_a_killed_process_of_this_machine_left_and_nothing_of_living_ones() -> None:
    me = worker_name()
    host, boot, _, start = me.rsplit(":", 3)
    dead = f"{host}:{boot}:{2**22 + 1}:{start}"
    assert is_alive(me) and not is_alive(dead)
    async with scene([]) as s:
        for session, owner in (("left", dead), ("theirs", me)):
            stream = stream_id("local", session)
            await s.runtime.journal.post(stream, Letter(key="k", kind="pause", body=b"{}", actor="me"))
            await s.runtime.journal.claim(stream, WorkerId(owner), 30_000_000)
        assert await s.runtime.sweep() == 0, "their leases have not run out"
        taken = await s.runtime.sweep(killed=True)
        head = await s.runtime.journal.head(stream_id("local", "theirs"))
    assert taken == 1
    assert head is not None and head.owner == me
