"""A name that is free again: sessions that are deleted and begun again under it, in any order, with kills."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.running import Scene, of, scene, soon

from holdfast import Agent, Effect, Limits, Runtime, ToolContext, tool
from holdfast.engine.events import CODEC, RunStarted, ToolFinished, ToolStarted
from holdfast.errors import LeaseHeld
from holdfast.journal.reading import read_events
from holdfast.ledger.amounts import Amount, Cap
from holdfast.runtime.delivering.port import Delivery
from holdfast.runtime.delivering.targets.function import FunctionTarget
from holdfast.runtime.run import RunResult
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Event, UserMessage

PAID: list[str] = []
EACH = 120
"""Tokens that an answer of the scripted model uses."""
TENANT = ("local",)


@tool(effect=Effect(outside="keyed"), name="pay")
async def pay(context: ToolContext) -> str:
    """Pays, once for each key."""
    PAID.append(context.key)
    await asyncio.sleep(0)
    return "paid"


HELPER = Agent("openai/helper", tools=[pay], name="helper", max_output_tokens=50, limits=Limits(model_retries=0))
LEADER = Agent(
    "openai/leader",
    tools=[pay, HELPER.as_tool("help")],
    name="leader",
    max_output_tokens=50,
    limits=Limits(model_retries=0, descendants=2, tokens=4_000),
)


class Act(msgspec.Struct, frozen=True):
    """A run, and what is done about its session around it."""

    session: str
    calls: tuple[str, ...]
    user: str
    killed_after: int | None
    """Steps of the event loop after which its process stops; None when it does not."""
    then: str
    """What becomes of the session: it stays, it is deleted, or a branch of it is made, run and released."""


ACTS = st.builds(
    Act,
    st.sampled_from("st"),
    st.lists(st.sampled_from(["pay", "help", "paying help"]), max_size=2).map(tuple),
    st.sampled_from(["alice", "bob"]),
    st.none() | st.integers(0, 300),
    st.sampled_from(["delete", "delete", "stay", "branch"]),
)


def model(request: ScriptRequest) -> Turn | str:
    """Makes the calls that the last prompt names, all in one turn, and then says that it is done."""
    last, told = request.messages[-1], request.last_user_text
    if not isinstance(last, UserMessage):
        return f"done {told}"
    calls = [Call("pay") if name == "pay" else Call("help", {"prompt": f"{name} {told}"}) for name in wanted(told)]
    return Turn(calls=calls) if calls else f"done {told}"


def helper(request: ScriptRequest) -> Turn | str:
    if isinstance(request.messages[-1], UserMessage) and request.last_user_text.startswith("paying"):
        return Turn(calls=[Call("pay")])
    return f"helped {request.last_user_text}"


def wanted(prompt: str) -> list[str]:
    return [name for name in prompt.partition(":")[2].split(",") if name]


class Lives:
    """Sessions of two names, one after another."""

    def __init__(self, s: Scene) -> None:
        self.s = s
        self.taken: dict[str, tuple[str, str]] = {}
        """What arrived at the target, by its id: the run's status and output."""
        self.results: list[RunResult] = []
        self.seen: dict[str, Event] = {}
        """All that was ever in a log, by the ids of the events."""
        self.runtime: Runtime = s.runtime

    async def deliver(self, delivery: Delivery) -> None:
        self.taken[delivery.id] = (delivery.status, delivery.output)

    def open(self) -> Any:
        """Returns another process on the store."""
        return Runtime.open(self.s.url, targets={"t": FunctionTarget(self.deliver, "keyed")})

    async def live(self, acts: Sequence[Act]) -> None:
        for number, act in enumerate(acts):
            await self.run(f"{number}:{','.join(act.calls)}", act.session, act)
            if act.then == "branch":
                async with self.open() as self.runtime:
                    (branch,) = await self.runtime.branches(act.session, 1, name="b")
                await self.run(f"{number}b:{','.join(act.calls)}", branch, act)
                await self.end(branch, release=True)
            elif act.then == "delete":
                await self.end(act.session)

    async def run(self, prompt: str, session: str, act: Act) -> None:
        """Plays one run to its end, whichever processes that takes."""
        async with self.open() as runtime:
            run = await runtime.start(LEADER, prompt, session=session, user=act.user, deliver=["t"])
            if act.killed_after is None:
                self.results.append(await soon(run.result(), 10))
            else:
                for _ in range(act.killed_after):
                    await asyncio.sleep(0)
        async with self.open() as runtime:
            if act.killed_after is not None:
                await runtime.resume(session, LEADER)
                self.results.append(await soon(runtime.run(session, run.key).result(), 10))
            await soon(self.settled(runtime), 10)
            assert await runtime.flush_deliveries() == []
            await self.look(runtime)

    async def settled(self, runtime: Runtime) -> None:
        """Returns when no session of any name has anything left to do."""
        while True:
            heads = await runtime.journal.heads("local", limit=1000)
            if all(head.state == "idle" and not head.unread and head.owner is None for head in heads):
                return
            await runtime.sweep()
            await asyncio.sleep(0.001)

    async def look(self, runtime: Runtime) -> None:
        """Keeps what the logs say now, and sees that the cap holds."""
        for head in await runtime.journal.heads("local", limit=1000):
            async for event in read_events(runtime.journal, head.stream, CODEC):
                self.seen[f"{head.stream} {event.id}" if isinstance(event.data, ToolStarted) else event.id] = event
        balance = await runtime.ledger.balance(TENANT)
        (standing,) = balance.standings
        assert (standing.left[0] or 0) >= 0
        assert balance.settled.tokens <= (standing.cap.tokens or 0)

    async def end(self, session: str, *, release: bool = False) -> None:
        """Frees the name; that a moment after a run somebody still has the session is no reason to give up."""

        async def tried(runtime: Runtime) -> None:
            while True:
                try:
                    await (runtime.release if release else runtime.delete)(session)
                except LeaseHeld:
                    await asyncio.sleep(0.001)
                else:
                    return

        async with self.open() as runtime:
            await soon(tried(runtime), 5)


