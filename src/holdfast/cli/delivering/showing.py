"""Whether the results of a session's runs reached those they were for, below its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from rich.console import Console
from rich.text import Text

from holdfast.cli.words import count, one_line
from holdfast.engine.events import RunFinished, RunStarted
from holdfast.runtime.delivering.outgoing import Undelivered
from holdfast.types import Event

__all__ = ("Posts",)


@final
class Posts:
    """What the runs of one session deliver, as its log tells; what became of it stands in the outbox."""

    def __init__(self, session: str) -> None:
        self._targets: dict[tuple[int, str], bool] = {}
        """For each run and target whether the run is over, so that it is due."""
        self._session = session

    @property
    def wanted(self) -> bool:
        """Whether any result goes anywhere."""
        return bool(self._targets)

    def see(self, event: Event) -> None:
        """Takes one event more."""
        match event.data:
            case RunStarted() as data if data.setup.deliver:
                self._targets |= {(event.seq, target): False for target in data.setup.deliver}
            case RunFinished():
                self._targets = dict.fromkeys(self._targets, True)
            case _:
                pass

    def print(self, console: Console, undelivered: Iterable[Undelivered], where: str) -> None:
        """Prints a line for each result and target; `where` is the store option, if there was one."""
        left = {(each.run, each.target): each for each in undelivered if each.session == self._session}
        due = [key for key, over in self._targets.items() if over]
        arrived = len([key for key in due if key not in left])
        console.print(Text(f"\ndelivered {arrived} of {count(len(self._targets), 'result')}", "dim"))
        for (run, target), over in self._targets.items():
            each = left.get((run, target))
            if not over:
                mark, style, state = "·", "dim", "when the run is over"
            elif each is None:
                mark, style, state = "✓", "green", "arrived"
            else:
                tries = f"after {count(each.attempts, 'attempt')}" if each.attempts else "not tried yet"
                mark, style, state = ("✗", "red", f"dead {tries}") if each.dead else ("·", "yellow", tries)
            why = f"  {one_line(each.error, 120)}" if each is not None and each.error else ""
            line = Text.assemble((f"  {mark} ", style), one_line(target, 80), (f"  {state}{why}", "dim"))
            console.print(line, soft_wrap=True)
        if any(each.dead for each in left.values()):
            console.print(Text(f"  what is dead is tried again by: holdfast deliveries revive{where}", "dim"))
