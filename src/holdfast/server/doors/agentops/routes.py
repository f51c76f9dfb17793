"""Every route of this door (source: AgentOps 1): its one conversation, and the sessions of its first generation.

Given to an application by `holdfast daemon`; `holdfast serve` has doors of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.server.access.principal import Scope
from holdfast.server.doors.agentops import sessions
from holdfast.server.doors.agentops import shapes as fep
from holdfast.server.doors.agentops.asking import (
    ERRORS,
    Answers,
    Done,
    Extracting,
    InWait,
    Prompting,
    Replying,
    Steering,
    Window,
    dialect,
)
from holdfast.server.doors.agentops.desk import Desk, desk_of, session_name
from holdfast.server.doors.agentops.extracting import Extract, extract, extractor
from holdfast.server.doors.agentops.remembering import MessageShown
from holdfast.server.doors.agentops.speaking import (
    Output,
    abort,
    budget_of,
    busy_state,
    may_use,
    permit,
    reply,
    resumed,
    steer,
    stream,
    told,
)
from holdfast.server.doors.agentops.telling import Teller, frame, now_shown, read_id, start_of
from holdfast.server.problems import Dialect, Refused
from holdfast.server.routing.route import Answer, Call, Method, Route
from holdfast.server.streams.port import Stream

__all__ = ("ROUTES",)


class Health(msgspec.Struct, frozen=True):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the agent stands."""

    model: str
    total_steps: int
    """Model calls of this conversation."""
    busy: bool
    messages: int
    turns: int
    memory_enabled: bool
    context_budget: fep.ContextBudget
    trace_id: str = ""


async def _here(call: Call[Any, Any, Any]) -> str:
    return (await desk_of(call).current(call.runtime, call.who.tenant))[0]


async def prompt_(call: Call[None, None, Prompting]) -> Output:
    """Gives the agent a prompt, and answers when it has: with the text of the last step, and the model that gave it.

    Whoever goes away meanwhile ends the run.
    """
    return await told(call, partial(_here, call))


async def prompt_stream(call: Call[None, None, Prompting]) -> Stream:
    """Gives the agent a prompt, and streams what happens in the event protocol, up to `session_idle`.

    Whoever goes away meanwhile ends the run.
    """
    return await stream(call, partial(_here, call))


async def again_stream(call: Call[None, None, None]) -> Stream | Answer[None]:
    """Streams the run that is open, or the rest of the one that `Last-Event-ID` is of; 204 where there is no more.

    Whoever goes away from this stream ends nothing.
    """
    given = call.headers.get("last-event-id", "")
    number, after = read_id(given) if given else (0, 0)
    desk = desk_of(call)
    if not number:
        session, number = await desk.current(call.runtime, call.who.tenant)
    else:
        session = session_name(desk.daemon.name, number)
    return await resumed(call, session, number, after if given else None)


async def steer_(call: Call[None, None, Steering]) -> Done:
    """Says something to the run that is open: its next model call has it. Without one, the next prompt brings it."""
    return await steer(call, await _here(call), call.body.message)


async def abort_(call: Call[None, None, None]) -> Done:
    """Ends the run that is open; the agent is busy until it is over. Harmless when it is idle."""
    return await abort(call, await _here(call))


async def permission(call: Call[InWait, None, Replying]) -> Done:
    """Answers a gate: `once`, `always` (the tool, in this conversation) or `deny`. The first answer counts."""
    return await permit(call, await _here(call), call.where.wait, call.body.response)


async def question(call: Call[InWait, None, Answers]) -> Done:
    """Answers what the agent asked, for each question what is picked. The first answer counts."""
    return await reply(call, await _here(call), call.where.wait, call.body.answers)


async def health(call: Call[None, None, None]) -> Health:
    """Says that the process lives, whatever it is busy with."""
    return Health()


async def status(call: Call[None, None, None]) -> Standing:
    """Returns what the agent does, and what its conversation has come to."""
    desk, session = desk_of(call), await _here(call)
    glance = await call.runtime.glance(session)
    memory = await desk.memories.of(call.runtime, call.who.tenant, session)
    parts = memory.trace.split("-")
    return Standing(
        model=memory.model or desk.daemon.agent.spec.model,
        total_steps=memory.steps,
        busy=glance is not None and glance.busy,
        messages=len(memory.messages),
        turns=memory.turns,
        memory_enabled=False,
        context_budget=budget_of(desk, memory)("")(memory.usage),
        trace_id=parts[1] if len(parts) == 4 else "",
    )


async def working_memory(call: Call[None, None, None]) -> list[MessageShown]:
    """Returns the conversation as its messages: what a client shows a chat from."""
    memory = await desk_of(call).memories.of(call.runtime, call.who.tenant, await _here(call))
    return memory.shown()


async def clear(call: Call[None, None, None]) -> Done:
    """Ends the conversation for good, with the run that is open in it, and begins another: messages and turns are 0."""
    session = await _here(call)
    if await call.runtime.exists(session):
        said = await call.runtime.session(session).exit("the conversation was cleared")
        await call.runtime.wake(session, [desk_of(call).daemon.agent])
        await said.committed()
    desk_of(call).take(call.who.tenant, session)
    return Done()


