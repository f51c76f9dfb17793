"""Single keys from the terminal, without holding up the event loop.

The terminal gives each key at once and does not show it while this is entered; Ctrl-C stays a signal. Keys that were
pressed before a question stood there are thrown away: nobody meant them as its answer, and whoever pressed them is told
so (`early`). A key that comes as several bytes is no letter, also where a slow line brings them one by one.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import select
import sys
from collections.abc import Callable
from typing import Any, final

__all__ = ("EARLY", "PATIENCE", "Keys")

EARLY = "what was typed before this was asked is no answer to it"
"""What a person is told whose keys were thrown away."""

PATIENCE = 0.5
"""Seconds that a question has to be there before a letter answers it: one typed earlier meant something else."""
_ESCAPE = b"\x1b"
_END, _WIPES = "\x04", "\x15"
"""Ctrl-D and Ctrl-U."""
_REST = 0.1
"""Seconds in which the rest of a key that began with an escape comes."""


@final
class Keys:
    """The keyboard, while it is entered."""

    def __init__(self, *, lines: bool = False) -> None:
        """The keyboard, for keys; or for whole `lines`, which the terminal itself shows and edits."""
        self._lines = lines
        self._handle = sys.stdin.fileno()
        self._before: list[Any] | None = None
        self.early = False
        """Whether keys were thrown away: letters, and not only the Enter behind an earlier answer."""

    def __enter__(self) -> Keys:
        import termios
        import tty

        if not self._lines:
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

        self.early = self.early or self._letters_waiting()
        termios.tcflush(self._handle, termios.TCIFLUSH)

    def _letters_waiting(self) -> bool:
        """Returns whether anything but blanks was pressed and not read; it is read, at most a line's worth of it."""
        with contextlib.suppress(OSError):
            while select.select([self._handle], [], [], 0)[0]:
                if not (data := os.read(self._handle, 4096)):
                    break
                if data.strip():
                    return True
        return False

    async def read(self) -> str:
        """Returns the next key, `""` when the terminal has gone; keys of several bytes (arrows) are passed over."""
        while True:
            data = await self._bytes()
            if _ESCAPE in data:
                await self._pass_over(data)
            elif len(data) < 2:
                return data.decode("ascii", "replace")

    async def line(self, show: Callable[[str], None] | None) -> str | None:
        """Returns a line, without its end, as it is typed; None when the terminal has gone, or Ctrl-D left it empty.

        `show` draws what stands there by now, where the terminal does not.
        """
        decoder, text = codecs.getincrementaldecoder("utf-8")("replace"), ""
        while True:
            if show is not None:
                show(text)
            data = await self._bytes()
            if not data:
                return None
            if _ESCAPE in data:
                await self._pass_over(data)
                continue
            for letter in decoder.decode(data):
                if letter in "\r\n":
                    return text
                if letter == _END and not text:
                    return None
                text = _typed(text, letter)

    async def _pass_over(self, data: bytes) -> None:
        with contextlib.suppress(TimeoutError):
            while data:
                async with asyncio.timeout(_REST):
                    data = await self._bytes()

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


def _typed(text: str, letter: str) -> str:
    """Returns what stands on a line after one more key."""
    if letter in "\x7f\b":
        return text[:-1]
    if letter == _WIPES:
        return ""
    return text + letter if letter.isprintable() else text
