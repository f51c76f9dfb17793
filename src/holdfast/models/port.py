"""The port of a model: a request goes in, deltas come out, and exactly one terminal outcome ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from holdfast.types import (
    AssistantMessage,
    Delta,
    Message,
    OutputShape,
    Price,
    ProviderTool,
    ThinkingLevel,
    ToolSpec,
)

__all__ = ("Model", "ModelRequest", "default_output")

_UNKNOWN_OUTPUT = 4096
"""Tokens of an answer of a model whose own cap is unknown."""
_DEFAULT_OUTPUT = 32_000
"""The most an answer gets whose length nobody capped (source: flex A1.2)."""


def default_output(longest: int | None) -> int:
    """Returns how long an answer may be that nobody capped, of a model whose longest one is known or not."""
    return min(longest or _UNKNOWN_OUTPUT, _DEFAULT_OUTPUT)


class ModelRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a model is asked: a pure function of the log."""

    instructions: str
    """The system prompt; empty sends none."""
    messages: Sequence[Message]
    """The conversation. The same list object, grown at its end, lets an adapter keep what it encoded before."""
    tools: tuple[ToolSpec, ...] = ()
    may_call: bool = True
    """Whether it may call them; they are told of all the same, because the conversation may hold calls of them."""
    must_call: str | None = None
    """The tool it must call now; empty for any of them, None where it may answer without."""
    max_output_tokens: int | None = None
    temperature: float | None = None
    thinking: ThinkingLevel | None = None
    """How much it thinks; None leaves it to the provider."""
    output: OutputShape | None = None
    """What the provider itself is to hold the answer to."""
    provider_tools: tuple[ProviderTool, ...] = ()
    """What the provider may run itself."""
    options: Mapping[str, Any] = {}
    """Fields of the provider's own, sent as they are."""


class Model(Protocol):
    """One model of one provider, as one run uses it.

    An instance may keep what it encoded for earlier requests, so it belongs to one run at a time.
    """

    def check(self) -> None:
        """Raises when it is certain beforehand that no call can succeed; asks nobody.

        Raises:
            AuthFailed: the key it needs is missing.
        """
        ...

    def fresh(self) -> Model:
        """Returns the same model for another run: nothing it remembers of this one's conversation."""
        ...

    @property
    def name(self) -> str:
        """`provider/name`, as in the spec."""
        ...

    @property
    def price(self) -> Price | None:
        """What it costs; None when nobody knows."""
        ...

    @property
    def max_output_tokens(self) -> int | None:
        """The longest answer it can give; None when nobody knows."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        """Yields lists of deltas, one list for each read from the network, then the whole message, last.

        The message holds everything the deltas said. Closing the iterator early, or cancelling who reads it, ends it
        then and there: no message and no error comes any more, the request is broken off at the server, and the
        connection goes with it. Whoever closed it says what that means; the engine writes it down, once, as a call
        that was `interrupted`.

        Raises:
            ModelError: instead of the message; nothing comes after it.
        """
        ...

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the request's input tokens, without asking anybody."""
        ...

    async def count(self, request: ModelRequest) -> int | None:
        """Returns the request's input tokens as the provider counts them; None where it cannot be asked.

        Raises:
            ModelError: it did not say.
        """
        return None
