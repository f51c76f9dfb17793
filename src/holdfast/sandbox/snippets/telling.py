"""What takes long at first use, told to whoever shows it to a person: a build that nobody sees looks like a hang.

It is for all of a process, since the interpreter is. A program that shows nothing of it listens to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

__all__ = ("announce", "listening")

_listeners: list[Callable[[str], None]] = []


def announce(text: str) -> None:
    """Tells all who listen, from any thread."""
    for tell in tuple(_listeners):
        tell(text)


@contextmanager
def listening(show: Callable[[str], object]) -> Generator[None]:
    """Has `show` called in the running event loop with each sentence, meanwhile."""
    loop = asyncio.get_running_loop()

    def tell(text: str) -> None:
        with suppress(RuntimeError):  # the loop was closed a moment ago
            loop.call_soon_threadsafe(show, text)

    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)
