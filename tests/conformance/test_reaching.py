"""What a screen may rely on, wherever its sessions are: a store of this machine, or a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from tests.reaching import Reached, reaching
from tests.running import soon, until
from tests.surfaces.commands import bash

from holdfast.cli.reaching.port import Spoken
from holdfast.engine.events import InputReceived, ModelFinished, RunFinished, ToolWaiting
from holdfast.errors import HoldfastError, UnknownSession, UsageError
from holdfast.testing import Call, Turn
from holdfast.types import Delta, Event, Text, TextDelta

pytestmark = pytest.mark.parametrize("side", ["local", "remote"])

PAUSES = ("session.paused", "session.resumed")
WRITES = Turn(calls=[Call(name="write", arguments={"path": "a.txt", "content": "one\n"})])


async def said(run: Spoken, after: int | None = None) -> tuple[list[int], str]:
    """Returns the numbers of a run's events, and the text of its last answer as a reader of deltas has it."""
    seqs: list[int] = []
    text = last = ""
    async for item in run.events(after):
        match item:
            case Event(data=ModelFinished(message=message)):
                last, text = text or message.text, ""
                seqs.append(item.seq)
            case Event():
                seqs.append(item.seq)
            case TextDelta():
                text += item.text
            case _:
                text = "" if item.type == "reset" else text
    return seqs, last


async def waits(events: AsyncIterator[Event | Delta]) -> str:
    """Returns the token of the first thing that a run waits for a person with."""
    async for item in events:
        if isinstance(item, Event) and isinstance(item.data, ToolWaiting):
            return item.data.wait.token
    raise AssertionError("nothing waits")


async def start(at: Reached, words: str, mode: str = "auto", session: str = "s", after: int = 0) -> Spoken:
    terms = msgspec.structs.replace(at.terms(), mode=mode)
    return await at.sessions.start(terms, [Text(words)], session=session, after=after)


@pytest.mark.requirement("server_cli:one-port")
async def test_a_run_is_told_from_its_input_to_its_end_and_each_event_once(side: str, tmp_path: Path) -> None:
    script = [Turn(text="I am the first.", chunk=3), Turn(text="I am the second.", chunk=3)]
    async with reaching(side, script, tmp_path) as at:
        first = await start(at, "one")
        seqs, text = await soon(said(first))
        assert text == "I am the first."
        log = await at.scene.log()
        assert seqs == [event.seq for event in log]
        second = await start(at, "two", after=seqs[-1])
        later, text = await soon(said(second, seqs[-1]))
        assert text == "I am the second."
        assert seqs + later == [event.seq for event in await at.scene.log()]
        # told again, and of the first only what is its own
        assert await soon(said(first)) == (seqs, "I am the first.")
        assert (await soon(said(at.sessions.run("s", second.key))))[0] == later
        result = await soon(second.result())
        assert (result.output, result.status, result.steps) == ("I am the second.", "completed", 1)
        assert result.usage == (await at.scene.runtime.run("s", second.key).result()).usage


@pytest.mark.requirement("server_cli:one-port")
async def test_a_session_stands_as_it_does_and_what_is_not_there_is_nothing(side: str, tmp_path: Path) -> None:
    async with reaching(side, [Turn(text="Hi.")], tmp_path) as at:
        assert await at.sessions.stand("s") is None
        assert [event async for event in at.sessions.events("s")] == []
        await soon((await start(at, "one")).result())
        stand = await at.sessions.stand("s")
        assert stand is not None
        assert (stand.state, stand.unread) == ("idle", False)
        events = [event async for event in at.sessions.events("s")]
        assert events == await at.scene.log()
        assert [event async for event in at.sessions.events("s", after=3)] == events[3:]
        assert await at.sessions.stand("s-else") is None
        assert await at.sessions.named("s") == "s"
        with pytest.raises(UnknownSession, match="did you mean"):
            await at.sessions.named("ss")


@pytest.mark.requirement("server_cli:one-port")
async def test_the_beginning_of_a_name_will_do_where_only_one_begins_so(side: str, tmp_path: Path) -> None:
    async with reaching(side, lambda _: Turn(text="Hi."), tmp_path) as at:
        for name in ("talk-a", "talk-b", "walk"):
            await soon((await start(at, "one", session=name)).result())
        assert await at.sessions.named("wa") == "walk"
        assert await at.sessions.named("talk-b") == "talk-b"
        with pytest.raises(UnknownSession, match="'talk-a', 'talk-b'"):
            await at.sessions.named("talk")
        assert sorted(await at.sessions.names(10)) == ["talk-a", "talk-b", "walk"]
        rows = await at.sessions.listed(10)
        assert [row.session for row in rows] == ["walk", "talk-b", "talk-a"]
        assert {(row.status, row.steps, row.prompt, row.model) for row in rows} == {
            ("completed", 1, "one", "openai/scripted")
        }
        starts = {row.session: row.started for row in rows}
        assert starts["walk"] == (await at.scene.log("walk"))[1].at


@pytest.mark.requirement("server_cli:one-port")
async def test_what_waits_is_approved_or_denied_and_the_first_answer_counts(side: str, tmp_path: Path) -> None:
    script = [bash("true"), bash("echo no"), Turn(text="Done.")]
    async with reaching(side, script, tmp_path) as at:
        run = await start(at, "go", mode="ask")
        token = await soon(waits(run.events()))
        assert [each.token for each in await at.sessions.waiting()] == [token]
        last = (await at.scene.log())[-1].seq
        assert (await run.approve(token)).status == "accepted"
        assert (await run.answer(token, "deny")).status == "duplicate"
        second = await soon(waits(run.events(last)))
        await run.answer(second, "deny: not that")
        result = await soon(run.result())
        assert (result.status, result.denied) == ("completed", 1)
        assert await at.sessions.waiting("s") == []


