"""An agent as the runtime knows it: a spec, and the functions it is bound to."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, cast

import msgspec

from holdfast.engine.letters import Setup
from holdfast.errors import UsageError
from holdfast.models.access.access import Key, Own
from holdfast.models.routing.grammar import check_spec
from holdfast.tools.binding import Helper, Order, Registry, Tool, ToolContext
from holdfast.tools.declaring import tool as declare
from holdfast.tools.resolving import find_tool
from holdfast.tools.typed.declaring import Answers, answers_of
from holdfast.tools.typed.describing import Value
from holdfast.tools.typed.reading import AnswerReader
from holdfast.types import (
    LEVELS,
    MODES,
    NO_CONTROL,
    TOOLS_SHOWN,
    AgentSpec,
    Control,
    Digest,
    Effect,
    Execution,
    Limits,
    Mode,
    OutputMode,
    Outside,
    ProviderTool,
    ThinkingLevel,
    ToolResult,
    Wait,
    digest_of,
    texts,
)

if TYPE_CHECKING:
    from holdfast.context.showing import Showing

__all__ = ("AgentTool", "BoundAgent", "agent_reference", "agent_tool", "helping", "showing_of")


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
        tools_shown: int | None = None,
        messages_shown: int | None = None,
        roles: Iterable[str] = (),
        allowed_tools: Iterable[str] = (),
        execution: Execution | None = None,
    ) -> None:
        """Binds a spec; what each of these is stands where the class `Agent` is described.

        Raises:
            UnknownModel: nothing can be meant by the name, whatever aliases and tiers there are.
            UndescribableTool, UnknownTool, UsageError: a tool, level, option or type of answers is none, or doubled.
        """
        check_spec(model)
        self.own = None if key is None and not headers else Own(key, headers)
        self.tools, self.reader, answers = _with_answers(_tools(tools), output, output_mode, model, tools_shown)
        self.spec = AgentSpec(
            model=model,
            instructions="\n\n".join(filter(None, (instructions, answers.instructions))),
            name=name,
            tools=tuple(each.spec for each in self.tools),
            limits=limits or Limits(),
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            thinking=_level(thinking),
            provider_tools=_provider_tools(provider_tools),
            options=_options(options),
            output=answers.shape,
            output_mode=answers.mode,
            tools_shown=tools_shown,
            messages_shown=_window(messages_shown),
            roles=texts("roles", roles),
            allowed_tools=_known_tools(allowed_tools, self.tools),
            execution=_promised(execution, self.tools, answers),
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

    def also_told(self, words: str) -> BoundAgent[Value]:
        """Returns the same with further instructions, behind its own: another spec, of one conversation or one turn."""
        return self._with(instructions="\n\n".join(filter(None, (self.spec.instructions, words))))

    def showing(self, messages: int | None) -> BoundAgent[Value]:
        """Returns the same with requests that carry so many messages at most; None for all.

        Raises:
            UsageError: fewer than two are no conversation.
        """
        return self._with(messages_shown=_window(messages))

    def _with(self, **changes: Any) -> BoundAgent[Value]:
        twin = copy.copy(self)
        for name in ("encoded", "digest", "_usual"):
            twin.__dict__.pop(name, None)
        twin.spec = msgspec.structs.replace(self.spec, **changes)
        return twin

    @cached_property
    def below(self) -> tuple[Digest, ...]:
        """The specs of the agents it may start, and those that these may start."""
        found: dict[Digest, None] = {}
        for agent in self.startable:
            found |= dict.fromkeys((agent.digest, *agent.below))
        return tuple(found)

    @cached_property
    def governed(self) -> bool:
        """Whether something is said of who may call its tools, also where no policy is."""
        return bool(self.spec.roles) or any(each.spec.governance.agents for each in self.tools)

    @cached_property
    def startable(self) -> tuple[BoundAgent, ...]:
        """The agents it may start itself."""
        given = [each.agent for each in self.tools if isinstance(each, AgentTool)]
        helpers = [helping(each, self.spec.model, self.own) for tool in self.tools for each in tool.helpers]
        return (*given, *self.phases, *helpers)

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
            execution=self.spec.execution,
        )

    @cached_property
    def named(self) -> Registry:
        """Its tools, by their names, and those that are there for their calls."""
        return Registry(self.tools)

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


def helping(helper: Helper, model: str, own: Own | None) -> BoundAgent:
    """Returns the agent that helps a run of that model, with the run's key where it has one."""
    agent: BoundAgent = BoundAgent(
        helper.model or model,
        name=helper.name,
        instructions=helper.instructions,
        output=helper.output,
        max_output_tokens=helper.max_output_tokens,
        limits=helper.limits,
    )
    agent.own = None if helper.model else own
    return agent


