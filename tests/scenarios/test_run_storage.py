"""Runs on a store that is full, slow, broken or gone: what was acknowledged is there, and it goes on with space."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.durability.journal_files import small_disk
from tests.running import MODEL, Scene, Wrapped, all_answered, of, scene, seen, soon, text_of, until

from holdfast import Agent, Limits, tool
from holdfast.engine.events import ModelFinished, RunFinished, ToolFinished
from holdfast.errors import StorageFull
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Event, stream_id

RAN: list[int] = []
STREAM = stream_id("local", "s")


@tool
async def pay(amount: int) -> str:
    """Pays."""
    RAN.append(amount)
    return f"paid {amount}"


AGENT = Agent(MODEL, tools=[pay])


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()


def model(request: ScriptRequest) -> Turn | str:
    return Turn(calls=[Call("pay", {"amount": request.answers})]) if request.answers < 5 else "done"


class Failing(Wrapped):
    """A store that refuses every append from one on, until it is told otherwise."""

    at = 0
    """How many appends it takes; less than none is without end."""
    lost = False
    """Whether it writes what it says it refused."""
    error: Exception = StorageFull("no space left on the disk: free some and resume")

    def append(self, *args: Any, **options: Any) -> Any:
        if Failing.at:
            Failing.at -= 1
            return self.inner.append(*args, **options)
        if Failing.lost:
            self.inner.append(*args, **options)
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        refused.set_exception(Failing.error)
        return refused


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("at", range(6))
async def test_a_store_that_refuses_stops_the_run_and_with_space_it_goes_on_where_it_was(at: int, lost: bool) -> None:
    Failing.at, Failing.lost, Failing.error = at, lost, StorageFull("no space left")
    async with scene(model, wrap=Failing) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        with pytest.raises(StorageFull, match="no space left"):
            await soon(run.result())
        log = await s.log()
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        assert (head.owner, head.seq) == (None, len(log))
        over = at == 5 and lost  # its last words were written, though it never heard so
        assert len(of(RunFinished, log)) == over
        if not over:
            with pytest.raises(StorageFull, match="no space left"):
                await soon(run.result())  # whoever asks later is not left waiting
        before = list(RAN)
        Failing.at = -1
        again = await s.runtime.resume("s")
        result = await soon(again.result())
        assert (result.status, result.output) == ("completed", "done")
        assert (await soon(run.result())) == result, "and whoever asks again hears how it went on"
        whole = await s.log()
    assert whole[: len(log)] == log
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    assert all_answered(whole)
    assert sorted(set(RAN)) == sorted(RAN), "nothing was paid twice"
    assert RAN[: len(before)] == before


async def test_what_readers_saw_is_in_the_log_and_nothing_else(tmp_path: Path) -> None:
    Failing.at, Failing.lost, Failing.error = 4, False, StorageFull("no space left")
    async with scene(model, wrap=Failing) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        shown: list[Any] = []
        with pytest.raises(StorageFull):
            async for item in run.events():
                shown.append(item)  # noqa: PERF401 - what came before the error counts
        log = await s.log()
        assert [item for item in shown if isinstance(item, Event)] == log
        assert len(log) > 5


async def test_an_error_nobody_thought_of_reaches_whoever_waits_and_the_session_is_given_up() -> None:
    Failing.at, Failing.lost, Failing.error = 3, False, RuntimeError("a bug")
    async with scene(model, wrap=Failing) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="a bug"):
                await soon(run.result())
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        assert head.owner is None
        Failing.at = -1
        assert (await soon((await s.runtime.resume("s")).result())).output == "done"


async def test_a_real_disk_that_fills_up_in_mid_run_keeps_what_was_acknowledged() -> None:
    def writing(request: ScriptRequest) -> Turn | str:
        if request.answers < 40:
            return Turn("w" * 100_000, calls=[Call("pay", {"amount": request.answers})], chunk=50_000)
        return "done"

    with small_disk("8m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(5_000_000))
        async with scene(writing, url=f"sqlite:///{disk}/s.db", seconds=30) as s:
            run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(identical_repeats=None))
            with pytest.raises(StorageFull, match="free some"):
                await soon(run.result(), 10)
            log = await s.log()
            paid = len(RAN)
            assert 3 < len(of(ModelFinished, log)) < 40
            assert len(of(ToolFinished, log)) <= paid
            ballast.unlink()
            result = await soon((await s.runtime.resume("s")).result(), 10)
            assert result.output == "done"
            whole = await s.log()
        assert whole[: len(log)] == log
        assert all_answered(whole)
        assert len(set(RAN)) == len(RAN)


async def test_a_slow_disk_changes_nothing_but_the_time_it_takes(tmp_path: Path) -> None:
    class Patient(Wrapped):
        def append(self, *args: Any, **options: Any) -> Any:
            written = self.inner.append(*args, **options)

            async def later() -> Any:
                for _ in range(50):
                    await asyncio.sleep(0)
                return await written

            return asyncio.ensure_future(later())

    async with scene(model, wrap=Patient) as s:
        _, result = await soon(text_of(await s.runtime.start(AGENT, "go", session="s")))
        slow = [(event.seq, event.type) for event in await s.log()]
    async with scene(model) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        assert [(event.seq, event.type) for event in await s.log()] == slow
    assert result.output == "done"
    assert [*range(5), *range(5)] == RAN


async def test_a_process_that_stops_without_a_word_is_followed_by_one_that_reads_what_is_there(tmp_path: Path) -> None:
    """The events a barrier made durable are enough; those that were only in memory are made again."""
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene(model, url=url) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.finished", 2))
        for task in asyncio.all_tasks():
            if "_drive" in str(task.get_coro()):
                s.runtime._worker._live[STREAM].fenced = True  # so that it does not even give its lease back
                task.cancel()
        await until(lambda: not s.runtime._worker._live)
        async with s.other() as other:
            head = await other.journal.head(STREAM)
            assert head.owner is not None
            claim = await other.journal.claim(STREAM, other._worker.name, 1_000_000, over=head.epoch)
            await other._worker.begin(claim)
            assert (await soon(other.run("s", run.key).result())).output == "done"
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert all_answered(log)
    assert sorted(set(RAN)) == RAN, "nothing was paid twice"
