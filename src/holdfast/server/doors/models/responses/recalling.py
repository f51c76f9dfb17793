"""Responses that were made before: how they stand, what is still said, what they were asked; cancelled and deleted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from holdfast.engine.events import InputReceived, RunStarted, WaitResolved
from holdfast.models.wire.encoding import data_url
from holdfast.models.wire.responses.serving import output_of
from holdfast.models.wire.responses.serving_live import LiveResponse
from holdfast.server.doors.models.dialects import in_our_words
from holdfast.server.doors.models.responses.stored import (
    Kept,
    Ref,
    frame_in,
    known,
    of_the_run,
    responses,
    stem_of,
    turn_of,
    view,
)
from holdfast.server.doors.models.turns.conversing import went_on
from holdfast.server.doors.models.turns.ending import Ended
from holdfast.server.doors.models.turns.telling import Telling
from holdfast.server.doors.models.turns.turning import Turn
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.server.streams.port import Stream
from holdfast.types import AssistantMessage, Document, Event, Message, Text, ToolMessage, UserMessage

__all__ = ("Deleted", "End", "InResponse", "cancel", "delete", "end_of", "input_items", "show")

ResponseId = Annotated[str, msgspec.Meta(max_length=200, description="The id of a response.")]


class InResponse(msgspec.Struct, frozen=True):
    """A response by its id."""

    id: ResponseId


class Showing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a response is wanted."""

    stream: bool = False
    """Whether its events are told, from the first one on; those to come as they come."""
    starting_after: Annotated[int, msgspec.Meta(ge=-1)] = -1
    """The number of the last event that is there already."""
    include_obfuscation: bool = True
    include: list[str] | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="include[]")


class ItemPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which items are wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str, msgspec.Meta(max_length=200)] = ""
    include: list[str] | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="include[]")


class Deleted(msgspec.Struct, frozen=True):
    """A response that is gone."""

    id: str
    object: str = "response"
    deleted: bool = True


class End(msgspec.Struct, frozen=True):
    """Where a response ended, for whoever goes on from there."""

    begins: int
    seq: int
    waits: Mapping[str, str] = {}


async def show(call: Call[InResponse, Showing, None]) -> msgspec.Raw | Stream:
    """Returns a response: how it stands, and what was said by now; as events with `stream`.

    The numbers of events are those of what was said, whoever tells it: after `starting_after` comes what that event had
    not told yet, also of a response that is over, and from another process.
    """
    ref, kept = await known(call, call.where.id)
    if not call.query.stream:
        return _encoded(await view(call, ref, kept))
    saying = LiveResponse(
        f"holdfast/{kept.model}", ref.id, frame_in(kept), after=call.query.starting_after, stem=stem_of(ref)
    )

    def failed(refused: Refused) -> bytes:
        return b"".join(saying.fail(in_our_words(refused.code), refused.detail))

    telling = Telling(turn_of(call, ref, kept), saying, failed, _nothing, kept=True)
    return telling.stream_now()


async def cancel(call: Call[InResponse, None, None]) -> msgspec.Raw:
    """Ends a response that goes on in the background, and returns it; of one that is over, nothing changes."""
    ref, kept = await known(call, call.where.id)
    if not kept.background:
        raise Refused(400, "invalid_request", "only a response in the background is cancelled: close the connection")
    await _stop(call, ref, kept)
    return _encoded(await view(call, ref, kept))


async def delete(call: Call[InResponse, None, None]) -> Deleted:
    """Deletes a response, with what was said in it; one that goes on is ended first.

    Where other responses are of the same conversation, what was done and spent stays in the log, without its words.
    """
    ref, kept = await known(call, call.where.id)
    turn, ended, _ = await _heard(call, ref, kept)
    alone = ref.begins and (ended is None or not await went_on(call, ref.session, turn.seq))
    await _stop(call, ref, kept)
    _, _, events = await _heard(call, ref, kept)
    begun = [each async for each in _all(call, ref.session) if isinstance(each.data, RunStarted)]
    if len(begun) <= 1 and alone:
        await call.runtime.delete(ref.session)
    elif events:
        await call.runtime.scrub(ref.session, at=[event.seq for event in events])
    if not await responses(call).drop(ref.id):  # last, so that what could not be erased can be deleted once more
        raise Refused(404, "response_not_found", f"there is no response {ref.id!r}: somebody else deleted it")
    return Deleted(ref.id)


