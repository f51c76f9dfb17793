"""How many calls of one tool there are at a time, in this process."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from holdfast.types import ToolSpec

__all__ = ("a_place",)

_places: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str, int], asyncio.Semaphore]] = (
    WeakKeyDictionary()
)
"""By what a tool is: its name, where its function is found, and how many there may be."""


def a_place(spec: ToolSpec) -> asyncio.Semaphore:
    """Returns what a call of a tool that says `at_once` runs in; whoever comes first has it first."""
    assert spec.at_once is not None
    places = _places.setdefault(asyncio.get_running_loop(), {})
    key = (spec.name, spec.reference, spec.at_once)
    if (place := places.get(key)) is None:
        place = places[key] = asyncio.Semaphore(spec.at_once)
    return place
