"""How servers are asked how many tokens a request has: where, with what of the request, and what they say.

A count is asked with the very bytes of the request, without what the place for it does not take (source: the types of
the official clients: `MessageCountTokensParams`, `InputTokenCountParams`, `ConverseTokensRequest`; Google's
`countTokens` takes a whole request as its `generateContentRequest`). Chat Completions, Cohere and Ollama have no such
place.

Not here: the exchange (`providers/talking.py`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from holdfast.models.wire.encoding import bytes_of

__all__ = ("CONVERSE", "MESSAGES", "RESPONSES", "Counting", "gemini")

_NO_FIELDS: AbstractSet[str] = frozenset()
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Counting(msgspec.Struct, frozen=True, kw_only=True):
    """How one protocol is asked for a count."""

    asks: str
    """How the address ends at which answers are asked for."""
    counts: str
    """How the address of counts ends in its place."""
    says: str
    """The field of the answer that holds the count."""
    fields: AbstractSet[str] = _NO_FIELDS
    """The fields of a request that are taken; none for all of them."""
    before: bytes = b"{"
    """What stands before them."""
    behind: bytes = b""
    """What stands behind the brace that ends them."""

    def address(self, endpoint: str) -> str:
        """Returns where counts are asked for, of a model whose answers are asked for there."""
        return endpoint.removesuffix(self.asks) + self.counts

    def body(self, request: bytes) -> bytes:
        """Returns what is asked, of a request as it would be sent for an answer."""
        if self.fields:
            all = _fields.decode(request)
            request = bytes_of({name: value for name, value in all.items() if name in self.fields})
        return self.before + request[1:] + self.behind

    def read(self, answer: bytes) -> int | None:
        """Returns the count that an answer says; None where it says none."""
        try:
            tokens = msgspec.json.decode(_fields.decode(answer)[self.says], type=int)
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return tokens if tokens >= 0 else None


MESSAGES: Final = Counting(
    asks="/messages",
    counts="/messages/count_tokens",
    says="input_tokens",
    fields=frozenset(
        (
            "cache_control",
            "context_management",
            "mcp_servers",
            "messages",
            "model",
            "output_config",
            "speed",
            "system",
            "thinking",
            "tool_choice",
            "tools",
        )
    ),
)
"""Anthropic's, with those fields of its beta that count."""

RESPONSES: Final = Counting(
    asks="/responses",
    counts="/responses/input_tokens",
    says="input_tokens",
    fields=frozenset(
        (
            "input",
            "instructions",
            "model",
            "parallel_tool_calls",
            "personality",
            "reasoning",
            "text",
            "tool_choice",
            "tools",
            "truncation",
        )
    ),
)
"""OpenAI's. Fields for conversations that the server keeps are not ours to send."""

CONVERSE: Final = Counting(
    asks="/converse-stream",
    counts="/count-tokens",
    says="inputTokens",
    fields=frozenset(("additionalModelRequestFields", "messages", "system", "toolConfig")),
    before=b'{"input":{"converse":{',
    behind=b"}}",
)
"""Bedrock's."""


def gemini(model: str) -> Counting:
    """Returns Google's, for a model by its place in the address, such as `models/gemini-flash`."""
    before = b'{"generateContentRequest":{"model":%b,' % bytes_of(model)
    asks = ":streamGenerateContent?alt=sse"
    return Counting(asks=asks, counts=":countTokens", says="totalTokens", before=before, behind=b"}")
