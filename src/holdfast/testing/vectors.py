"""Vectors of the scripted model server, in OpenAI's form: real ones, of the hashing embedder, so nothing is scripted.

The same text has the same vector in every process, and texts with words in common are near each other. A vector is as
long as the request says, else as those of the model of that name are, else 1,024 numbers.

Not here: HTTP, which path asks for them (`answering.py`), how vectors are made (`models/embedding/hashing.py`).
"""

from __future__ import annotations

import base64
from typing import Literal

import msgspec

from holdfast.errors import InvalidRequest, UsageError
from holdfast.models.embedding.cards import lookup_embedder
from holdfast.models.embedding.hashing import DEFAULT_DIMENSIONS, HashingEmbedder
from holdfast.models.embedding.port import EmbedRequest
from holdfast.models.wire.served import refusal

__all__ = ("EMBEDDINGS", "Wanted", "parse_wanted", "render_vectors")

EMBEDDINGS = r"(/v1|/openai/v1|/openai/deployments/[^/]+)?/embeddings"
"""Where vectors are asked for, as a regular expression that fits the whole path."""
_MOST = 2048
"""Texts of one request, as OpenAI has it."""
_BYTES_PER_TOKEN = 4


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A request for vectors."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @property
    def texts(self) -> list[str]:
        """What is to be embedded."""
        return [self.input] if isinstance(self.input, str) else self.input


_wanted = msgspec.json.Decoder(Wanted)


def parse_wanted(body: bytes) -> Wanted:
    """Returns what a client asks for.

    Raises:
        InvalidRequest: it is no request for vectors of texts.
    """
    try:
        wanted = _wanted.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(f"the body asks for no vectors of texts: {error}", "embeddings") from None
    if not 0 < len(wanted.texts) <= _MOST:
        raise refusal(f"there are {len(wanted.texts):,} texts, and from 1 to {_MOST:,} are taken", "embeddings")
    return wanted


async def render_vectors(wanted: Wanted) -> bytes:
    """Returns the body of the answer.

    Raises:
        InvalidRequest: a text is empty or no text, or there are no vectors of that length.
    """
    length = wanted.dimensions or lookup_embedder(f"openai/{wanted.model}").dimensions or DEFAULT_DIMENSIONS
    try:
        done = await HashingEmbedder(length).embed(EmbedRequest(texts=wanted.texts, encoding=wanted.encoding_format))
    except UsageError as error:
        raise InvalidRequest(str(error), status=400) from None
    data = [
        {
            "object": "embedding",
            "index": each.index,
            "embedding": base64.b64encode(each.raw).decode() if each.raw else list(each.values),
        }
        for each in done.embeddings
    ]
    tokens = sum(-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in wanted.texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": wanted.model, "usage": usage})
