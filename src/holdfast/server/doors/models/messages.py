"""Messages, for clients of Anthropic."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from holdfast.flow.ids import new_key
from holdfast.models.wire.messages.serving import render_answer, served
from holdfast.models.wire.messages.serving_live import LiveMessages
from holdfast.models.wire.messages.shapes import RequestBody
from holdfast.server.doors.models.dialects import ANTHROPIC, failed_messages
from holdfast.server.doors.models.turns.asking import asked
from holdfast.server.doors.models.turns.conversing import begin, note
from holdfast.server.doors.models.turns.telling import Telling, whole
from holdfast.server.routing.route import Answer, Call, Route
from holdfast.server.streams.port import Stream

__all__ = ("ROUTES",)

_BODY_BYTES: Final = 32 * 1024 * 1024
"""The longest request, as Anthropic has it."""
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'


class MessagesBody(RequestBody, frozen=True, forbid_unknown_fields=True):
    """A whole request; what is not read here is refused by its name."""


class How(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By which of Anthropic's interfaces it comes."""

    beta: bool = False
    """Said by clients of the beta interface, which is the same here."""


class Count(msgspec.Struct, frozen=True):
    """The tokens of a request."""

    input_tokens: int


async def create(call: Call[None, How, MessagesBody]) -> Answer[msgspec.Raw] | Stream:
    """Answers a conversation: an agent of this server by its name, or a model.

    With `stream`, events come as it is said. Tools are the client's to run. 409 says that a person has to allow
    something first.
    """
    request = served(call.body)
    who = asked(call, request, "messages")
    await call.service.throttle.afford(call.who)
    turn = await begin(call, who, request.messages)
    id = f"msg_{new_key()}"
    noting = partial(note, call, who, request.messages, turn)
    if request.stream:
        saying = LiveMessages(f"holdfast/{who.name}", id)
        told = await Telling(turn, saying, failed_messages, noting, beat=_PING).stream()
        told.headers = {"request-id": call.request_id}
        return told
    message = await whole(turn, noting)
    return Answer(value=msgspec.Raw(render_answer(message, id=id)), headers={"request-id": call.request_id})


async def count(call: Call[None, How, MessagesBody]) -> Answer[Count]:
    """Counts the input tokens of a request: as the provider counts, where it can, and otherwise an estimate."""
    request = served(call.body)
    who = asked(call, request, "messages")
    found = await call.runtime.count_tokens(who.agent, history=request.messages, ask=True)
    return Answer(value=Count(found.tokens), headers={"request-id": call.request_id})


ROUTES = (
    Route(
        method="POST",
        path="/v1/messages",
        handle=create,
        scope="models:call",
        tag="models",
        errors=(404, 409, 410, 422, 502, 504),
        body_bytes=_BODY_BYTES,
        seconds=None,
        dialect=ANTHROPIC,
        attended=True,
        example={
            "model": "anthropic/claude-sonnet-4-5",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Hi"}],
        },
    ),
    Route(
        method="POST",
        path="/v1/messages/count_tokens",
        handle=count,
        scope="models:call",
        tag="models",
        errors=(404,),
        body_bytes=_BODY_BYTES,
        dialect=ANTHROPIC,
    ),
)
