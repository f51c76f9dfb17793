"""Who answers a request: an agent of the server, or a model by a bare agent.

An agent is asked by its name, or as `agent/<name>`; everything else names a model, a tier or an alias. What a client
says of how to answer goes into the spec of whoever answers, which is another agent then, for this request. An agent
keeps its own instructions, tools and form of its answers: a client's instructions are added, its tools are handed out,
and what would overrule the agent is refused. A pipeline is told the last prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast.errors import UsageError
from holdfast.models.providers.table import TABLE
from holdfast.models.wire.served import ANY_OBJECT, ServedRequest
from holdfast.runtime.agent import Agent
from holdfast.runtime.bound import BoundAgent
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.clients import client_tool
from holdfast.types import AgentSpec, Limits, OutputMode

__all__ = ("Asked", "asked", "may_ask")

_PREFIX: Final = "agent/"
_PATIENCE: Final = 3600.0
"""Seconds in which a client brings the results of its tools; results that come later begin anew with the whole
conversation. The run itself has twice as many, so that an answer that begins just in time is not cut short."""
_BARE: Final = Limits(
    steps=None, consecutive_errors=50, identical_repeats=None, seconds=2 * _PATIENCE, press_on=False, depth=0
)
"""Limits of a bare agent: how far a conversation goes is the client's business. But a model that calls nothing but
tools that there are not, which no client sees, is not asked for ever."""
_MOST_TOOLS: Final = 512


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, and how."""

    name: str
    """As the client called them."""
    agent: BoundAgent
    limits: Limits
    patience: float | None = None
    """Seconds from the beginning of a run in which results of the client's tools go on with it; None for any."""
    handed: frozenset[str] = frozenset()
    """The tools that the client runs itself."""
    whole: bool = False
    """Whether words count only when they are all there, since they are read before they do."""


def asked(call: Call[Any, Any, Any], served: ServedRequest, protocol: str) -> Asked:
    """Returns who answers a request.

    Raises:
        Refused: whoever asks may not ask them, or what is wanted is not done here.
        UnknownModel, UsageError: it names nobody, or something in it cannot be.
    """
    if served.unheard:
        raise Refused(400, "unsupported_parameter", f"{', '.join(served.unheard)}: not done here, so leave it out")
    agent = may_ask(call, served.model)
    if len(served.tools) > _MOST_TOOLS:
        raise Refused(400, "too_many_tools", f"{len(served.tools)} tools are more than {_MOST_TOOLS}: send fewer")
    tools = tuple(client_tool(each.name, each.description, each.parameters) for each in served.tools)
    names = [each.spec.name for each in tools]
    if odd := [each for each in names if not each or not each.isprintable()]:
        raise Refused(400, "invalid_tools", f"a tool cannot be called {odd[0][:100]!r}: use letters, digits, _ and -")
    if len(set(names)) < len(names):
        raise Refused(400, "invalid_tools", "two tools have the same name: give each one of its own")
    if served.must_call and served.must_call not in names:
        raise Refused(400, "invalid_tool_choice", f"{served.must_call!r} has to be called, and is no tool of these")
    if served.must_call is not None and not names and not served.provider_tools:
        raise Refused(400, "invalid_tool_choice", "a tool has to be called, and there are none: send tools")
    if served.max_output_tokens is not None and served.max_output_tokens < 1:
        raise Refused(400, "invalid_request", f"an answer of {served.max_output_tokens} tokens is none: give 1 or more")
    if agent is not None:
        return _an_agent(agent, served, tools)
    return _a_model(call, served, tools, protocol)


def may_ask(call: Call[Any, Any, Any], name: str) -> BoundAgent | None:
    """Returns the agent of that name; None where it is the name of models.

    Raises:
        Refused: whoever asks may not ask it, or there is no such agent.
    """
    if not name.strip():
        raise Refused(404, "unknown_model", "the request names no model: GET /v1/models lists who there is")
    wanted = name.removeprefix(_PREFIX)
    agent = call.service.agents.get(wanted)
    if agent is None and name != wanted:
        raise Refused(404, "unknown_model", f"there is no agent {wanted[:100]!r}: GET /v1/models lists who there is")
    for each in [wanted] if agent is not None else [each.strip() for each in name.split(",")]:
        if not call.who.may_ask(each):
            raise Refused(403, "model_not_allowed", f"{each[:100]!r} is not among those you may ask")
    return agent


def _own_business(served: ServedRequest) -> list[str]:
    """Returns what a request says that is an agent's own to say, in words."""
    found = ["that a tool has to be called (tool_choice)"] if served.must_call is not None else []
    if served.output is not None:
        found.append("the form of the answer (response_format, text.format, output_config)")
    if served.provider_tools:
        found.append("tools of the provider")
    return found + [each[:100] for each in served.options]