def showing_of(agent: BoundAgent) -> Showing | None:
    """Returns what chooses the tools of a run's requests; None where they carry all there are."""
    most = agent.spec.shows
    if most is None or "find_tools" not in agent.named:  # as of a log from before there was any choice
        return None
    from holdfast.context.showing import Showing

    return Showing(agent.named, most)


def _tool(given: Tool | Callable[..., Any] | str) -> Tool:
    if isinstance(given, Tool):
        return given
    if isinstance(given, str):
        return find_tool(f"builtin:{given}")
    return declare(given)


def _tools(given: Iterable[Tool | Callable[..., Any] | str]) -> tuple[Tool, ...]:
    if isinstance(given, str):
        raise UsageError(f"tools is a list, and this is {given!r}: write [{given!r}]")
    tools = tuple(_tool(each) for each in given)
    counted = Counter(each.spec.name for each in tools)
    if doubled := [name for name, count in counted.items() if count > 1]:
        raise UsageError(f"two tools are called {min(doubled)!r}: give one another name with @tool(name=...)")
    return tools


def _provider_tools(given: Iterable[ProviderTool | str]) -> tuple[ProviderTool, ...]:
    if isinstance(given, str):
        raise UsageError(f"provider_tools is a list, and this is {given!r}: write [{given!r}]")
    return tuple(ProviderTool(each) if isinstance(each, str) else each for each in given)


def _with_answers(
    own: tuple[Tool, ...], output: object, mode: OutputMode, model: str, shown: int | None
) -> tuple[tuple[Tool, ...], AnswerReader | None, Answers]:
    """Returns an agent's tools, those that take its answers and find others included, and what its answers are."""
    answers = answers_of(output, mode, model, [each.spec.name for each in own])
    return _findable(own, answers.tools, shown), answers.reader, answers


def _findable(own: tuple[Tool, ...], answers: tuple[Tool, ...], shown: int | None) -> tuple[Tool, ...]:
    """Returns an agent's tools, with one that finds the others where a request does not show them all."""
    if shown is not None and shown < 1:
        raise UsageError(f"tools_shown is {shown}, and counts from 1: leave it out for {TOOLS_SHOWN}")
    if len(own) + len(answers) <= (shown or TOOLS_SHOWN):
        return own + answers
    finder = find_tool("builtin:find_tools")
    if (mine := next((each for each in own if each.spec.name == finder.spec.name), finder)) is finder:
        return (*own, finder, *answers) if finder not in own else own + answers
    raise UsageError(
        f"{mine.spec.name!r} is what finds tools among many, and one of yours is called so: give it another name with "
        "@tool(name=...), or a higher tools_shown to the agent"
    )


def _window(messages: int | None) -> int | None:
    if messages is not None and messages < 2:
        raise UsageError(f"messages_shown is {messages}: a conversation has two at least; leave it out for all of it")
    return messages


def _known_tools(names: Iterable[str], tools: Iterable[Tool]) -> tuple[str, ...]:
    there, wanted = [each.spec.name for each in tools], texts("allowed_tools", names)
    if unknown := [each for each in wanted if each not in there]:
        raise UsageError(f"allowed_tools name {unknown[0]!r}, which the agent has not got: it has {', '.join(there)}")
    return wanted


def _promised(given: Execution | None, tools: tuple[Tool, ...], answers: Answers) -> Execution | None:
    """Returns how an agent has to work, its own ways to answer and to find tools aside; None where nothing is said."""
    if given is None or given == Execution():
        return None
    there = [each.spec.name for each in tools]
    if unknown := [each for each in (*given.sequence, *given.besides) if each not in there]:
        raise UsageError(
            f"execution names {unknown[0]!r}, which the agent has not got: it has {', '.join(there) or 'no tools'}"
        )
    if given.stop_on_first_tool and answers.shape is not None:
        raise UsageError("stop_on_first_tool ends with what a tool says, and output wants data: leave one of them out")
    own = {each.spec.name for each in answers.tools}
    own |= {each.spec.name for each in tools if each.spec.reference == "builtin:find_tools"}
    return msgspec.structs.replace(given, besides=tuple({*given.besides, *own} - {*given.sequence}))


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