async def extract_(call: Call[None, None, Extracting]) -> Extract:
    """Asks the agent's model what of the conversation is worth keeping; nothing is stored."""
    await may_use(call)
    desk = desk_of(call)
    memory = await desk.memories.of(call.runtime, call.who.tenant, await _here(call))
    if not memory.messages:
        raise Refused(400, "empty", "working memory is empty — nothing to extract from")
    daemon = desk.daemon
    agent = daemon.extracts or extractor(daemon.agent.spec.model.partition(",")[0])
    return await extract(call.runtime, agent, list(memory.messages), call.body)


async def window_size(call: Call[None, None, Window]) -> Done:
    """Bounds how many messages a request carries, for as long as the process lives: the newest ones, from a prompt on;
    a turn that is longer is there as a whole. What is left out stays in the working memory.
    """
    desk_of(call).windows[call.who.tenant] = call.body.size
    return Done()


async def events(call: Call[None, None, None]) -> Stream:
    """Streams what happens in the conversation, of every prompt, whatever door it came by; for any number of watchers.

    Begins with the run that is open; with `Last-Event-ID`, with what that reader has not had. When the conversation is
    cleared, it goes on with the next one.
    """
    desk = desk_of(call)
    given = call.headers.get("last-event-id", "")
    number, known = read_id(given) if given else (0, 0)
    _, now = await desk.current(call.runtime, call.who.tenant)
    if number > now:
        raise Refused(400, "bad_id", "that Last-Event-ID is of no conversation there is: leave it out")
    number = number or now
    telling: list[Teller] = []
    return Stream(
        pieces=_watch(call, desk, number, known if given else None, telling),
        farewell=lambda: telling[-1].end("the agent is being stopped") if telling else b"",
        failed=lambda refused: telling[-1].end(refused.detail or refused.code) if telling else b"",
    )


async def _watch(
    call: Call[Any, Any, Any], desk: Desk, number: int, known: int | None, telling: list[Teller]
) -> AsyncGenerator[bytes]:
    runtime, name = call.runtime, desk.daemon.name
    first = True
    while True:
        session = session_name(name, number)
        await _exist(call, session)
        glance = await runtime.glance(session)
        seq = 0 if glance is None else glance.seq
        memory = await desk.memories.of(runtime, call.who.tenant, session)
        at = seq if known is None and first else min(known or 0, seq)
        after = await start_of(runtime, session, at)
        teller = Teller(name, session, number=number, known=known or 0, budgets=budget_of(desk, memory))
        telling.append(teller)
        if first:
            yield frame(fep.SessionStatus(timestamp=now_shown(), session_id=name, status=busy_state(glance)))
        items = runtime.follow(session, after=after)
        try:
            async for batch in items:
                if piece := await teller.feed(runtime, batch):
                    yield piece
                if any(each.type == "session.ended" for each in batch):
                    break
        finally:
            await items.aclose()
        first, known = False, None
        _, number = await desk.current(runtime, call.who.tenant, least=number)


async def _exist(call: Call[Any, Any, Any], session: str) -> None:
    """Makes a conversation that nobody spoke in yet, so that it can be followed."""
    if not await call.runtime.exists(session):
        with contextlib.suppress(UsageError):  # somebody else made it a moment ago
            await call.runtime.create(session)


_PROMPT = dialect("prompt is required")
_MESSAGE = dialect("message is required")
_RESPONSE = dialect("response is required (once|always|deny)")
_ANSWERS = dialect("answers are required")
_SIZE = dialect("size is required: a whole number from 2")


def _route(
    method: Method,
    path: str,
    handle: Callable[[Any], Awaitable[Any]],
    scope: Scope | None,
    tells: Dialect = ERRORS,
    **more: Any,
) -> Route:
    return Route(method=method, path=path, handle=handle, scope=scope, tag="agentops", dialect=tells, **more)


_SSE: dict[str, Any] = {"media_type": "text/event-stream"}
_LONG: dict[str, Any] = {"seconds": None}

_SAID = {"prompt": _PROMPT, "stream": _PROMPT, "steer": _MESSAGE, "permission": _RESPONSE, "question": _ANSWERS}
"""The words of unfit bodies, by a word of the path."""


def _told(path: str) -> Dialect:
    return next((_SAID[each] for each in path.split("/") if each in _SAID), ERRORS)


ROUTES: tuple[Route, ...] = (
    _route("POST", "/prompt", prompt_, "sessions:write", _PROMPT, attended=True, **_LONG),
    _route("POST", "/prompt/stream", prompt_stream, "sessions:write", _PROMPT, **_SSE),
    _route("GET", "/prompt/stream", again_stream, "sessions:read", also=(204,), **_SSE),
    _route("GET", "/events", events, "sessions:read", **_SSE),
    _route("POST", "/steer", steer_, "sessions:write", _MESSAGE),
    _route("DELETE", "/abort", abort_, "sessions:write"),
    _route("POST", "/permission/{wait}/reply", permission, "waits:answer", _RESPONSE, errors=(404,)),
    _route("POST", "/question/{wait}/reply", question, "waits:answer", _ANSWERS, errors=(404,)),
    _route("GET", "/healthz", health, None, counted=False),
    _route("GET", "/status", status, "sessions:read"),
    _route("GET", "/working-memory", working_memory, "sessions:read"),
    _route("DELETE", "/working-memory", clear, "sessions:write"),
    _route("POST", "/memory/extract", extract_, "sessions:write", seconds=300.0, attended=True),
    _route("PATCH", "/config/window-size", window_size, "sessions:write", _SIZE),
    *(
        _route(method, f"/sessions{path}", handle, scope, _told(path), **more)
        for method, path, handle, scope, more in sessions.TABLE
    ),
)
"""Every route of the door."""
