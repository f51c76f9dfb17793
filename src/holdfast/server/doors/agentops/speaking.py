"""Prompts, words in between, aborts and answers, of one session: what the conversation's routes and those of the first
generation have in common.

A prompt never waits for another: where a run is open it is refused at once. Whoever asked and goes away ends the run;
when it is the server that goes, the run stays open in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from holdfast.engine.events import InputDropped, ModelFinished, RunFinished
from holdfast.errors import SessionBusy, SessionExited, UnknownWait, UsageError
from holdfast.runtime.history.waiting import Waiting
from holdfast.runtime.run import Run, RunResult
from holdfast.runtime.sessions.glancing import Glance
from holdfast.server.doors.agentops import shapes as fep
from holdfast.server.doors.agentops.asking import Done, Prompting, origin_of, shown_context
from holdfast.server.doors.agentops.desk import Desk, desk_of
from holdfast.server.doors.agentops.publishing import Bus
from holdfast.server.doors.agentops.remembering import Memory, estimated
from holdfast.server.doors.agentops.telling import Budgets, Teller, one_run, start_of
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call
from holdfast.server.streams.port import Stream
from holdfast.types import Event, Text, Usage

__all__ = (
    "Output",
    "Where",
    "abort",
    "budget_of",
    "busy_state",
    "may_use",
    "permit",
    "reply",
    "resumed",
    "steer",
    "stream",
    "told",
)

_STOPPED = "the agent is being stopped: its run stays open, and goes on when it is started again"
_LEFT = "whoever asked is gone"
_TOOL = 150
"""Tokens that a tool takes in a request, where nobody counts them (source: AgentOps 6.4)."""
_WINDOW = 200_000
"""Tokens of a model's window, where nobody knows (source: AgentOps 6.4)."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt came to."""

    output: str
    """The text of the last step."""
    model: str
    """Who gave it."""


class Where(Protocol):
    """Finds the session that is meant: asked again where it has ended meanwhile."""

    async def __call__(self) -> str:
        """Returns its name."""
        ...


def budget_of(desk: Desk, memory: Memory) -> Budgets:
    """Returns what says of a request what its tokens are of."""
    from holdfast.models.catalogue import lookup  # noqa: PLC0415 - reads the catalogue

    daemon = desk.daemon
    spec = daemon.agent.spec
    card = lookup(memory.model or spec.model.partition(",")[0].partition(":")[0])
    window = (card.context_window if card is not None else None) or _WINDOW
    system, tools, said = estimated(spec.instructions), _TOOL * len(spec.tools), memory.tokens

    def budgets(prompt: str) -> Any:
        def shown(used: Usage) -> fep.ContextBudget:
            return fep.ContextBudget(
                context_window=window,
                budget_tokens=int(window * daemon.fraction),
                system_prompt_tokens=system,
                tool_tokens=tools,
                conversation_tokens=said,
                prompt_tokens=estimated(prompt),
                actual_input_tokens=used.input_tokens,
                actual_output_tokens=used.output_tokens,
                cache_read_tokens=used.cache_read_tokens,
                cache_write_tokens=used.cache_write_tokens,
            )

        return shown

    return budgets


async def told(call: Call[Any, Any, Prompting], where: Where) -> Output:
    """Gives the session a prompt, and returns what it came to."""
    desk = desk_of(call)
    run, _ = await _begin(call, desk, where)
    ends, stops = asyncio.create_task(_outcome(run)), asyncio.create_task(call.service.closing.wait())
    try:
        await asyncio.wait((ends, stops), return_when=asyncio.FIRST_COMPLETED)
        if not ends.done():
            raise Refused(503, "closing", _STOPPED, headers={"retry-after": "5"})
        result, model = ends.result()
    except asyncio.CancelledError:
        if not call.service.closing.is_set():
            desk.later(run.abort(_LEFT))
        raise
    finally:
        ends.cancel()
        stops.cancel()
    if result.status != "completed":
        why = result.reason or result.status
        raise Refused(500, result.status, why if result.status == "failed" else f"{result.status}: {why}")
    return Output(output=result.output, model=model)


