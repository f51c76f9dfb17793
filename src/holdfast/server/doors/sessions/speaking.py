"""Speaking to a session while it works: more words, stopping it, letting it go on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.server.doors.sessions.shapes import (
    Given,
    InSession,
    Key,
    Said,
    Words,
    check_session,
    key_of,
    receipt,
    words_of,
)
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call

__all__ = ("abort", "exit_", "follow_up", "pause", "resume", "steer")


class More(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Words for a session that works."""

    text: Words = ""
    parts: Annotated[tuple[Given, ...], Meta(max_length=100)] = ()
    """Instead of `text`: words, images and documents in their order."""
    key: Key = ""


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reason, which the log keeps."""

    reason: Annotated[str, Meta(max_length=10_000)] = ""
    key: Key = ""


class Which(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which run is to end, and why."""

    run: Annotated[str, Meta(max_length=256)] = ""
    """The key of its prompt; the one that is open without."""
    reason: Annotated[str, Meta(max_length=10_000)] = ""
    key: Key = ""


async def steer(call: Call[InSession, None, More]) -> Answer[Said]:
    """Says something that the model reads as soon as what is under way is over; calls that have not begun are skipped.

    In a session that is idle it opens the next run, with the agent of the last one.
    """
    words = words_of(call.body.text, call.body.parts)
    await _check_speakable(call)
    await call.service.throttle.afford(call.who)
    said = await call.runtime.session(call.where.session).steer(words, key=key_of(call, call.body.key))
    await _wake(call)
    return await receipt(said)


async def follow_up(call: Call[InSession, None, More]) -> Answer[Said]:
    """Says something that joins the conversation when the run would otherwise be over."""
    words = words_of(call.body.text, call.body.parts)
    await _check_speakable(call)
    await call.service.throttle.afford(call.who)
    said = await call.runtime.session(call.where.session).follow_up(words, key=key_of(call, call.body.key))
    await _wake(call)
    return await receipt(said)


async def pause(call: Call[InSession, None, Why]) -> Answer[Said]:
    """Lets what is under way come to its end, and nothing new begin until the session is resumed."""
    await check_session(call, call.where.session)
    said = await call.runtime.session(call.where.session).pause(call.body.reason, key=key_of(call, call.body.key))
    await _wake(call)
    return await receipt(said)


async def resume(call: Call[InSession, None, Why]) -> Answer[Said]:
    """Lets a paused session go on, and takes up a run that was left open."""
    await check_session(call, call.where.session)
    said = await call.runtime.session(call.where.session).resume(key=key_of(call, call.body.key))
    await _wake(call)
    return await receipt(said)


async def abort(call: Call[InSession, None, Which]) -> Answer[Said]:
    """Asks the open run to end: what is under way is stopped, and what it has is kept. Does no harm when idle."""
    await check_session(call, call.where.session)
    run = call.runtime.run(call.where.session, call.body.run)
    said = await run.abort(call.body.reason, key=key_of(call, call.body.key))
    await _wake(call)
    return await receipt(said)


async def exit_(call: Call[InSession, None, Why]) -> Answer[Said]:
    """Ends a session for good: its run is aborted, what is queued is dropped, and it takes nothing more."""
    await check_session(call, call.where.session)
    said = await call.runtime.session(call.where.session).exit(call.body.reason, key=key_of(call, call.body.key))
    await _wake(call)
    return await receipt(said)


async def _wake(call: Call[Any, Any, Any]) -> None:
    """Has what was said be heard, where nobody drives the session: as after a restart."""
    await call.runtime.wake(call.where.session, call.service.agents.values())


async def _check_speakable(call: Call[InSession, None, Any]) -> None:
    """Returns where words can join a run, or open one, of an agent that may be asked.

    Raises:
        Refused: nothing was ever asked there, or it is an agent's that is not theirs to ask.
    """
    await check_session(call, call.where.session)
    if await call.runtime.is_blank(call.where.session):
        raise Refused(409, "no_run_yet", "nothing was asked in this session yet: POST its prompts first")
    if call.who.agents is None:
        return
    view = await call.runtime.view(call.where.session)
    run = view.run or view.last
    specs = [agent.digest for name, agent in call.service.agents.items() if call.who.may_ask(name)]
    if run is not None and run.spec not in specs:
        raise Refused(403, "agent_denied", f"the agent {run.agent!r} is not among those that may be asked with this")
