"""Responses, for clients of OpenAI: in one go, streamed, or in the background, and gone on with by their ids."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.flow.ids import new_session
from holdfast.models.wire.responses.asked import RequestBody, served
from holdfast.models.wire.responses.serving_live import LiveResponse
from holdfast.models.wire.served import ServedRequest
from holdfast.server.doors.models.dialects import OPENAI, in_our_words
from holdfast.server.doors.models.responses import recalling
from holdfast.server.doors.models.responses.stored import (
    Kept,
    Ref,
    frame_in,
    kept_of,
    known,
    responses,
    stem_of,
    view_of,
)
from holdfast.server.doors.models.turns.asking import Asked, asked
from holdfast.server.doors.models.turns.conversing import Noted, begin, go_on_in, note, run_of
from holdfast.server.doors.models.turns.ending import Ended
from holdfast.server.doors.models.turns.telling import Telling, whole
from holdfast.server.doors.models.turns.turning import Turn
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Route
from holdfast.server.streams.port import Stream
from holdfast.types import ToolMessage

__all__ = ("ROUTES",)

_BODY_BYTES: Final = 32 * 1024 * 1024


class ResponsesBody(RequestBody, frozen=True, forbid_unknown_fields=True):
    """A whole request; what is not read here is refused by its name."""


class InputTokens(msgspec.Struct, frozen=True):
    """The tokens of a request."""

    input_tokens: int
    object: str = "response.input_tokens"


async def create(call: Call[None, None, ResponsesBody]) -> msgspec.Raw | Stream:
    """Answers a conversation: an agent of this server by its name, or a model.

    With `stream`, events come as it is said. With `background` it goes on whether anybody listens or not: ask for it by
    its id. `previous_response_id` goes on where a response ended, from the same one in any number of directions. Unless
    `store` is false a response can be asked for by its id. 409 says that a person has to allow something first.
    """
    body = call.body
    if body.background and body.store is False:
        raise Refused(400, "invalid_request", "a response in the background has to be stored: leave store out")
    if body.conversation is not None:
        raise Refused(400, "unsupported_parameter", "conversation: use previous_response_id instead")
    request = served(body)
    who = asked(call, request, "responses")
    await call.service.throttle.afford(call.who)
    created = call.service.clock.now() // 1_000_000
    turn, kept = await _begin(call, who, request, kept_of(body, who, created))
    turn.patient = bool(body.background)
    ref = Ref(turn.run.session, turn.run.key, turn.floor if turn.after is None else turn.after, turn.after is None)
    stored = body.store is not False and await _kept(call, turn, ref, kept)
    noting = partial(_note, call, who, request, turn)
    frame = {**frame_in(kept), "store": stored}
    if request.stream:
        return await _streamed(turn, ref, frame, noting, kept=bool(body.background))
    if body.background:
        return _encoded({**view_of(ref, kept, turn, None, started=False), "store": stored})
    message = await whole(turn, noting)
    return _encoded({**view_of(ref, kept, turn, Ended("answered", message)), "store": stored})


async def _kept(call: Call[Any, Any, Any], turn: Turn, ref: Ref, kept: Kept) -> bool:
    """Keeps what is said of a response, and returns whether there was room for it; its run ends where that fails.

    Raises:
        Refused: nobody could ask for it, and it was to go on in the background.
        StorageError: it is not known whether it is kept.
    """
    good = False
    try:
        stored = await responses(call).put(ref.id, kept)
        if kept.background and not stored:
            raise Refused(409, "responses_full", "too many responses are stored: delete some, or ask in the foreground")
        good = True
    finally:
        if not good:
            with suppress(HoldfastError):
                await turn.run.abort("its response could not be kept")
    return stored


async def count(call: Call[None, None, ResponsesBody]) -> InputTokens:
    """Counts the input tokens of a request: as the provider counts, where it can, and otherwise an estimate."""
    request = served(call.body)
    who = asked(call, request, "responses")
    session = None
    if call.body.previous_response_id:
        session = (await known(call, call.body.previous_response_id))[0].session
    found = await call.runtime.count_tokens(who.agent, session=session, history=request.messages, ask=True)
    return InputTokens(found.tokens)


async def _streamed(turn: Turn, ref: Ref, frame: dict[str, Any], noting: Any, *, kept: bool) -> Stream:
    saying = LiveResponse(f"holdfast/{frame['model']}", ref.id, frame, stem=stem_of(ref))
    return await Telling(turn, saying, partial(failed, saying), noting, kept=kept).stream()


def failed(saying: LiveResponse, refused: Refused) -> bytes:
    """Returns the event of a response that ends without an answer."""
    return b"".join(saying.fail(in_our_words(refused.code), refused.detail))


async def _begin(call: Call[Any, Any, Any], who: Asked, request: ServedRequest, kept: Kept) -> tuple[Turn, Kept]:
    """Returns what comes of a request, and what is said of it."""
    if not kept.previous:
        turn = await begin(call, who, request.messages)
        return turn, _with_results(kept, turn)
    ref, before = await known(call, kept.previous)
    end = await recalling.end_of(call, ref, before)
    noted = Noted(ref.session, ref.key, end.begins, end.seq, before.spec, end.waits)
    turn = await go_on_in(call, who, noted, request.messages) or await _beside(call, who, ref, end, request)
    return turn, _with_results(kept, turn)


async def _beside(call: Call[Any, Any, Any], who: Asked, ref: Ref, end: recalling.End, request: ServedRequest) -> Turn:
    """Returns what comes of a request that goes on from a response beside others: in a fork of its session, or, where
    calls are open there that a fork cannot have, in a new one with the conversation.
    """
    if not end.waits and not any(isinstance(each, ToolMessage) for each in request.messages):
        fork = await call.runtime.fork(ref.session, at=end.seq, name=new_session())
        return await run_of(call, who, request.messages, fork)
    conversation = await call.runtime.conversation(ref.session, at=end.seq)
    return await run_of(call, who, (*conversation, *request.messages), None)


def _with_results(kept: Kept, turn: Turn) -> Kept:
    return msgspec.structs.replace(kept, results=turn.results) if turn.results else kept


async def _note(call: Call[Any, Any, Any], who: Asked, request: ServedRequest, turn: Turn, ended: Ended) -> None:
    if not call.body.previous_response_id:  # otherwise nobody knows how the client would say all of it
        await note(call, who, request.messages, turn, ended)


def _encoded(value: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _route(method: Any, path: str, handle: Any, **more: Any) -> Route:
    return Route(method=method, path=path, handle=handle, scope="models:call", tag="models", dialect=OPENAI, **more)


ROUTES = (
    _route(
        "POST",
        "/v1/responses",
        create,
        errors=(404, 409, 410, 422, 502, 504),
        body_bytes=_BODY_BYTES,
        seconds=None,
        attended=True,
        example={"model": "openai/gpt-5-mini", "input": "Hello"},
    ),
    _route("POST", "/v1/responses/input_tokens", count, errors=(404,), body_bytes=_BODY_BYTES),
    _route("GET", "/v1/responses/{id}", recalling.show, errors=(404,)),
    _route("DELETE", "/v1/responses/{id}", recalling.delete, errors=(404, 409)),
    _route("POST", "/v1/responses/{id}/cancel", recalling.cancel, errors=(404,)),
    _route("GET", "/v1/responses/{id}/input_items", recalling.input_items, errors=(404,)),
)
