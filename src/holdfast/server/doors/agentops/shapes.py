"""The event protocol (FEP), type by type (source: AgentOps 2.1 to 2.4).

Of its defects these are mended: a failure is one `agent_error`; `step_count` is how many steps there were; events have
ids in the stream, so that a reader can come back; and an answer that begins again says so (`text_reset`, ours), so that
nobody reads words twice. Numbers of steps still begin at 0, as its clients count them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = (
    "EVENTS",
    "AgentError",
    "AgentFinish",
    "AgentStart",
    "ChildOutcome",
    "ChildRun",
    "ContextBudget",
    "DelegationAllCompleted",
    "DelegationFanOut",
    "DelegationResult",
    "DelegationRunCompleted",
    "DelegationSingle",
    "DelegationTimeout",
    "Fep",
    "FinishReason",
    "PermissionAsked",
    "PermissionReplied",
    "QuestionAsked",
    "QuestionReplied",
    "QuestionShown",
    "ReasoningDelta",
    "ReasoningEnd",
    "ReasoningStart",
    "SessionIdle",
    "SessionStatus",
    "Source",
    "StepFinish",
    "StepStart",
    "StreamFinish",
    "TextDelta",
    "TextEnd",
    "TextReset",
    "TextStart",
    "ToolCall",
    "ToolInputDelta",
    "ToolInputEnd",
    "ToolInputStart",
    "ToolResult",
    "UsageShown",
    "Warnings",
)

FinishReason = Literal["stop", "length", "content-filter", "tool-calls", "error", "other", "unknown"]


class UsageShown(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens; all six are always there."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    reasoning_tokens: int = 0
    cache_creation_tokens: int = 0
    cache_read_tokens: int = 0


class ContextBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of a request are of, and what may still be said; all eleven are always there."""

    context_window: int = 0
    budget_tokens: int = 0
    """What of the window the conversation may take."""
    system_prompt_tokens: int = 0
    tool_tokens: int = 0
    memory_context_tokens: int = 0
    conversation_tokens: int = 0
    prompt_tokens: int = 0
    actual_input_tokens: int = 0
    """Of the last model call."""
    actual_output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class Fep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """The base: each has its `type`, and the time it was made, RFC 3339 in UTC."""

    timestamp: str


class AgentStart(Fep, frozen=True, kw_only=True, omit_defaults=True, tag="agent_start"):
    """A prompt is taken up; `internal` for one that nobody typed."""

    session_id: str
    prompt: str | None = None
    internal: bool = False
    source: str = ""
    trace_id: str = ""
    context_budget: ContextBudget | None = None


class AgentFinish(Fep, frozen=True, kw_only=True, tag="agent_finish"):
    """It went well."""

    session_id: str
    total_usage: UsageShown
    step_count: int
    model: str


class AgentError(Fep, frozen=True, kw_only=True, tag="agent_error"):
    """It did not; said once."""

    session_id: str
    error: str
    retryable: bool


class StepStart(Fep, frozen=True, kw_only=True, tag="step_start"):
    """A model is asked."""

    step_number: int
    session_id: str


class StepFinish(Fep, frozen=True, kw_only=True, omit_defaults=True, tag="step_finish"):
    """It answered, and the tools it wanted have run."""

    step_number: int
    session_id: str
    usage: UsageShown
    finish_reason: FinishReason
    tool_call_count: int
    context_budget: ContextBudget | None = None


class _Block(Fep, frozen=True, kw_only=True):
    id: str


class TextStart(_Block, frozen=True, kw_only=True, tag="text_start"):
    """Words begin."""


class TextDelta(_Block, frozen=True, kw_only=True, tag="text_delta"):
    """More of them."""

    delta: str


class TextEnd(_Block, frozen=True, kw_only=True, tag="text_end"):
    """They are all there."""


class ReasoningStart(_Block, frozen=True, kw_only=True, tag="reasoning_start"):
    """Reasoning begins."""


class ReasoningDelta(_Block, frozen=True, kw_only=True, tag="reasoning_delta"):
    """More of it."""

    delta: str


class ReasoningEnd(_Block, frozen=True, kw_only=True, tag="reasoning_end"):
    """It is all there."""


class ToolInputStart(_Block, frozen=True, kw_only=True, tag="tool_input_start"):
    """The arguments of a call begin; the id is the call's."""

    tool_name: str


class ToolInputDelta(_Block, frozen=True, kw_only=True, tag="tool_input_delta"):
    """More of them."""

    delta: str


class ToolInputEnd(_Block, frozen=True, kw_only=True, tag="tool_input_end"):
    """They are all there."""


class ToolCall(_Block, frozen=True, kw_only=True, tag="tool_call"):
    """A whole call."""

    tool_name: str
    input: str
    """JSON text."""
    provider_executed: bool