async def _outcome(run: Run[Any]) -> tuple[RunResult[Any], str]:
    """Returns what a run came to, and who answered last."""
    model = ""
    async for item in run.events():
        if isinstance(item, Event) and isinstance(item.data, ModelFinished):
            model = item.data.message.model
    return await run.result(), model


async def stream(call: Call[Any, Any, Prompting], where: Where) -> Stream:
    """Gives the session a prompt, and returns the stream of what comes of it."""
    desk = desk_of(call)
    run, after = await _begin(call, desk, where)
    memory = await desk.memories.of(call.runtime, call.who.tenant, run.session)
    teller = Teller(desk.daemon.name, run.session, key=run.key, budgets=budget_of(desk, memory))
    return Stream(
        pieces=_pieces(call, desk, run, teller, after),
        farewell=lambda: teller.end(_STOPPED),
        failed=lambda refused: teller.end(refused.detail or refused.code),
    )


async def _pieces(
    call: Call[Any, Any, Any], desk: Desk, run: Run[Any], teller: Teller, after: int
) -> AsyncGenerator[bytes]:
    pieces = one_run(call.runtime, run.session, teller, after)
    try:
        async for piece in pieces:
            yield piece
    finally:
        if not teller.over and not call.service.closing.is_set():
            desk.later(run.abort(_LEFT))
        await pieces.aclose()


async def _begin(call: Call[Any, Any, Prompting], desk: Desk, where: Where) -> tuple[Run[Any], int]:
    """Returns the run of a prompt, and after which event it begins.

    Raises:
        Refused: a run is open, or the prompt is none.
    """
    await may_use(call)
    session = await where()
    for last in (False, True):
        try:
            return await _start(call, desk, session)
        except SessionBusy:
            raise _busy() from None
        except SessionExited:  # it was cleared a moment ago
            if last:
                raise
            session = await where()
    raise AssertionError("the second try returns or raises")


async def _start(call: Call[Any, Any, Prompting], desk: Desk, session: str) -> tuple[Run[Any], int]:
    runtime, daemon, tenant = call.runtime, desk.daemon, call.who.tenant
    agent = daemon.agent.showing(desk.windows[tenant]) if tenant in desk.windows else daemon.agent
    glance = await runtime.glance(session)
    if glance is not None and glance.busy:
        raise _busy()
    words, context, accepted = desk.take(tenant, session), shown_context(call.body.context), False
    try:
        run = await runtime.start(
            agent.also_told(context) if context else agent,
            [*(Text(f"[STEER] {each}\n") for each in words), Text(call.body.prompt)],
            session=session,
            workspace=daemon.workspace or (None if glance and glance.seq else await runtime.home(session)),
            control=daemon.control,
            if_idle=True,
            origin=origin_of(call.headers),
            background=call.who.lane == "autonomous",
        )
        accepted = True
        desk.accepted(tenant, session, run.key)
        if (bus := call.service.parts.get(Bus)) is not None:
            memory = await desk.memories.of(runtime, tenant, session)
            bus.watch(runtime, tenant, session, 0 if glance is None else glance.seq, budget_of(desk, memory))
    finally:
        if not accepted:
            desk.give_back(tenant, session, words)
    return run, 0 if glance is None else glance.seq


async def may_use(call: Call[Any, Any, Any]) -> None:
    """Ends quietly when whoever asks may have this agent's model asked.

    Raises:
        Refused: the agent is none of theirs, or they have nothing left to spend.
    """
    name = desk_of(call).daemon.name
    if not call.who.may_ask(name):
        raise Refused(403, "agent_not_yours", f"this {call.who.how} may not ask the agent {name!r}")
    await call.service.throttle.afford(call.who)


def _busy() -> Refused:
    return Refused(429, "busy", "agent is busy", headers={"retry-after": "1"})


