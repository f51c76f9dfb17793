"""Asks whoever is in another network for connections there, and takes them in."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import Callable
from typing import Any, final

from holdfast.errors import SandboxError

__all__ = ("Reaching",)

_PATIENCE = 20.0
"""Seconds after which one that does not answer is given up."""


@final
class Reaching:
    """The connections that were asked for and have not come."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        """`say` sends a message to the other side; what comes back is given to `heard`."""
        self._say = say
        self._count = itertools.count(1)
        self._asked: dict[int, asyncio.Future[int]] = {}

    async def dial(self, port: int) -> int:
        """Returns a descriptor of a connection to a port there, as far as what it says can be believed.

        Raises:
            OSError: nobody listens there.
            SandboxError: the other side is gone, or does not answer.
        """
        number = next(self._count)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._say({"do": "connect", "connection": number, "port": port})
            async with asyncio.timeout(_PATIENCE):  # `wait_for` of Python 3.11 may lose a cancellation
                return await asked
        except (ConnectionResetError, BrokenPipeError, TimeoutError) as error:
            raise SandboxError("the sandbox is gone, or does not answer; try again") from error
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and asked.exception() is None:  # it came, and nobody takes it
                os.close(asked.result())
            raise
        finally:
            self._asked.pop(number, None)

    def heard(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Takes what a message brings, if it answers; the other descriptors stay the caller's."""
        number = message.get("connected")
        asked = self._asked.get(number) if isinstance(number, int) else None
        if asked is None or asked.done():
            return
        if descriptors:
            asked.set_result(descriptors.pop(0))
        else:
            asked.set_exception(ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there"))

    def lost(self) -> None:
        """Ends the waiting: the other side is gone."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ConnectionResetError(errno.ECONNRESET, "the sandbox is gone"))
