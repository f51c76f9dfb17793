"""Single keys from the terminal, without holding up the event loop.

The terminal gives each key at once and does not show it while this is entered; Ctrl-C stays a signal. Keys that were
pressed before a question stood there are thrown away: nobody meant them as its answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, final

__all__ = ("Keys",)


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
        termios.tcflush(self._handle, termios.TCIFLUSH)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Gives the terminal back as it was; again does nothing."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._handle, termios.TCSADRAIN, self._before)
            self._before = None

    async def read(self) -> str:
        """Returns the next key, `""` when the terminal has gone; keys of several bytes (arrows) are passed over."""
        loop = asyncio.get_running_loop()
        while True:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._handle, lambda ready=ready: ready.done() or ready.set_result(None))
            try:
                await ready
            finally:
                loop.remove_reader(self._handle)
            try:
                data = os.read(self._handle, 64)
            except OSError:
                return ""
            if len(data) < 2:
                return data.decode("ascii", "replace")
