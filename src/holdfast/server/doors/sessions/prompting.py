"""Giving a session something to do, and asking what came of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.engine.letters import Status
from holdfast.errors import RequestRefused, UnknownSession
from holdfast.flow.ids import new_session
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.delivering.targets.finding import is_private
from holdfast.runtime.run import ModelUse, Run, RunResult
from holdfast.server.access.principal import Principal
from holdfast.server.doors.sessions.shapes import (
    Given,
    InSession,
    Key,
    Name,
    Words,
    agent_of,
    check_session,
    key_of,
    last_agent,
    reused,
    words_of,
)
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call
from holdfast.types import IDLE_LIMIT, NO_CONTROL, Control, Limits, Mode, Usage

__all__ = (
    "Asked",
    "Bounded",
    "Outcome",
    "Places",
    "PromptBody",
    "ask",
    "limits_within",
    "proceed",
    "prompt",
    "result",
    "was_asked",
)

Count = Annotated[int, Meta(ge=0, le=10**9)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]


class Places(msgspec.Struct, frozen=True):
    """Where sessions work whose clients name no folder, as the server's configuration says; a part of the service.

    Clients never do: a folder's name is worth nothing from outside.
    """

    folder: Callable[[Principal, str], Path | None]
    """For whom, and the session; None for its own in the data folder."""


class Bounded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a run may go, within what its agent may at all."""

    steps: Count | None = None
    """Model calls."""
    tool_calls: Count | None = None
    tokens: Count | None = None
    dollars: Amount | None = None
    seconds: Amount | None = None


class ControlBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How people take part."""

    patience: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    """Seconds a person has to answer; what nobody allowed by then is denied."""
    review: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """Set when a person has to approve the answer: how often they may ask for changes."""
    idle: Annotated[float, Meta(gt=0, le=IDLE_LIMIT)] | None = None
    """Seconds after a run in which nobody says anything until the session ends for good; what the server says of such
    prompts without."""

    def over(self, usual: Control | None) -> Control:
        """Returns how people take part: as is usual where this does not say it."""
        usual = usual or NO_CONTROL
        return Control(
            patience=self.patience or usual.patience,
            review=usual.review if self.review is None else self.review,
            idle=self.idle or usual.idle,
        )


class PromptBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is wanted, of whom, and how far it may go."""

    text: Words = ""
    parts: Annotated[tuple[Given, ...], Meta(max_length=100)] = ()
    """Instead of `text`: words, images and documents in their order."""
    agent: Annotated[str, Meta(max_length=200)] = ""
    """Who answers, by name; whom the session's last prompt asked without, or the only one there is."""
    limits: Bounded | None = None
    mode: Mode | None = None
    """What the agent may do without asking; what the server says of such prompts without."""
    unattended: bool = False
    """Nobody will answer: what would be asked about is denied."""
    control: ControlBody | None = None
    files: Annotated[tuple[Annotated[str, Meta(max_length=100)], ...], Meta(max_length=100)] = ()
    """Ids of uploads that it may read."""
    deliver: Annotated[tuple[Annotated[str, Meta(max_length=2000)], ...], Meta(max_length=16)] = ()
    """Where the result goes: `webhook:https://...`, or targets of the server by name."""
    key: Key = ""
    if_idle: bool = False
    """Refuse to wait for a run that is under way."""
    interrupt: bool = False
    """End the run that is under way first."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that was accepted."""

    session: str
    key: str
    """What its result is asked for by."""
    status: Literal["accepted", "duplicate"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to; of one that is open only that it is."""

    session: str
    key: str
    status: Status | Literal["open"]
    output: str = ""
    """The answer; of a run that did not complete, what the model said last."""
    value: Any = None
    """The answer as data, of an agent that answers so."""
    reason: str = ""
    usage: Usage = Usage()
    cost: float | None = None
    """US dollars; null when a price was unknown."""
    steps: int = 0
    denied: int = 0
    """Calls that were not allowed."""
    run: int = 0
    """Where it started in the session."""
    models: dict[str, ModelUse] = {}


class InRun(msgspec.Struct, frozen=True):
    """A run of a session."""

    session: Name
    key: Annotated[str, Meta(max_length=256)]


class Polling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait."""

    wait: Annotated[float, Meta(ge=0, le=50)] = 0
    """Seconds that an open run is given to end before the answer says that it is open."""


class Proceeding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Going on half-way."""

    agent: Annotated[str, Meta(max_length=200)] = ""
    """Who goes on; the last run's own without."""
    limits: Bounded | None = None


async def prompt(call: Call[InSession, None, PromptBody]) -> Answer[Asked]:
    """Gives a session a prompt: accepted, it survives a crash; in a session that is busy it waits its turn. Where there
    is no session of that name, this makes it.

    With an Idempotency-Key (or `key`), one that is sent twice is one: the answer to the second is 200 instead of 202,
    and 409 where it says something else.
    """
    key = key_of(call, call.body.key)
    if call.body.interrupt and call.body.if_idle:
        raise Refused(400, "bad_body", "`interrupt` ends what `if_idle` would not wait for: send one of them")
    asked = await ask(call, call.where.session, call.body, key)
    return Answer(value=asked, status=200 if asked.status == "duplicate" else 202)


async def ask(call: Call[Any, Any, Any], session: str | None, body: PromptBody, key: str | None) -> Asked:
    """Starts what a prompt wants, in a session of that name, or in a new one.

    Raises:
        Refused: it names something that a client may not, or that is not there.
    """
    agent = agent_of(call, body.agent or await last_agent(call, session))
    await call.service.throttle.afford(call.who)
    words = words_of(body.text, body.parts)
    deliver = _deliverable(body.deliver, call.runtime.targets)
    files = await call.runtime.kept(body.files) if body.files else ()
    if session is None and (agent.tools or agent.phases):
        session = new_session()
    if body.interrupt and session is not None:
        await _interrupt(call, session, key)
    run = await call.runtime.start(
        agent,
        words,
        session=session,
        limits=limits_within(body.limits, agent.spec.limits),
        workspace=await _workspace(call, agent, session),
        mode=body.mode or call.service.mode,
        unattended=body.unattended,
        control=call.service.control if body.control is None else body.control.over(call.service.control),
        deliver=deliver,
        files=files,
        key=key,
        if_idle=body.if_idle,
        background=call.who.lane == "autonomous",
    )
    if not await run.is_same():
        raise reused(run.key)
    return Asked(session=run.session, key=run.key, status="duplicate" if run.repeated else "accepted")


async def _interrupt(call: Call[Any, Any, Any], session: str, key: str | None) -> None:
    """Ends the open run, once for each key: a prompt that is sent again does not end what it began itself."""
    if await call.runtime.is_blank(session) or (key is not None and await was_asked(call, session, key)):
        return
    once = None if key is None else f"interrupt:{hashlib.sha256(key.encode()).hexdigest()}"
    await call.runtime.run(session, "").abort("interrupted by another prompt", key=once)


async def was_asked(call: Call[Any, Any, Any], session: str, key: str) -> bool:
    """Whether a prompt of that key was given to a session before."""
    try:
        await call.runtime.run(session, key).peek()
    except UnknownSession:
        return False
    return True


async def _workspace(call: Call[Any, Any, Any], agent: BoundAgent, session: str | None) -> Path | None:
    if session is None or not (agent.tools or agent.phases):
        return None
    places = call.service.parts.get(Places)
    named = None if places is None else places.folder(call.who, session)
    return named or await call.runtime.home(session)


def _deliverable(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    ours = f"one of this server's: {', '.join(known)}" if known else "a target of this server, which has none so far"
    for name in names:
        if name not in known and not name.startswith(("webhook:https://", "webhook:http://")):
            raise Refused(
                422, "bad_target", f"{name[:100]!r} is no target for a client: name `webhook:https://...`, or {ours}"
            )
        if name.startswith("webhook:") and _elsewhere(name.removeprefix("webhook:")):
            raise Refused(
                422,
                "bad_target",
                f"{name[:100]!r} is an address of this machine or of a private network, which no `webhook:` reaches: "
                f"name {ours} (`targets:` in its configuration)",
            )
    return names


def _elsewhere(url: str) -> bool:
    """Whether a URL is of a place that no client may name.

    Raises:
        Refused: it is no URL that anything is sent to.
    """
    try:
        return is_private(url)
    except RequestRefused as error:
        raise Refused(422, "bad_target", str(error)) from error


def limits_within(wanted: Bounded | None, own: Limits) -> Limits | None:
    """Returns an agent's limits, made narrower: a client never widens them."""
    if wanted is None:
        return None
    narrower: dict[str, Any] = {}
    for name in wanted.__struct_fields__:
        asked, given = getattr(wanted, name), getattr(own, name)
        if asked is not None and (given is None or asked < given):
            narrower[name] = asked
    return msgspec.structs.replace(own, **narrower)


async def proceed(call: Call[InSession, None, Proceeding]) -> Answer[Asked]:
    """Goes on where the last run ended half-way, without another prompt: after an abort, a failure or a limit."""
    await check_session(call, call.where.session)
    name = call.body.agent or ("" if call.who.agents is None else await last_agent(call, call.where.session))
    agent = agent_of(call, name) if name or call.who.agents is not None else None
    own = agent.spec.limits if agent is not None else Limits()
    limits = limits_within(call.body.limits, own) if agent is not None else _narrow(call.body.limits)
    await call.service.throttle.afford(call.who)
    run: Run[Any] = await call.runtime.proceed(call.where.session, agent, limits=limits, user=call.who.user)
    return Answer(value=Asked(session=run.session, key=run.key, status="accepted"), status=202)


def _narrow(limits: Bounded | None) -> Limits | None:
    if limits is not None:
        raise Refused(400, "bad_body", "limits are within those of an agent: name the `agent`, too")
    return None


async def result(call: Call[InRun, Polling, None]) -> Outcome:
    """Returns what the run of a prompt came to, by the prompt's key; `wait` seconds for it, if it is open."""
    await check_session(call, call.where.session)
    run = call.runtime.run(call.where.session, call.where.key)
    try:
        found = await run.peek()
    except UnknownSession as error:
        raise Refused(404, "unknown_run", str(error)) from error
    if found is None and call.query.wait:
        try:
            async with asyncio.timeout(call.query.wait):
                found = await run.result()
        except TimeoutError:
            pass
    if found is None:
        return Outcome(session=call.where.session, key=call.where.key, status="open")
    return _outcome(call.where.key, found)


def _outcome(key: str, found: RunResult[Any]) -> Outcome:
    return Outcome(
        session=found.session,
        key=key,
        status=found.status,
        output=found.output,
        value=found.value,
        reason=found.reason,
        usage=found.usage,
        cost=found.cost,
        steps=found.steps,
        denied=found.denied,
        run=found.seq,
        models=dict(found.models),
    )
