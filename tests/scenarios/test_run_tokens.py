"""Tokens of waits: each wait of a session has its own: no answer is taken for another, and none waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, ToolContext, Wait, tool
from holdfast.engine.events import ToolFinished, ToolWaiting
from holdfast.engine.folding import replay
from holdfast.errors import InboxFull, UsageError
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, ScriptRequest, Turn
from holdfast.types import TOKEN_LIMIT, ToolMessage, stream_id

BEGAN: list[str] = []
HANGS = [False]
SESSION: list[Runtime] = []
"""Where a service that is quicker than its caller answers."""


@tool
async def ship(token: str) -> Wait:
    """Has something shipped, and waits until it has come."""
    BEGAN.append(token)
    return Wait(token)


@tool(effect="keyed")
async def quick(context: ToolContext, token: str) -> Wait:
    """Asks a service that answers before anybody waits."""
    BEGAN.append(token)
    if SESSION:
        await SESSION[0].run("s", "any").answer(token, f"answer {len(BEGAN)}")
    if HANGS[0]:
        await asyncio.Event().wait()
    return Wait(token)


AGENT = Agent(MODEL, tools=[ship, quick])
REFUSED = "its answer cannot be waited for: the token 't' was used in this session before"


@pytest.fixture(autouse=True)
def fresh() -> None:
    BEGAN.clear()
    SESSION.clear()
    HANGS[0] = False


def shipping(*tokens: str) -> Turn:
    return Turn(calls=[Call("ship", {"token": token}) for token in tokens])


def each_time(request: ScriptRequest) -> Turn | str:
    """Ships once for each prompt."""
    return "done" if isinstance(request.messages[-1], ToolMessage) else shipping("t")


def results(s: Scene) -> list[str]:
    return [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]


async def parked(s: Scene, run: Run, session: str = "s") -> None:
    await soon(seen(run, "tool.waiting"))
    await until(lambda: s.runtime._worker.tail(stream_id("local", session)) is None)


@pytest.mark.requirement("engine:wait-token-once")
async def test_of_two_calls_that_would_wait_under_one_token_one_waits_and_the_other_is_told_at_once() -> None:
    async with scene([shipping("t", "t", "u"), "done"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting", 2))
        await run.answer("t", "came")
        await run.answer("u", "came too")
        assert (await soon(run.result())).output == "done"
        log = await s.log()
        first, second, third = results(s)
    assert (first, third) == ("came", "came too")
    assert REFUSED in second
    assert "ToolContext.key" in second
    assert all_answered(log)
    (refused,) = of(ToolFinished, log)
    assert refused.result.error is not None
    assert refused.result.error.reason == "tool_wait_token_used"


@pytest.mark.requirement("engine:wait-token-once")
@pytest.mark.parametrize("later", ["turn", "run", "process", "rewind"])
async def test_a_token_that_was_used_before_is_refused_and_nothing_waits_for_ever(later: str, tmp_path: Path) -> None:
    script = [shipping("t"), shipping("t"), "done", "over"] if later == "turn" else each_time
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await parked(s, run)
        assert [(await run.answer("t", text)).status for text in ("came", "again")] == ["accepted", "duplicate"]
        assert (await soon(run.result())).output == "done"
        if later == "rewind":
            await s.runtime.rewind("s", to=0)
        if later == "process":
            await s.runtime.close()
            s.runtime = await s.other().__aenter__()
        if later != "turn":
            again = await s.runtime.start(AGENT, "once more", session="s")
            assert (await soon(again.result())).output == "done"
        assert REFUSED in results(s)[-1]
        assert len(of(ToolWaiting, await s.log())) == 1
        await s.runtime.close()
    assert BEGAN == ["t", "t"]


@pytest.mark.requirement("engine:wait-token-once")
async def test_a_token_whose_answer_came_and_went_with_another_run_is_refused() -> None:
    async with scene(each_time) as s:
        first = await s.runtime.start(AGENT, "go", session="s")
        await parked(s, first)
        await first.abort("enough")
        assert (await soon(first.result())).status == "aborted"
        await first.answer("t", "too late")
        again = await s.runtime.start(AGENT, "once more", session="s")
        assert (await soon(again.result())).output == "done"
        assert REFUSED in results(s)[-1]


@pytest.mark.requirement("engine:wait-token-once")
async def test_a_branch_has_an_inbox_of_its_own_where_the_token_is_answered_again() -> None:
    async with scene(each_time) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await parked(s, run)
        await run.answer("t", "came")
        await soon(run.result())
        child = await s.runtime.fork("s")
        branch = await s.runtime.start(AGENT, "go", session=child)
        await parked(s, branch, child)
        await branch.answer("t", "came there")
        assert (await soon(branch.result())).output == "done"
        assert results(s) == ["came", "came there"]


@pytest.mark.requirement("engine:wait-token-once")
@pytest.mark.parametrize("killed", [False, True])
async def test_an_answer_that_comes_before_the_wait_is_its_answer(killed: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    script = [Turn(calls=[Call("quick", {"token": "t"})]), "done"]
    HANGS[0] = killed
    async with scene(script, url=url) as s:
        SESSION.append(s.runtime)
        run = await s.runtime.start(AGENT, "go", session="s")
        if killed:
            await until(lambda: bool(BEGAN))
            await s.runtime.close()
            HANGS[0] = False
            SESSION.clear()
            s.runtime = await s.other().__aenter__()
            await s.runtime.resume("s", AGENT)
        assert (await soon(s.runtime.run("s", run.key).result())).output == "done"
        assert results(s) == ["answer 1"]
        await s.runtime.close()
    assert ["t"] * (1 + killed) == BEGAN


@pytest.mark.requirement("engine:tokens-bounded")
async def test_an_answer_that_comes_when_no_run_is_open_is_thrown_away_and_its_sender_hears_it() -> None:
    async with scene(each_time) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await parked(s, run)
        await run.answer("t", "came")
        await soon(run.result())
        nobody, late = await run.answer("u", "for nobody"), await run.answer("t", "once more", key="again")
        again = await s.runtime.start(AGENT, "once more", session="s")
        assert (await soon(again.result())).output == "done"
        with pytest.raises(InboxFull, match="send it again under another key once it is waited for"):
            await soon(nobody.committed())
        await soon(late.committed())  # this one was waited for
        state = replay(await s.log())
    assert state.tokens == {"t"}
    assert not state.early


@pytest.mark.requirement("engine:tokens-bounded")
async def test_a_token_that_is_too_long_is_refused_to_whoever_waits_under_it_and_to_whoever_answers_it() -> None:
    most, longer = "t" * TOKEN_LIMIT, "t" * (TOKEN_LIMIT + 1)
    async with scene([shipping(longer, most), "done"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await parked(s, run)
        with pytest.raises(UsageError, match="answer with the token that the wait names"):
            await run.answer(longer, "came")
        await run.answer(most, "came")
        assert (await soon(run.result())).output == "done"
        refused, came = results(s)
    assert "the tool has to wait under a shorter one" in refused
    assert came == "came"
