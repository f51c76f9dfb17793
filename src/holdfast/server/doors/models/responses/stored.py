"""Responses that are kept: what is said of one, and where in the log it stands.

The id of a response says in which session it is, of which run, and where it begins; what was answered is in the log and
nowhere else. What the log does not say, as metadata, is kept beside it for two months at most: without that there is no
such response any more.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from holdfast.engine.events import InputReceived, RunStarted
from holdfast.models.wire.responses.asked import RequestBody
from holdfast.models.wire.responses.serving import frame_of, output_of, usage_of
from holdfast.server.doors.models.dialects import in_our_words
from holdfast.server.doors.models.turns.asking import Asked
from holdfast.server.doors.models.turns.ending import Ended
from holdfast.server.doors.models.turns.keeping import Shelf
from holdfast.server.doors.models.turns.turning import Turn
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.tools.keeping.port import Caps
from holdfast.types import Digest, Event

__all__ = (
    "Kept",
    "Ref",
    "frame_in",
    "kept_of",
    "known",
    "of_the_run",
    "responses",
    "stem_of",
    "turn_of",
    "view",
    "view_of",
)

_MONTH: Final = 30 * 86_400_000_000
_ROOM: Final = Caps(count=100_000, total=512 * 1024 * 1024)
_ID: Final = re.compile(r"resp_(s-[0-9a-f]{4,40})_(k[0-9a-f]{4,60})_([ra])(\d{1,15})")
_TOOLS: Final = 64 * 1024
"""Bytes of the tools that a response still says it was given."""


class Ref(msgspec.Struct, frozen=True):
    """Where a response is."""

    session: str
    key: str
    """Of the run's prompt."""
    after: int
    """The event before it; of one with which a run begins, one from which on that is looked for."""
    begins: bool
    """Whether the run begins with it."""

    @property
    def id(self) -> str:
        """Its id."""
        return f"resp_{self.session}_{self.key}_{'r' if self.begins else 'a'}{self.after}"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of a response beside the log."""

    model: str
    spec: Digest
    handed: tuple[str, ...] = ()
    whole: bool = False
    created: int = 0
    """Seconds UTC."""
    background: bool = False
    previous: str = ""
    instructions: str | None = None
    metadata: Mapping[str, str] = {}
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Any = "auto"
    temperature: float | None = None
    top_p: Any = None
    max_output_tokens: int | None = None
    results: Mapping[str, str] = {}
    """Of calls that it brought the results of, which answers they are."""
    continued: bool = False
    """Whether another response goes on with it, in its own session."""


def kept_of(body: RequestBody, asked: Asked, created: int) -> Kept:
    """Returns what is said of the response to a request."""
    tools = tuple(body.tools or ())
    return Kept(
        model=asked.name,
        spec=asked.agent.digest,
        handed=tuple(sorted(asked.handed)),
        whole=asked.whole,
        created=created,
        background=bool(body.background),
        previous=body.previous_response_id or "",
        instructions=body.instructions,
        metadata=body.metadata or {},
        tools=tools if len(msgspec.json.encode(tools)) <= _TOOLS else (),
        tool_choice="auto" if body.tool_choice is None else msgspec.to_builtins(body.tool_choice),
        temperature=body.temperature,
        top_p=body.top_p,
        max_output_tokens=body.max_output_tokens,
    )


def responses(call: Call[Any, Any, Any]) -> Shelf[Kept]:
    """Returns where the responses of whoever makes the call are kept."""
    return Shelf(call, "response", Kept, _MONTH, _ROOM)


async def known(call: Call[Any, Any, Any], id: str) -> tuple[Ref, Kept]:
    """Returns a response by its id.

    Raises:
        Refused: there is none.
    """
    found = _ID.fullmatch(id)
    kept = await responses(call).get(id) if found else None
    if found is None or kept is None or not await call.runtime.exists(found[1]):
        raise Refused(404, "response_not_found", f"there is no response {id[:200]!r}: it was not stored, or is gone")
    return Ref(found[1], found[2], int(found[4]), found[3] == "r"), kept


def frame_in(kept: Kept) -> dict[str, Any]:
    """Returns what a response says of itself, whatever became of it."""
    return {
        "created_at": kept.created,
        "model": kept.model,
        "background": kept.background,
        "previous_response_id": kept.previous or None,
        "instructions": kept.instructions,
        "metadata": kept.metadata,
        "tools": kept.tools,
        "tool_choice": kept.tool_choice,
        "temperature": kept.temperature,
        "top_p": kept.top_p,
        "max_output_tokens": kept.max_output_tokens,
        "store": True,
    }


def stem_of(ref: Ref) -> str:
    """Returns what ids of its items have in them."""
    return f"{ref.key}{ref.after:x}_"


def turn_of(call: Call[Any, Any, Any], ref: Ref, kept: Kept) -> Turn:
    """Returns the part of the log that a response is."""
    run = call.runtime.run(ref.session, ref.key, after=ref.after if ref.begins else 0)
    asked = _Answers(kept.model, frozenset(kept.handed), kept.whole)
    after = None if ref.begins else ref.after
    return Turn(asked, run, after, patient=kept.background, held=call.runtime.governed)


class _Answers(msgspec.Struct, frozen=True):
    """Who answered, as far as it matters to whoever reads the answer."""

    name: str
    handed: frozenset[str]
    whole: bool


async def view(call: Call[Any, Any, Any], ref: Ref, kept: Kept) -> dict[str, Any]:
    """Returns a response as it stands."""
    turn = turn_of(call, ref, kept)
    ended, started = None, False
    async for event in of_the_run(call, ref):
        started = started or not isinstance(event.data, InputReceived)
        _, ended = turn.hear(event)
        if ended is not None:
            break
    return view_of(ref, kept, turn, ended, started=started)


def view_of(ref: Ref, kept: Kept, turn: Turn, ended: Ended | None, *, started: bool = True) -> dict[str, Any]:
    """Returns a response that ended like that, or is under way."""
    message = turn.message() if ended is None else ended.message
    told = {**frame_of(message, ref.id), **frame_in(kept), "output": output_of(message, stem_of(ref))}
    problem = None if ended is None else ended.problem
    if ended is None:
        return {**told, "status": "in_progress" if started else "queued", "usage": None, "incomplete_details": None}
    if problem is None:
        return {**told, "usage": usage_of(message.usage)}
    status = "cancelled" if problem.code == "aborted" else "failed"
    error = None if status == "cancelled" else {"code": in_our_words(problem.code), "message": problem.detail}
    return {**told, "status": status, "error": error, "usage": usage_of(message.usage), "incomplete_details": None}


async def of_the_run(call: Call[Any, Any, Any], ref: Ref) -> AsyncIterator[Event]:
    """Yields the events of a response that there are by now, and those of the session after it."""
    received, started = 0, not ref.begins
    after = ref.after
    while page := await call.runtime.events(ref.session, after=after, limit=500):
        after = page[-1].seq
        for event in page:
            if isinstance(event.data, InputReceived) and event.cause == ref.key:
                received = event.seq
                yield event
            else:
                started = started or (isinstance(event.data, RunStarted) and event.data.input == received)
                if started:
                    yield event