@pytest.mark.requirement(
    "names:cap-holds", "names:keyed-effects-once", "names:results-arrive", "names:nothing-waits-for-ever"
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=2, max_size=5), st.sampled_from([900, 2_500, 100_000]))
def test_whatever_is_begun_again_under_a_name_owes_nothing_to_what_had_it_before(acts: list[Act], cap: int) -> None:
    async def play(folder: str) -> None:
        PAID.clear()
        scripts = {"leader": model, "helper": helper}
        async with scene(scripts, url=f"sqlite:///{folder}/s.db", seconds=60) as s:
            await s.runtime.ledger.set_caps(TENANT, [Cap(tokens=cap)])
            lives = Lives(s)
            await lives.live(acts)
            balance = await s.runtime.ledger.balance(TENANT)
        runs = len(acts) + sum(act.then == "branch" for act in acts)
        assert len(lives.results) == runs
        assert EACH * len(s.server.requests) <= balance.settled.tokens <= cap, "never more is spent than the cap says"
        assert balance.open == Amount()
        assert {result.status for result in lives.results} <= {"completed", "limited"}
        if cap == 100_000:
            assert [each.reason for each in lives.results if each.status == "limited"] == []
        arrived = Counter(lives.taken.values())
        assert arrived == Counter((each.status, each.output) for each in lives.results), "each result arrives once"
        log = [*lives.seen.values()]
        paid = [done for done in of(ToolFinished, log) if done.result.content == "paid"]
        assert len(set(PAID)) == len(paid), "each payment has a key of its own, and only one"
        begun = {event.id for event in log if isinstance(event.data, RunStarted)}
        assert {key.split("/")[2] for key in PAID} <= begun, "by which its run is found"

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(folder))
