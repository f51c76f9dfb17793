"""What is written of an agent that works under an `Execution`: what broke its contract, what its answer lacks."""

from __future__ import annotations

from typing import ClassVar, Literal

from holdfast.types import CallId, Payload

__all__ = ("AnswerLacking", "Breach", "ContractViolated")

Breach = Literal["wrong_tool", "repeated_tool", "missing_tool", "missing_marker"]


class ContractViolated(Payload, frozen=True, gc=False, omit_defaults=True):
    """An agent did not do what its contract says, or did something else."""

    type: ClassVar[str] = "contract.violated"
    must_understand: ClassVar[bool] = True
    kind: Breach
    name: str = ""
    """The tool; empty for a marker."""
    call_id: CallId = CallId("")
    """The call; empty where what is missing is none."""
    text: str = ""
    """The marker that the answer does not hold."""
    ends: bool = False
    """Whether the run fails by it; otherwise it is only noted."""


class AnswerLacking(Payload, frozen=True, gc=False):
    """The model ended without all that its contract wants: it is told what, and goes on."""

    type: ClassVar[str] = "answer.lacking"
    must_understand: ClassVar[bool] = True
    lacking: int
    """How many tools and markers."""
    text: str
    """What the model reads."""
