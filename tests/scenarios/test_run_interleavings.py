"""Whatever people say to a session, in whatever order, and whatever its model and tools do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.running import MODEL, Scene, all_answered, asked, of, paired, scene, soon, until

from holdfast import Agent, Effect, Runtime, ToolContext, tool
from holdfast.engine.events import (
    InputApplied,
    InputDropped,
    InputReceived,
    ReviewRequested,
    RunFinished,
    RunStarted,
    SessionEnded,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.letters import Prompt
from holdfast.errors import InboxFull, SessionExited, UsageError
from holdfast.journal.port import Letter
from holdfast.runtime.run import Run
from holdfast.runtime.speaking import Receipt
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.tools.builtin.question import question
from holdfast.types import Control, Event, Mode, Text, UserMessage, Wait, stream_id

STREAM = stream_id("local", "s")
GATE: list[asyncio.Event] = []
PAID: list[str] = []


@tool(effect="none")
async def look() -> str:
    """Looks."""
    return "seen"


@tool(effect="none")
async def slow() -> str:
    """Takes its time."""
    go = asyncio.Event()
    GATE.append(go)
    await go.wait()
    return "slowly"


@tool
async def pay(context: ToolContext, sum: int = 1) -> str:
    """Must not happen twice."""
    PAID.append(context.key)
    return "paid"


@tool(effect=Effect(workspace=True, outside="none"))
async def write() -> str:
    """Takes its time, one after another."""
    return await slow_write()


async def slow_write() -> str:
    go = asyncio.Event()
    GATE.append(go)
    await go.wait()
    return "written"


@tool(effect="keyed", terminal=True)
async def submit() -> str:
    """Ends the run."""
    return "submitted"


AGENT = Agent(MODEL, tools=[look, slow, pay, write, submit, question])
ASKS = {"questions": [{"question": "Well?"}]}
NAMES = ("look", "slow", "pay", "write", "submit", "none")
CALLS = st.sampled_from([*(Call(name) for name in NAMES), Call("question", ASKS)])
TURNS = st.builds(Turn, st.sampled_from(["", "Hm."]), st.lists(CALLS, min_size=1, max_size=3)) | st.just(Turn("So."))
PEOPLE = ("answer", "answer", "deny", "edit", "changes", "pause", "resume", "steer", "follow_up", "prompt", "garbage")
ACTS = st.sampled_from(("go", "go", *PEOPLE, "abort", "stop", "exit", "proceed", "nudge"))
MODES: tuple[Mode, ...] = ("auto", "ask")
CONTROLS = st.builds(
    Control,
    steers=st.sampled_from(["all", "one"]),
    follow_ups=st.sampled_from(["all", "one"]),
    review=st.sampled_from([None, None, 0, 1]),
)


class Play:
    """One session to which things are said whenever it waits for somebody, and often before."""

    def __init__(self, s: Scene, acts: Sequence[str], mode: Mode, control: Control) -> None:
        self.s, self.acts, self.control = s, list(acts), control
        self.mode: Mode = mode
        self.prompts: list[Run] = []
        self.receipts: list[Receipt] = []

    async def run(self) -> None:
        """Plays until nothing is left to be said and the session is idle or has ended."""
        await self._prompt()
        while self.acts:
            await self._settle()
            await self._act(self.acts.pop(0))
        while not await self._settle():
            for act in ("resume", "go", "answer"):
                await self._act(act)

    async def _prompt(self) -> None:
        with contextlib.suppress(SessionExited):
            run = await self.s.runtime.start(AGENT, "go", session="s", mode=self.mode, control=self.control)
            self.prompts.append(run)

    async def _act(self, act: str) -> None:
        with contextlib.suppress(SessionExited):
            if act == "stop":
                await self._restart()
            elif act == "prompt":
                await self._prompt()
            elif act in ("proceed", "nudge"):
                await self._keep_going(act)
            elif act in ("answer", "deny", "edit", "changes"):
                for wait in await self._waits():
                    with contextlib.suppress(UsageError):  # no changes left, nothing to edit: answered another time
                        self.receipts.append(await self._answer(wait, act))
            elif act == "go":
                while GATE:
                    GATE.pop().set()
            else:
                self.receipts.append(await self._say(act))

    async def _keep_going(self, act: str) -> None:
        if act == "proceed":
            with contextlib.suppress(UsageError):  # a run is open, or the last one had an answer
                self.prompts.append(await self.s.runtime.proceed("s", AGENT))
            return
        body = msgspec.json.encode(Prompt(UserMessage((Text("go on"),)), run=self.prompts[-1].key))
        letter = Letter(key=f"nudge{len(self.acts)}", kind="steer", body=body, actor="critic")
        await self.s.runtime.journal.post(STREAM, letter)

    async def _say(self, act: str) -> Receipt:
        session = self.s.runtime.session("s")
        match act:
            case "pause":
                return await session.pause()
            case "resume":
                return await session.resume()
            case "steer":
                return await session.steer("left")
            case "follow_up":
                return await session.follow_up("then")
            case "exit":
                return await session.exit("closing")
            case "abort":
                return await self.prompts[-1].abort("enough")
            case _:
                return await session.answer("nobody", "once", key=f"k{len(self.receipts)}")

    async def _answer(self, wait: Wait, act: str) -> Receipt:
        session = self.s.runtime.session("s")
        if act == "deny" and wait.kind != "question":
            return await session.deny(wait.token, "no")
        if act == "changes" and wait.kind == "review":
            return await session.request_changes(wait.token, "more")
        if wait.kind == "question":
            return await session.reply(wait.token, ["because"])
        return await session.approve(wait.token, arguments={} if act == "edit" and wait.kind == "approval" else None)

    async def _waits(self) -> list[Wait]:
        log = await self.s.log()
        resolved = {each.token for each in of(WaitResolved, log)}
        waits = [event.data.wait for event in log if isinstance(event.data, ToolWaiting | ReviewRequested)]
        return [wait for wait in waits if wait.token not in resolved]

    async def _restart(self) -> None:
        await self.s.runtime.close()  # a store in memory stays open
        GATE.clear()
        self.s.runtime = Runtime(self.s.runtime.journal, self.s.clock)
        self.prompts = [self.s.runtime.run("s", each.key) for each in self.prompts]
        await self.s.runtime.resume("s", AGENT)

    async def _settle(self) -> bool:
        """Lets everything go on until it is over, or waits for somebody; whether it is over."""
        over = False

        def quiet() -> bool:
            nonlocal over
            head = self.s.runtime.journal._streams[STREAM].head  # type: ignore[attr-defined]
            resting = head.owner is None and (not head.unread or STREAM not in self.s.runtime._worker._parked)
            over = resting and head.state in ("idle", "ended")
            return over or bool(GATE) or (resting and head.state == "waiting")

        for _ in range(20):
            await asyncio.sleep(0)
        await until(quiet, "it neither ends nor waits", 2)
        return over


def sound(log: list[Event], *, exited: bool) -> None:
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert all_answered(log)
    begun, ended = of(RunStarted, log), of(RunFinished, log)
    assert len(begun) == len(ended)
    received = [event.seq for event in log if isinstance(event.data, InputReceived)]
    used = [each.input for each in (*begun, *of(InputApplied, log), *of(InputDropped, log))]
    assert sorted(used) == received, "what was said joined the conversation once, or was dropped with the session"
    assert len(of(SessionEnded, log)) <= 1
    if not exited:  # words for a run that was over before it heard them are dropped, and no others
        nudges = {event.seq for event in log if isinstance(event.data, InputReceived) and event.data.run}
        assert {each.input for each in of(InputDropped, log)} <= nudges


@pytest.mark.requirement("engine:states-legal-only", "engine:every-call-one-result", "engine:run-finished-once")
@pytest.mark.requirement("context:request-history-pairs")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(
    turns=st.lists(TURNS, max_size=4),
    acts=st.lists(ACTS, max_size=9),
    mode=st.sampled_from(MODES),
    control=CONTROLS,
)
def test_whatever_is_said_each_call_has_one_result_each_run_one_end_and_no_letter_is_lost(
    turns: list[Turn], acts: list[str], mode: Mode, control: Control
) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        return turns[request.answers] if request.answers < len(turns) else "done"

    async def play() -> None:
        GATE.clear()
        PAID.clear()
        async with scene(model) as s:
            played = Play(s, acts, mode, control)
            await soon(played.run(), 5)
            head = await s.runtime.journal.head(STREAM)
            assert head is not None
            if head.unread:  # what was said to a session that does nothing is read when it does something
                await s.runtime.resume("s", AGENT)
                while not await played._settle():
                    for act in ("resume", "go", "answer"):
                        await played._act(act)
            log = await s.log()
            for receipt in played.receipts:
                with contextlib.suppress(InboxFull):  # an answer to nobody, when no run was open
                    await soon(receipt.committed())
            for prompt in played.prompts:
                assert (await soon(prompt.result())).status in ("completed", "aborted", "limited", "failed")
            assert all(paired(messages) for messages in asked(s.server))
            await s.runtime.close()
        sound(log, exited="exit" in acts)
        caused = {event.cause for event in log}
        lost = [
            receipt.key for receipt in played.receipts if receipt.status == "accepted" and receipt.key not in caused
        ]
        assert len(lost) <= max(0, acts.count("exit") - 1), "every letter left its mark; a session ends once"
        assert len(set(PAID)) == len(PAID), "what must not happen twice did not"

    asyncio.run(play())
