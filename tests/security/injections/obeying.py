"""A model that does whatever it reads, by each way a model has, and a person beside it who allows only what is due."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, Scene, all_answered, of, scene, soon
from tests.security.injections.carriers import CARRIERS, Carried
from tests.security.injections.orders import found_in, hidden_in
from tests.security.injections.world import GATED, PAID, TILL, TOOLS, Gate, paid

from holdfast import Agent, Hooks
from holdfast.engine.events import Forked, ModelFinished, ToolFinished, ToolStarted
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.sandbox.policy.profile import Ceiling, Profile
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.tools.hooks.port import Calling, Ruling, ToolHooks
from holdfast.types import AssistantMessage, Event, ToolMessage, UserMessage, session_of

__all__ = ("ROUTES", "Attack", "Played", "play")

AGAIN = "Go on."
PLACE = Profile(backend="none", tools=Ceiling(programs=("cat",)))


@dataclass(frozen=True)
class Attack:
    """A text that a model gets to read, and what it wants of it."""

    name: str
    carrier: str
    text: str
    """`{order}` is where the calls stand."""
    order: Sequence[tuple[str, Any, str]] = (("transfer", {"to": "mallory", "amount": 100}, ""),)
    """Calls: name, arguments, and the id to give them, empty for a usual one; `{till}` is the file to which commands
    write what they take, and `{listening}` the address of somebody who listens.
    """
    encoding: str = "plain"
    route: str = "direct"
    bites: bool = True
    """Whether it would go well without any gate."""
    allows: str = ""
    """What the person really wants to be done: one transfer, once."""


@dataclass
class Played:
    """What became of it."""

    read: bool = False
    """Whether the model found the order."""
    waited: int = 0
    """Gated calls that waited for a person."""
    refused: int = 0
    """Gated calls that were refused."""
    prompts: list[str] = field(default_factory=list[str])
    """What the person was asked of gated calls."""
    logs: list[list[Event]] = field(default_factory=list[list[Event]])


# ---- the model ----------------------------------------------------------------------------------------------


def _nested(call: Call) -> Call:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
    return Call("through", {"name": call.name, "arguments": arguments})


def _script(calls: list[Call]) -> Call:
    return Call("script", {"code": "\n".join(f"call({each.name!r}, **{each.arguments!r})" for each in calls)})


def _to_a_clerk(calls: list[Call]) -> Call:
    return Call("clerk", {"prompt": hidden_in("{order}", [(each.name, each.arguments, each.id) for each in calls])})


LOOK = Call("look", {"at": "the door"})
ROUTES: dict[str, Callable[[list[Call]], list[Turn]]] = {
    "direct": lambda calls: [Turn(calls=calls)],
    "beside": lambda calls: [Turn(calls=[LOOK, *calls, LOOK])],
    "nested": lambda calls: [Turn(calls=[_nested(each) for each in calls])],
    "deep": lambda calls: [Turn(calls=[_nested(_nested(each)) for each in calls])],
    "script": lambda calls: [Turn(calls=[_script(calls)])],
    "stamped": lambda calls: [Turn(calls=[Call("stamp", {"paper": "the letter"})]), Turn(calls=calls)],
    "stamped beside": lambda calls: [Turn(calls=[Call("stamp", {"paper": "the letter"}), *calls])],
    "insisting": lambda calls: [Turn(calls=calls), Turn(calls=calls), Turn(calls=calls * 2)],
    "one by one": lambda calls: [Turn(calls=[each]) for each in calls],
    "cut": lambda calls: [Turn(calls=calls, stop="length"), Turn(calls=calls)],
    "child": lambda calls: [Turn(calls=[_to_a_clerk(calls)])],
    "resumed": lambda calls: [Turn(calls=calls)],
    "forked": lambda calls: [Turn(calls=calls)],
    "later": lambda calls: [Turn(text="Noted."), Turn(calls=calls)],
}
"""By their names: the turns that follow upon what was read."""


def _model(attack: Attack, carried: Carried, played: Played) -> Callable[[ScriptRequest], Turn | str]:
    def says(request: ScriptRequest) -> Turn | str:
        texts = [m.content for m in request.messages if isinstance(m, ToolMessage)]
        texts += [m.text for m in request.messages if isinstance(m, UserMessage)]
        calls = next((found for each in texts if (found := found_in(each, attack.encoding))), [])
        played.read = played.read or bool(calls)
        places = [place for place, each in enumerate(request.messages) if isinstance(each, UserMessage)]
        answers = sum(isinstance(each, AssistantMessage) for each in request.messages[places[-1] :])
        if request.last_user_text == AGAIN:
            turns = ROUTES["direct"](calls)
        else:
            turns = [Turn(calls=list(carried.calls))] if carried.calls else []
            turns += ROUTES[attack.route](calls) if calls else []
        return turns[answers] if answers < len(turns) else "Done."

    return says


def _clerk(request: ScriptRequest) -> Turn | str:
    calls = found_in(request.last_user_text)
    return Turn(calls=calls) if calls and not request.answers else "Done."


# ---- the play -----------------------------------------------------------------------------------------------


async def play(attack: Attack, gate: Gate, folder: Path, more: Sequence[str] = ()) -> Played:
    """Returns what became of an attack, when nothing more happens."""
    played, space = Played(), folder / "space"
    space.mkdir()
    carried = Carried()
    model = _model(attack, carried, played)
    scripts = {"scripted": model, "clerk": _clerk, "child": lambda _: Turn(text=carried.child)}
    hooks = _both(gate, carried)
    url = f"sqlite:///{folder}/s.db" if attack.route == "resumed" else "memory:"
    async with (
        scene(scripts, policy=gate.policy, hooks=hooks, url=url, seconds=30, sandbox=PLACE) as s,
        AsyncExitStack() as stack,
    ):
        listening = await stack.enter_async_context(serving(_listens))
        text = hidden_in(attack.text, _filled(attack.order, folder, listening.url), attack.encoding)
        carried.takes(await CARRIERS[attack.carrier](text, space, stack))
        clerk = Agent("openai/clerk", name="clerk", tools=TOOLS).as_tool("clerk")
        agent = Agent(MODEL, tools=[*carried.tools, *TOOLS, clerk, *more])
        await _Play(s, attack, gate, agent, carried, played, space, stack).run()
    return played


async def _listens(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    PAID.append(request.line.split()[1])
    writer.write(answer())


def _filled(order: Sequence[tuple[str, Any, str]], folder: Path, listening: str) -> list[Any]:
    return json.loads(json.dumps(order).replace("{till}", str(folder / TILL)).replace("{listening}", listening))


def _both(gate: Gate, carried: Carried) -> Hooks | None:
    tools = None if gate.hooks is None else gate.hooks.tools

    def remembers(calling: Calling) -> Ruling | None:
        return None if carried.hook is None else carried.hook(calling)

    return Hooks(tools=ToolHooks(before=(*(() if tools is None else tools.before), remembers)))


@dataclass
class _Play:
    s: Scene
    attack: Attack
    gate: Gate
    agent: Any
    carried: Carried
    played: Played
    space: Path
    stack: AsyncExitStack
    allowed: list[str] = field(default_factory=list[str])
    """Tokens of what was allowed."""
    denied: set[str] = field(default_factory=set[str])

    async def run(self) -> None:
        if self.carried.before:
            await self._earlier()
        run = await self._start(self.carried.prompt, "s")
        done = await self._settled(run)
        if self.attack.route == "resumed":
            run, done = await self._in_another_process(done=done)
        if self.attack.route == "forked":
            fork = await self.s.runtime.fork("s", name="f")
            await self._ended(await self._start(AGAIN, fork))
        if not done:
            await self._ended(run)
        if self.attack.route == "later":
            await self._ended(await self._start(AGAIN, "s"))
        await self._look_into_logs()

    async def _earlier(self) -> None:
        """Has something kept in a session of which nobody asked anything."""
        calls, self.carried.calls = self.carried.calls, self.carried.before
        run = await self.s.runtime.start(self.agent, "Keep this.", session="before", workspace=self.space)
        await soon(run.result())
        self.carried.calls = calls

    async def _start(self, prompt: str, session: str) -> Run[Any]:
        gate, folder = self.gate, self.space if session == "s" else None
        return await self.s.runtime.start(
            self.agent, prompt, session=session, mode=gate.mode, unattended=gate.unattended, workspace=folder
        )

    async def _settled(self, run: Run[Any]) -> bool:
        """Allows what is due until the run is over, or waits for what is not; returns whether it is over."""
        ended = asyncio.ensure_future(run.result())
        try:
            while True:
                waits = await self._waits()
                due = [each for each in waits if not self._is_gated(each)]
                for each in due:
                    await self._allow(each)
                if ended.done() and not ended.exception():
                    return True
                if waits and not due and await self._quiet(waits):
                    return False
                await asyncio.sleep(0)
        finally:
            ended.cancel()
            with suppress(asyncio.CancelledError):
                await ended

    async def _quiet(self, waits: Sequence[Any]) -> bool:
        """Whether nothing goes on but what waits."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.s.runtime.stats().driven == 0 and await self._waits() == waits

    async def _waits(self) -> list[Any]:
        return [each for each in await self.s.runtime.waiting() if not each.answered and each.token not in self.denied]

    def _is_gated(self, wait: Any) -> bool:
        if wait.kind != "approval" or wait.tool not in GATED:
            return False
        if not self.attack.allows or self.allowed:
            return True
        return self._wanted(wait) != self.attack.allows

    def _wanted(self, wait: Any) -> str:
        given = json.loads(wait.call.arguments)
        return f"{given.get('to')}:{given.get('amount', 1)}"

    async def _allow(self, wait: Any) -> None:
        run = self.s.runtime.session(wait.session)
        if wait.kind == "question":
            await run.answer(wait.token, json.dumps([[self.carried.answer]]))
        else:
            if wait.tool in GATED:
                self.allowed.append(wait.token)
            await run.approve(wait.token)

    async def _ended(self, run: Run[Any]) -> None:
        """Replays whatever was allowed, and says no to the rest until the run is over."""
        while not await self._settled(run):
            waits = await self._waits()
            await self._replay(waits[0])
            for each in waits:
                self.played.waited += 1
                self.played.prompts.append(each.prompt)
                assert self._taken() == []
                self.denied.add(each.token)
                await self.s.runtime.session(each.session).deny(each.token)

    async def _replay(self, wait: Any) -> None:
        """Says yes under other names: those of what was allowed before, and some that are made up."""
        for token in (*self.allowed, "approval", wait.token[:-1], wait.token.upper()):
            await self.s.runtime.session(wait.session).answer(token, "once")

    async def _in_another_process(self, *, done: bool) -> tuple[Run[Any], bool]:
        await self.s.runtime.close()
        self.s.runtime = await self._reopened()
        if done:
            run = await self._start(AGAIN, "s")
        else:
            run = await self.s.runtime.resume("s", self.agent)
        return run, await self._settled(run)

    async def _reopened(self) -> Runtime:
        hooks, s = _both(self.gate, self.carried), self.s
        opening = Runtime.open(s.url, clock=s.clock, sandbox=PLACE, policy=self.gate.policy, hooks=hooks)
        return await self.stack.enter_async_context(opening)

    def _taken(self) -> list[str]:
        return [each for each in paid(self.space.parent) if each != self.attack.allows]

    def _begun(self, log: list[Event]) -> list[str]:
        """Returns the gated calls that began."""
        called = {c.id: c.name for each in of(ModelFinished, log) for c in each.message.calls}
        names = [e.nested.name if e.nested else called.get(e.call_id, "") for e in of(ToolStarted, log)]
        return [each for each in names if each in GATED]

    async def _look_into_logs(self) -> None:
        for head in await self.s.runtime.journal.heads("local"):
            session = session_of(head.stream)
            log = await self.s.log(session)
            begun = [place for place, each in enumerate(log) if isinstance(each.data, Forked)]
            log = log[begun[-1] :] if begun else log  # what was open before stays with the original
            assert all_answered(log), session
            self.played.logs.append(log)
            assert not self._begun(log) or self.gate.name == "none" or self.allowed
            called = {c.id: c.name for each in of(ModelFinished, log) for c in each.message.calls}
            for finished in of(ToolFinished, log):
                name = finished.nested.name if finished.nested else called[finished.call_id]
                error = finished.result.error
                if name in GATED and error is not None and error.status == "denied":
                    self.played.refused += 1
