"""Taking sessions up: by several at once, and by callers that are cancelled before it is done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, all_answered, scene, seen, soon, until

from holdfast import Agent, Wait, tool
from holdfast.errors import UsageError
from holdfast.journal.port import Head, Journal
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.types import stream_id

STREAM = stream_id("local", "s")


@tool
async def ask() -> Wait:
    """Asks somebody."""
    return Wait("t", "question", None, "Well?")


AGENT = Agent(MODEL, tools=[ask])


class Holding(Wrapped):
    """A journal that keeps the answers to some calls to itself until it is let go."""

    def __init__(self, inner: Journal) -> None:
        super().__init__(inner)
        self.held: set[str] = set()
        self.holds: list[str] = []
        self.go = asyncio.Event()

    async def _answer(self, name: str, *args: Any, **options: Any) -> Any:
        answer = await getattr(self.inner, name)(*args, **options)
        if name in self.held:
            self.holds.append(name)
            await self.go.wait()
        return answer

    async def claim(self, *args: Any, **options: Any) -> Any:
        return await self._answer("claim", *args, **options)

    async def read(self, *args: Any, **options: Any) -> Any:
        return await self._answer("read", *args, **options)

    async def mail(self, *args: Any, **options: Any) -> Any:
        return await self._answer("mail", *args, **options)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db"


def holding(s: Scene, *names: str) -> Holding:
    """Returns the journal of a scene, which from now on holds these."""
    journal: Any = s.runtime.journal
    journal.held = set(names)
    return journal


async def left_open(s: Scene) -> str:
    """Leaves an open run behind, as a process does that stops, and returns its key."""
    async with s.other() as earlier:
        run = await earlier.start(AGENT, "go", session="s")
        await soon(s.server.arrived(1))
    return run.key


async def head(journal: Any) -> Head:
    found = await journal.head(STREAM)
    assert found is not None
    return found


STUCK = Turn("done", fault=Hang(times=1))


@pytest.mark.requirement("runtime:resume-together")
@pytest.mark.parametrize("held", ["claim", "read"])
async def test_callers_that_resume_one_session_at_once_get_the_same_run(held: str, tmp_path: Path) -> None:
    async with scene([STUCK], url=url(tmp_path), wrap=Holding) as s:
        key = await left_open(s)
        journal = holding(s, held)
        callers = [asyncio.create_task(s.runtime.resume("s")) for _ in range(3)]
        await until(lambda: bool(journal.holds))
        sweeping = asyncio.create_task(s.runtime.sweep())
        callers.append(asyncio.create_task(s.runtime.resume("s")))
        journal.go.set()
        runs: list[Run] = await soon(asyncio.gather(*callers))
        await soon(sweeping)
        assert [run.key for run in runs] == [key] * 4
        results = [await soon(run.result()) for run in runs]
        assert results == [results[0]] * 4
        assert results[0].output == "done"
        assert len(s.server.requests) == 2
        assert journal.holds.count(held) >= 1
        assert (await head(journal.inner)).epoch == 2, "it was claimed once"


@pytest.mark.requirement("runtime:resume-together", "engine:resume-finished-run")
async def test_callers_that_resume_a_session_whose_run_is_over_at_once_get_the_last_one() -> None:
    async with scene(["one"]) as s:
        first = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        runs = await asyncio.gather(*(s.runtime.resume("s") for _ in range(3)))
        assert [await soon(run.result()) for run in runs] == [first] * 3


@pytest.mark.requirement("runtime:resume-cancelled")
@pytest.mark.parametrize("how", ["resume", "sweep"])
@pytest.mark.parametrize("held", ["claim", "read"])
async def test_a_session_whose_taker_is_cancelled_is_driven_all_the_same(how: str, held: str, tmp_path: Path) -> None:
    async with scene([STUCK], url=url(tmp_path), wrap=Holding) as s:
        key = await left_open(s)
        journal = holding(s, held)
        taking = asyncio.create_task(s.runtime.resume("s") if how == "resume" else s.runtime.sweep())
        await until(lambda: bool(journal.holds))
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(taking)
        other = asyncio.create_task(s.runtime.resume("s"))
        await asyncio.sleep(0)
        journal.go.set()
        run = await soon(other)
        assert run.key == key
        assert (await soon(run.result())).output == "done"
        assert all_answered(await s.log())
        await until(lambda: not s.runtime._worker._live)
        assert (await head(journal)).owner is None


@pytest.mark.requirement("runtime:resume-cancelled", "runtime:close-leaves-nothing")
@pytest.mark.parametrize("held", ["claim", "read"])
async def test_a_runtime_closed_while_a_session_is_being_taken_up_gives_it_back_and_says_so(
    held: str, tmp_path: Path
) -> None:
    async with scene([STUCK], url=url(tmp_path), wrap=Holding) as s:
        await left_open(s)
        journal = holding(s, held)
        taking = asyncio.create_task(s.runtime.resume("s"))
        await until(lambda: bool(journal.holds))
        closing = asyncio.create_task(s.runtime.close())
        await asyncio.sleep(0)
        journal.go.set()
        await soon(closing)
        with pytest.raises(UsageError, match="'local/s' was loaded: resume it again"):
            await soon(taking)
        async with s.other() as later:
            assert ((await head(later.journal)).owner, (await head(later.journal)).state) == (None, "running")
            assert (await soon((await later.resume("s")).result())).output == "done"


@pytest.mark.requirement("runtime:resume-cancelled", "runtime:close-leaves-nothing")
async def test_a_runtime_closed_while_a_session_wakes_gives_it_back(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("ask")]), "thanks"], url=url(tmp_path), wrap=Holding) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: not s.runtime._worker._live)
        journal = holding(s, "read")
        await run.answer("t", "yes")
        await until(lambda: bool(journal.holds))
        assert (await head(journal.inner)).owner is not None
        await soon(s.runtime.close())
        async with s.other() as later:
            assert (await head(later.journal)).owner is None
            assert (await soon((await later.resume("s")).result())).output == "thanks"


@pytest.mark.requirement("runtime:resume-cancelled")
@pytest.mark.parametrize("held", ["claim", "mail"])
async def test_a_rewind_that_is_cancelled_half_way_leaves_no_lease_behind(held: str) -> None:
    async with scene(["one", "two"], wrap=Holding) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        journal = holding(s, held)
        rewinding = asyncio.create_task(s.runtime.rewind("s", to=0))
        await until(lambda: bool(journal.holds))
        assert (await head(journal)).owner is not None
        rewinding.cancel()
        await asyncio.sleep(0)
        journal.go.set()
        with pytest.raises(asyncio.CancelledError):
            await soon(rewinding)
        assert (await head(journal)).owner is None
        journal.held.clear()
        assert (await soon((await s.runtime.start(AGENT, "again", session="s")).result())).output == "two"


@pytest.mark.requirement("runtime:resume-cancelled")
async def test_a_prompt_whose_sender_is_cancelled_while_the_session_is_loaded_is_answered() -> None:
    async with scene(["one", "two"], wrap=Holding) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        journal = holding(s, "read")
        starting = asyncio.create_task(s.runtime.start(AGENT, "more", session="s", key="k"))
        await until(lambda: bool(journal.holds))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(starting)
        journal.go.set()
        assert (await soon(s.runtime.run("s", "k").result())).output == "two"
        await until(lambda: not s.runtime._worker._live)
        assert (await head(journal)).owner is None
