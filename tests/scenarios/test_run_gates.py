"""What a person is asked in the middle of a run: whether a call may be made, with which arguments, and questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, HastyClock, Scene, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Effect, Runtime, ToolContext, Wait, tool
from holdfast.engine.events import ToolFinished, ToolStarted, ToolWaiting, WaitResolved
from holdfast.errors import UnknownWait, UsageError
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.tools.binding import Tool
from holdfast.tools.builtin.question import question
from holdfast.types import Control, Event, Mode, stream_id

RAN: list[str] = []
KEYS: list[str] = []
HANGS = [False]


async def _pause(context: ToolContext) -> None:
    KEYS.append(context.key)
    if HANGS[0]:
        await asyncio.Event().wait()


@tool
async def pay(sum: int, context: ToolContext, to: str = "ann") -> str:
    """Pays."""
    RAN.append(f"pay {sum} {to}")
    await _pause(context)
    return f"paid {sum}"


@tool(effect="keyed")
async def order(item: str, context: ToolContext) -> str:
    """Orders, once for each key."""
    RAN.append(f"order {item}")
    await _pause(context)
    return f"ordered {item}"


async def _is_booked(room: str, context: ToolContext) -> str | None:
    RAN.append(f"is {room} booked?")
    return f"booked {room}"


@tool(effect="checkable", check=_is_booked, settles=0)
async def book(room: str, context: ToolContext) -> str:
    """Books a room."""
    await _pause(context)
    return f"booked {room}"


@tool(effect="none")
async def look() -> str:
    """Looks."""
    RAN.append("look")
    return "seen"


def _is_small(arguments: Any, posture: object) -> Effect:
    return Effect(outside="unsafe") if arguments.force else Effect(outside="none", sends=True)


@tool(effect=_is_small)
async def fetch(address: str, force: bool = False) -> str:
    """Fetches; with force, does more."""
    RAN.append(f"fetch {address} {force}")
    return "fetched"


@tool(effect="none")
async def outer(context: ToolContext) -> str:
    """Calls another tool."""
    said = await context.call("pay", {"sum": 1})
    return f"it said: {said.content}"


@tool
async def wire(sum: int) -> Wait:
    """Sends money, which takes a while."""
    RAN.append(f"wire {sum}")
    return Wait(f"wired {sum}", "callback")


TOOLS: list[Tool] = [pay, order, book, look, fetch, outer, wire, question]
AGENT = Agent(MODEL, tools=TOOLS)
PAY = Turn(calls=[Call("pay", {"sum": 5})])
STREAM = stream_id("local", "s")
URLS = pytest.mark.parametrize("url", ["memory:", "sqlite"])


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    KEYS.clear()
    HANGS[0] = False


def store(url: str, folder: Path) -> str:
    return url if url == "memory:" else f"sqlite:///{folder}/s.db"


async def parked(s: Scene, run: Run, times: int = 1) -> list[Wait]:
    """Returns what the run waited for so far, once it is parked."""
    await soon(seen(run, "tool.waiting", times))
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    return [each.wait for each in of(ToolWaiting, await s.log())]


async def gated(s: Scene, mode: Mode = "ask", **options: Any) -> tuple[Run, Wait]:
    """Returns a run that waits for a person, and what it waits for."""
    run = await s.runtime.start(AGENT, "go", session="s", mode=mode, **options)
    return run, (await parked(s, run))[-1]


def results(s: Scene) -> list[str]:
    """Returns the results that the model read last."""
    return [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]


def reasons(log: Sequence[Event]) -> list[str]:
    return [each.result.error.reason for each in of(ToolFinished, log) if each.result.error is not None]


# ---- whether it may ------------------------------------------------------------------------------------------


@pytest.mark.requirement("engine:gate-patience")
@URLS
async def test_a_call_that_nobody_allows_in_time_is_denied_and_the_run_goes_on(url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene([PAY, "then not"], url=store(url, tmp_path), clock=clock) as s:
        run, wait = await gated(s, control=Control(patience=60))
        assert wait.deadline == clock.now() + 60_000_000
        await clock.advance(59)
        assert len(s.server.requests) == 1
        await clock.advance(2)
        result = await soon(run.result())
        assert results(s) == ["Denied: nobody answered in time."]
        log = await s.log()
    assert (RAN, result.status, result.denied) == ([], "completed", 1)
    assert all_answered(log)
    assert [each.content for each in of(WaitResolved, log)] == [None]


@pytest.mark.requirement("engine:gate-patience")
async def test_patience_that_ran_out_while_nobody_was_there_denies_when_somebody_is(tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene([PAY, "then not"], url=store("sqlite", tmp_path), clock=clock) as s:
        run, wait = await gated(s, control=Control(patience=60))
        await s.runtime.close()
        await clock.advance(3600)
        async with s.other() as other:
            await other.run("s", run.key).approve(wait.token)  # it came first: the deadline had nobody to see it pass
            assert await other.sweep() == 1
            assert (await soon(other.run("s", run.key).result())).denied == 0
    assert RAN == ["pay 5 ann"]


@pytest.mark.requirement("engine:interactive-gates-restart")
@pytest.mark.parametrize(("answer", "ran"), [("once", ["pay 5 ann"]), ("deny: too much", [])])
async def test_a_gate_outlives_its_process_and_is_answered_while_nobody_drives_the_session(
    answer: str, ran: list[str], tmp_path: Path
) -> None:
    turn = Turn(calls=[Call("look"), Call("pay", {"sum": 5})])
    async with scene([turn, "so be it"], url=store("sqlite", tmp_path)) as s:
        run, wait = await gated(s)
        await s.runtime.close()
        async with Runtime.open(s.url, user="anna") as elsewhere:
            await elsewhere.session("s").answer(wait.token, answer)
        async with s.other() as other:
            assert await other.sweep() == 1
            await soon(other.run("s", run.key).result())
            s.runtime = other
            log = await s.log()
        said = results(s)
    assert ["look", *ran] == RAN, "nothing that was over ran again"
    assert "too much" in said[-1] or answer == "once"
    [resolved] = [event for event in log if isinstance(event.data, WaitResolved)]
    assert (resolved.actor, resolved.data.content) == ("anna", answer)  # type: ignore[union-attr]
    assert all_answered(log)


@pytest.mark.requirement("engine:interactive-gates-restart")
@URLS
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_two_gates_of_a_turn_are_two_waits_answered_in_any_order(
    url: str, order: tuple[int, int], tmp_path: Path
) -> None:
    turn = Turn(calls=[Call("pay", {"sum": 1}), Call("look"), Call("pay", {"sum": 2})])
    async with scene([turn, "done"], url=store(url, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        waits = await parked(s, run, 2)
        await run.approve(waits[order[0]].token)
        await until(lambda: len(RAN) == 2)
        await run.approve(waits[order[1]].token)
        await soon(run.result())
        assert results(s) == ["paid 1", "seen", "paid 2"]
        log = await s.log()
    assert ["look", *(f"pay {each + 1} ann" for each in order)] == RAN
    assert len(of(ToolStarted, log)) == 3
    assert all_answered(log)


async def test_an_abort_and_a_steer_end_a_gate_and_its_late_answer_means_nothing() -> None:
    async with scene([PAY, "as you say"]) as s:
        run, wait = await gated(s)
        await run.steer("do not pay")
        assert (await soon(run.result())).output == "as you say"
        await run.approve(wait.token)
        assert reasons(await s.log()) == ["tool_skipped"]
        assert all(paired(messages) for messages in asked(s.server))
    assert RAN == []


# ---- with which arguments -------------------------------------------------------------------------------------


@pytest.mark.requirement("engine:gate-edited-arguments")
@URLS
async def test_a_call_is_made_with_the_arguments_of_the_person_who_allowed_it_and_the_model_is_told(
    url: str, tmp_path: Path
) -> None:
    async with scene([PAY, "well"], url=store(url, tmp_path)) as s:
        run, wait = await gated(s)
        await run.approve(wait.token, arguments={"sum": 3, "to": "bob"})
        await soon(run.result())
        assert RAN == ["pay 3 bob"]
        assert results(s) == ['[A person changed the arguments of this call to {"sum":3,"to":"bob"}]\npaid 3']
        call = next(message for message in asked(s.server)[-1] if message.get("tool_calls"))["tool_calls"][0]
        assert json.loads(call["function"]["arguments"]) == {"sum": 5}, "what the model said stays what it said"
        [finished] = of(ToolFinished, await s.log())
    assert finished.result.content == "paid 3"


@pytest.mark.requirement("engine:gate-edited-arguments")
async def test_arguments_of_a_person_are_checked_like_any_and_what_is_wrong_with_them_is_the_result() -> None:
    async with scene([PAY, "well"]) as s:
        run, wait = await gated(s)
        with pytest.raises(UsageError, match="cannot be written down"):
            await run.approve(wait.token, arguments={"sum": object()})
        with pytest.raises(UnknownWait):
            await run.approve("nobody", arguments={"sum": 1})
        for wrong, why in (
            ({"sum": "much"}, "sum wants an integer, not 'much'"),
            ({"to": "bob"}, "sum is missing"),
            ({"sum": 1, "sun": 2}, "sun is none of sum, to"),
        ):
            with pytest.raises(UsageError, match=why):
                await run.approve(wait.token, arguments=wrong)
        await run.answer(wait.token, "once", arguments='{"sum":"much"}')  # by somebody who does not look first
        assert (await soon(run.result())).status == "completed"
        [result] = results(s)
        assert "sum" in result
        assert result.startswith('[A person changed the arguments of this call to {"sum":"much"}]')
        assert all_answered(await s.log())
    assert RAN == []


@pytest.mark.requirement("engine:gate-edited-arguments")
async def test_changed_arguments_lead_nobody_past_read_only() -> None:
    async with scene([Turn(calls=[Call("fetch", {"address": "x"})]), "well"]) as s:
        run, wait = await gated(s, "read-only")
        await run.approve(wait.token, arguments={"address": "x", "force": True})
        assert (await soon(run.result())).denied == 1
        assert reasons(await s.log()) == ["tool_mode_read_only"]
    assert RAN == []


@pytest.mark.requirement("engine:gate-edited-arguments")
async def test_always_is_for_the_tool_and_changed_arguments_for_this_call_alone() -> None:
    async with scene([PAY, PAY, "done"]) as s:
        run, wait = await gated(s)
        await run.approve(wait.token, always=True, arguments={"sum": 1})
        await soon(run.result())
    assert RAN == ["pay 1 ann", "pay 5 ann"]


@pytest.mark.requirement("engine:gate-edited-arguments")
@pytest.mark.parametrize(
    ("name", "given", "edited", "ran", "result"),
    [
        ("order", {"item": "tea"}, {"item": "milk"}, ["order milk", "order milk"], "ordered milk"),
        ("book", {"room": "12"}, {"room": "7"}, ["is 7 booked?"], "booked 7"),
        ("pay", {"sum": 5}, {"sum": 2}, ["pay 2 ann"], "Outcome unknown"),
    ],
)
async def test_what_was_changed_counts_for_whoever_recovers_the_call(
    name: str, given: dict[str, Any], edited: dict[str, Any], ran: list[str], result: str, tmp_path: Path
) -> None:
    HANGS[0] = True
    turns = [Turn(calls=[Call(name, given)]), "done"]
    async with scene(turns, url=store("sqlite", tmp_path), clock=HastyClock()) as s:
        run, wait = await gated(s)
        await run.approve(wait.token, arguments=edited)
        await until(lambda: bool(KEYS))
        await s.runtime.close()
        HANGS[0] = False
        async with s.other() as other:
            await soon((await other.resume("s", AGENT)).result())
            s.runtime = other
            assert all_answered(await s.log())
        [said] = results(s)
    assert (ran, len(set(KEYS))) == (RAN, 1)
    assert said.startswith("[A person changed the arguments")
    assert result in said


@pytest.mark.requirement("engine:gate-edited-arguments", "engine:interactive-gates-restart")
async def test_changed_arguments_outlive_a_process_that_ends_between_the_answer_and_the_call(tmp_path: Path) -> None:
    async with scene([PAY, "done"], url=store("sqlite", tmp_path)) as s:
        run, wait = await gated(s)
        await s.runtime.close()
        async with s.other() as other:  # answered where nobody drives it
            await other.session("s").approve(wait.token, arguments={"sum": 1})
        async with s.other() as other:
            claim = await other._worker.claims.claim(
                stream_id("local", "s")
            )  # read, written down, and lost before the call
            from holdfast.engine.attempt import receive
            from holdfast.engine.events import CODEC
            from holdfast.journal.owning import Pen

            pen = Pen(other.journal, claim, CODEC, s.clock, lambda _: None)
            for mail in await pen.mail():
                for payload in receive(mail):
                    pen.write(payload, actor=mail.actor, cause=mail.key)
                pen.taken = mail.n
            await pen.sync()
            await other.journal.release(claim.head.stream, claim.head.epoch)
        async with s.other() as other:
            await soon((await other.resume("s", AGENT)).result())
            await soon(other.run("s", run.key).result())
        assert results(s)[0].endswith("paid 1")
    assert RAN == ["pay 1 ann"]


@pytest.mark.requirement("tools:approval-digest", "engine:gate-edited-arguments")
async def test_a_tool_that_is_another_by_now_is_asked_about_again_and_what_was_changed_is_forgotten() -> None:
    @tool(name="pay", effect=Effect(workspace=False, outside="keyed"), reference="other:pay")
    async def other_pay(sum: int) -> str:
        """Pays otherwise."""
        RAN.append(f"other {sum}")
        return "paid"

    async with scene([PAY, "done"]) as s:
        run, first = await gated(s)
        gateway = Agent(MODEL, tools=[other_pay])
        find = s.runtime._bindings.bind

        async def bind(*given: Any) -> Any:
            bound = await find(*given)
            bound.tools.tools = {each.spec.name: each for each in gateway.tools}
            return bound

        s.runtime._worker._bind = bind
        await run.approve(first.token, arguments={"sum": 1})
        second = (await parked(s, run, 2))[-1]
        assert (RAN, first.token == second.token) == ([], False)
        await run.approve(second.token)
        await soon(run.result())
    assert RAN == ["other 5"]


@pytest.mark.requirement("engine:gate-edited-arguments")
async def test_a_call_that_another_call_makes_cannot_be_changed_and_its_caller_never_is() -> None:
    async with scene([Turn(calls=[Call("outer")]), "done", Turn(calls=[Call("outer")]), "done"]) as s:
        run, wait = await gated(s)
        with pytest.raises(UsageError, match="no arguments that could be changed"):
            await run.approve(wait.token, arguments={"sum": 9})
        body = {"token": wait.token, "content": "once", "arguments": '{"sum": 9}'}  # by somebody who does not ask first
        await run._post("answer", json.dumps(body).encode(), None)
        await soon(run.result())
        assert results(s) == ["Denied by a person: the arguments of a call that another call makes cannot be changed"]
        again = await s.runtime.start(AGENT, "again", session="s", mode="ask")
        second = (await parked(s, again, 1))[-1]
        await again.approve(second.token)
        await soon(again.result())
        assert results(s)[-1] == "it said: paid 1"
    assert RAN == ["pay 1 ann"]


@pytest.mark.requirement("engine:gate-edited-arguments")
async def test_the_model_is_told_of_changed_arguments_also_where_the_call_waits_for_something_else() -> None:
    async with scene([Turn(calls=[Call("wire", {"sum": 5})]), "done"]) as s:
        run, wait = await gated(s)
        await run.approve(wait.token, arguments={"sum": 4})
        await parked(s, run, 2)
        await run.answer("wired 4", "arrived")
        await soon(run.result())
        assert results(s) == ['[A person changed the arguments of this call to {"sum":4}]\narrived']
