"""A session's conversation as this door shows it: messages with their parts, and figures. A projection of the log.

Each is kept up by what came since it was last looked at; what was rewound is left out.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from typing import Literal, final

import msgspec

from holdfast.engine.events import ModelFinished, Rewound, RunFinished, RunStarted, ToolFinished
from holdfast.engine.folding import fold, replay
from holdfast.engine.state import State
from holdfast.runtime.runtime import Runtime
from holdfast.types import (
    AssistantMessage,
    Document,
    Event,
    Image,
    Message,
    ProviderStep,
    TenantId,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
)

__all__ = ("Memories", "Memory", "MessageShown", "OutputShown", "PartShown", "estimated")

_PAGE = 1_000
_KEPT = 200
"""Sessions whose conversations are at hand."""
_BYTES_PER_TOKEN = 4
_MESSAGE = 4
"""Tokens that a message has beside its words."""
_json = msgspec.json.Encoder()


class OutputShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call came to."""

    type: Literal["text", "error", "media"]
    text: str | None = None
    error: str | None = None
    data: str | None = None
    media_type: str | None = None


class PartShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a message."""

    type: Literal["text", "reasoning", "file", "tool-call", "tool-result", "unknown"]
    text: str | None = None
    filename: str | None = None
    data: str | None = None
    """Base64."""
    media_type: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    input: str | None = None
    """JSON text."""
    provider_executed: bool | None = None
    output: OutputShown | None = None
    metadata: str | None = None
    """JSON text: what screens are told of a call."""


class MessageShown(msgspec.Struct, frozen=True, kw_only=True):
    """A message."""

    role: Literal["user", "assistant", "tool", "system"]
    content: tuple[PartShown, ...]


def estimated(text: str) -> int:
    """Returns about how many tokens some words are (source: AgentOps 5.1)."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


@final
class Memory:
    """One conversation, up to the last event that was looked at."""

    def __init__(self) -> None:
        self.seq = 0
        self.turns = 0
        """Runs that are over."""
        self.trace = ""
        """Of the last run: the W3C traceparent it came with."""
        self.model = ""
        """Who answered last."""
        self.usage = Usage()
        """Of the last model call."""
        self._steps = 0
        self._state = State()
        self._results: dict[str, ToolResult] = {}
        self.lock = asyncio.Lock()

    @property
    def messages(self) -> list[Message]:
        """What was said, oldest first."""
        return self._state.messages

    @property
    def steps(self) -> int:
        """Model calls that were answered, of all runs."""
        return self._steps + (0 if self._state.run is None else self._state.run.steps)

    @property
    def tokens(self) -> int:
        """About how many tokens the conversation has."""
        return sum(_MESSAGE + estimated(_words(each)) for each in self.messages)

    def feed(self, events: list[Event]) -> bool:
        """Takes what came since; returns whether that can be told without what came before."""
        if any(isinstance(event.data, Rewound) for event in events):
            return False
        for event in events:
            fold(self._state, event)
            self._note(event)
        return True

    def begin_anew(self, events: list[Event]) -> None:
        """Takes all there is, of a log in which something was rewound."""
        self._state, self._results, self._steps, self.turns = replay(events), {}, 0, 0
        for event in events:
            self._note(event)

    def _note(self, event: Event) -> None:
        self.seq = event.seq
        match event.data:
            case ToolFinished(nested=None) as data:
                self._results[data.call_id] = data.result
            case ModelFinished() as data:
                self.model, self.usage = data.message.model, data.message.usage
            case RunStarted() as data:
                self.trace = data.setup.origin.get("traceparent", "")
            case RunFinished() as data:
                self._steps += data.steps
                self.turns += 1
            case _:
                pass

    def shown(self) -> list[MessageShown]:
        """Returns the messages as clients show them."""
        return [self._shown(each) for each in self.messages]

    def _shown(self, message: Message) -> MessageShown:
        if isinstance(message, UserMessage):
            return MessageShown(role="user", content=tuple(map(_said, message.parts)))
        if isinstance(message, AssistantMessage):
            return MessageShown(role="assistant", content=tuple(map(_answered, message.parts)))
        result = self._results.get(message.call_id)
        told = OutputShown(type="text", text=message.content)
        if message.is_error:
            told = OutputShown(type="error", error=message.content)
        part = PartShown(
            type="tool-result",
            tool_call_id=message.call_id,
            tool_name=message.name,
            output=told,
            metadata=_json.encode(result.metadata).decode() if result is not None and result.metadata else None,
        )
        return MessageShown(role="tool", content=(part,))


def _words(message: Message) -> str:
    if isinstance(message, UserMessage):
        return message.text
    if isinstance(message, AssistantMessage):
        return message.text + "".join(f"{call.name}{call.arguments}" for call in message.calls)
    return message.content


def _said(part: Text | Image | Document) -> PartShown:
    if isinstance(part, Text):
        return PartShown(type="text", text=part.text)
    data = base64.b64encode(part.data).decode()
    return PartShown(type="file", filename=part.name or None, data=data, media_type=part.media_type)


def _answered(part: Text | Thinking | ToolCall | ProviderStep) -> PartShown:
    match part:
        case Text():
            return PartShown(type="text", text=part.text)
        case Thinking():
            return PartShown(type="reasoning", text=part.text)
        case ToolCall():
            return PartShown(
                type="tool-call",
                tool_call_id=part.id,
                tool_name=part.name,
                input=part.arguments or "{}",
                provider_executed=False,
            )
        case ProviderStep():
            return PartShown(type="tool-call", tool_name=part.name, input=part.data or "{}", provider_executed=True)


@final
class Memories:
    """The conversations that were looked at last."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[TenantId, str, int], Memory] = OrderedDict()

    async def of(self, runtime: Runtime, tenant: TenantId, session: str) -> Memory:
        """Returns a session's conversation as its log has it now; an empty one where there is no such session."""
        glance = await runtime.glance(session)
        if glance is None:
            return Memory()
        key = (tenant, session, glance.created_at)
        memory = self._held.setdefault(key, Memory())
        self._held.move_to_end(key)
        if len(self._held) > _KEPT:
            self._held.popitem(last=False)
        async with memory.lock:
            while memory.seq < glance.seq:
                events = await runtime.events(session, after=memory.seq, limit=_PAGE)
                if not events:
                    break
                if not memory.feed(events):
                    memory.begin_anew(await self._all(runtime, session, events[-1].seq))
        return memory

    async def _all(self, runtime: Runtime, session: str, until: int) -> list[Event]:
        found: list[Event] = []
        while (after := found[-1].seq if found else 0) < until:
            page = await runtime.events(session, after=after, limit=min(_PAGE, until - after))
            if not page:
                break
            found += page
        return found
