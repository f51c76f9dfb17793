"""What the provider did itself, put together from its blocks: a call of a tool it runs, and what that came to.

A block of a kind that nobody here knows, and that is about a tool, is kept whole, so that it can be given back as the
provider wants it. A call that never came to anything, because the answer ended before, cannot go back: servers refuse
the whole conversation. Not here: calls that are ours to run.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, final

import msgspec

from holdfast.models.wire.encoding import bytes_of
from holdfast.types import AssistantMessage, ProviderStep

__all__ = ("Step", "is_step", "steps_back")

_WORDS = ("query", "url", "code", "command")
"""What of a call's arguments people want to see, the first that is there."""

_CALLS = ("server_tool_use", "mcp_tool_use")


class _Block(msgspec.Struct, frozen=True, gc=False):
    """What of a block says what it belongs to."""

    type: str
    id: str = ""
    tool_use_id: str = ""


_object = msgspec.json.Decoder(dict[str, Any])
_block = msgspec.json.Decoder(_Block)


def is_step(kind: str) -> bool:
    """Whether blocks of a kind are about tools of the provider."""
    return kind in _CALLS or kind.endswith("_tool_result")


def steps_back(message: AssistantMessage) -> AbstractSet[str]:
    """Returns the data of what the provider did that can be given back: blocks of this protocol, and of its calls
    those that came to something.
    """
    blocks: dict[str, _Block] = {}
    for part in message.parts:
        if isinstance(part, ProviderStep):
            try:
                block = _block.decode(part.data)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                continue
            if is_step(block.type):
                blocks[part.data] = block
    answered = {block.tool_use_id for block in blocks.values()}
    return {data for data, block in blocks.items() if block.type not in _CALLS or block.id in answered}


@final
class Step:
    """One block so far."""

    __slots__ = ("_given", "_pieces", "size")

    def __init__(self, given: msgspec.Raw) -> None:
        """Begins with the block as the provider sent it."""
        self._given = given
        self._pieces: list[str] = []
        self.size = len(bytes(given))
        """Characters it holds."""

    def add(self, arguments: str) -> None:
        """Takes more of the arguments of the provider's own call."""
        self._pieces.append(arguments)
        self.size += len(arguments)

    def data(self) -> str:
        """Returns the block as the provider wants it back."""
        block = bytes(self._given).decode("utf-8", "replace")
        arguments, given = self._arguments(), _read(block)
        if arguments is None or given is None:
            return block
        return bytes_of({**given, "input": arguments}).decode()

    def words(self) -> str:
        """Returns what people may want to see of it."""
        given = self._arguments() or (_read(bytes(self._given)) or {}).get("input")
        if not isinstance(given, dict):
            return ""
        return next((str(given[word]) for word in _WORDS if isinstance(given.get(word), str)), "")  # type: ignore[reportUnknownMemberType]

    def _arguments(self) -> dict[str, Any] | None:
        return _read("".join(self._pieces)) if self._pieces else None


def _read(text: str | bytes) -> dict[str, Any] | None:
    """Returns an object; None for what is none, or holds what cannot be read, such as endless numbers."""
    try:
        return _object.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