async def steer(call: Call[Any, Any, Any], session: str, words: str) -> Done:
    """Says something to the run that is open; where none is, it is kept for the next prompt."""
    glance = await call.runtime.glance(session)
    if glance is None or not glance.busy:
        desk_of(call).keep(call.who.tenant, session, words)
    else:
        await call.runtime.session(session).steer(words)
    return Done()


async def abort(call: Call[Any, Any, Any], session: str) -> Done:
    """Ends the run that is open; it stays open until what is under way has stopped."""
    glance = await call.runtime.glance(session)
    if glance is not None and glance.busy:
        desk = desk_of(call)
        # One that has only just been accepted goes by its key; the open one, whoever began it, by none.
        for key in (desk.last.get((call.who.tenant, session)), ""):
            if key is not None:
                await call.runtime.run(session, key).abort("aborted")
        await call.runtime.wake(session, [desk.daemon.agent])
    return Done()


async def permit(
    call: Call[Any, Any, Any], session: str, wait: str, response: Literal["once", "always", "deny"]
) -> Done:
    """Answers a gate: once, for always in this session, or not at all."""
    gone = Refused(404, "not_found", "permission request not found or already resolved")
    found = _found(await call.runtime.waiting(session), wait, ("approval", "review"))
    if found is None:
        raise gone
    asked = call.runtime.session(session)
    if response == "deny":
        receipt = await asked.deny(found.token, "Permission denied by user")
    else:
        receipt = await asked.approve(found.token, always=response == "always")
    if receipt.status == "duplicate":
        raise gone
    await call.runtime.wake(session, [desk_of(call).daemon.agent])
    return Done()


async def reply(call: Call[Any, Any, Any], session: str, wait: str, answers: Sequence[Sequence[str]]) -> Done:
    """Answers questions: for each, what is picked."""
    gone = Refused(404, "not_found", "question not found or already resolved")
    found = _found(await call.runtime.waiting(session), wait, ("question",))
    if found is None:
        raise gone
    try:
        receipt = await call.runtime.session(session).reply(found.token, answers)
    except UnknownWait:
        raise gone from None
    except UsageError as error:
        raise Refused(400, "bad_answers", str(error)) from None
    if receipt.status == "duplicate":
        raise gone
    await call.runtime.wake(session, [desk_of(call).daemon.agent])
    return Done()


def _found(waiting: Sequence[Waiting], id: str, kinds: Sequence[str]) -> Waiting | None:
    return next((each for each in waiting if each.id == id and each.kind in kinds and not each.answered), None)


def busy_state(glance: Glance | None) -> Literal["idle", "busy", "waiting"]:
    """Returns what a session does, in the protocol's word."""
    if glance is None or not glance.busy:
        return "idle"
    return "waiting" if glance.state == "waiting" else "busy"


async def resumed(call: Call[Any, Any, Any], session: str, number: int, known: int | None) -> Stream | Answer[None]:
    """Returns the stream of a session's run: of the open one, or the rest of the one that a reader had a part of."""
    desk, runtime = desk_of(call), call.runtime
    glance = await runtime.glance(session)
    if glance is None or (not glance.busy and (known is None or known >= glance.seq)):
        return Answer(value=None, status=204)
    at = glance.seq if known is None else min(known, glance.seq)
    after = await start_of(runtime, session, at)
    if not glance.busy and not await _ends_after(call, session, at):
        return Answer(value=None, status=204)
    memory = await desk.memories.of(runtime, call.who.tenant, session)
    teller = Teller(desk.daemon.name, session, number=number, known=known or 0, budgets=budget_of(desk, memory))
    return Stream(
        pieces=one_run(runtime, session, teller, after),
        farewell=lambda: teller.end(_STOPPED),
        failed=lambda refused: teller.end(refused.detail or refused.code),
    )


async def _ends_after(call: Call[Any, Any, Any], session: str, seq: int) -> bool:
    """Whether a run of a session that is idle ended after an event."""
    while events := await call.runtime.events(session, after=seq):
        if any(isinstance(each.data, RunFinished | InputDropped) for each in events):
            return True
        seq = events[-1].seq
    return False
