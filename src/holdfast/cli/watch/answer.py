"""The words of the run under way, or of the last one: what was asked, what the model says as it says it, and its calls.

Finished blocks are drawn once; only the block that still grows is drawn again. What is durable replaces what came live.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from rich.text import Text

from holdfast.cli.hiding.masking import masked
from holdfast.cli.outcomes import about, mark_of
from holdfast.cli.rendering.answer import below
from holdfast.cli.rendering.blocks import Blocks
from holdfast.cli.rendering.happenings import onward
from holdfast.cli.watch.details import prose
from holdfast.cli.watch.lines import Block
from holdfast.cli.watch.rows import Row, came_to
from holdfast.cli.words import one_line, printable
from holdfast.engine.events import InputReceived, ModelFailed, ModelFinished, RunFinished, ToolFinished
from holdfast.types import Delta, Reset, TextDelta, Thinking, ThinkingDelta
from holdfast.types import Text as Said

__all__ = ("Transcript",)

_MOST = 120
"""Blocks that are kept; the timeline has the rest."""
_TAIL = (60, 8000)
"""Lines and letters of the block that still grows."""
_THOUGHT = 600
"""Letters of reasoning that are shown while it goes on."""
_WAITS = ("  on its way", "dim italic")


@final
class Transcript:
    """What was said in a session lately."""

    def __init__(self, *, theme: str = "dark") -> None:
        self._theme = theme
        self._done: list[Block] = []
        self._live: list[Block] = []
        self._blocks = Blocks()
        self._thought = ""

    def see(self, row: Row) -> None:
        """Takes a durable event in."""
        if row.event is None:
            return
        match row.event.data:
            case InputReceived() as data:
                sign = "▸ " if data.kind == "prompt" else "» "
                words = Text.assemble((sign, "bold cyan"), (one_line(masked(data.message.text), 500), "bold"))
                self._add(Block(Text(), words) if self._done else Block(words))
            case ModelFinished() as data:
                self._answered(data)
            case ToolFinished() as data:
                sign, style = mark_of(data.result)
                name = "?" if row.call is None else one_line(row.call.name, 60)
                words = "" if row.call is None else about(row.call)
                said = masked(came_to(data.result))
                line = Text.assemble((f"{sign} ", f"bold {style}"), (name, "bold"), f" {words}")
                self._add(Block(line.append(f"  {said}", "dim") if said else line))
            case ModelFailed() as data:
                self._failed(data)
            case RunFinished() as data:
                self._restart()
                why = f"  {one_line(masked(data.reason), 300)}" if data.reason else ""
                style = {"completed": "green", "failed": "red"}.get(data.status, "yellow")
                self._add(Block(Text(), Text(f"── {data.status}{why}", style)))
            case _:
                pass

    def _answered(self, data: ModelFinished) -> None:
        self._restart()
        for part in data.message.parts:
            if isinstance(part, Said) and part.text.strip():
                self._add(Block(Text(), *prose(part.text, self._theme)))
            elif isinstance(part, Thinking) and part.text.strip():
                self._add(Block(Text(f"✻ {one_line(part.text, 200)}", "dim italic")))
        if lines := below(data.message):
            self._add(Block(Text(), *(Text("  ").append_text(line) for line in lines)))

    def _failed(self, data: ModelFailed) -> None:
        self._restart()
        goes_on = f"  {said}" if (said := onward(data)) else ""
        self._add(Block(Text.assemble((f"! {one_line(masked(data.message), 300)}", "yellow"), (goes_on, "dim"))))
        if data.mode == "continue" and data.partial is not None:
            self.hear(TextDelta(data.partial.text))  # what comes now goes on there

    def hear(self, delta: Delta) -> None:
        """Takes in what is said and not durable yet."""
        match delta:
            case TextDelta():
                self._thought = ""
                self._live += [Block(Text(), *prose(each.text, self._theme)) for each in self._blocks.feed(delta.text)]
            case ThinkingDelta():
                self._thought = (self._thought + delta.text)[-_THOUGHT:]
            case Reset():
                self._restart()
            case _:
                pass

    def blocks(self, unheard: Iterable[str] = ()) -> list[Block]:
        """Returns everything there is to show, and below it what was said and nobody heard yet."""
        shown = [*self._done, *self._live]
        if self._thought:
            shown.append(Block(Text(f"✻ {' '.join(printable(self._thought).split())}", "dim italic")))
        tail = self._blocks.tail(*_TAIL)
        if tail.strip():
            shown.append(Block(Text(), *prose(tail, self._theme)))
        shown += [Block(Text.assemble(("» ", "cyan"), one_line(words, 300), _WAITS)) for words in unheard]
        return shown or [Block(Text("nothing was said yet", "dim"))]

    def _add(self, block: Block) -> None:
        self._done.append(block)
        del self._done[:-_MOST]

    def _restart(self) -> None:
        self._live, self._blocks, self._thought = [], Blocks(), ""
