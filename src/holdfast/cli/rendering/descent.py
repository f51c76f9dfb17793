"""Which agents a session started: what each came to and spent, and runs drawn below those that started them."""

from __future__ import annotations

from typing import final

import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.hiding.masking import masked_line
from holdfast.cli.outcomes import MARKS
from holdfast.cli.words import count, money, one_line, tokens
from holdfast.engine.events import PhaseFailed, PhaseStarted, ToolWaiting, WaitResolved
from holdfast.engine.letters import Outcome
from holdfast.types import Event, Usage, Wait

__all__ = ("Children",)


class Child(msgspec.Struct):
    """One agent that was started, or not."""

    what: str
    session: str
    outcome: Outcome | None = None
    over: bool = False
    why: str = ""


@final
class Children:
    """The agents that the runs of one session started, as its log tells."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._waits: dict[str, Child] = {}

    def see(self, event: Event) -> None:
        """Takes one event more."""
        match event.data:
            case ToolWaiting(wait=wait) if wait.kind == "child":
                self._add(wait, wait.prompt)
            case PhaseStarted(phase=phase, wait=wait):
                self._add(wait, f"phase {phase + 1}  {wait.prompt}")
            case PhaseFailed(phase=phase, why=why):
                self._children.append(Child(f"phase {phase + 1}", "", over=True, why=why))
            case WaitResolved() as data if (child := self._waits.get(data.token)) is not None:
                child.over, child.outcome = True, child.outcome or data.outcome
            case _:
                pass

    def _add(self, wait: Wait, what: str) -> None:
        if wait.token not in self._waits:
            self._waits[wait.token] = child = Child(what, wait.subject)
            self._children.append(child)

    def print(self, console: Console) -> None:
        """Prints a line for each agent, and what they spent together; nothing where there is none."""
        if not self._children:
            return
        outcomes = [child.outcome for child in self._children if child.outcome is not None]
        usage = sum((outcome.usage for outcome in outcomes), Usage())
        known = [outcome.cost for outcome in outcomes if outcome.cost is not None]
        cost = money(sum(known), most=usage.estimated) if len(known) == len(outcomes) else "price unknown"
        head = f"\nstarted {count(len(self._children), 'agent')}, which spent {tokens(usage)} · {cost}"
        console.print(Text(head, "dim"), soft_wrap=True)
        for child in self._children:
            line = masked_line(_line(child))
            line.truncate(console.width, overflow="ellipsis")
            console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _line(child: Child) -> Text:
    what, outcome = one_line(child.what, 80), child.outcome
    if outcome is None:
        mark, style = ("·", "dim") if not child.over else ("✗", "red")
        state = "under way" if not child.over else child.why or "nobody waited for its end"
        return Text.assemble((f"  {mark} ", style), child.session, "  ", (one_line(state, 60), style), f"  {what}")
    mark, style = MARKS[outcome.status]
    why = f" ({one_line(outcome.reason, 60)})" if outcome.reason else ""
    figures = f"  {tokens(outcome.usage)} · {money(outcome.cost, most=outcome.usage.estimated)}"
    return Text.assemble(
        (f"  {mark} ", style), child.session, "  ", (f"{outcome.status}{why}", style), (figures, "dim"), f"  {what}"
    )