async def input_items(call: Call[InResponse, ItemPage, None]) -> msgspec.Raw:
    """Returns what the request of a response said, newest first unless `order` says otherwise; not what came before
    it in the conversation.
    """
    ref, kept = await known(call, call.where.id)
    items = [
        item
        for number, message in enumerate([each async for each in _asked(call, ref, kept)])
        for item in _items(message, f"{stem_of(ref)}{number}")
    ]
    query = call.query
    if query.order == "desc":
        items.reverse()
    start = next((at + 1 for at, item in enumerate(items) if query.after and item["id"] == query.after), 0)
    page = items[start : start + query.limit]
    return _encoded(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + len(page) < len(items),
        }
    )


async def end_of(call: Call[Any, Any, Any], ref: Ref, kept: Kept) -> End:
    """Returns where a response ended.

    Raises:
        Refused: it has not, or not with anything that could be gone on from.
    """
    turn, ended, _ = await _heard(call, ref, kept)
    if ended is None or ended.how == "asks":
        raise Refused(400, "response_in_progress", f"the response {ref.id!r} is still under way: wait for its end")
    if ended.how == "failed":
        raise Refused(400, "response_failed", f"the response {ref.id!r} came to nothing: go on from the one before it")
    return End(turn.begins or ref.after, turn.seq, ended.waits)


async def _stop(call: Call[Any, Any, Any], ref: Ref, kept: Kept) -> None:
    """Ends the run of a response, if it goes on."""
    turn, ended, _ = await _heard(call, ref, kept)
    if ended is not None and ended.how in ("answered", "failed"):
        return
    if ended is not None and await went_on(call, ref.session, turn.seq):
        return
    run = call.runtime.run(ref.session, ref.key)
    await run.abort("on request")
    await call.runtime.wake(ref.session)
    await run.result()


async def _heard(call: Call[Any, Any, Any], ref: Ref, kept: Kept) -> tuple[Turn, Ended | None, list[Event]]:
    """Returns what came of a response by now, how it ended if it did, and its events."""
    turn, events = turn_of(call, ref, kept), list[Event]()
    async for event in of_the_run(call, ref):
        events.append(event)
        _, ended = turn.hear(event)
        if ended is not None:
            return turn, ended, events
    return turn, None, events


async def _asked(call: Call[Any, Any, Any], ref: Ref, kept: Kept) -> AsyncGenerator[Message, None]:
    """Yields the messages of the request."""
    names = {token: call_id for call_id, token in kept.results.items()}
    async for event in _all(call, ref.session, ref.after):
        data = event.data
        if ref.begins and isinstance(data, InputReceived) and event.cause == ref.key:
            for each in data.history:
                yield each
            if data.message.parts:
                yield data.message
            return
        if not ref.begins and isinstance(data, InputReceived):
            yield data.message
        if not ref.begins and isinstance(data, WaitResolved) and data.token in names:
            yield ToolMessage(names.pop(data.token), "", data.content or "", data.is_error)  # type: ignore[arg-type]
            if not names:
                return


async def _all(call: Call[Any, Any, Any], session: str, after: int = 0) -> AsyncGenerator[Any, None]:
    while page := await call.runtime.events(session, after=after, limit=500):
        after = page[-1].seq
        for event in page:
            yield event


def _items(message: Message, id: str) -> Iterator[dict[str, Any]]:
    match message:
        case UserMessage():
            content = [_content(part) for part in message.parts]
            yield {"type": "message", "id": f"msg_{id}", "role": "user", "status": "completed", "content": content}
        case ToolMessage():
            told = {"call_id": message.call_id, "output": message.content, "status": "completed"}
            yield {"type": "function_call_output", "id": f"fco_{id}", **told}
        case AssistantMessage():
            yield from output_of(message, f"{id}_")


def _content(part: Any) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Document):
        return {"type": "input_file", "filename": part.name, "file_data": data_url(part)}
    return {"type": "input_image", "detail": "auto", "image_url": data_url(part)}


async def _nothing(ended: Ended) -> None:
    """Notes nothing: whoever made the response did."""


def _encoded(value: Mapping[str, Any] | Sequence[Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