class ToolResult(Fep, frozen=True, kw_only=True, omit_defaults=True, tag="tool_result"):
    """What a call came to."""

    id: str
    tool_name: str
    output: str
    is_error: bool
    metadata: str | None = None
    """JSON text."""
    media_type: str | None = None
    data: str | None = None
    """Base64."""


class Source(_Block, frozen=True, kw_only=True, tag="source"):
    """Where words come from."""

    source_type: str
    url: str
    title: str


class Warnings(Fep, frozen=True, kw_only=True, tag="warnings"):
    """What did not go as it was meant to, and is got over."""

    warnings: tuple[str, ...]


class StreamFinish(Fep, frozen=True, kw_only=True, tag="stream_finish"):
    """A model's answer is whole; no tool of it has run yet."""

    usage: UsageShown
    finish_reason: FinishReason


class TextReset(Fep, frozen=True, kw_only=True, tag="text_reset"):
    """Forget the words, the reasoning and the arguments of this step: its answer begins again. Ours."""

    session_id: str
    step_number: int
    reason: str


class PermissionAsked(Fep, frozen=True, kw_only=True, tag="permission_asked"):
    """A call waits for a person's yes."""

    id: str
    session_id: str
    tool_name: str
    input: str
    description: str


class PermissionReplied(Fep, frozen=True, kw_only=True, tag="permission_replied"):
    """A person said it."""

    id: str
    session_id: str
    response: str


class OptionShown(msgspec.Struct, frozen=True):
    """Something to pick."""

    label: str
    description: str = ""


class QuestionShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that is asked."""

    header: str
    question: str
    options: tuple[OptionShown, ...] = ()
    multiple: bool = False


class QuestionAsked(Fep, frozen=True, kw_only=True, tag="question_asked"):
    """The agent asks."""

    id: str
    session_id: str
    questions: tuple[QuestionShown, ...]


class QuestionReplied(Fep, frozen=True, kw_only=True, tag="question_replied"):
    """Somebody answered."""

    id: str
    session_id: str
    answers: tuple[tuple[str, ...], ...]


class SessionIdle(Fep, frozen=True, kw_only=True, tag="session_idle"):
    """The last event of every stream."""

    session_id: str


class SessionStatus(Fep, frozen=True, kw_only=True, tag="session_status"):
    """What the agent does."""

    session_id: str
    status: Literal["idle", "busy", "waiting"]


class DelegationSingle(Fep, frozen=True, kw_only=True, tag="delegation.single"):
    """One other agent was given a job."""

    groupId: str
    runName: str
    timeout: str
    parentAgent: str


class DelegationFanOut(Fep, frozen=True, kw_only=True, tag="delegation.fan_out"):
    """Several were."""

    groupId: str
    count: int
    timeout: str
    runNames: tuple[str, ...]
    parentAgent: str


class DelegationRunCompleted(Fep, frozen=True, kw_only=True, tag="delegation.run_completed"):
    """One of them is done."""

    groupId: str
    runName: str
    childAgent: str
    phase: str
    duration: str
    remaining: int
    parentAgent: str


class DelegationAllCompleted(Fep, frozen=True, kw_only=True, tag="delegation.all_completed"):
    """All are."""

    groupId: str
    single: bool
    succeeded: int
    failed: int
    totalDuration: str
    parentAgent: str


class DelegationTimeout(Fep, frozen=True, kw_only=True, tag="delegation.timeout"):
    """Some did not come in time."""

    groupId: str
    completed: int
    timedOut: int
    parentAgent: str


class ChildOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a job came to, in a line."""

    intent: str
    summary: str
    artifacts: tuple[dict[str, str], ...] = ()


class ChildRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job of a group."""

    agentName: str = ""
    phase: str
    output: str = ""
    toolCalls: int = 0
    model: str = ""
    traceID: str = ""
    duration: str = ""
    outcome: ChildOutcome | None = None
    failureReason: str = ""


class DelegationResult(Fep, frozen=True, kw_only=True, tag="delegation.result"):
    """What all of them came to."""

    groupId: str
    single: bool
    timedOut: bool
    totalDuration: str
    succeeded: int
    failed: int
    runs: dict[str, ChildRun]
    parentAgent: str


EVENTS: tuple[type[Fep], ...] = (
    AgentStart,
    AgentFinish,
    AgentError,
    StepStart,
    StepFinish,
    TextStart,
    TextDelta,
    TextEnd,
    ReasoningStart,
    ReasoningDelta,
    ReasoningEnd,
    ToolInputStart,
    ToolInputDelta,
    ToolInputEnd,
    ToolCall,
    ToolResult,
    Source,
    Warnings,
    StreamFinish,
    TextReset,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionReplied,
    SessionIdle,
    SessionStatus,
    DelegationSingle,
    DelegationFanOut,
    DelegationRunCompleted,
    DelegationAllCompleted,
    DelegationTimeout,
    DelegationResult,
)
"""Every type there is."""
