"""Calls and their results in a conversation: each call has one result, right behind the answer that wanted it.

Providers refuse anything else, and a conversation may come from a file, or from a session that was cut. A call that
never got its result gets one that says so; a result that no call asked for goes; results that somebody spoke into move
up to their calls (source: flex A1.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.types import AssistantMessage, CallId, Message, Part, ToolCall, ToolMessage

__all__ = ("NO_RESULT", "is_paired", "pair")

NO_RESULT = "No result provided"
"""What a model reads in place of a result that nobody has."""


def is_paired(messages: Sequence[Message]) -> bool:
    """Whether each call has its result where it belongs, so that `pair` would change nothing."""
    wanted: list[CallId] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if not wanted or wanted.pop(0) != message.call_id:
                return False
        elif wanted:
            return False
        elif isinstance(message, AssistantMessage):
            wanted = [part.id for part in message.parts if isinstance(part, ToolCall)]
            if len(wanted) > 1 and len(set(wanted)) < len(wanted):
                return False
    return not wanted


def pair(messages: Sequence[Message]) -> list[Message]:
    """Returns the conversation with one result for each call; of calls with one id in one answer the first stays."""
    told: list[Message] = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        if isinstance(message, ToolMessage):
            continue  # what it answers is not here
        message = _distinct(message) if isinstance(message, AssistantMessage) else message
        told.append(message)
        if isinstance(message, AssistantMessage) and (calls := message.calls):
            results: dict[CallId, ToolMessage] = {}
            others: list[Message] = []
            while place < len(messages) and not isinstance(following := messages[place], AssistantMessage):
                if isinstance(following, ToolMessage):
                    results.setdefault(following.call_id, following)
                else:
                    others.append(following)
                place += 1
            told += [results.get(call.id) or ToolMessage(call.id, call.name, NO_RESULT, True) for call in calls]
            told += others
    return told


def _distinct(message: AssistantMessage) -> AssistantMessage:
    seen: set[CallId] = set()
    parts: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolCall) or part.id not in seen:
            parts.append(part)
        if isinstance(part, ToolCall):
            seen.add(part.id)
    return message if len(parts) == len(message.parts) else msgspec.structs.replace(message, parts=tuple(parts))
