"""What a runtime keeps of sessions and agents that are done with: a bounded number, however many it serves."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Wrapped, of, scene, seen, soon, until

from holdfast import Agent, tool
from holdfast.engine.events import ToolWaiting
from holdfast.errors import StorageError
from holdfast.runtime import binding
from holdfast.runtime.driving import working
from holdfast.testing import Call, Turn
from holdfast.types import stream_id

FEW, MANY = 4, 20
DONE = [Turn(text="done")]


class Failing(Wrapped):
    """A store whose disk is full, for a while."""

    full = False

    def append(self, *arguments: Any, **named: Any) -> Any:
        if Failing.full:
            raise StorageError("the disk is full")
        return self.inner.append(*arguments, **named)


def another(number: int) -> Agent:
    return Agent(MODEL, instructions=f"You are number {number}.")


@pytest.mark.requirement("runtime:memory-of-failures")
async def test_of_the_sessions_that_could_not_go_on_the_last_ones_are_known_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working, "_FAILURES", FEW)
    monkeypatch.setattr(Failing, "full", True)
    async with scene(DONE, wrap=Failing) as s:
        for number in range(MANY):
            run = await s.runtime.start(Agent(MODEL), "go", session=f"s{number}", key="k")
            with pytest.raises(StorageError):
                await soon(run.result())
        assert len(s.runtime._worker._failed) == len(s.runtime._bindings._lent) == FEW
        with pytest.raises(StorageError, match="full"):  # whoever comes late hears of it still
            await soon(s.runtime.run(f"s{MANY - 1}", "k").result())
        monkeypatch.setattr(Failing, "full", False)
        for number in range(MANY):
            assert (await soon((await s.runtime.resume(f"s{number}")).result())).output == "done"
        assert (s.runtime._worker._failed, s.runtime._bindings._lent) == ({}, {})


@pytest.mark.requirement("runtime:memory-of-agents")
async def test_of_the_agents_that_nobody_holds_the_last_ones_are_known_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binding, "_KNOWN", FEW)
    async with scene(DONE) as s:
        held = another(-1)
        for number in range(MANY):
            await soon((await s.runtime.start(held, "go")).result())
            await soon((await s.runtime.start(another(number), "go")).result())
        gc.collect()
        assert len(s.runtime._bindings._known) == FEW
        assert FEW <= len(s.runtime._bindings._agents) <= FEW + 1
        assert await s.runtime._bindings.agent(s.runtime._tenant, held.digest) is held


@pytest.mark.requirement("runtime:memory-of-agents")
async def test_a_session_that_waits_keeps_the_functions_it_was_resumed_with_however_many_agents_come_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_KNOWN", FEW)
    ran: list[str] = []

    def paying() -> Agent:
        @tool
        async def pay() -> str:
            """Pays."""
            ran.append("pay")
            return "paid"

        return Agent(MODEL, tools=[pay])

    script = [Turn(calls=[Call("pay")]), *DONE * (MANY + 1)]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(paying(), "go", session="s", key="k", mode="ask")
        (waiting,) = of(ToolWaiting, [await soon(seen(run, "tool.waiting"))])
        await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
        await s.runtime._worker.close()
        async with s.other() as other:
            run = await other.resume("s", paying())
            for number in range(MANY):
                await soon((await other.start(another(number), "go")).result())
            gc.collect()
            assert len(other._bindings._agents) == FEW + 1
            await run.approve(waiting.wait.token)
            assert (await soon(run.result())).output == "done"
            assert other._bindings._lent == {}
    assert ran == ["pay"]