@pytest.mark.requirement("server_cli:one-port")
async def test_what_is_said_twice_under_one_key_is_said_once(side: str, tmp_path: Path) -> None:
    script = [bash("true"), Turn(text="Heard.")]
    async with reaching(side, script, tmp_path) as at:
        run = await start(at, "go", mode="ask")
        token = await soon(waits(run.events()))
        said_once = [await run.steer("use tabs", key="k1"), await run.steer("use tabs", key="k1")]
        assert [each.status for each in said_once] == ["accepted", "duplicate"]
        assert {each.key for each in said_once} == {"k1"}
        await run.approve(token)
        await soon(run.result())
        steers = [event for event in await at.scene.log() if isinstance(event.data, InputReceived)]
        assert [event.data.message.text for event in steers if isinstance(event.data, InputReceived)] == [
            "go",
            "use tabs",
        ]


@pytest.mark.requirement("server_cli:one-port")
async def test_a_run_is_paused_goes_on_and_is_aborted(side: str, tmp_path: Path) -> None:
    async with reaching(side, [bash("true"), bash("true"), Turn(text="x")], tmp_path) as at:
        run = await start(at, "go", mode="ask")
        token = await soon(waits(run.events()))
        await run.pause("lunch")
        await run.resume()
        last = (await at.scene.log())[-1].seq
        await run.approve(token)
        await soon(waits(run.events(last)))
        await run.abort("enough")
        result = await soon(run.result())
        assert (result.status, result.reason) == ("aborted", "enough")
        assert [kind for kind in await at.scene.kinds() if kind in PAUSES] == [*PAUSES]


@pytest.mark.requirement("server_cli:one-port")
async def test_whoever_follows_sees_runs_that_others_start_and_takes_them_up(side: str, tmp_path: Path) -> None:
    script = [Turn(text="One."), bash("true"), Turn(text="Two.")]
    async with reaching(side, script, tmp_path) as at:
        await soon((await start(at, "one")).result())
        known = [event async for event in at.sessions.events("s")]
        async with aclosing(at.sessions.follow("s", after=known[-1].seq)) as items:
            later = await start(at, "two", mode="ask")
            async for item in items:
                if isinstance(item, Event) and isinstance(item.data, ToolWaiting):
                    break
        taken = await at.sessions.take_up("s")
        assert taken.key == later.key
        await taken.approve((await at.sessions.waiting("s"))[0].token)
        seqs, text = await soon(said(taken, known[-1].seq))
        assert text == "Two."
        assert [*[event.seq for event in known], *seqs] == [event.seq for event in await at.scene.log()]
        assert (await at.sessions.take_up("s")).key == later.key


@pytest.mark.requirement("server_cli:one-port")
async def test_files_are_compared_put_back_and_branched_off(side: str, tmp_path: Path) -> None:
    async with reaching(side, [WRITES, Turn(text="Written.")], tmp_path) as at:
        await soon((await start(at, "write")).result())
        last = (await at.scene.log())[-1].seq
        found = await at.sessions.changes("s")
        assert [(each.path, each.kind) for each in found.changes] == [("a.txt", "added")]
        assert "+one" in found.text
        child = await at.sessions.fork("s", at=last, name="child")
        assert child == "child"
        back = await at.sessions.rewind("s", to=1)
        assert back >= last
        assert (await at.sessions.changes("s")).changes == ()
        assert [event.seq async for event in at.sessions.events("child")][:last] == list(range(1, last + 1))
        with pytest.raises(UsageError):
            await at.sessions.fork("s", name="child")


@pytest.mark.requirement("server_cli:one-port")
async def test_what_is_wrong_is_an_error_of_the_same_kind(side: str, tmp_path: Path) -> None:
    async with reaching(side, [bash("true"), Turn(text="x")], tmp_path) as at:
        with pytest.raises(UnknownSession):
            await at.sessions.fork("nowhere")
        with pytest.raises(UnknownSession):
            await at.sessions.take_up("nowhere")
        with pytest.raises(UsageError):
            await at.sessions.start(at.terms(), [], session="s")
        with pytest.raises(UsageError):
            await start(at, "go", session="no name!")
        run = await start(at, "go", mode="ask")
        token = await soon(waits(run.events()))
        with pytest.raises(UsageError):
            await at.sessions.rewind("s", to=1000)
        with pytest.raises(HoldfastError):
            await run.reply(token, [["x"]])
        await run.abort()
        await soon(run.result())


@pytest.mark.requirement("server_cli:one-port")
async def test_whoever_leaves_in_the_middle_leaves_nothing_behind(side: str, tmp_path: Path) -> None:
    async with reaching(side, [bash("true"), Turn(text="x")], tmp_path) as at:
        run = await start(at, "go", mode="ask")
        await soon(waits(run.events()))
        for _ in range(20):
            async with aclosing(at.sessions.follow("s")) as items:
                async for _each in items:
                    break
        await run.abort()
        assert (await soon(run.result())).status == "aborted"
        await until(lambda: True)
        assert isinstance((await at.scene.log())[-1].data, RunFinished)
