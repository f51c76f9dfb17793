"""The last gate before the terminal: what is laid out already, without anything that could act on it.

Cleaning the words that go into a layout is not enough: Markdown decodes addresses and entities while it lays them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from holdfast.cli.words import printable

__all__ = ("SafeConsole", "clean")


def clean(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yields segments without control characters, C1 and marks of direction; what a layout itself controls stays."""
    for segment in segments:
        if segment.control or segment.text == "\n" or segment.text.isprintable():
            yield segment
        else:
            yield Segment(printable(segment.text), segment.style)


class SafeConsole(Console):
    """A console to which nothing that it draws can bring a control character of its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yields what is drawn."""
        return clean(super().render(renderable, options))

    def on_broken_pipe(self) -> None:
        """Leaves it to `main` what it means that nobody reads any more."""
        raise BrokenPipeError
