"""What every encoder of requests does alike: it encodes each message once and keeps what it encoded.

An encoder belongs to one model instance. It adds only what is new in a conversation, so a step costs what it adds, and
the copy of the bytes that are sent. What a protocol makes of instructions, tools and messages is its own.

Invariant: the same request gives the same bytes, whatever was encoded before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Self, cast

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire.encoding import bytes_of
from holdfast.types import Message, ProviderTool, ToolSpec

__all__ = ("TurnEncoder", "fields_of", "is_plain")

_NONE: AbstractSet[str] = frozenset()


class TurnEncoder(ABC):
    """Makes the bodies of one model's requests, remembering the conversation it encoded last."""

    images = 0
    """How many images the conversation encoded last holds."""
    pdfs = 0
    """How many PDF documents it holds."""
    _instructions = ""
    _tools_of: tuple[ToolSpec, ...] = ()
    _provided: tuple[ProviderTool, ...] = ()
    """What the provider may run itself; `_take_tools` finds it here."""
    _messages: Sequence[Message] = ()
    _known = 0
    _last: Message | None = None

    def __init__(self) -> None:
        self.call_ids: set[str] = set()
        """The ids of all calls in the conversation encoded last."""
        self._forget()

    @abstractmethod
    def fresh(self) -> Self:
        """Returns an encoder of the same model that knows no conversation yet."""

    @abstractmethod
    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""

    @abstractmethod
    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, without making it."""

    @abstractmethod
    def _take_instructions(self, instructions: str) -> None:
        """Encodes the system prompt, which is another one now."""

    @abstractmethod
    def _take_tools(self, tools: tuple[ToolSpec, ...]) -> None:
        """Encodes the tools, which are others now."""

    @abstractmethod
    def _forget(self) -> None:
        """Lets go of what was encoded of a conversation; another one begins."""

    @abstractmethod
    def _add(self, message: Message) -> None:
        """Encodes the next message."""

    def _copy_to(self, twin: TurnEncoder) -> None:
        """Gives a fresh encoder what does not depend on the conversation."""
        twin._instructions, twin._tools_of, twin._provided = self._instructions, self._tools_of, self._provided
        twin.call_ids = set()
        twin._forget()

    def _begin(self, messages: Sequence[Message]) -> None:
        self._messages, self._known, self._last = messages, 0, None
        self.call_ids = set()
        self.images = self.pdfs = 0
        self._forget()

    def _catch_up(self, request: ModelRequest) -> None:
        if request.instructions != self._instructions:
            self._instructions = request.instructions
            self._take_instructions(request.instructions)
        if request.tools is not self._tools_of or request.provider_tools is not self._provided:
            self._tools_of, self._provided = request.tools, request.provider_tools
            self._take_tools(request.tools)
        messages, known = request.messages, self._known
        count = len(messages)
        # The port promises that a list which is still the same object only grew; anything else is encoded anew.
        if not known:
            self._messages = messages
        elif messages is not self._messages or known > count or messages[known - 1] is not self._last:
            self._begin(messages)
            known = 0
        if known < count:
            for message in messages[known:] if known else messages:
                self._add(message)
                self._last = message
            self._known = count


def is_plain(request: ModelRequest) -> bool:
    """Returns whether a request says nothing but the conversation, its tools and how long the answer may be."""
    return (
        request.temperature is None
        and request.thinking is None
        and request.output is None
        and request.must_call is None
        and request.may_call
        and not request.options
    )


def fields_of(own: dict[str, Any], options: Mapping[str, Any], core: AbstractSet[str]) -> bytes:
    """Returns fields to put before the last brace of a body: `own` ones, and the `options` a person gave.

    Where both are objects they are joined.

    Raises:
        InvalidRequest: an option is one of the `core` fields, which are ours to write, or says again what `own` says.
    """
    if options:
        own = dict(own)
        for name, value in options.items():
            _join(own, name, value, name, core)
    return b"".join([b",%b:%b" % (bytes_of(name), bytes_of(value)) for name, value in own.items()])


def _join(fields: dict[str, Any], name: str, value: Any, path: str, core: AbstractSet[str]) -> None:
    there = fields.get(name)
    if isinstance(there, dict) and isinstance(value, dict):
        fields[name] = joined = dict(cast("dict[str, Any]", there))
        for key, item in cast("dict[str, Any]", value).items():
            _join(joined, key, item, f"{path}.{key}", _NONE)
    elif name in core or name in fields:
        raise InvalidRequest(f"the option {path!r} is written by Holdfast itself: leave it out, say it to the agent")
    else:
        fields[name] = value
