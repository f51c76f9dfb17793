"""What people say to a session: when it is heard, in which order, how often, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, asked, of, scene, seen, soon

from holdfast import Agent, tool
from holdfast.engine.events import InputReceived, RunFinished, RunStarted
from holdfast.errors import InboxFull, InputTooLarge, SessionBusy, UnknownModel, UnknownSession, UsageError
from holdfast.journal.port import INBOX_LIMIT, Journal
from holdfast.runtime.run import Run
from holdfast.runtime.speaking import PROMPT_BYTES
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest

GO: list[asyncio.Event] = []


@tool(effect="none")
async def wait_for_it() -> str:
    """Waits until the test lets it."""
    await GO[0].wait()
    return "it came"


AGENT = Agent(MODEL, tools=[wait_for_it])


@pytest.fixture(autouse=True)
def fresh() -> None:
    GO[:] = [asyncio.Event()]


def users(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "user"]


async def busy(s: Scene, prompt: str = "go") -> Run:
    """Returns a run that is in the middle of a tool."""
    run = await s.runtime.start(AGENT, prompt, session="s")
    await soon(seen(run, "tool.started"))
    return run


CALLING = Turn(calls=[Call("wait_for_it")])


@pytest.mark.requirement("engine:steer-next-model-call", "engine:control-never-blocks")
async def test_what_is_steered_in_during_a_tool_is_in_the_next_request_in_order_behind_the_results() -> None:
    async with scene([CALLING, "fine"]) as s:
        run = await busy(s)
        posted = [await soon(run.steer(f"left {number}")) for number in range(3)]
        assert [each.status for each in posted] == ["accepted"] * 3
        GO[0].set()
        assert (await soon(run.result())).output == "fine"
        first, second = asked(s.server)
    assert users(first) == ["go"]
    assert [message["role"] for message in second] == ["user", "assistant", "tool", "user", "user", "user"]
    assert users(second) == ["go", "left 0", "left 1", "left 2"]


async def test_what_is_steered_in_while_the_model_answers_keeps_the_run_open_for_another_answer() -> None:
    asking = asyncio.Event()

    async def model(request: ScriptRequest) -> str:
        if request.answers == 0:
            asking.set()
            await GO[0].wait()
        return f"answer {request.answers} to {request.last_user_text}"

    async with scene(model) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(asking.wait())
        await run.steer("and?")
        GO[0].set()
        result = await soon(run.result())
    assert (result.output, result.steps) == ("answer 1 to and?", 2)


@pytest.mark.requirement("engine:follow-up-at-the-end")
async def test_a_follow_up_waits_for_the_end_and_comes_after_every_steer_first_come_first_served() -> None:
    def model(request: ScriptRequest) -> Turn | str:
        return CALLING if request.answers == 0 else f"done with {request.last_user_text}"

    async with scene(model) as s:
        run = await busy(s)
        for number in range(2):
            await run.follow_up(f"then {number}")
        await run.steer("first this")
        GO[0].set()
        result = await soon(run.result())
        conversations = [users(messages) for messages in asked(s.server)]
    assert result.output == "done with then 1"
    assert conversations[1:] == [
        ["go", "first this"],
        ["go", "first this", "then 0"],
        ["go", "first this", "then 0", "then 1"],
    ]


@pytest.mark.requirement("engine:second-prompt-queues-or-refuses")
async def test_a_second_prompt_waits_for_its_turn_and_is_a_run_of_its_own() -> None:
    async with scene([CALLING, "one", "two", "three"]) as s:
        first = await busy(s, "a")
        second = await s.runtime.start(AGENT, "b", session="s")
        third = await s.runtime.start(AGENT, "c", session="s")
        GO[0].set()
        assert [(await soon(run.result())).output for run in (third, first, second)] == ["three", "one", "two"]
        log = await s.log()
        assert [len(users(messages)) for messages in asked(s.server)] == [1, 1, 2, 3]
    opened = [event.seq for event in log if isinstance(event.data, RunStarted)]
    ended = [event.seq for event in log if isinstance(event.data, RunFinished)]
    assert sorted(opened + ended) == [each for pair in zip(opened, ended, strict=True) for each in pair]


async def test_the_events_of_a_queued_run_begin_with_its_own_prompt_and_hold_nothing_of_the_run_before() -> None:
    async with scene([CALLING, "one", "two"]) as s:
        await busy(s, "a")
        second = await s.runtime.start(AGENT, "b", session="s")
        GO[0].set()
        live = [item async for item in second.events()]
        replayed = [item async for item in second.events()]
    assert [item.type for item in replayed] == ["input.received", "run.started", "model.finished", "run.finished"]
    texts = "".join(getattr(item, "text", "") for item in live)
    assert texts == "two"


async def test_many_prompts_at_once_are_all_answered_one_after_another(tmp_path: Path) -> None:
    def model(request: ScriptRequest) -> str:
        return f"answer to {request.last_user_text}"

    async with scene(model, url=f"sqlite:///{tmp_path}/s.db") as s:

        async def one(number: int) -> str:
            run = await s.runtime.start(AGENT, f"prompt {number}", session="s")
            return (await run.result()).output

        assert await soon(asyncio.gather(*(one(n) for n in range(40))), 10) == [
            f"answer to prompt {n}" for n in range(40)
        ]
        assert len(of(RunStarted, await s.log())) == 40


async def test_a_prompt_that_comes_while_the_session_is_being_given_up_is_not_left_behind(tmp_path: Path) -> None:
    parked = asyncio.Event()

    class SlowToHear(Wrapped):
        """Its answers to a park come late: the store knows of it before its owner does."""

        def append(self, *args: Any, **options: Any) -> Any:
            written = self.inner.append(*args, **options)
            return self._late(written) if options.get("park") else written

        def _late(self, written: Any) -> Any:
            async def late() -> Any:
                answer = await written
                parked.set()
                await GO[0].wait()
                return answer

            return asyncio.ensure_future(late())

    def model(request: ScriptRequest) -> str:
        return f"answer to {request.last_user_text}"

    async with scene(model, url=f"sqlite:///{tmp_path}/s.db", wrap=SlowToHear) as s:
        first = await s.runtime.start(AGENT, "a", session="s")
        await soon(parked.wait())
        second = asyncio.create_task(s.runtime.start(AGENT, "b", session="s"))
        for _ in range(3):
            await s.runtime.journal.head("local/s")  # type: ignore[arg-type]
        GO[0].set()
        assert (await soon((await soon(second)).result())).output == "answer to b"
        assert (await soon(first.result())).output == "answer to a"


@pytest.mark.requirement("engine:second-prompt-queues-or-refuses")
async def test_a_prompt_that_wants_an_idle_session_is_refused_by_a_busy_one_and_leaves_no_trace() -> None:
    async with scene([CALLING, "one", "two"]) as s:
        run = await busy(s)
        with pytest.raises(SessionBusy, match=r"'s' is busy.*if_idle"):
            await s.runtime.start(AGENT, "b", session="s", if_idle=True)
        GO[0].set()
        await soon(run.result())
        idle = await s.runtime.start(AGENT, "c", session="s", if_idle=True)
        assert (await soon(idle.result())).output == "two"
        assert [said.message.text for said in of(InputReceived, await s.log())] == ["go", "c"]


async def test_one_key_is_one_prompt_while_it_runs_when_it_is_over_and_from_another_runtime(tmp_path: Path) -> None:
    async with scene([CALLING, "one", "two"], url=f"sqlite:///{tmp_path}/s.db") as s:
        start = {"session": "s", "key": "once"}
        run = await s.runtime.start(AGENT, "go", **start)  # type: ignore[arg-type]
        again = await s.runtime.start(AGENT, "go", **start)  # type: ignore[arg-type]
        await soon(seen(run, "tool.started"))
        async with s.other() as other:
            elsewhere = await other.start(AGENT, "go", **start)
            GO[0].set()
            results = [await soon(each.result()) for each in (run, again, elsewhere)]
            late = await soon((await other.start(AGENT, "something else", **start)).result())
        assert {(each.output, each.seq) for each in (*results, late)} == {("one", 2)}
        assert len(of(InputReceived, await s.log())) == 1
        session = s.runtime.session("s")
        assert [(await session.steer("x", key="k")).status for _ in range(2)] == ["accepted", "duplicate"]


async def test_an_inbox_takes_so_much_and_then_says_full_without_blocking() -> None:
    async with scene([CALLING, "one"]) as s:
        run = await busy(s)
        for number in range(INBOX_LIMIT):
            await run.steer(str(number))
        for refused in (run.steer("more"), s.runtime.start(AGENT, "more", session="s")):
            with pytest.raises(InboxFull, match=r"'s' has too much unread mail.*send again"):
                await soon(refused, 1)
        GO[0].set()
        await soon(run.result())
        assert len(users(asked(s.server)[1])) == 1 + INBOX_LIMIT


async def test_a_run_can_be_aborted_however_full_its_inbox_is() -> None:
    async with scene([CALLING, "one"]) as s:
        run = await busy(s)
        for number in range(INBOX_LIMIT):
            await run.steer(str(number))
        assert (await soon(run.abort(), 1)).status == "accepted"
        assert (await soon(run.result())).status == "aborted"


@pytest.mark.requirement("context:prompt-ten-megabytes")
async def test_a_prompt_over_its_bound_is_refused_with_both_sizes_and_one_at_the_bound_arrives_whole() -> None:
    async with scene(["read", "read"]) as s:
        for text in ("x" * (PROMPT_BYTES + 1), "ü" * (PROMPT_BYTES // 2 + 1), "x" * 10_000_000):
            with pytest.raises(InputTooLarge, match=r"4,194,304 are allowed: put it into a file"):
                await s.runtime.start(AGENT, text, session="s")
        assert await s.runtime.journal.head("local/s") is None  # type: ignore[arg-type]
        run = await s.runtime.start(AGENT, "ü" * (PROMPT_BYTES // 2), session="s")
        with pytest.raises(InputTooLarge):
            await run.steer("x" * (PROMPT_BYTES + 1))
        with pytest.raises(InputTooLarge):
            await run.answer("t", "x" * (PROMPT_BYTES + 1))
        assert (await soon(run.result())).output == "read"
        assert users(asked(s.server)[0]) == ["ü" * (PROMPT_BYTES // 2)]
        assert of(InputReceived, await s.log())[0].message.text == "ü" * (PROMPT_BYTES // 2)


async def test_half_a_character_becomes_a_question_mark_wherever_it_is_said() -> None:
    async with scene([CALLING, "one"]) as s:
        run = await busy(s, "go \ud800!")
        await run.steer("left \udfff!")
        GO[0].set()
        await soon(run.result())
        assert users(asked(s.server)[1]) == ["go ?!", "left ?!"]


@pytest.mark.requirement("runtime:unknown-session")
async def test_a_session_that_is_not_there_is_named_and_not_made() -> None:
    async with scene(["one"]) as s:
        for asking in (s.runtime.resume("nope"), s.runtime.fork("nope"), s.runtime.rewind("nope", to=1)):
            with pytest.raises(UnknownSession, match=r"no session 'nope'.*runs list"):
                await asking
        assert await s.runtime.journal.heads("local") == []
        with pytest.raises(UsageError, match="'a/b' is not a valid name"):
            await s.runtime.start(AGENT, "go", session="a/b")


async def test_a_model_that_nobody_provides_is_named_before_anything_is_written() -> None:
    async with scene(["one"]) as s:
        for name in ("nobody/m", "m", "openai/"):
            with pytest.raises(UnknownModel, match=rf"'{name}'.*openai/"):
                await s.runtime.start(Agent(name), "go", session="s")
        assert await s.runtime.journal.heads("local") == []


async def test_a_prompt_whose_sender_is_cancelled_on_the_way_is_answered_all_the_same(tmp_path: Path) -> None:
    posted = asyncio.Event()

    class Slow(Wrapped):
        async def post(self, *args: Any, **options: Any) -> Any:
            answer = await self.inner.post(*args, **options)
            posted.set()
            await GO[0].wait()
            return answer

    def wrap(journal: Journal) -> Slow:
        return Slow(journal)

    async with scene(["one"], url=f"sqlite:///{tmp_path}/s.db", wrap=wrap) as s:
        sending = asyncio.create_task(s.runtime.start(AGENT, "go", session="s", key="k"))
        await soon(posted.wait())
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await soon(s.runtime.run("s", "k").result())).output == "one"
