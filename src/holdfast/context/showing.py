"""Which of many tools a request carries.

With up to `tools_shown` tools an agent shows them all, and nothing of this is there. With more a request carries those
that are always there (built-in ones, and those that end a run), those that were called, those that `find_tools` found,
and those that fit best what people said.

What is kept:

- **It follows from the conversation, the places at which people spoke, and the spec.** So a run that is resumed, and a
  fork, ask the same, byte for byte; nothing of it is written down.
- **It changes only where it must**, since providers keep what they read of a request only up to its first difference,
  and tools stand first. Only what a person says and what `find_tools` finds can change it, and only where a tool that
  fits is not shown yet. The order is that of the spec.
- **A tool that is shown stays for the rest of the run**, also when what is found exceeds the bound. Only when as many
  as the bound came on top, the longest unused go: providers refuse requests with too many tools (OpenAI: 128).
- **Each message is looked at once** for each run, however many steps it has.

Which tools may be called is not decided here: the gateway knows all of them, shown or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import msgspec

from holdfast.tools.binding import Tool
from holdfast.tools.finding.index import FIND, index_of
from holdfast.types import AssistantMessage, Message, ToolMessage, ToolSpec

__all__ = ("Showing",)

_WANTED = 4
"""The share of the bound that is shown for what is said later on: a quarter."""
_NEAR = 0.5
"""The share of the best one's score that a tool needs for it to change what is shown."""
_GROWTH = 20
"""The least by which what is found may exceed the bound: what one search gives."""


class _Found(msgspec.Struct, frozen=True, gc=False):
    """What matters here of a line of a search's result."""

    name: str


_found = msgspec.json.Decoder(_Found)


@final
class Showing:
    """The tools that the requests of one run carry."""

    __slots__ = ("_at", "_hidden", "_index", "_least", "_most", "_pinned", "_shown", "_tools", "_used")

    def __init__(self, tools: Mapping[str, Tool], most: int) -> None:
        """Takes all tools of the agent, and how many a request shows."""
        self._index = index_of(tools)
        self._least, self._most = max(1, most), max(1, most) + max(most, _GROWTH)
        self._pinned = [place for place, spec in enumerate(self._index.specs) if _is_pinned(spec)]
        self._begin()

    def _begin(self) -> None:
        self._at = 0
        """How many messages were looked at."""
        self._shown: set[int] = set()
        self._used: dict[int, None] = {}
        """What was called or found, the last one last."""
        self._hidden: list[int] = []
        """What was called though it was not shown, since the tools changed last."""
        self._tools: tuple[ToolSpec, ...] = ()

    def tools(self, messages: Sequence[Message], said: Mapping[int, bool]) -> tuple[ToolSpec, ...]:
        """Returns what the request of a conversation carries; the very same tuple as long as nothing changes.

        `said` holds the places at which people spoke, and whether a run began there.
        """
        if len(messages) < self._at:  # another conversation
            self._begin()
        for place in range(self._at, len(messages)):
            match messages[place]:
                case AssistantMessage() as message:
                    self._called([call.name for call in message.calls])
                case ToolMessage(name=name, is_error=False) as message if name == FIND:
                    self._add_found(message.content)
                case ToolMessage():
                    pass
                case message:
                    if (opens := said.get(place)) is not None:
                        self._heard(message.text, opens=opens)
        self._at = len(messages)
        if not self._shown:  # nobody has said anything
            self._heard("", opens=True)
        if not self._tools:
            self._tools = tuple([self._index.specs[place] for place in sorted(self._shown)])
        return self._tools

    def _heard(self, text: str, *, opens: bool) -> None:
        """Sees to it that what fits the words is shown."""
        if not self._shown:
            self._renew([], self._index.best(text, self._least) or range(len(self._index.specs)))
            return
        wanted = self._index.best(text, max(1, self._least // _WANTED), _NEAR)
        self._add(wanted, self._least if opens else self._most)

    def _add_found(self, content: str) -> None:
        """Sees to it that what a search found is shown; a line that is none of a search's names nothing."""
        names: list[str] = []
        for line in content.split("\n"):  # not where Unicode ends lines, too
            if line.startswith("{"):
                try:
                    names.append(_found.decode(line).name)
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                    continue
        self._add(self._use(names[:_GROWTH]), self._most)

    def _called(self, names: Iterable[str]) -> None:
        """Notes calls: one of a tool that is not shown is no reason to show it at once, but when the tools change."""
        if hidden := [place for place in self._use(names) if place not in self._shown]:
            self._hidden = [*self._hidden, *hidden][-max(1, self._least // _WANTED) :]

    def _use(self, names: Iterable[str]) -> list[int]:
        """Notes that these were called or found, and returns the places of those that there are."""
        known = [place for name in names if (place := self._index.places.get(name)) is not None]
        for place in known:
            self._used.pop(place, None)
            self._used[place] = None
        return known

    def _add(self, wanted: Sequence[int], most: int) -> None:
        """Shows more tools, of which there may be so many then; where there would be more, what matters least goes."""
        if self._shown.issuperset(wanted):
            return
        wanted, self._hidden = [*wanted, *self._hidden], []
        if len(self._shown.union(wanted)) > most:
            self._renew(wanted, sorted(self._shown))
        else:
            self._shown.update(wanted)
            self._tools = ()

    def _renew(self, wanted: Sequence[int], others: Iterable[int]) -> None:
        """Shows what is always there and what is wanted, and as many as there is room for of what was used lately, and
        of others.
        """
        shown = {*self._pinned, *wanted}
        for places in (reversed(self._used), others):
            for place in places:
                if len(shown) >= self._least:
                    break
                shown.add(place)
        self._shown = shown
        self._tools = ()


def _is_pinned(spec: ToolSpec) -> bool:
    """Whether a tool is always shown: the model's hands, and the ways out of a run."""
    return spec.terminal or spec.reference.startswith("builtin:")
