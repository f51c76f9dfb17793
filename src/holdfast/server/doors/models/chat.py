"""Chat Completions, for clients of OpenAI and all that speak like it."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from holdfast.flow.ids import new_key
from holdfast.models.wire.chat.serving import render_answer, served
from holdfast.models.wire.chat.serving_live import LiveChat
from holdfast.models.wire.chat.shapes import RequestBody
from holdfast.server.doors.models.dialects import OPENAI, failed_chat
from holdfast.server.doors.models.turns.asking import asked
from holdfast.server.doors.models.turns.conversing import begin, note
from holdfast.server.doors.models.turns.telling import Telling, whole
from holdfast.server.routing.route import Call, Route
from holdfast.server.streams.port import Stream

__all__ = ("BODY_BYTES", "ROUTES")

BODY_BYTES: Final = 32 * 1024 * 1024
"""The longest request, as the providers have it: conversations with images are long."""


class ChatBody(RequestBody, frozen=True, forbid_unknown_fields=True):
    """A whole request; what is not read here is refused by its name."""


async def complete(call: Call[None, None, ChatBody]) -> msgspec.Raw | Stream:
    """Answers a conversation: an agent of this server by its name, or a model.

    With `stream`, chunks come as they are said. Tools are the client's to run: an answer that calls them is gone on
    with by a request that brings their results. 409 says that a person has to allow something first.
    """
    request = served(call.body)
    who = asked(call, request, "chat")
    await call.service.throttle.afford(call.who)
    turn = await begin(call, who, request.messages)
    id, created = f"chatcmpl-{new_key()}", call.service.clock.now() // 1_000_000
    noting = partial(note, call, who, request.messages, turn)
    if request.stream:
        saying = LiveChat(f"holdfast/{who.name}", id, created=created, include_usage=request.include_usage)
        return await Telling(turn, saying, failed_chat, noting).stream()
    message = await whole(turn, noting)
    return msgspec.Raw(render_answer(message, id=id, created=created))


ROUTES = (
    Route(
        method="POST",
        path="/v1/chat/completions",
        handle=complete,
        scope="models:call",
        tag="models",
        errors=(404, 409, 410, 422, 502, 504),
        body_bytes=BODY_BYTES,
        seconds=None,
        dialect=OPENAI,
        attended=True,
        example={"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}]},
    ),
)
