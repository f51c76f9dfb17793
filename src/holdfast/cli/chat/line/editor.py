"""The input line: it can be edited while the answer streams above it, and shows below how things stand.

What stays is written above the line by whoever prints to `Above`; the line is taken away for that moment and drawn
again. It asks the terminal nothing, so that it needs no answer from one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO, final

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.containers import ConditionalContainer, VerticalAlign
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar

from holdfast.cli.asking.answers import DENY
from holdfast.cli.asking.keys import PATIENCE
from holdfast.cli.chat.figures import Question
from holdfast.cli.chat.line.history import HistoryFile
from holdfast.cli.chat.line.keys import bindings
from holdfast.cli.chat.line.status import ask_line, status_line, to_fragments
from holdfast.cli.chat.talk import Talk
from holdfast.cli.words import one_line

__all__ = ("Above", "Editor")

_STYLE = Style.from_dict(
    {
        "sign": "bold ansicyan",
        "bar": "ansibrightblack",
        "state": "bold ansicyan",
        "asks": "bold ansiyellow",
        "completion-menu": "bg:default fg:default noinherit",
        "completion-menu.completion": "bg:default fg:ansibrightblack",
        "completion-menu.completion.current": "bg:default fg:ansicyan bold noreverse",
        "completion-menu.meta.completion": "bg:default fg:ansibrightblack",
        "completion-menu.meta.completion.current": "bg:default fg:ansicyan noreverse",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:default",
    }
)
_TICK = 0.2
"""Seconds between two drawings of what counts seconds."""


def _size() -> Size:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return Size(rows=rows or 24, columns=columns or 80)


@final
class Above(io.StringIO):
    """A terminal to write to while there is an input line: what is written comes above it, whole lines at a time."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self.app: Application[None] | None = None
        self._out = out
        self._held = ""
        self._soon = False

    def isatty(self) -> bool:
        """Whether it is a terminal; it is."""
        return True

    def fileno(self) -> int:
        """The terminal's number."""
        return self._out.fileno()

    def write(self, text: str, /) -> int:
        """Takes text for the next `flush`."""
        self._held += text
        return len(text)

    def flush(self) -> None:
        """Shows the lines that are whole, at once or when what else is printed now is there, too."""
        if self.app is None or not self.app.is_running:
            self._out.write(self._held)
            self._out.flush()
            self._held = ""
        elif not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._emit)

    def _emit(self) -> None:
        self._soon = False
        app = self.app
        if app is None or not app.is_running:
            self.flush()
            return
        whole, end, self._held = self._held.rpartition("\n")
        if end:
            app.renderer.erase()
            app.output.write_raw(whole + end)
            app.output.flush()
            app.invalidate()


