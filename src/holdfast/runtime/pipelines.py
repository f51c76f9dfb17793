"""A pipeline: agents that work one after another, each on what those before it came to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from holdfast.engine.phases import named_in
from holdfast.errors import UsageError
from holdfast.errors.hinting import closest
from holdfast.runtime.bound import BoundAgent
from holdfast.types import AgentSpec, Limits, PhaseSpec

__all__ = ("Phase", "Pipeline")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Phase:
    """An agent in its place in a pipeline."""

    def __init__(
        self,
        name: str,
        agent: BoundAgent,
        prompt: str = "{query}",
        *,
        fallback: str | None = None,
        workspace: Literal["none", "shared", "forked"] = "none",
        seconds: float | None = None,
    ) -> None:
        """Describes a phase.

        Args:
            name: How later phases call what it came to.
            agent: Who does it, with a model, tools and limits of its own.
            prompt: What it is told: `{query}` is what the pipeline was asked, `{name}` what an earlier phase came to,
                `{{name}}` those very words in braces.
            fallback: What it counts as when it fails; without one it may not fail.
            workspace: The files it works on: none, those of the pipeline, or a copy.
            seconds: How long it may take.
        """
        self.agent = agent
        self.spec = PhaseSpec(
            name=name,
            agent=agent.digest,
            prompt=prompt,
            optional=fallback is not None,
            fallback=fallback or "",
            workspace=workspace,
            seconds=seconds,
        )


def _check_slots(spec: PhaseSpec, known: list[str]) -> None:
    """Raises where a model would read a name that was to be filled in."""
    for name in named_in(spec.prompt):
        if name not in known:
            near = closest(name, known)
            meant = f"did you mean {{{near}}}" if near else f"one of {', '.join(f'{{{each}}}' for each in known)}"
            raise UsageError(
                f"phase {spec.name!r} is told {{{name}}}, which names nothing before it: {meant}? Words in "
                f"braces are written {{{{{name}}}}}"
            )


class Pipeline(BoundAgent):
    """Phases, one after another; it is started like an agent, and its last phase's answer is its own."""

    def __init__(self, phases: Iterable[Phase], *, name: str = "pipeline", limits: Limits | None = None) -> None:
        """Puts phases in order.

        Raises:
            UsageError: there is none, a name cannot be used in a prompt, or a prompt names no phase before it.
        """
        given = tuple(phases)
        if not given:
            raise UsageError("a pipeline without phases does nothing: give it at least one")
        for place, phase in enumerate(given):
            _check_slots(phase.spec, ["query", *(each.spec.name for each in given[:place])])
            if not _NAME.fullmatch(phase.spec.name) or phase.spec.name == "query":
                raise UsageError(
                    f"no phase can be called {phase.spec.name!r}: use letters, digits, - and _, and not query"
                )
        self.phases = tuple(phase.agent for phase in given)
        self.reader = self.phases[-1].reader
        specs = tuple(phase.spec for phase in given)
        self.spec = AgentSpec(model="", name=name, limits=limits or Limits(), phases=specs)
