"""Taking what was said out of an event, and leaving what it did: which call it belongs to, what it cost, how it ended.

So a scrubbed log folds to the same conversation, with other words in it: each call keeps its result, each run its end
and its bill. What is content and what is structure is decided by the names of fields; a name that is not known counts
as content, since it is better to lose a word than to keep one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any, cast, final

import msgspec
from msgspec.structs import replace

from holdfast.engine.events import WaitResolved
from holdfast.engine.letters import Setup
from holdfast.errors import UsageError
from holdfast.types import (
    AssistantMessage,
    Attachment,
    Control,
    Digest,
    Document,
    Effect,
    Event,
    Image,
    Limits,
    ProviderStep,
    Scrubbed,
    SnapshotRef,
    Text,
    Thinking,
    ToolCall,
    ToolError,
    Unknown,
    Usage,
    UserMessage,
)

__all__ = ("CONTENT", "GONE", "STRUCTURE", "Scrub", "spellings")

GONE = "[scrubbed]"
"""What stands in the place of content."""
STRUCTURE = frozenset(
    (
        "absent",
        "account",
        "agent",
        "below",
        "call_id",
        "chunks",
        "code",
        "digest",
        "grant",
        "id",
        "kind",
        "limit",
        "media_type",
        "model",
        "name",
        "parent",
        "posture",
        "process",
        "run",
        "status",
    )
) | {"mode", "next", "scope", "stop", "subject", "token", "topic", "type", "workspace"}
"""Fields whose words hold a log together."""
CONTENT = frozenset(
    ("arguments", "command", "content", "description", "header", "label", "message", "metadata", "prompt", "question")
) | {"data", "quote", "reason", "output", "signature", "source", "stored", "tags", "text", "title", "unsaved", "why"}
"""Fields whose words somebody said, or a tool brought."""

_WHOLE = (ToolError, Usage, SnapshotRef, Effect, Limits, Control)
_ANSWERS = frozenset(("once", "always", "deny", "approve", "changes"))
"""What an answer to a wait begins with when it decides something."""


@final
class Scrub:
    """Takes all content out of events, or some words of it."""

    def __init__(self, at: int, by: str, words: str | None = None, stored: Collection[Digest] = ()) -> None:
        """`words` is what to take out, all content without; `stored` names outputs that hold the words."""
        self._mark = Scrubbed(at, by)
        self._words = None if words is None else spellings(words)
        self._stored = frozenset(stored)

    def apply(self, event: Event) -> Event:
        """Returns the event without the content; the very same one when there is nothing to take out.

        Raises:
            UsageError: nobody here knows what of it is content.
        """
        data = self._unknown(event, event.data) if isinstance(event.data, Unknown) else self._any(event.data)
        return event if data == event.data else replace(event, data=data, scrubbed=self._mark)

    def _unknown(self, event: Event, data: Unknown) -> Unknown:
        raw = bytes(data.raw)
        for each in self._words or ():
            raw = raw.replace(each.encode(), GONE.encode())
        if self._words is None or not _is_json(raw):
            raise UsageError(
                f"event {event.seq} is a {event.type!r}, of which this version of Holdfast does not know what is "
                "content: scrub the words alone, or upgrade Holdfast"
            )
        return Unknown(msgspec.Raw(raw))

    def _any(self, value: Any) -> Any:
        match value:
            case str():
                return self._text(value)
            case UserMessage() | AssistantMessage():
                parts = tuple(part for each in value.parts if (part := self._part(each)) is not None)
                return replace(value, parts=parts or (Text(GONE),))
            case WaitResolved():
                beside, arguments = self._any(value.result), self._json(value.arguments)
                return replace(value, content=self._answer(value), arguments=arguments, result=beside)
            case Setup():
                return self._setup(value)
            case msgspec.Struct() if not isinstance(value, _WHOLE):
                return self._struct(value)
            case dict():
                return self._mapping(cast("dict[Any, Any]", value))
            case list() | tuple():
                items = [self._any(each) for each in cast("list[Any]", value) if not self._is_gone(each)]
                return tuple(items) if isinstance(value, tuple) else items
            case _:
                return value

    def _is_gone(self, value: object) -> bool:
        """Whether it is a file that goes as a whole."""
        if not isinstance(value, Attachment):
            return False
        return self._words is None or not self._stored.isdisjoint((value.digest, *value.chunks))

    def _setup(self, setup: Setup) -> Setup:
        """Returns how a run was set up, without the files it was given; what it needs to be gone on with stays."""
        deliver = setup.deliver if self._words is None else self._any(setup.deliver)
        files, phases, origin = self._any(setup.files), self._any(setup.phases), self._any(setup.origin)
        return replace(setup, files=files, phases=phases, deliver=deliver, origin=origin)

    def _struct(self, struct: msgspec.Struct) -> msgspec.Struct:
        changed: dict[str, Any] = {}
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if name == "arguments":
                changed[name] = self._json(value)
            elif name == "stored":
                changed[name] = Digest("") if self._words is None or value in self._stored else value
            elif name == "name" and isinstance(struct, Attachment):  # somebody's words, unlike the name of a tool
                changed[name] = self._text(value)
            elif not (isinstance(value, str) and name in STRUCTURE):
                changed[name] = self._any(value)
        return replace(struct, **changed)

    def _part(self, part: Any) -> Any:
        match part:
            case Thinking():  # a provider wants it verbatim or not at all
                return None if self._holds(part.text, part.signature, part.redacted) else part
            case ProviderStep():  # the same
                return None if self._holds(part.text, part.data) else part
            case Text(signature=signed) | ToolCall(signature=signed) if signed:
                bare = replace(part, signature="")
                scrubbed = self._any(bare)
                return part if scrubbed == bare and not self._holds(signed) else scrubbed
            case Image() | Document():
                return Text(GONE) if self._holds(part.name, part.data) else part
            case _:
                return self._any(part)

    def _holds(self, *values: str | bytes) -> bool:
        if self._words is None:
            return True
        found = [value.encode() if isinstance(value, str) else value for value in values]
        return any(each.encode() in value for each in self._words for value in found)

    def _text(self, text: str) -> str:
        if self._words is None:
            return GONE if text else text
        for each in self._words:
            text = text.replace(each, GONE)
        return text

    def _json(self, text: str) -> str:
        """Returns a call's arguments, which stay a JSON object if they were one."""
        if self._words is None:
            return "{}" if text else text
        changed = self._text(text)
        return "{}" if changed != text and _is_json(text.encode()) and not _is_json(changed.encode()) else changed

    def _answer(self, said: WaitResolved) -> str | None:
        word, colon, why = (said.content or "").partition(":")
        if said.content is None or word.strip() not in _ANSWERS:
            return None if said.content is None else self._text(said.content)
        return f"{word}{colon} {self._text(why.strip())}" if why.strip() else said.content

    def _mapping(self, mapping: dict[Any, Any]) -> dict[Any, Any]:
        if self._words is None:
            return {}
        return {self._any(key): self._any(value) for key, value in mapping.items()}


def spellings(words: str) -> tuple[str, ...]:
    """Returns how words are written, the longest first: as they are, and within JSON.

    Raises:
        UsageError: there are none.
    """
    if not words:
        raise UsageError("there is nothing to look for: give the words that have to go")
    written: Iterable[str] = (words, json.dumps(words)[1:-1], json.dumps(words, ensure_ascii=False)[1:-1])
    return tuple(sorted(set(written), key=lambda each: (-len(each), each)))


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
