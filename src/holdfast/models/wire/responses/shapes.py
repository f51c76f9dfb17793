"""The JSON of Responses as typed structs: events and answers, and what a request holds.

An event is decoded once, into the one struct of its kind; the kinds nobody reads here are no kinds of `Event`, so
the decoder gives up at their name. Fields nobody reads are not declared and are skipped. Not here: any meaning; what
a server reads of a request (`asked.py`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.types import Citation

__all__ = (
    "Added",
    "Annotated",
    "Annotation",
    "Answer",
    "ArgumentsDelta",
    "CallItem",
    "Completed",
    "Done",
    "Event",
    "Failed",
    "Failure",
    "Hull",
    "Incomplete",
    "Kind",
    "MessageItem",
    "OwnItem",
    "Piece",
    "ReasoningDelta",
    "ReasoningItem",
    "RefusalDelta",
    "Snapped",
    "StepItem",
    "SummaryDelta",
    "TextDelta",
    "Tokens",
    "Words",
    "cited",
)


class Kind(msgspec.Struct, frozen=True, gc=False):
    """Only what an object says it is."""

    type: str = ""


# ---- items: what an answer is made of -------------------------------------------------------------------------


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """Where words come from: an address, or a file."""

    url: str | None = None
    title: str | None = None
    file_id: str | None = None
    filename: str | None = None


def cited(place: Annotation | None) -> Citation | None:
    """Returns it in our own words; None where it names nothing."""
    if place is None:
        return None
    source = place.url or place.file_id or place.filename
    return Citation(source, place.title or place.filename or "") if source else None


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message: words, or a refusal."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[Annotation] | None = None


class Words(msgspec.Struct, frozen=True, gc=False):
    """A piece of reasoning."""

    text: str
    type: str


class MessageItem(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="message"):
    """Words for people."""

    content: list[Piece] | None = None
    phase: str | None = None


class ReasoningItem(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="reasoning"):
    """Reasoning: a summary, sometimes the words themselves, and what only the provider can read."""

    id: str = ""
    summary: list[Words] | None = None
    content: list[Words] | None = None
    encrypted_content: str | None = None


class CallItem(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="function_call"):
    """A call of one of our tools."""

    name: str = ""
    call_id: str | None = None
    arguments: str | None = None


OwnItem = MessageItem | ReasoningItem | CallItem
"""The items whose meaning is known; every other kind is something the provider did itself."""


class StepItem(msgspec.Struct, frozen=True, gc=False):
    """What people may want to see of something the provider did."""

    type: str
    name: Any = None
    queries: Any = None
    code: Any = None
    revised_prompt: Any = None
    arguments: Any = None
    action: Any = None


# ---- events ---------------------------------------------------------------------------------------------------


class TextDelta(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="response.output_text.delta"
):
    """More words; the fields stand in the order in which they are sent, which is the fastest to read."""

    output_index: int = 0
    content_index: int = 0
    delta: str


class RefusalDelta(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.refusal.delta"):
    """More words of a refusal."""

    delta: str
    output_index: int = 0
    content_index: int = 0


class SummaryDelta(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.reasoning_summary_text.delta"
):
    """More of a summary of reasoning."""

    delta: str
    output_index: int = 0
    summary_index: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.reasoning_text.delta"):
    """More of reasoning itself."""

    delta: str
    output_index: int = 0
    content_index: int = 0


class ArgumentsDelta(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.function_call_arguments.delta"
):
    """More of a call's arguments."""

    delta: str
    output_index: int = 0


class Annotated(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.output_text.annotation.added"):
    """Where words come from."""

    annotation: Annotation | None = None
    output_index: int = 0
    content_index: int = 0


class Added(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.output_item.added"):
    """An item begins."""

    item: OwnItem | None = None
    output_index: int = 0


class Done(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.output_item.done"):
    """An item is whole."""

    item: OwnItem | None = None
    output_index: int = 0


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error object."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _InputDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What an answer used."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incompletion(msgspec.Struct, frozen=True, gc=False):
    reason: str | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer as a whole, at the end of a stream or in its place."""

    status: str | None = None
    output: msgspec.Raw = msgspec.Raw()
    """Read only when its items did not come one by one."""
    incomplete_details: _Incompletion | None = None
    error: Failure | str | None = None
    usage: Tokens | None = None


class Completed(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.completed"):
    """The answer is whole."""

    response: Answer


class Incomplete(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.incomplete"):
    """The answer ended before the model was done."""

    response: Answer


class Failed(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="response.failed"):
    """There is no answer."""

    response: Answer


class Snapped(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="error"):
    """The stream is over because of an error, which stands here or in an object of its own."""

    message: str | None = None
    code: str | int | None = None
    error: Failure | str | None = None


Event = (
    TextDelta
    | ArgumentsDelta
    | SummaryDelta
    | ReasoningDelta
    | RefusalDelta
    | Added
    | Done
    | Annotated
    | Completed
    | Incomplete
    | Failed
    | Snapped
)
"""One event of a stream that says something here."""


class Hull(msgspec.Struct, frozen=True, gc=False):
    """What can be told of an event that is none of these."""

    type: str = ""
    output_index: int = 0
    item: msgspec.Raw = msgspec.Raw()
    error: Failure | str | None = None