@final
class Editor:
    """Reads lines with all the comforts a terminal allows."""

    def __init__(self, talk: Talk, above: Above, completer: Completer, history: Path) -> None:
        self._talk = talk
        self._actions: asyncio.Queue[Coroutine[Any, Any, None]] = asyncio.Queue()
        self._denying: Question | None = None
        self._draft = ""
        self._asked = ("", 0.0)
        self._awake = asyncio.Event()
        self._buffer = Buffer(
            completer=completer,
            complete_while_typing=Condition(self._offers),
            history=HistoryFile(history),
            multiline=True,
        )
        self._app: Application[None] = Application(
            layout=self._layout(),
            key_bindings=bindings(self, self._buffer),
            style=_STYLE,
            output=Vt100_Output(sys.stdout, _size, term=os.environ.get("TERM"), enable_cpr=False),
            erase_when_done=True,
        )
        self._app.ttimeoutlen = 0.1
        above.app = self._app

    def _layout(self) -> Layout:
        search = SearchToolbar(ignore_case=True)
        control = BufferControl(self._buffer, search_buffer_control=search.control)
        line = Window(
            control,
            wrap_lines=True,
            dont_extend_height=True,
            height=Dimension(min=1, max=12),
            get_line_prefix=lambda number, wrap: self._prefix() if not number and not wrap else [("", "  ")],
        )
        live = FormattedTextControl(self._live)
        live_window = ConditionalContainer(Window(live, dont_extend_height=True), Condition(lambda: bool(self._live())))
        bar = Window(FormattedTextControl(self._bar), height=1, dont_extend_height=True)
        rows = [live_window, line, search, CompletionsMenu(max_height=6, scroll_offset=1), bar]
        return Layout(HSplit(rows, align=VerticalAlign.TOP), focused_element=line)

    def _offers(self) -> bool:
        """Whether to offer without being asked: behind a slash at the beginning, and behind an `@`."""
        text = self._buffer.document.text_before_cursor
        word = self._buffer.document.get_word_before_cursor(WORD=True)
        return self._denying is None and (text.startswith("/") or word.startswith("@"))

    # ---- what it shows --------------------------------------------------------------------------------------

    def _prefix(self) -> StyleAndTextTuples:
        return [("class:asks", "why not? ")] if self._denying is not None else [("class:sign", "▸ ")]

    def _live(self) -> StyleAndTextTuples:
        size = self._app.output.get_size()
        rows = self._talk.view.live(self._talk.conversation.queued, max(1, min(8, size.rows // 3)))
        fragments = to_fragments(rows, self._talk.view.console)
        for part in self._talk.attached:
            fragments.append(("class:sign", f"  + {one_line(part.name, 60)}, {len(part.data):,} bytes\n"))
        if self._talk.question is not None and self._denying is None:
            fragments += ask_line(self._talk, empty=not self._buffer.text, columns=size.columns)
        if fragments and fragments[-1][1].endswith("\n"):  # the window's last line needs no end
            fragments[-1] = (fragments[-1][0], fragments[-1][1][:-1])
        return fragments

    def _bar(self) -> StyleAndTextTuples:
        return status_line(self._talk, self._app.output.get_size().columns, self._buffer.text)

    def refresh(self) -> None:
        """Draws what changes again, soon."""
        question = self._talk.question
        token = question.token if question else ""
        if token != self._asked[0]:
            self._asked = (token, time.monotonic())
            if self._denying is not None and self._denying != question:
                self._back()
        if self._talk.state in ("working", "aborting"):
            self._awake.set()
        else:
            self._awake.clear()
        self._app.invalidate()

    async def _tick(self) -> None:
        while True:
            await self._awake.wait()
            self._app.invalidate()
            await asyncio.sleep(_TICK)

    # ---- what keys do ---------------------------------------------------------------------------------------

    @property
    def asks(self) -> bool:
        """Whether something is open that keys answer, and no reason for a no is being typed."""
        question = self._talk.question
        return question is not None and question.wait.kind != "question" and self._denying is None

    @property
    def asks_for_a_key(self) -> bool:
        """Whether a letter is an answer: the line is empty, and the question was there before the letter was begun."""
        return self.asks and not self._buffer.text and not self._is_new

    @property
    def _is_new(self) -> bool:
        return time.monotonic() - self._asked[1] <= PATIENCE

    @property
    def denying(self) -> bool:
        """Whether the line is the reason for a no."""
        return self._denying is not None

    def enter(self, *, later: bool = False) -> None:
        """Sends the line, or the reason that stands there."""
        text = self._buffer.text
        if self._denying is not None:
            question, reason = self._denying, text.strip()
            self._back()
            self._do(self._talk.answer(question, f"{DENY}: {reason}" if reason else DENY))
            return
        question = self._talk.question
        if question is not None and question.wait.kind != "approval" and not later and self._is_new:
            return  # it was begun before the question stood there: Enter again means it
        if text.strip():
            self._buffer.append_to_history()
        self._buffer.reset()
        self._do(self._talk.line(text, later=later))

    def answer(self, said: str) -> None:
        """Answers the question that is open."""
        if (question := self._talk.question) is not None:
            self._do(self._talk.answer(question, said))

    def deny(self) -> None:
        """Asks for the reason; what was being typed comes back afterwards."""
        self._denying = self._talk.question
        self._draft = self._buffer.text
        self._buffer.reset()

    def undo_deny(self) -> None:
        """Goes back to the question."""
        self._back()

    def _back(self) -> None:
        self._denying = None
        self._buffer.reset(Document(self._draft))
        self._draft = ""

    def interrupt(self) -> None:
        """Aborts the run; without one clears the line; without that says how to leave."""
        if self._talk.interrupt():
            self.refresh()
        elif self._buffer.text:
            self._buffer.reset()
        else:
            self._talk.hint()

    def _do(self, action: Coroutine[Any, Any, None]) -> None:
        self._actions.put_nowait(action)

    # ---- as a front -----------------------------------------------------------------------------------------

    def put(self, text: str) -> None:
        """Puts text on the input line, if nothing else stands there."""
        if not self._buffer.text:
            self._buffer.reset(Document(text))

    def wipe(self) -> None:
        """Clears the screen."""
        self._app.renderer.clear()

    def leave(self) -> None:
        """Ends the reading of lines."""
        if self._app.is_running and self._app.future is not None and not self._app.future.done():
            self._app.exit()

    async def _act(self) -> None:
        """Does what was asked for, one after another."""
        while True:
            await (await self._actions.get())

    def _acted(self, acting: asyncio.Task[None]) -> None:
        """Ends the talk with what nobody expected, where the person sees it."""
        error = None if acting.cancelled() else acting.exception()
        if error is not None and self._app.future is not None and not self._app.future.done():
            self._app.future.set_exception(error)

    async def read(self, first: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Reads lines and does what they want, after `first`, until the person leaves."""
        self._do(first())
        tasks = [asyncio.create_task(self._act()), asyncio.create_task(self._tick())]
        tasks[0].add_done_callback(self._acted)
        self.refresh()
        try:
            with contextlib.suppress(EOFError):  # the terminal has gone
                await self._app.run_async(set_exception_handler=False)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while not self._actions.empty():
                self._actions.get_nowait().close()
