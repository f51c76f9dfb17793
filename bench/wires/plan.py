"""What is measured: the wires, their cases and programs. What is allowed stands in `bench/budgets.py`."""

from dataclasses import dataclass, replace

from ..plan import Case, Program

__all__ = ("ADAPTER", "CASES", "PINNED", "SIGNED", "WIRES", "Look", "looks_at")

ADAPTER = "adapter"
"""What the rows of Holdfast's side are called; the other side is `bench.plan.FLOOR`."""

WIRES = ("chat", "messages", "responses", "gemini", "cohere", "ollama", "bedrock")

CASES = (
    Case(name="stream1000", title="1,000-token answer", runs=120, peer_runs=120),
    Case(name="tool-step", title="a step with a tool", runs=600, peer_runs=600, turns=3),
)
SIGNED = Case(name="signed", title="a step, signed", runs=300, peer_runs=300)
"""Only where a protocol signs: both sides with the signer of botocore, which is most of what either does then."""

PINNED = ("measure", "script", "server", "floors/session", *(f"floors/{wire}" for wire in WIRES))
"""The files that a ratio stands on; `sha256sums` says which they are."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One case of one wire, with both who take it."""

    wire: str
    case: Case
    """Named after both, as the rows and the budgets are: `chat-stream1000`."""
    plays: str
    """What the server plays."""
    floor: Program
    adapter: Program


def looks_at(wires: tuple[str, ...], cases: tuple[str, ...]) -> tuple[Look, ...]:
    """Everything to be measured, in order."""
    return tuple(
        Look(
            wire=wire,
            case=replace(case, name=f"{wire}-{case.name}"),
            plays=case.name,
            floor=Program(name="floor", label="floor", module=f"bench.wires.floors.{wire}"),
            adapter=Program(name=ADAPTER, label=wire, module="bench.wires.adapter", arguments=(wire,)),
        )
        for wire in wires
        for case in (*CASES, *((SIGNED,) if wire == "bedrock" else ()))
        if case.name in cases
    )
