"""What a pipeline does next: another `decide` on the same loop.

A pipeline is a run whose turns are phases. Each is a job for an agent in a session of its own, with its own model,
tools and limits; the pipeline holds nothing while it waits, and goes on at the phase where it was, whoever died.
A pipeline has nobody who reads: a steer is passed on to the phase that is under way, a follow-up to the last one. What
comes after its phase is over comes back: the next phase hears it, or it opens the next run.

    a phase ended as      the pipeline
    -------------------   ----------------------------------------------------------------------------------
    completed             goes on with what it said
    limited, by steps     goes on with what it said last: better half an answer than none
    limited, otherwise    ends as limited: time and money are those of the whole
    failed                goes on with the fallback if the phase is optional, and else ends as failed
    aborted               ends as aborted, also where the phase was optional: somebody wanted it to end
"""

from __future__ import annotations

import re

import msgspec

from holdfast.engine.state import Done, Run
from holdfast.types import PhaseSpec

__all__ = ("PassOn", "StartPhase", "Verdict", "filled", "judged", "named_in", "output_of")

_SALVAGED = ("steps", "tool_calls", "consecutive_errors", "identical_repeats", "max_output_tokens")
"""Limits that end a phase and not the pipeline."""
_SLOT = re.compile(r"\{(\{[A-Za-z0-9_-]+\})\}|\{([A-Za-z0-9_-]+)\}")
"""Braces twice stand for themselves."""


class StartPhase(msgspec.Struct, frozen=True, gc=False):
    """Give the agent of this phase its job."""

    phase: int


class PassOn(msgspec.Struct, frozen=True, gc=False):
    """Let the phase that is under way hear what was said to the pipeline."""

    input: int
    """Its sequence number."""


Verdict = tuple[str, str]
"""A status and a reason with which the pipeline ends."""


def judged(spec: PhaseSpec, done: Done) -> Verdict | None:
    """Returns how the pipeline ends because of a phase that is over; None when it goes on."""
    match done.status:
        case "completed":
            return None
        case "limited" if done.reason in _SALVAGED:
            return None
        case "failed" if spec.optional:
            return None
        case status:
            return status, f"phase {spec.name!r}: {done.reason}"


def output_of(spec: PhaseSpec, done: Done) -> str:
    """Returns what a phase that is over counts as."""
    return spec.fallback if done.status == "failed" else done.output


def filled(run: Run, phases: tuple[PhaseSpec, ...], phase: int, query: str) -> str:
    """Returns what the agent of a phase is told."""
    known = {"query": query}
    known |= {spec.name: output_of(spec, done) for spec, done in zip(phases, run.outcomes, strict=False)}
    # What names nothing stays as it is: of a pipeline that an older version declared, which did not look.
    return _SLOT.sub(lambda found: found[1] or known.get(found[2], found[0]), phases[phase].prompt)


def named_in(prompt: str) -> list[str]:
    """Returns what stands in braces in a phase's prompt."""
    return [found[2] for found in _SLOT.finditer(prompt) if found[2]]
