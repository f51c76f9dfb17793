"""A sweep over a store that many tenants share: each runtime takes up its own, and reads the list a few times over."""

from __future__ import annotations

import pytest
from tests.running import MODEL, Wrapped, scene, soon

from holdfast import Agent
from holdfast.journal.port import Letter
from holdfast.types import StreamId, stream_id

OTHERS = 2_000


class Counting(Wrapped):
    """Counts the sessions that are listed as due."""

    listed = 0

    async def due(self, limit: int = 100) -> list[StreamId]:
        found: list[StreamId] = await self.inner.due(limit)
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
