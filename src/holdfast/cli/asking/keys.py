"""Single keys from the terminal, without holding up the event loop.

The terminal gives each key at once and does not show it while this is entered; Ctrl-C stays a signal. Keys that were
pressed before a question stood there are thrown away: nobody meant them as its answer. A key that comes as several
bytes is no letter, also where a slow line brings them one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any, final

__all__ = ("PATIENCE", "Keys")

PATIENCE = 0.5
"""Seconds that a question has to be there before a letter answers it: one typed earlier meant something else."""
_ESCAPE = b"\x1b"
_REST = 0.1
"""Seconds in which the rest of a key that began with an escape comes."""


@final
class Keys:
    """The keyboard, while it is entered."""

    def __init__(self) -> None:
        self._handle = sys.stdin.fileno()
        self._before: list[Any] | None = None

    def __enter__(self) -> Keys:
        import termios
        import tty

        self._before = termios.tcgetattr(self._handle)
        tty.setcbreak(self._handle, termios.TCSADRAIN)
        self.forget()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Gives the terminal back as it was; again does nothing."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._handle, termios.TCSADRAIN, self._before)
            self._before = None

    def forget(self) -> None:
        """Throws away what was pressed and not read."""
        import termios

        termios.tcflush(self._handle, termios.TCIFLUSH)

    async def read(self) -> str:
        """Returns the next key, `""` when the terminal has gone; keys of several bytes (arrows) are passed over."""
        while True:
            data = await self._bytes()
            if _ESCAPE in data:
                with contextlib.suppress(TimeoutError):
                    while data:
                        async with asyncio.timeout(_REST):
                            data = await self._bytes()
            elif len(data) < 2:
                return data.decode("ascii", "replace")

    async def _bytes(self) -> bytes:
        """Returns what came next; nothing when the terminal has gone."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._handle, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(self._handle)
        try:
            return os.read(self._handle, 64)
        except OSError:
            return b""
