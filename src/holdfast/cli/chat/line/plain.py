"""Lines from a terminal that can do nothing but lines: no editing, no colours, nothing that changes.

The kernel hands over each line when it is ended, and Ctrl-C comes as a signal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, final

from holdfast.cli.chat.line.status import answer_hint, asked_about
from holdfast.cli.chat.talk import Talk

__all__ = ("PlainLines",)


@final
class PlainLines:
    """Reads lines with none of the comforts."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._begun = ""
        self._stands = ""

    def refresh(self) -> None:
        """Says whose turn it is, when that changed."""
        state = self._talk.state
        stands = f"{state} {self._talk.view.asking} {self._talk.answered}"
        if stands != self._stands:
            self._stands = stands
            if state == "asking":
                asked = self._talk.question
                about = asked is not None and asked.wait.kind == "approval"
                name = f" · {asked_about(self._talk, 60)}" if about else ""
                self._talk.view.note(f"{answer_hint(self._talk)}{name}:")
            elif state == "ready":
                self._talk.view.note(">")

    def put(self, text: str) -> None:
        """Does nothing: the line stands there already, and can be typed again."""

    def wipe(self) -> None:
        """Does nothing: what stands there stays."""

    def leave(self) -> None:
        """Ends the reading of lines."""
        self._lines.put_nowait(None)

    async def read(self, first: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Reads lines and does what they want, after `first`, until the person leaves."""
        loop = asyncio.get_running_loop()
        source = sys.stdin.fileno()
        loop.add_reader(source, self._readable, source)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            await first()
            self.refresh()
            while (line := await self._lines.get()) is not None:
                await self._line(line)
        finally:
            loop.remove_reader(source)
            loop.remove_signal_handler(signal.SIGINT)

    async def _line(self, line: str) -> None:
        if line.endswith("\\"):
            self._begun += f"{line[:-1]}\n"
            return
        text, self._begun = self._begun + line, ""
        question = self._talk.question
        if question is None or not await self._talk.answer_line(question, text):
            before = len(self._talk.conversation.queued)
            await self._talk.line(text)
            if len(self._talk.conversation.queued) > before:
                self._talk.view.note("queued")

    def _readable(self, source: int) -> None:
        try:
            data = os.read(source, 65536)
        except OSError:  # how a terminal says that it has gone
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(source)
            self.leave()
            return
        for line in data.decode("utf-8", "replace").splitlines():
            self._lines.put_nowait(line)

    def _interrupt(self) -> None:
        if not self._talk.interrupt():
            self._talk.hint()
