"""The budgets, as data: what must hold, what is aimed at, and how a figure is judged against them.

The ratios are CPU time over the floor's in the same rounds. A figure without a budget is reported, not judged.
Raising a number here is a decision, not a fix: it needs a record in `docs/decisions`.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = ("BUDGETS", "STEP_BOUNDS", "WIRE_BUDGETS", "Budget", "Verdict", "budget_for")


class Verdict(Enum):
    """How a figure stands to its budget."""

    AIM = "aim met"
    MUST = "within must"
    OVER_AIM = "over aim"
    """There is an aim only, and it was missed: nothing breaks."""
    BROKEN = "must broken"
    REPORTED = "reported"
    FAILED = "did not run"

    @property
    def stops(self) -> bool:
        """Whether it makes the bench fail."""
        return self in (Verdict.BROKEN, Verdict.FAILED)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The bounds of one figure; lower is better."""

    measure: str
    """Name of a case or a figure."""
    program: str
    must: float | None = None
    """More than this fails the bench."""
    aim: float | None = None

    def judge(self, value: float) -> Verdict:
        """The verdict on a value."""
        if self.must is not None and value > self.must:
            return Verdict.BROKEN
        if self.aim is not None and value <= self.aim:
            return Verdict.AIM
        if self.must is not None:
            return Verdict.MUST
        return Verdict.REPORTED if self.aim is None else Verdict.OVER_AIM


BUDGETS = (
    # CPU over the floor
    Budget(measure="hello", program="memory", must=1.75, aim=1.3),
    Budget(measure="hello", program="sqlite", must=2.6, aim=1.8),
    Budget(measure="tools10", program="memory", must=1.75, aim=1.25),
    Budget(measure="tools10", program="sqlite", must=2.2, aim=1.4),
    Budget(measure="stream1000", program="memory", must=1.4, aim=1.0),
    Budget(measure="stream1000", program="sqlite", must=1.6, aim=1.1),
    Budget(measure="tools100", program="memory", must=1.4, aim=1.0),
    Budget(measure="tools100", program="sqlite", must=1.6, aim=1.1),
    # CPU over a bare interpreter's start
    Budget(measure="startup", program="help", must=9.0),
    # KiB of resident memory per live idle run
    Budget(measure="idle", program="memory", aim=25.0),
    Budget(measure="idle", program="sqlite", aim=25.0),
    # CPU of a late step over an early one, less what the bytes of its request cost
    Budget(measure="steps", program="memory", aim=1.25),
    # µs of CPU of a call of a trivial tool in the gateway, and percent of the floor's step
    Budget(measure="gateway", program="call", must=30.0),
    Budget(measure="gateway", program="share", must=15.0),
    # ms for 10,000 events
    Budget(measure="resume", program="sqlite", must=300.0),
    # CPU of the last of 10,000 steps over the hundredth's, and bytes over what a straight line says; both with a window
    Budget(measure="long", program="cpu", must=1.2),
    Budget(measure="long", program="bytes", must=1.1),
    # reading a fork of a fork of a fork ... over reading a session that is none
    Budget(measure="depth", program="sqlite", must=2.0),
    # steps that the slowest of many runs is behind the median
    Budget(measure="crowd", program="sqlite", must=3.0),
    # ms of the log's part, and of a walk of the workspace
    Budget(measure="fork", program="sqlite", must=5.0),
    Budget(measure="snapshot", program="sqlite", must=30.0),
    # `true` in a new sandbox and in a live one, over bubblewrap driven by hand and over spawning it without any
    Budget(measure="sandbox-cold", program="cold-bubblewrap", must=1.2),
    Budget(measure="sandbox-cold", program="cold-spawn", must=17.0),
    Budget(measure="sandbox-warm", program="warm-spawn", must=1.5, aim=1.3),
    # keeping and putting back 40,000 files over the same for 10,000
    Budget(measure="sandbox-undo", program="overlay", must=1.3),
    Budget(measure="sandbox-undo", program="btrfs", must=1.3),
    # ms for a hundred branches, and KiB of an idle sandbox: a thousand in a GiB
    Budget(measure="sandbox-branches", program="btrfs", aim=300.0),
    Budget(measure="sandbox-idle", program="native", aim=1024.0),
)

WIRE_BUDGETS = tuple(
    Budget(measure=f"{wire}-{case}", program="adapter", must=1.5 if wire in ("chat", "messages", "responses") else 2.0)
    for wire in ("chat", "messages", "responses", "gemini", "cohere", "ollama", "bedrock")
    for case in ("stream1000", "tool-step", "signed")
)
"""CPU of a wire's adapter over that wire's own floor (`bench.wires`)."""

STEP_BOUNDS = {"gemini-stream1000": 3.7, "cohere-stream1000": 3.9, "ollama-stream1000": 3.7}
"""Python's instructions of an adapter over those of its floor (`bench.wires.steps`), where the must of `WIRE_BUDGETS`
is not the bound of them, too. Here the adapter looks at each word by itself, in many cheap instructions, where the
floor has the JSON made into dicts, which is one dear call: so CPU is nearer than this count.
"""


def budget_for(measure: str, program: str) -> Budget:
    """The budget of a figure; one without bounds when there is none."""
    for budget in (*BUDGETS, *WIRE_BUDGETS):
        if (budget.measure, budget.program) == (measure, program):
            return budget
    return Budget(measure=measure, program=program)
