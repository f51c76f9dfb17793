"""What people are asked, and what they say to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.runtime.history.waiting import Waiting
from holdfast.runtime.speaking import Receipt, Speaking
from holdfast.server.doors.sessions.shapes import InSession, Name, Said, Words, check_session, receipt
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call

__all__ = ("answer", "waits", "waits_of")


class Waits(msgspec.Struct, frozen=True):
    """What waits for people, oldest first."""

    waits: tuple[Waiting, ...]


class InWait(msgspec.Struct, frozen=True):
    """Something that waits in a session."""

    session: Name
    token: Annotated[str, Meta(max_length=4096, description="Its `id`; or its `token`.")]


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What somebody says to what waits."""

    decision: Literal["approve", "deny", "changes", "answer"]
    """To allow a call, or accept an answer that is under review; not to; to have that answer done again; to answer
    questions."""
    always: bool = False
    """Of `approve`: every later call of this tool in the session, too."""
    arguments: dict[str, Any] | None = None
    """Of `approve`: all arguments of the call, instead of those that the model gave."""
    reason: Words = ""
    """Of `deny`, and of `changes` what is to be different: the model reads it."""
    answers: Annotated[tuple[str | tuple[str, ...], ...], Meta(max_length=100)] = ()
    """Of `answer`: one for each question: words, or the labels of what is picked."""


_FITS = {"approval": ("approve", "deny"), "review": ("approve", "deny", "changes"), "question": ("answer",)}


async def waits(call: Call[None, None, None]) -> Waits:
    """Lists what people are asked in all sessions: approvals, questions and reviews, oldest first."""
    return Waits(tuple(await call.runtime.waiting()))


async def waits_of(call: Call[InSession, None, None]) -> Waits:
    """Lists what people are asked in one session."""
    await check_session(call, call.where.session)
    return Waits(tuple(await call.runtime.waiting(call.where.session)))


async def answer(call: Call[InWait, None, Answered]) -> Answer[Said]:
    """Answers what waits, by its `id` or its `token`. The first answer counts: once it is given, and where nothing
    waits, it is a conflict.
    """
    session, named, body = call.where.session, call.where.token, call.body
    await check_session(call, session)
    waiting = await call.runtime.waiting(session)
    pending = next((each for each in waiting if each.token == named), None)  # a token goes before an id
    pending = pending or next((each for each in waiting if each.id == named), None)
    if pending is None or pending.answered:
        raise _not_pending(named)
    token = pending.token
    if body.decision not in _FITS[pending.kind]:
        fitting = " or ".join(_FITS[pending.kind])
        raise Refused(422, "bad_decision", f"what waits is a {pending.kind}, which takes {fitting}")
    if (body.always or body.arguments is not None) and (body.decision, pending.kind) != ("approve", "approval"):
        raise Refused(422, "bad_decision", "`always` and `arguments` are of an approval that is given")
    said = await _say(call.runtime.session(session), token, body)
    if said.status == "duplicate":
        raise _not_pending(token)
    await call.runtime.wake(session, call.service.agents.values())
    return await receipt(said)


async def _say(speaking: Speaking, token: str, body: Answered) -> Receipt:
    match body.decision:
        case "approve":
            return await speaking.approve(token, always=body.always, arguments=body.arguments)
        case "deny":
            return await speaking.deny(token, body.reason)
        case "changes":
            return await speaking.request_changes(token, body.reason)
        case "answer":
            return await speaking.reply(token, [each if isinstance(each, str) else list(each) for each in body.answers])


def _not_pending(token: str) -> Refused:
    return Refused(
        409,
        "not_pending",
        f"nothing waits under {token[:200]!r}, or somebody answered it already: GET .../waits lists what does",
    )
