"""The tools of one agent, ready to be searched by what they are for.

What counts is a tool's name, most of all, its description, and the names of its parameters. Made once for an agent and
kept with its registry.

Not here: which tools a request carries (`context/showing.py`), and the tool that lets the model search
(`tools/builtin/finding/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, cast, final

from holdfast.tools.binding import Registry, Tool
from holdfast.tools.finding.ranking import Ranking
from holdfast.tools.finding.words import COMMON, terms
from holdfast.types import ToolSpec

__all__ = ("FIND", "ToolIndex", "index_of")

FIND = "find_tools"
"""The name of the tool that finds others; it is not among what is found."""
_NAME_COUNTS = 3
"""How often a term counts that stands in the name."""
_READ = 4_000
"""Characters of a description that count, and of what is asked at its beginning and at its end."""
_PARAMETERS = 100
"""Parameters of a tool that count."""


@final
class ToolIndex:
    """Some tools by their places, and what they are for."""

    __slots__ = ("_ranking", "places", "specs")

    def __init__(self, specs: Iterable[ToolSpec]) -> None:
        self.specs = tuple(specs)
        self.places: Mapping[str, int] = {spec.name: place for place, spec in enumerate(self.specs)}
        self._ranking = Ranking([_document(spec) for spec in self.specs])

    def best(self, text: str, limit: int, share: float = 0.0) -> list[int]:
        """Returns the places of the tools that fit a text best, the best one first; none where nothing fits.

        Those with less than that `share` of the best one's score are left out.
        """
        asked = terms(text if len(text) <= 2 * _READ else f"{text[:_READ]} {text[-_READ:]}")
        telling = [term for term in asked if term not in COMMON]
        return self._ranking.best(telling or asked, limit, share)


def index_of(tools: Mapping[str, Tool]) -> ToolIndex:
    """Returns the index of an agent's tools; an agent's own registry keeps it."""
    if not isinstance(tools, Registry):
        inner = {each.spec.name for tool in tools.values() for each in tool.inner}
        return ToolIndex(tool.spec for name, tool in tools.items() if name not in inner)
    if not isinstance(index := tools.index, ToolIndex):
        index = tools.index = ToolIndex(tool.spec for tool in tools.offered)
    return index


def _document(spec: ToolSpec) -> dict[str, int]:
    if spec.name == FIND:
        return {}
    said = spec.description[:_READ]
    parameters: Any = spec.parameters.get("properties")
    if isinstance(parameters, dict):  # some tools' schemas are written by others
        said = " ".join((said, *islice(cast("dict[str, Any]", parameters), _PARAMETERS)))
    return Counter(terms(spec.name) * _NAME_COUNTS + terms(said))
