"""Whom people can give jobs to, what those can do, and what is known of models."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.models.catalogue import ModelCard, about, listed_models, lookup, providers
from holdfast.runtime.bound import BoundAgent
from holdfast.server.doors.sessions.shapes import agent_of
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.types import Limits, Price, dollars

__all__ = ("agent", "agents", "catalogue", "tools")

_MOST = 500


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can be given a job."""

    name: str
    """What a prompt calls it."""
    model: str
    """What it asks; empty of a pipeline, whose phases ask."""
    tools: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    """Of a pipeline, its agents in order."""
    typed: bool = False
    """Whether it answers with data."""
    output: dict[str, Any] | None = None
    """The schema of its answers, where they are data."""
    limits: Limits = Limits()


class Agents(msgspec.Struct, frozen=True):
    """All of them, by name."""

    agents: tuple[AgentView, ...]


class InAgent(msgspec.Struct, frozen=True):
    """An agent."""

    agent: Annotated[str, Meta(max_length=200)]


class ToolView(msgspec.Struct, frozen=True, kw_only=True):
    """Something agents can do."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of its arguments."""
    workspace: bool
    """Whether it may change files."""
    outside: str
    """What it does elsewhere: nothing, what can be repeated under a key, what can be checked, or more."""
    agents: tuple[str, ...]
    """Who has it."""


class Tools(msgspec.Struct, frozen=True):
    """All of them, by name."""

    tools: tuple[ToolView, ...]


class OfProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose models."""

    provider: Annotated[str, Meta(max_length=100)] = ""
    """The providers themselves without."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model; null where nobody knows."""

    name: str
    price: Cost | None = None
    context_window: int | None = None
    """Tokens."""
    max_output_tokens: int | None = None
    inputs: tuple[str, ...] | None = None
    thinking: tuple[str, ...] | None = None
    """The levels it takes, lowest first."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Providers, or the models of one."""

    source: str
    """Where prices are from."""
    day: str
    """Of that."""
    providers: tuple[str, ...] = ()
    models: tuple[Model, ...] = ()


def _mine(call: Call[Any, Any, Any]) -> dict[str, BoundAgent]:
    return {name: agent for name, agent in sorted(call.service.agents.items()) if call.who.may_ask(name)}


async def agents(call: Call[None, None, None]) -> Agents:
    """Lists the agents that may be given jobs with this."""
    return Agents(tuple(_view(name, each) for name, each in _mine(call).items()))


async def agent(call: Call[InAgent, None, None]) -> AgentView:
    """Returns one agent: its model, tools, limits, and how it answers."""
    name = call.where.agent
    if name not in call.service.agents or not call.who.may_ask(name):
        raise Refused(404, "unknown_agent", f"there is no agent {name[:100]!r}: GET /v1/agents lists them")
    return _view(name, agent_of(call, name))


def _view(name: str, each: BoundAgent) -> AgentView:
    return AgentView(
        name=name,
        model=each.spec.model,
        tools=tuple(tool.spec.name for tool in each.tools),
        phases=tuple(phase.spec.name for phase in each.phases),
        typed=each.reader is not None,
        output=None if each.spec.output is None else msgspec.to_builtins(each.spec.output),
        limits=each.spec.limits,
    )


async def tools(call: Call[None, None, None]) -> Tools:
    """Lists the tools of those agents, each once, with who has it."""
    found: dict[str, ToolView] = {}
    for name, each in _mine(call).items():
        for tool in each.tools:
            spec = tool.spec
            had = found.get(spec.name)
            found[spec.name] = ToolView(
                name=spec.name,
                description=spec.description,
                parameters=spec.parameters,
                workspace=spec.effect.workspace,
                outside=spec.effect.outside,
                agents=(*(had.agents if had else ()), name),
            )
    return Tools(tuple(found[name] for name in sorted(found)))


async def catalogue(call: Call[None, OfProvider, None]) -> Catalogue:
    """Lists the models of a provider with what they cost and how much they read; without one, the providers."""
    source = about()
    named = call.query.provider
    if not named:
        return Catalogue(source=source.source, day=str(source.day), providers=tuple(sorted(providers())))
    if named not in providers():
        raise Refused(404, "unknown_provider", f"nothing is known of a provider {named!r}")
    cards = [card for name in listed_models(named)[:_MOST] if (card := lookup(name)) is not None]
    return Catalogue(source=source.source, day=str(source.day), models=tuple(_model(card) for card in cards))


def _model(card: ModelCard) -> Model:
    return Model(
        name=card.name,
        price=None if card.price is None else _cost(card.price),
        context_window=card.context_window,
        max_output_tokens=card.max_output_tokens,
        inputs=None if card.inputs is None else tuple(sorted(card.inputs)),
        thinking=card.thinking,
    )


def _cost(price: Price) -> Cost:
    return Cost(
        input=dollars(price.input),
        output=dollars(price.output),
        cache_read=dollars(price.cache_read),
        cache_write=dollars(price.cache_write),
    )
