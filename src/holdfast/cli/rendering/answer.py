"""An answer as it is written: what is finished is drawn once and stays, what is open is drawn below it.

When a connection breaks, the model is asked again and its answer starts again: words that were drawn already are not
drawn twice, and where the new answer is another one, a line says so.

Under an answer stands what the provider did itself on the way to it, and where its words come from, each source once,
however often it is cited. Titles and addresses are strangers' words: nothing in them acts on a terminal, and none of
them is Markdown of its own.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from holdfast.cli.rendering.blocks import Block, Blocks
from holdfast.cli.words import one_line, printable
from holdfast.types import AssistantMessage, ProviderStep
from holdfast.types import Text as Said

__all__ = ("Answer", "below", "sources_of", "step_line", "written_below")

_PREVIEW = 1200
"""Letters of an open block that are drawn."""
_STEPS, _SOURCES = 12, 40
"""Lines that are shown of each."""
_TITLE, _ADDRESS, _ABOUT = 120, 2000, 160
_MARKS = re.compile(r"([\\`*_\[\]<>#|~])")
_NOT_IN_ADDRESS = re.compile(r"[\s<>()\\]")


class Answer:
    """Draws one answer, piece by piece."""

    def __init__(self, console: Console, *, theme: str = "dark") -> None:
        self._console = console
        self._theme = theme
        self._blocks = Blocks()
        self._taken: list[str] = []
        self._drawn = 0
        """Blocks that are on the screen."""
        self._before: str | None = None
        """What was taken before the answer started again, as long as the new one says the same."""
        self._same = 0
        """How much of it was said again."""
        self._shown: tuple[str, int, list[Text]] = ("", 0, [])

    def feed(self, text: str) -> None:
        """Takes more of the answer."""
        if self._before is not None:
            text = self._repeated(self._before, text)
        if text:
            self._taken.append(text)
            self._draw(self._blocks.feed(text))

    def restart(self) -> None:
        """The answer starts again."""
        if self._before is None and self._taken:
            self._before, self._same = "".join(self._taken), 0
        elif self._before is not None:
            self._same = 0

    def finish(self, text: str) -> None:
        """Draws what is missing of an answer that is whole, and makes ready for the next one."""
        taken = self._before if self._before is not None else "".join(self._taken)
        if not text.startswith(taken):
            self._differs()
            taken = ""
        self._draw(self._blocks.feed(text[len(taken) :]))
        self._draw(self._blocks.end())
        self.__init__(self._console, theme=self._theme)

    def leave(self) -> None:
        """Draws what was said of an answer that never becomes whole; what was taken back is not drawn."""
        if self._before is None:
            self._draw(self._blocks.end())
        self.__init__(self._console, theme=self._theme)

    def preview(self, height: int) -> list[Text]:
        """Returns the last lines of what is not finished, as they fit into the window."""
        width = self._console.width
        tail = self._blocks.tail(height, _PREVIEW)
        if not tail.strip():
            return []
        if (tail, width) != self._shown[:2]:
            self._shown = (tail, width, self._lines(tail)[-height:])
        return self._shown[2]

    def _lines(self, text: str) -> list[Text]:
        """Returns Markdown as lines, without blanks around them and at their ends."""
        from holdfast.cli.rendering.markdown import Words

        words = Words(printable(text), theme=self._theme)
        lines: list[Text] = []
        for segments in self._console.render_lines(words, pad=False):
            line = Text.assemble(*[(each.text, each.style or "") for each in segments if not each.control])
            line.rstrip()
            if line or lines:
                lines.append(line)
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _repeated(self, before: str, text: str) -> str:
        """Returns what is new in a text that may say once more what was said."""
        rest = before[self._same : self._same + len(text)]
        if text.startswith(rest):
            self._same += len(rest)
            if self._same == len(before):
                self._before = None
            return text[len(rest) :]
        again = before[: self._same] + text
        self._before = None
        self._differs()
        return again

    def _differs(self) -> None:
        if self._drawn:
            self._console.print(Text("↻ the answer starts again", "magenta"))
        self._blocks, self._taken, self._before = Blocks(), [], None

    def _draw(self, blocks: list[Block]) -> None:
        for block in blocks:
            lines = self._lines(block.text)
            if not block.joined:
                lines.insert(0, Text())
            self._console.print(Text("\n").join(lines), no_wrap=True, overflow="ignore", crop=False)
            self._drawn += 1


def sources_of(message: AssistantMessage) -> list[tuple[str, str]]:
    """Returns the sources of an answer in the order in which they are cited first, each with its title or nothing."""
    found: dict[str, str] = {}
    for part in message.parts:
        for citation in part.citations if isinstance(part, Said) else ():
            if citation.source.strip() or citation.title.strip():
                source = citation.source.strip() or citation.title.strip()
                found[source] = found.get(source) or citation.title.strip()
    return list(found.items())


def step_line(step: ProviderStep) -> Text:
    """Returns what the provider did, on one line."""
    about = f'  "{one_line(step.text, _ABOUT)}"' if step.text.strip() else ""
    return Text(f"{one_line(step.name, 60)}{about}", "dim")


def below(message: AssistantMessage) -> list[Text]:
    """Returns the lines under an answer on a terminal; none where there is nothing to say."""
    steps = _steps(message)
    lines = [step_line(step) for step in steps[:_STEPS]]
    if len(steps) > _STEPS:
        lines.append(Text(f"and {len(steps) - _STEPS:,} steps more", "dim"))
    sources = sources_of(message)
    for number, (source, title) in enumerate(sources[:_SOURCES], 1):
        words = one_line(title or source, _TITLE)
        line = Text.assemble((f"[{number}] ", "cyan"), words)
        if title and title != source:
            line.append(f" ({one_line(source, _ADDRESS)})", "dim")
        lines.append(line)
    if len(sources) > _SOURCES:
        lines.append(Text(f"and {len(sources) - _SOURCES:,} sources more", "dim"))
    return lines


def written_below(message: AssistantMessage) -> str:
    """Returns the same as Markdown, for a file: a numbered list of links."""
    rows = [step_line(step).plain for step in _steps(message)[:_STEPS]]
    sources = sources_of(message)
    if rows and sources:
        rows.append("")
    for number, (source, title) in enumerate(sources[:_SOURCES], 1):
        words = _MARKS.sub(r"\\\1", one_line(title or source, _TITLE))
        rows.append(f"{number}. [{words}]({_link(source)})" if _is_address(source) else f"{number}. {words}")
    if len(sources) > _SOURCES:
        rows.append(f"\nand {len(sources) - _SOURCES:,} sources more")
    return "\n".join(rows)


def _steps(message: AssistantMessage) -> list[ProviderStep]:
    """Returns what was done; what it came to is in the answer, and the provider's record of it is for the provider."""
    steps = [part for part in message.parts if isinstance(part, ProviderStep) and part.name.strip()]
    return [step for step in steps if step.text.strip() or not step.name.lower().endswith("result")]


def _is_address(source: str) -> bool:
    try:
        return source.isprintable() and urlsplit(source).scheme in ("http", "https")
    except ValueError:
        return False


def _link(source: str) -> str:
    """Returns an address that ends where Markdown thinks it does."""
    return _NOT_IN_ADDRESS.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), source[:_ADDRESS])
