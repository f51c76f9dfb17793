"""Answers that come before anything waits for them: kept, as long as all of them are not too much."""

from __future__ import annotations

import pytest
from tests.running import MODEL, Scene, asked, of, scene, seen, soon, until

from holdfast import Agent, Wait, tool
from holdfast.engine.events import AnswerRefused, WaitResolved
from holdfast.errors import InboxFull
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.types import stream_id

LARGE = 3 * 1024 * 1024


@tool(effect="none")
async def order(token: str) -> Wait:
    """Orders something, which is delivered later."""
    return Wait(token)


AGENT = Agent(MODEL, tools=[order])


async def parked(s: Scene) -> Run:
    run = await s.runtime.start(AGENT, "go", session="s")
    await soon(seen(run, "tool.waiting"))
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    return run


@pytest.mark.requirement("engine:early-answers-bounded")
@pytest.mark.parametrize("text", ["x", "ж"], ids=["ascii", "not ascii"])
async def test_answers_that_come_too_early_and_are_too_much_are_refused_and_can_be_sent_again(text: str) -> None:
    script = [Turn(calls=[Call("order", {"token": "now"})]), Turn(calls=[Call("order", {"token": "e0"})])]
    script += [Turn(calls=[Call("order", {"token": "late"})]), Turn(text="thanks")]
    size = LARGE if text == "x" else LARGE // 4
    async with scene(script) as s:
        run = await parked(s)
        for number in range(5):
            await soon((await run.answer(f"e{number}", text * size)).committed())
        receipt = await run.answer("late", text * size)
        with pytest.raises(InboxFull, match="send it again under another key"):
            await soon(receipt.committed())
        with pytest.raises(InboxFull):  # whoever sends it once more, as it was, hears the same
            await soon((await run.answer("late", text * size)).committed())
        await soon((await run.answer("now", "here")).committed())
        await soon(seen(run, "tool.waiting", 3))  # what e0 waited for was there
        await soon((await run.answer("late", "at last", key="again")).committed())
        assert (await soon(run.result())).output == "thanks"
        log = await s.log()
    said = [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]
    assert [each[:7] for each in said] == ["here", text * 7, "at last"]
    assert of(AnswerRefused, log) == [AnswerRefused("late")]
    came = [each.token for each in of(WaitResolved, log) if not each.anew]
    assert came == ["e0", "e1", "e2", "e3", "e4", "now", "late"]


@pytest.mark.requirement("engine:early-answers-bounded")
async def test_an_answer_that_is_waited_for_may_be_large_whatever_came_too_early() -> None:
    script = [Turn(calls=[Call("order", {"token": "now"})]), Turn(text="thanks")]
    async with scene(script) as s:
        run = await parked(s)
        for number in range(5):
            await soon((await run.answer(f"e{number}", "x" * LARGE)).committed())
        await soon((await run.answer("now", "x" * LARGE)).committed())
        assert (await soon(run.result())).output == "thanks"
