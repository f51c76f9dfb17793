"""The JSON of Chat Completions as typed structs, one decode or encode for each message or chunk.

Not here: any meaning. Fields nobody reads are not declared, so the decoder skips them. What servers leave out or
send as null is optional; a declared field of another type makes the chunk malformed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = (
    "Answer",
    "Annotation",
    "AssistantTurn",
    "Choice",
    "Chunk",
    "Failure",
    "Fragment",
    "Function",
    "FunctionTool",
    "InputPart",
    "InputTool",
    "InputTurn",
    "RequestBody",
    "Said",
    "SaidPart",
    "SystemTurn",
    "Tokens",
    "ToolFunction",
    "ToolTurn",
    "TurnCall",
    "TurnFile",
    "TurnFunction",
    "TurnImage",
    "TurnPart",
    "TurnText",
    "UserTurn",
    "WordChunk",
)


# ---- answers: what a server sends -----------------------------------------------------------------------------


class Function(msgspec.Struct, frozen=True, gc=False):
    """A piece of a call, or a whole one."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    """JSON text; some servers send the object itself."""


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """A piece of one of the answer's calls."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class SaidPart(msgspec.Struct, frozen=True, gc=False):
    """A piece of an answer, of servers that part them."""

    type: str = "text"
    text: str | None = None
    thinking: str | list[SaidPart] | None = None


class _CitedPage(msgspec.Struct, frozen=True, gc=False):
    url: str = ""
    title: str = ""


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """Where words come from."""

    url_citation: _CitedPage | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a chunk adds, or all that a whole answer says."""

    content: str | list[SaidPart] | None = None
    tool_calls: list[Fragment] | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[Annotation] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    function_call: Function | None = None
    """The form calls had before there were tools."""


class Choice(msgspec.Struct, frozen=True, gc=False):
    """One alternative; only the first is read, since only one is asked for."""

    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What an answer used."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    """What was read from the cache, as DeepSeek says it."""


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error object."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream."""

    choices: list[Choice] | None = None
    usage: Tokens | None = None
    error: Failure | str | None = None


class _WordDelta(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None
    tool_calls: None = None
    reasoning_content: None = None
    reasoning_details: None = None
    annotations: None = None
    reasoning: None = None
    refusal: None = None
    function_call: None = None


class _WordChoice(msgspec.Struct, frozen=True, gc=False):
    delta: _WordDelta
    message: None = None
    finish_reason: str | None = None


class WordChunk(msgspec.Struct, frozen=True, gc=False):
    """An event that says words, or why they end, or what they cost, and nothing else: the decoder refuses any other,
    which takes less time than to look for all that a `Chunk` may hold.
    """

    choices: list[_WordChoice]
    usage: Tokens | None = None
    error: None = None


class Answer(Chunk, frozen=True, gc=False):
    """An event, or a whole body, read for everything it may be: a chunk, an answer, or an error in another place."""

    object: str | None = None
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


# ---- requests: what a client sends ----------------------------------------------------------------------------


class SystemTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="system"):
    """The instructions."""

    content: str


class TurnText(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Words of a prompt."""

    text: str


class TurnImage(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="image_url"):
    """A picture of a prompt, as a data URL."""

    image_url: dict[str, str]


class TurnFile(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="file"):
    """A document of a prompt, as a data URL."""

    file: dict[str, str]


TurnPart = TurnText | TurnImage | TurnFile
"""A piece of a prompt that is more than words."""


class UserTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="user"):
    """A prompt."""

    content: str | list[TurnPart]


class TurnFunction(msgspec.Struct, frozen=True, gc=False):
    """What an earlier call asked for."""

    name: str
    arguments: str


class TurnCall(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="function"):
    """An earlier call."""

    id: str
    function: TurnFunction


class AssistantTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str | None
    tool_calls: list[TurnCall] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    reasoning_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class ToolTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="tool"):
    """A call's result."""

    tool_call_id: str
    content: str
    name: str | msgspec.UnsetType = msgspec.UNSET


class ToolFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool, described."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool | None = None


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A tool, offered."""

    function: ToolFunction


class InputPart(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message, as a client may write it."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: dict[str, str | None] | None = None
    file: dict[str, str | None] | None = None


class InputTurn(msgspec.Struct, frozen=True, gc=False):
    """A message of any role, as a client may write it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[InputPart] | None = None
    tool_calls: list[Fragment] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    name: str | None = None


class _InputFunction(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class InputTool(msgspec.Struct, frozen=True):
    """A tool, as a client may offer it."""

    type: str
    function: _InputFunction | None = None


class _StreamOptions(msgspec.Struct, frozen=True, gc=False):
    include_usage: bool | None = None


class RequestBody(msgspec.Struct, frozen=True):
    """A whole request."""

    model: str
    messages: list[InputTurn]
    tools: list[InputTool] | None = None
    tool_choice: Any = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: Any = None
    response_format: Any = None
    top_p: Any = None
    stop: Any = None
    seed: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None
    parallel_tool_calls: Any = None
    verbosity: Any = None
    n: Any = None
    logprobs: Any = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None
    prediction: Any = None
    web_search_options: Any = None
    modalities: Any = None
    moderation: Any = None
    service_tier: Any = None
    store: Any = None
    top_logprobs: Any = None
    metadata: Any = None
    user: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
