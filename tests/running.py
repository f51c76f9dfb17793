"""Whole runs against a scripted model on loopback: everything is started here, and nothing of it may be left over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast, final

import pytest

from holdfast.engine.events import (
    CODEC,
    InputReceived,
    ModelFinished,
    RunStarted,
    ToolFinished,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.letters import Setup
from holdfast.flow.clock import Clock, SystemClock, Timer
from holdfast.journal.port import Journal
from holdfast.journal.reading import read_events
from holdfast.models.routing.routes import Routes
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.runtime.configuring.equipment import Equipment
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.runtime.delivering.port import Function, Target
from holdfast.runtime.guarding.critic import Critic, Judge
from holdfast.runtime.lanes.claiming import LEASE_SECONDS
from holdfast.runtime.opening import open_journal
from holdfast.runtime.run import Run, RunResult
from holdfast.runtime.runtime import Runtime
from holdfast.runtime.sandboxes import WITHOUT, sandboxes_of
from holdfast.safety.addresses import TRUSTED
from holdfast.safety.secrets.port import Resolver
from holdfast.sandbox.policy.profile import Profile
from holdfast.testing import ScriptedModelServer
from holdfast.testing.scripts import Script
from holdfast.tools.authorising.policy import Policies
from holdfast.types import (
    AssistantMessage,
    CallId,
    Delta,
    Digest,
    Event,
    EventId,
    Limits,
    Part,
    Payload,
    Price,
    StopReason,
    Text,
    TextDelta,
    ToolCall,
    ToolError,
    ToolResult,
    Usage,
    UserMessage,
    stream_id,
)

__all__ = (
    "MODEL",
    "HastyClock",
    "Scene",
    "Wrapped",
    "all_answered",
    "answer",
    "asked",
    "done",
    "of",
    "opened",
    "paired",
    "scene",
    "seen",
    "soon",
    "text_of",
    "told",
    "until",
)

MODEL = "openai/scripted"
T = TypeVar("T")
P = TypeVar("P", bound=Payload)


@dataclass
class Scene:
    """A model server, and a runtime whose models are there."""

    server: ScriptedModelServer
    runtime: Runtime
    url: str
    clock: Clock
    sandbox: Profile = WITHOUT

    async def log(self, session: str = "s") -> list[Event]:
        """Returns everything durable of a session."""
        stream = stream_id("local", session)
        return [event async for event in read_events(self.runtime.journal, stream, CODEC)]

    async def kinds(self, session: str = "s") -> list[str]:
        return [event.type for event in await self.log(session)]

    def other(self) -> Any:
        """Returns another runtime on the same store, to be entered with `async with`."""
        return Runtime.open(self.url, clock=self.clock, sandbox=self.sandbox)

    def silent_after(self, seconds: float) -> None:
        """Gives model servers only so many seconds of silence."""
        self.runtime._bindings.models.client = HttpClient(TRUSTED, NetSettings(silence_timeout=seconds))


class Wrapped:
    """A journal that behaves like another one, but for what a subclass changes."""

    def __init__(self, inner: Journal) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@asynccontextmanager
async def scene(
    script: Script | Mapping[str, Script],
    *,
    url: str = "memory:",
    clock: Clock | None = None,
    prices: Mapping[str, Price] | None = None,
    wrap: Callable[[Journal], object] | None = None,
    targets: Mapping[str, Target | Function] | None = None,
    hooks: Hooks | None = None,
    critic: Critic | Judge | None = None,
    at_once: int | None = None,
    seconds: float = 15,
    sandbox: Profile = WITHOUT,
    routes: Routes | None = None,
    secrets: Sequence[Resolver] | Mapping[str, str] | None = None,
    policy: Policies = None,
) -> AsyncGenerator[Scene]:
    """Runs a scene within a bound of time, and sees that it leaves no task and no connection."""
    before = asyncio.all_tasks()
    clock = clock or SystemClock()
    async with asyncio.timeout(seconds), ScriptedModelServer(script) as server:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OPENAI_BASE_URL", server.base_url)
            environment.setenv("ANTHROPIC_BASE_URL", server.origin)
            for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"):
                environment.delenv(variable, raising=False)
            journal = await open_journal(url, clock)
            if wrap is not None:
                journal = cast("Journal", wrap(journal))
            sandboxes = sandboxes_of(url, journal.blobs, sandbox)
            given = Equipment(
                prices=prices or {},
                targets=targets,
                hooks=hooks,
                at_once=at_once,
                critic=critic,
                routes=routes,
                secrets=secrets,
                policy=policy,
            )
            runtime = Runtime(journal, clock, sandboxes, given)
            try:
                yield Scene(server, runtime, url, clock, sandbox)
            finally:
                await runtime.close()
        await until(lambda: not server._peers, "connections to the model are left over")
    await until(lambda: asyncio.all_tasks() <= before, "tasks are left over")


async def until(holds: Callable[[], bool], otherwise: str = "it never came to be", seconds: float = 5) -> None:
    """Lets everything else go on until something is so."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not holds():
        assert loop.time() < end, f"{otherwise}: {[str(task.get_coro()) for task in asyncio.all_tasks()]}"
        await asyncio.sleep(0)


