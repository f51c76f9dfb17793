"""Declarations: what a tool and an agent are, as frozen values that serialise.

Python builds them, YAML will load into them, the log stores them by digest. Functions are not here: a binding
finds its spec's function again by reference.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, get_args

import msgspec

from holdfast.errors import UsageError
from holdfast.types.execution import Execution
from holdfast.types.ids import Digest
from holdfast.types.limits import Limits
from holdfast.types.permissions import Governance

__all__ = (
    "LEVELS",
    "TOOLS_SHOWN",
    "AgentSpec",
    "Effect",
    "OutputMode",
    "OutputShape",
    "Outside",
    "PhaseSpec",
    "ProviderTool",
    "ThinkingLevel",
    "ToolSpec",
    "digest_of",
)

OutputMode = Literal["auto", "native", "tool", "text"]
"""How a typed answer is asked for: by the provider's own form, as the arguments of a tool, or in words; `auto` takes
what suits the model."""
ThinkingLevel = Literal["off", "minimal", "low", "medium", "high", "xhigh"]
"""How much a model thinks before it answers (source: flex A1.2)."""
LEVELS: tuple[ThinkingLevel, ...] = get_args(ThinkingLevel)
TOOLS_SHOWN = 40
"""Tools that a request shows where nobody says how many: among more models choose worse, and each costs tokens."""

Outside = Literal["none", "keyed", "checkable", "unsafe"]
"""What a call does to the world outside the workspace: nothing, something our idempotency key makes happen
once, something we can ask about afterwards, or something nobody can repeat safely."""
_OUTSIDE: tuple[str, ...] = get_args(Outside)


class Effect(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a call changes, on two axes (brief 5).

    Raises:
        UsageError: `outside` is none of its words.
    """

    workspace: bool = False
    """Whether it may change files of the workspace."""
    outside: Outside = "unsafe"
    sends: bool = False
    """Whether what the model puts into the call leaves the machine, even where that changes nothing: an address can
    carry what a file said. It may be repeated; whether it may be made at all is asked like any effect."""

    def __post_init__(self) -> None:
        if self.outside not in _OUTSIDE:
            *others, last = map(repr, _OUTSIDE)
            raise UsageError(f"no effect goes by the word {self.outside!r}: write {', '.join(others)} or {last}")

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice equals doing it once, even if nobody remembers the first time.

        A keyed one is not: its key has to be remembered, or the call is made again under another.
        """
        return not self.workspace and self.outside == "none"


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool, as the model and the gateway see it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments object."""
    effect: Effect = Effect()
    reference: str = ""
    """Where the function is found again: `module:qualified.name`."""
    timeout: float | None = None
    """Seconds a call may take; None leaves it to the run's limits."""
    max_output: int = 50_000
    """Characters of a result the model gets to read."""
    settles: float = 0.0
    """Seconds after its start in which a call that was begun may still take effect outside. Of a `checkable` one, an
    answer that it did not happen counts only after them."""
    terminal: bool = False
    """Whether the run is over when the model's call of it goes well: what the call came to is the run's output."""
    at_once: int | None = None
    """Calls of it at one time in a process, of all runs together; None for any number."""
    governance: Governance = Governance()
    """What it says of itself to whoever decides whether it may be called."""

    def __post_init__(self) -> None:
        if self.at_once is not None and self.at_once < 1:
            raise UsageError("at_once counts from 1: leave it out for any number of calls at one time")


class ProviderTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that the provider runs itself, for example its search of the web.

    Raises:
        UsageError: it has no type.
    """

    type: str
    """The provider's word for it, for example `web_search_20250305`, `web_search` or `google_search`."""
    settings: dict[str, Any] = {}
    """The provider's own settings of it, sent as they are."""

    def __post_init__(self) -> None:
        if not self.type.strip():
            raise UsageError("a tool of the provider has no type: write the provider's word for it, such as web_search")


class OutputShape(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a typed answer looks like."""

    name: str
    schema: dict[str, Any]
    """JSON Schema of the answer: always of an object, as providers want it."""
    wrapped: bool = False
    """Whether the answer is no object itself, and stands in that one under `answer`."""


class PhaseSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A part of a pipeline."""

    name: str
    agent: Digest
    """The spec of the agent that does it."""
    prompt: str = "{query}"
    """What it is told: `{query}` stands for what the pipeline was asked, `{name}` for what the phase of that name came
    to."""
    optional: bool = False
    """Whether the pipeline goes on when it fails."""
    fallback: str = ""
    """What an optional phase that fails counts as."""
    workspace: Literal["none", "shared", "forked"] = "none"
    """The files it works on."""
    seconds: float | None = None
    """How long it may take."""


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent, without its functions."""

    model: str
    """`provider/name`, several with commas, or names that the runtime knows; what they mean is asked for each run."""
    instructions: str = ""
    name: str = "agent"
    tools: tuple[ToolSpec, ...] = ()
    limits: Limits = Limits()
    max_output_tokens: int | None = None
    """The most a single answer may hold; None leaves it to the provider."""
    temperature: float | None = None
    thinking: ThinkingLevel | None = None
    """How much it thinks; None leaves it to the provider."""
    provider_tools: tuple[ProviderTool, ...] = ()
    """What the provider may run itself."""
    options: dict[str, Any] = {}
    """Fields of the provider's own that each request carries, for example `{"service_tier": "flex"}`."""
    output: OutputShape | None = None
    """What its answers look like; None for text."""
    output_mode: OutputMode = "auto"
    """How such an answer is asked for, chosen when the agent was declared."""
    phases: tuple[PhaseSpec, ...] = ()
    """Set when it is no agent but a pipeline of agents."""
    roles: tuple[str, ...] = ()
    """What it is among those that the runtime's policy speaks of."""
    allowed_tools: tuple[str, ...] = ()
    """Tools that it may call whatever its roles are; see `tools/authorising`."""
    tools_shown: int | None = None
    """How many of its tools a request shows; with more, those that fit. None for `TOOLS_SHOWN`."""
    messages_shown: int | None = None
    """How many messages of a conversation a request carries, the newest; None for all."""
    execution: Execution | None = None
    """How it has to work; None where it is bound to nothing."""
    may_call: bool = True
    """Whether it may call its tools; it is told of them all the same."""
    must_call: str | None = None
    """The tool that every answer has to call; empty for any of them, None where it may answer without. Such a run has
    no end of its own but a terminal tool, a limit, or whoever runs its tools."""

    @property
    def shows(self) -> int | None:
        """How many tools a request shows; None where it shows all there are."""
        most = self.tools_shown or TOOLS_SHOWN
        return most if len(self.tools) > most else None


def digest_of(data: bytes) -> Digest:
    """Returns the content address of some bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())
