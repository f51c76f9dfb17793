"""What the tools of a runtime keep open: let go of when the runtime is closed, and used by no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import final
from weakref import WeakKeyDictionary

__all__ = ("Closing",)

Close = Callable[[], Awaitable[None]]

_users: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Close, int]] = WeakKeyDictionary()
"""How many runtimes of an event loop use what this lets go of: a tool at the top of a module is in all of them."""


@final
class Closing:
    """The tools that one runtime used."""

    def __init__(self) -> None:
        self._noted: set[Close] = set()

    def note(self, closes: Iterable[Close]) -> None:
        """Remembers what a run may open from now on."""
        for each in closes:
            if each not in self._noted:
                self._noted.add(each)
                users = _users.setdefault(asyncio.get_running_loop(), {})
                users[each] = users.get(each, 0) + 1

    async def close(self) -> None:
        """Lets go of what no other runtime of this loop uses. What cannot be closed stops nobody, and is told."""
        loop, users = asyncio.get_running_loop(), _users.get(asyncio.get_running_loop(), {})
        over: list[Close] = []
        for each in self._noted:
            users[each] = users.get(each, 1) - 1
            if not users[each]:
                del users[each]
                over.append(each)
        self._noted.clear()
        for error in await asyncio.gather(*[_closed(each) for each in over], return_exceptions=True):
            if isinstance(error, Exception):
                loop.call_exception_handler({"message": "a tool could not be closed", "exception": error})


async def _closed(close: Close) -> None:
    await close()