async def soon(coming: Awaitable[T], seconds: float = 5) -> T:
    """Returns what comes within a bound of time."""
    async with asyncio.timeout(seconds):
        return await coming


def read_on(text: str, item: Event | Delta) -> str:
    """Returns the text of a reader of deltas, by the rules, after one more item."""
    match item:
        case TextDelta():
            return text + item.text
        case Event(data=ModelFinished()):
            return ""
        case _:
            return "" if item.type in ("reset", "lagged") else text


async def text_of(run: Run) -> tuple[str, RunResult]:
    """Returns the text that a reader of deltas puts together, and the result."""
    text = ""
    async for item in run.events():
        text = read_on(text, item)
    return text, await run.result()


async def seen(run: Run, kind: str, times: int = 1) -> Event:
    """Returns the event of that type, or the so-manieth of them, once it is durable."""
    async with contextlib.aclosing(cast("AsyncGenerator[Any, None]", run.events())) as events:
        async for item in events:
            if isinstance(item, Event) and item.type == kind:
                times -= 1
                if not times:
                    return item
    raise AssertionError(f"the run ended without {kind!r}")


def of(kind: type[P], events: Iterable[Event]) -> list[P]:
    """Returns the payloads of one kind."""
    return [event.data for event in events if isinstance(event.data, kind)]


def asked(server: ScriptedModelServer) -> list[list[dict[str, Any]]]:
    """Returns the conversation of each request the model was sent."""
    return [cast("dict[str, Any]", each.json())["messages"] for each in server.requests]


def paired(messages: Sequence[dict[str, Any]]) -> bool:
    """Whether each call of a conversation is followed by its result, all in order and none twice."""
    wanted: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if not wanted or message["tool_call_id"] != wanted.pop(0):
                return False
            continue
        if wanted:
            return False
        wanted = [call["id"] for call in message.get("tool_calls") or ()]
    return not wanted


def all_answered(events: Iterable[Event]) -> bool:
    """Whether each call in a log came to exactly one result."""
    open_calls: dict[str, int] = {}
    tokens: dict[str, str] = {}
    for event in events:
        match event.data:
            case ModelFinished() as data:
                if any(count != 1 for count in open_calls.values()):
                    return False
                open_calls = {call.id: 0 for call in data.message.calls}
            case ToolFinished(nested=None) as data:  # others were made by calls
                open_calls[data.call_id] += 1
            case ToolWaiting() as data if not data.wait.below:  # otherwise a call that this one made waits
                tokens[data.wait.token] = data.call_id
            case WaitResolved(content="once" | "always") as data if data.token.startswith("approval:"):
                pass  # the call goes on
            case WaitResolved() as data if open_calls.get(tokens.get(data.token, "")) == 0:
                open_calls[tokens[data.token]] += 1  # one that comes when the call is over means nothing
            case _:
                pass
    return all(count == 1 for count in open_calls.values())


def told(*payloads: Payload | tuple[Payload, str], at: int = 1_000_000) -> list[Event]:
    """Returns payloads, each perhaps with the key of the letter that caused it, as the events of a log."""
    pairs = [each if isinstance(each, tuple) else (each, "") for each in payloads]
    return [
        Event(
            seq=seq,
            id=EventId(f"b-{seq}"),
            type=payload.type,
            at=at,
            epoch=1,
            cause=cause,
            must_understand=payload.must_understand,
            data=payload,
        )
        for seq, (payload, cause) in enumerate(pairs, 1)
    ]


def opened(limits: Limits | None = None, key: str = "k") -> list[Payload | tuple[Payload, str]]:
    """Returns what opens a run at the beginning of a log."""
    setup = Setup(Digest("sha256:0"), MODEL, limits or Limits())
    return [(InputReceived("prompt", UserMessage((Text("go"),)), setup), key), RunStarted(1, setup)]


_USED = Usage(10, 5)


def answer(
    text: str = "", *calls: str, usage: Usage = _USED, stop: StopReason | None = None, cost: int | None = 7
) -> ModelFinished:
    """Returns an answer of the model that says something, or calls tools of these names."""
    wanted = tuple(ToolCall(CallId(f"c{number}"), name, "{}") for number, name in enumerate(calls))
    parts: tuple[Part, ...] = (*((Text(text),) if text else ()), *wanted)
    return ModelFinished(AssistantMessage(parts, MODEL, stop or ("tool_calls" if calls else "stop"), usage), cost)


def done(number: int, content: str = "ok", error: str = "") -> ToolFinished:
    """Returns the result of an answer's call."""
    return ToolFinished(CallId(f"c{number}"), ToolResult(content, ToolError(error, error) if error else None))


@final
class HastyClock(Clock):
    """Real time in which nobody sleeps: whoever wants to finds that the time has passed."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._real = SystemClock()
        self._ahead = 0.0

    def now(self) -> int:
        return self._real.now() + round(self._ahead * 1e6)

    def monotonic(self) -> float:
        return self._real.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        if seconds == LEASE_SECONDS / 3:
            await asyncio.Event().wait()  # the heartbeat, which would go on for ever
        self.slept.append(seconds)
        self._ahead += seconds
        await asyncio.sleep(0)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._real.call_later(seconds, callback)
