"""An agent as the runtime knows it: a spec, and the functions it is bound to."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, cast

import msgspec

from holdfast.engine.letters import Setup
from holdfast.errors import UsageError
from holdfast.models.access.access import Key, Own
from holdfast.models.routing.grammar import check_spec
from holdfast.tools.binding import Order, Tool, ToolContext
from holdfast.tools.declaring import tool as declare
from holdfast.tools.resolving import find_tool
from holdfast.tools.typed.declaring import answers_of
from holdfast.tools.typed.describing import Value
from holdfast.tools.typed.reading import AnswerReader
from holdfast.types import (
    LEVELS,
    MODES,
    NO_CONTROL,
    AgentSpec,
    Control,
    Digest,
    Effect,
    Limits,
    Mode,
    OutputMode,
    Outside,
    ProviderTool,
    ThinkingLevel,
    ToolResult,
    Wait,
    digest_of,
)

__all__ = ("AgentTool", "BoundAgent", "agent_reference", "agent_tool")


class BoundAgent(Generic[Value]):
    """A spec and its bindings; people make an `Agent`, or a `Pipeline`."""

    spec: AgentSpec
    tools: tuple[Tool, ...] = ()
    reader: AnswerReader | None = None
    """Reads its answers, where they have to be data."""
    phases: tuple[BoundAgent, ...] = ()
    """Of a pipeline, the agents of its phases."""
    own: Own | None = None
    """A key and headers of its own; they stay in this process."""

    def __init__(  # noqa: PLR0913 - what an agent is has so many sides, and each has its default
        self,
        model: str,
        *,
        instructions: str = "",
        tools: Iterable[Tool | Callable[..., Any] | str] = (),
        name: str = "agent",
        limits: Limits | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        thinking: ThinkingLevel | None = None,
        provider_tools: Iterable[ProviderTool | str] = (),
        options: Mapping[str, Any] | None = None,
        output: type[Value] | object = None,
        output_mode: OutputMode = "auto",
        key: Key | Mapping[str, Key] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Binds a spec.

        Args:
            model: `provider/name`, an alias or a tier, or several with commas between: each stands in for the one
                before it. A level of thinking may follow a colon: `openai/gpt-5:high`.
            instructions: The system prompt.
            tools: Decorated functions, plain functions, or names of built-in tools such as `"read"`.
            name: What people call it.
            limits: How far a run may go that does not say it itself.
            max_output_tokens: The most a single answer may hold.
            temperature: Sent when given.
            thinking: off, minimal, low, medium, high or xhigh; a model that has no such level takes the next lower one.
            provider_tools: What the provider runs itself, such as its search of the web, by the provider's own word.
            options: Fields of the provider's own that each request carries.
            output: The type of its answers, or a JSON Schema. One that does not fit is asked for once more.
            output_mode: By the provider's form (`native`), a call (`tool`), in words (`text`), or what suits (`auto`).
            key: Text, or a function that gives it, perhaps by provider; it goes before every other and stays in here.
            headers: What each request carries beside what is sent anyway; they stay in this process, too.

        Raises:
            UnknownModel: nothing can be meant by the name, whatever aliases and tiers there are.
            UndescribableTool, UnknownTool, UsageError: a tool, level, option or type of answers is none, or doubled.
        """
        check_spec(model)
        self.own = None if key is None and not headers else Own(key, headers)
        own = _tools(tools)
        answers = answers_of(output, output_mode, model, [each.spec.name for each in own])
        self.tools, self.reader = own + answers.tools, answers.reader
        self.spec = AgentSpec(
            model=model,
            instructions="\n\n".join(filter(None, (instructions, answers.instructions))),
            name=name,
            tools=tuple(each.spec for each in self.tools),
            limits=limits or Limits(),
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            thinking=_level(thinking),
            provider_tools=tuple(ProviderTool(each) if isinstance(each, str) else each for each in provider_tools),
            options=_options(options),
            output=answers.shape,
            output_mode=answers.mode,
        )

    __init__.__qualname__ = "Agent"  # a wrong call is told of the name people know

    @classmethod
    def again(cls, spec: AgentSpec, tools: tuple[Tool, ...], reader: AnswerReader | None = None) -> BoundAgent:
        """Returns the agent of a spec that was read from the log."""
        agent = object.__new__(BoundAgent)
        agent.spec, agent.tools, agent.reader = spec, tools, reader
        return agent

    def bare(self) -> BoundAgent[Value]:
        """Returns the same without a key and headers of its own, for whoever has only its spec."""
        if self.own is None:
            return self
        twin = copy.copy(self)
        twin.own = None
        return twin

    @cached_property
    def below(self) -> tuple[Digest, ...]:
        """The specs of the agents it may start, and those that these may start."""
        found: dict[Digest, None] = {}
        for agent in (*(each.agent for each in self.tools if isinstance(each, AgentTool)), *self.phases):
            found |= dict.fromkeys((agent.digest, *agent.below))
        return tuple(found)

    def as_tool(
        self,
        name: str | None = None,
        *,
        description: str = "",
        workspace: Literal["none", "shared", "forked"] = "none",
        seconds: float | None = None,
    ) -> Tool:
        """Returns a tool with which another agent gives this one a job, and gets its answer as the result.

        The job is a session of its own, with a link to the one that started it; while it goes on, the other run is
        parked. It may do no more than the run that started it: its mode, and its limits at most.

        Args:
            name: What the other model calls it; the agent's name otherwise.
            description: What it is good for, as the other model reads it.
            workspace: The files it works on: none, those of the other run, or a copy in a folder of its own.
            seconds: How long the answer is waited for; then the job is aborted.

        Raises:
            UndescribableTool: the name is none that providers take.
        """
        return agent_tool(self, name or self.spec.name, description, workspace, seconds)

    def setup(
        self,
        limits: Limits | None,
        workspace: str | Path | None,
        mode: Mode,
        effects: Mapping[str, Outside] | None,
        control: Control | None,
        user: str,
        unattended: bool,
    ) -> Setup:
        """Returns what a prompt for this agent brings along; without limits, the agent's own bind it.

        Raises:
            UsageError: there is no such mode, tool or effect, or nobody could review the answer.
        """
        if (limits, workspace, mode, effects, control, user, unattended) == _USUAL:
            return self._usual
        if unattended and control is not None and control.review is not None:
            raise UsageError("nobody attends this run, so nobody can review its answer: leave one of the two out")
        if effects or mode not in MODES:
            _check_rules(self, mode, effects or {})
        return msgspec.structs.replace(
            self._usual,
            limits=limits or self.spec.limits,
            workspace=_absolute(workspace),
            mode=mode,
            unattended=unattended,
            effects=dict(effects or {}),
            control=NO_CONTROL if control is None or control == NO_CONTROL else control,
            user="" if user == "user" else user,
        )

    @cached_property
    def _usual(self) -> Setup:
        """What a prompt brings along of which nothing is said but words, as of most."""
        return Setup(
            self.digest,
            self.spec.model,
            self.spec.limits,
            agents=self.below,
            phases=self.spec.phases,
            typed=self.reader is not None,
        )

    @cached_property
    def named(self) -> Mapping[str, Tool]:
        """Its tools, by their names."""
        return {tool.spec.name: tool for tool in self.tools}

    @cached_property
    def encoded(self) -> bytes:
        """The spec as the log keeps it."""
        return msgspec.json.encode(self.spec)

    @cached_property
    def digest(self) -> Digest:
        """The spec's content address."""
        return digest_of(self.encoded)


