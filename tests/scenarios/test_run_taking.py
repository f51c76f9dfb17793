"""Taking sessions up: by several at once, and by callers that are cancelled before it is done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, all_answered, scene, seen, soon, until

from holdfast import Agent, Wait, tool
from holdfast.errors import HoldfastError, UsageError
from holdfast.journal.port import Head, Journal
from holdfast.journal.stores import sqlite_watching
from holdfast.runtime.lanes.claiming import LEASE_SECONDS
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import StreamId, stream_id

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

    async def post(self, *args: Any, **options: Any) -> Any:
        return await self._answer("post", *args, **options)


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
        s.runtime._worker._kept.clear()  # as if many others had been parked since: it has to be read
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


@pytest.mark.requirement("runtime:close-leaves-nothing", "engine:stop-is-not-abort")
async def test_a_runtime_left_right_after_a_start_gives_the_session_back_and_its_run_says_so(tmp_path: Path) -> None:
    async with scene(["done"], url=url(tmp_path)) as s:
        async with s.other() as earlier:
            run = await earlier.start(AGENT, "go", session="s")
        with pytest.raises(HoldfastError, match="closed"):
            await soon(run.result())
        assert (await head(s.runtime.journal)).owner is None
        resumed = await s.runtime.resume("s")
        assert resumed.key == run.key
        assert (await soon(resumed.result())).output == "done"


@pytest.mark.requirement("runtime:resume-cancelled")
async def test_a_cancelled_start_does_not_take_the_session_from_one_that_is_still_loading_it(tmp_path: Path) -> None:
    async with scene(["warm", "one", "two"], url=url(tmp_path), wrap=Holding) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        await until(lambda: not s.runtime._worker._live)
        journal = holding(s, "read")
        first = asyncio.create_task(s.runtime.start(AGENT, "first", session="s", key="first"))
        await until(lambda: journal.holds == ["read"])
        journal.held.add("post")
        second = asyncio.create_task(s.runtime.start(AGENT, "second", session="s", key="second"))
        await until(lambda: journal.holds == ["read", "post"])
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(second)
        # Whoever adopts what the second left finds it in good hands; else it would be read a second time.
        await until(lambda: not s.runtime._worker._taking or len(journal.holds) > 2)
        assert journal.holds == ["read", "post"]
        journal.go.set()
        assert (await soon((await soon(first)).result())).output == "one"
        assert (await soon(s.runtime.run("s", "second").result())).output == "two"
        await until(lambda: not s.runtime._worker._live)
        assert len(s.server.requests) == 3
        assert (await head(journal)).epoch == 2, "once for the first run and once for these two"
        assert (await head(journal)).owner is None


@pytest.mark.requirement("engine:abort-model-call")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_an_abort_that_comes_while_the_session_is_loaded_is_heard_while_the_model_is_asked(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_watching, "_EVERY", 3600)  # nobody looks: what is not told is not heard
    where = "memory:" if store == "memory" else url(tmp_path)
    async with scene(["warm", Turn("never", fault=Hang())], url=where, wrap=Holding) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        await until(lambda: not s.runtime._worker._live)
        journal = holding(s, "read")
        starting = asyncio.create_task(s.runtime.start(AGENT, "more", session="s", key="k"))
        await until(lambda: bool(journal.holds))
        assert (await s.runtime.run("s", "k").abort("enough")).status == "accepted"
        journal.go.set()
        result = await soon((await soon(starting)).result())
        assert (result.status, result.reason) == ("aborted", "enough")


@pytest.mark.requirement("runtime:resume-together")
async def test_a_resume_that_comes_while_a_start_loads_a_session_gets_its_open_run(tmp_path: Path) -> None:
    async with scene([STUCK, "more"], url=url(tmp_path), wrap=Holding) as s:
        key = await left_open(s)
        journal = holding(s, "read")
        starting = asyncio.create_task(s.runtime.start(AGENT, "more", session="s", key="k"))
        await until(lambda: bool(journal.holds))
        resuming = asyncio.create_task(s.runtime.resume("s"))
        await until(lambda: bool(s.runtime._worker._beginning[STREAM]._waiters))
        journal.go.set()
        started, resumed = await soon(asyncio.gather(starting, resuming))
        assert (started.key, resumed.key) == ("k", key)
        assert (await soon(resumed.result())).output == "done"
        assert (await soon(started.result())).output == "more"
        assert (await head(journal)).epoch == 2, "it was claimed once"


@pytest.mark.requirement("runtime:resume-together")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_resume_that_comes_with_a_start_gets_the_run_that_is_about_to_open(
    store: str, late: bool, tmp_path: Path
) -> None:
    async with scene(["warm", "more"], url="memory:" if store == "memory" else url(tmp_path), wrap=Holding) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        await until(lambda: not s.runtime._worker._live)
        journal = holding(s, "read")

        async def start() -> list[Run]:
            run = await s.runtime.start(AGENT, "more", session="s", key="k")
            return [run, await s.runtime.resume("s")] if late else [run]

        starting = asyncio.create_task(start())
        await until(lambda: bool(journal.holds))
        resuming = asyncio.create_task(s.runtime.resume("s"))
        await until(lambda: bool(s.runtime._worker._beginning[STREAM]._waiters))
        journal.go.set()
        runs = [*await soon(starting), await soon(resuming)]
        assert [run.key for run in runs] == ["k"] * len(runs)
        assert {(await soon(run.result())).output for run in runs} == {"more"}


class LateRenewal(Wrapped):
    """A journal that renews leases when it is let, and answers when it is let once more."""

    def __init__(self, inner: Journal) -> None:
        super().__init__(inner)
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.answers: list[set[StreamId]] = []

    async def renew(self, *args: Any, **options: Any) -> set[StreamId]:
        self.asked.set()
        await self.go.wait()
        lost = await self.inner.renew(*args, **options)
        self.answers.append(lost)
        return lost  # whoever asked goes on with it before anybody else has a turn


@pytest.mark.requirement("journal:lease-renewed", "runtime:two-runtimes-one-database")
async def test_a_renewal_that_is_answered_late_ends_no_driver_that_was_begun_since(tmp_path: Path) -> None:
    async def model(request: ScriptRequest) -> str:
        asked.append(request)
        await proceed.wait()
        return "done"

    asked, proceed, clock = list[ScriptRequest](), asyncio.Event(), FakeClock()
    async with scene(model, url=url(tmp_path), clock=clock, wrap=LateRenewal) as s:
        journal: Any = s.runtime.journal
        first = await s.runtime.start(AGENT, "first", session="s", key="first")
        await until(lambda: len(asked) == 1)
        await clock.advance(LEASE_SECONDS / 3)
        await soon(journal.asked.wait())
        await clock.advance(LEASE_SECONDS)
        second = await soon(s.runtime.start(AGENT, "second", session="s", key="second"))
        await until(lambda: len(asked) == 2)
        assert (await head(journal)).epoch == 2, "the lease was over"
        (driver,) = s.runtime._worker._live.values()
        journal.go.set()
        await until(lambda: bool(journal.answers))
        assert journal.answers == [{STREAM}], "the lease that was asked about is lost"
        assert not driver.fenced
        proceed.set()
        assert (await soon(first.result())).output == "done"
        assert (await soon(second.result())).output == "done"
        assert list(s.runtime._worker._live.values()) in ([], [driver])