def _an_agent(agent: BoundAgent, served: ServedRequest, tools: tuple[Tool, ...]) -> Asked:
    spec, own = agent.spec, agent.named
    if own_business := _own_business(served):
        raise Refused(
            400,
            "not_of_an_agent",
            f"{served.model[:100]!r} is an agent, and decides itself which tools it calls, what its answers look like "
            f"and how its model is asked: leave out {', '.join(own_business)}",
        )
    if not served.may_call:
        tools = ()
    said = (tools, served.instructions, served.max_output_tokens, served.temperature, served.thinking)
    if not spec.model and any(each not in ((), "", None) for each in said):
        raise Refused(
            400,
            "not_of_an_agent",
            f"{served.model[:100]!r} is a pipeline, which asks no model itself: leave out instructions, tools, "
            "lengths, temperature and thinking",
        )
    if both := [each.spec.name for each in tools if each.spec.name in own]:
        raise Refused(400, "invalid_tools", f"the agent has a tool {both[0]!r} itself: give yours another name")
    limits, patience = spec.limits, None
    if tools and limits.seconds is None:
        limits, patience = msgspec.structs.replace(limits, seconds=2 * _PATIENCE), _PATIENCE
    told = msgspec.structs.replace(
        spec,
        instructions="\n\n".join(filter(None, (spec.instructions, served.instructions))),
        tools=(*spec.tools, *(each.spec for each in tools)),
        max_output_tokens=min(filter(None, (served.max_output_tokens, spec.max_output_tokens)), default=None),
        temperature=spec.temperature if served.temperature is None else served.temperature,
        thinking=served.thinking or spec.thinking,
    )
    answers = agent
    if told != spec:
        answers = BoundAgent.again(told, (*agent.tools, *tools), agent.reader)
        answers.phases, answers.own = agent.phases, agent.own
    handed = frozenset(each.spec.name for each in tools)
    return Asked(
        name=served.model,
        agent=answers,
        limits=limits,
        patience=patience,
        handed=handed,
        whole=agent.reader is not None,
    )


def _a_model(call: Call[Any, Any, Any], served: ServedRequest, tools: tuple[Tool, ...], protocol: str) -> Asked:
    if served.provider_tools and not call.runtime.governed:
        raise Refused(
            403,
            "provider_tools",
            "tools that a provider runs itself pass nobody here: they are refused unless the server has a policy, "
            "which then decides",
        )
    if served.options:
        _check_options(call, served, protocol)
    typed = None if served.output is None else _typed(call, served)
    shape = None if typed is None else typed.spec.output
    native = typed is not None and typed.spec.output_mode == "native" and shape is not None and not shape.wrapped
    own = () if typed is None or native else typed.tools
    may_call = served.may_call
    if own and not may_call:  # it calls what takes its answer, and nothing else
        tools, may_call = (), True
    if both := {each.spec.name for each in own} & {each.spec.name for each in tools}:
        why = f"{served.model[:100]!r} gives answers of a form by a tool {min(both)!r}: give yours another name"
        raise Refused(400, "invalid_tools", why)
    spec = AgentSpec(
        model=served.model,
        instructions="\n\n".join(filter(None, (served.instructions, "" if typed is None else typed.spec.instructions))),
        name="model",
        tools=tuple([each.spec for each in (*tools, *own)]),
        limits=_BARE,
        max_output_tokens=served.max_output_tokens,
        temperature=served.temperature,
        thinking=served.thinking,
        provider_tools=served.provider_tools,
        options=dict(served.options),
        output=shape,
        output_mode="auto" if typed is None else typed.spec.output_mode,
        may_call=may_call,
        must_call=served.must_call if tools else None,
    )
    reader = None if typed is None or native else typed.reader
    return Asked(
        name=served.model,
        agent=BoundAgent.again(spec, (*tools, *own), reader),
        limits=_BARE,
        patience=_PATIENCE,
        handed=frozenset(each.spec.name for each in tools),
        whole=reader is not None,
    )


def _typed(call: Call[Any, Any, Any], served: ServedRequest) -> Agent[Any]:
    """Returns an agent whose answers have the shape that is wanted, however its models are to be asked for it."""
    assert served.output is not None
    form: OutputMode = "text" if served.output == ANY_OBJECT else "auto"
    spec = ",".join(call.runtime.models_of(served.model))
    try:
        return Agent(spec, output={"title": served.output.name, **served.output.schema}, output_mode=form)
    except UsageError as error:
        raise Refused(400, "invalid_schema", f"the answer cannot have that form: {error}") from error


def _check_options(call: Call[Any, Any, Any], served: ServedRequest, protocol: str) -> None:
    for model in call.runtime.models_of(served.model):
        provider = TABLE.get(model.partition("/")[0])
        if provider is None or _SPOKEN.get(provider.made_by) != protocol:
            raise Refused(
                400,
                "unsupported_parameter",
                f"{model!r} is asked in another protocol, which has no {', '.join(served.options)}, or means something "
                "else by it: leave it out",
            )


_SPOKEN: Final[Mapping[str, str]] = {
    "openai:OpenAIModel": "chat",
    "azure:AzureModel": "chat",
    "responses:ResponsesModel": "responses",
    "azure:AzureResponsesModel": "responses",
    "anthropic:AnthropicModel": "messages",
}
"""Which protocol models are asked in, by the class of them."""