_USUAL: tuple[Any, ...] = (None, None, "auto", None, None, "user", False)
"""What is said of a prompt of which nothing is said."""
_REFERENCE = re.compile(r"agent:(sha256:[0-9a-f]{64}):(none|shared|forked):([0-9]*\.?[0-9]*)")


class AgentTool(Tool, frozen=True, kw_only=True):
    """A tool behind which an agent stands."""

    agent: BoundAgent


def agent_tool(
    agent: BoundAgent,
    name: str,
    description: str,
    workspace: Literal["none", "shared", "forked"],
    seconds: float | None,
) -> AgentTool:
    """Returns the tool that gives an agent a job; its reference says all it takes to make it again."""
    text = description or f"Gives a job to another agent, {agent.spec.name!r}, and returns what it says in the end."
    reference = f"agent:{agent.digest}:{workspace}:{'' if seconds is None else seconds}"

    async def delegate(context: ToolContext, prompt: str) -> Wait | ToolResult:
        return await context.spawn(Order(agent=agent, prompt=prompt, workspace=workspace, seconds=seconds))

    made = declare(name=name, description=text, effect="keyed", reference=reference)(delegate)
    return AgentTool(spec=made.spec, parse=made.parse, run=made.run, delegates=True, agent=agent)


def agent_reference(reference: str) -> tuple[Digest, Literal["none", "shared", "forked"], float | None] | None:
    """Returns what the reference of an agent's tool says: which agent, which files, how long; None for another tool."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return None  # a function in a module that is called `agent`, for example
    digest, workspace, seconds = found.groups()
    kind: Literal["none", "shared", "forked"] = (
        "shared" if workspace == "shared" else "forked" if workspace == "forked" else "none"
    )
    return Digest(digest), kind, float(seconds) if seconds else None


def _tool(given: Tool | Callable[..., Any] | str) -> Tool:
    if isinstance(given, Tool):
        return given
    if isinstance(given, str):
        return find_tool(f"builtin:{given}")
    return declare(given)


def _tools(given: Iterable[Tool | Callable[..., Any] | str]) -> tuple[Tool, ...]:
    tools = tuple(_tool(each) for each in given)
    names = [each.spec.name for each in tools]
    if doubled := {each for each in names if names.count(each) > 1}:
        raise UsageError(f"two tools are called {sorted(doubled)[0]!r}: give one another name with @tool(name=...)")
    return tools


def _level(given: ThinkingLevel | None) -> ThinkingLevel | None:
    if given is not None and given not in LEVELS:
        raise UsageError(f"there is no level of thinking {given!r}: write one of {', '.join(map(repr, LEVELS))}")
    return given


def _options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return msgspec.json.decode(msgspec.json.encode(given or {}), type=dict[str, Any])
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"an option of the provider is no JSON ({error}): give numbers, texts, lists and dicts"
        ) from None


def _check_rules(agent: BoundAgent, mode: str, effects: Mapping[str, str]) -> None:
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}: write one of {', '.join(map(repr, MODES))}")
    names = [tool.spec.name for tool in agent.tools]
    for name, word in effects.items():
        if name not in names:
            raise UsageError(f"effects name a tool {name!r}, which the agent has not got: it has {', '.join(names)}")
        Effect(outside=cast(Any, word))  # says which words there are


def _absolute(workspace: str | Path | None) -> str:
    return "" if workspace is None else str(Path(workspace).resolve())
