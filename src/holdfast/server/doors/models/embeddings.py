"""Embeddings, for clients of OpenAI."""

from __future__ import annotations

import base64
from array import array
from typing import Annotated, Any, Final, Literal

import msgspec

from holdfast.ledger.port import Denied
from holdfast.models.wire.served import bare_name
from holdfast.server.doors.models.dialects import OPENAI
from holdfast.server.doors.models.turns.asking import may_ask
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Route

__all__ = ("ROUTES",)

_TEXTS: Final = 2048
"""Texts of one request, as OpenAI has it."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be embedded."""

    model: str
    """`provider/name`, or `hashing`."""
    input: Text | Annotated[list[Text], msgspec.Meta(min_length=1, max_length=_TEXTS)]
    """A text, or up to 2,048 of them; lists of tokens are not read."""
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
    """Of the client's own; nothing is done with it."""


class Vector(msgspec.Struct, frozen=True):
    """The vector of one text."""

    index: int
    embedding: list[float] | str
    """Numbers; or with `base64` little-endian 32-bit floats."""
    object: str = "embedding"


class Used(msgspec.Struct, frozen=True):
    """What it used."""

    prompt_tokens: int
    total_tokens: int


class Vectors(msgspec.Struct, frozen=True):
    """The vectors of all texts, in their order."""

    data: list[Vector]
    model: str
    usage: Used
    object: str = "list"


async def embed(call: Call[None, None, Wanted]) -> Vectors:
    """Returns a vector for each text."""
    body = call.body
    if may_ask(call, body.model) is not None:
        raise Refused(400, "invalid_request", f"{body.model[:100]!r} is an agent, which makes no vectors")
    await call.service.throttle.afford(call.who)
    texts = [body.input] if isinstance(body.input, str) else body.input
    made = await call.runtime.embed(body.model, texts, dimensions=body.dimensions)
    if isinstance(made, Denied):
        headers: dict[str, str] = {}
        then = "what is running holds the rest, or whoever runs this server has to raise the cap"
        if made.again_at is not None:
            seconds = headers["retry-after"] = str(max(1, -(-(made.again_at - call.service.clock.now()) // 1_000_000)))
            then = f"ask again in {seconds} s, when enough may fit again"
        raise Refused(429, "budget_exhausted", f"{made.dimension} are used up: {then}", headers=headers)
    data = [Vector(each.index, _told(each.values, body.encoding_format)) for each in made.embeddings]
    tokens = made.usage.total_tokens if made.usage is not None else 0
    return Vectors(data, bare_name(made.model), Used(tokens, tokens))


def _told(values: Any, form: Literal["float", "base64"]) -> list[float] | str:
    if form == "float":
        return list(values)
    packed = array("f", values)
    if array("H", [1]).tobytes() != b"\x01\x00":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


ROUTES = (
    Route(
        method="POST",
        path="/v1/embeddings",
        handle=embed,
        scope="models:call",
        tag="models",
        errors=(404,),
        dialect=OPENAI,
        attended=True,
        example={"model": "hashing", "input": "Hello"},
    ),
)
