"""The screen: panes, keys and the task that follows the session.

Events and words are taken in as they come and drawn together, a few times a second, so that a session that says much
does not cost more than one that says little. Not here: what an act asks and does (`acts.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, ClassVar, cast, final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker

from holdfast.cli.chat.figures import Question
from holdfast.cli.reaching.port import Sessions
from holdfast.cli.watch.acts import Acts
from holdfast.cli.watch.answer import Transcript
from holdfast.cli.watch.details import details_of
from holdfast.cli.watch.dialogs import Sheet
from holdfast.cli.watch.lines import Block, Pane
from holdfast.cli.watch.look import ANSI, THEMES
from holdfast.cli.watch.rows import Row
from holdfast.cli.watch.session import Watched
from holdfast.cli.watch.status import gate_line, help_lines, status_line
from holdfast.cli.watch.timeline import TimelinePane
from holdfast.cli.words import one_line
from holdfast.errors import HoldfastError
from holdfast.types import Event

__all__ = ("WatchApp",)

_DRAWS = 0.05
"""Seconds between two drawings of what is new."""
_LOOKS = 1.0
"""Seconds between two looks at who drives the session."""
_LOOKS_THERE = 5.0
"""The same of a server's, whose stream tells most of it."""
_TOLD = 200
"""Rows of what happened before that the words begin with."""
_GRACE = 0.4
"""Seconds a question stands before a key answers it: one that was meant for something else must not."""


@final
class SteerBox(Input):
    """The line in which a person speaks to the run."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.timeline", show=False)]


@final
class WatchApp(App[None]):
    """Watches one session at a time."""

    CSS_PATH = "styles.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (70, "wide")]  # noqa: RUF012 - declared by the framework
    VERTICAL_BREAKPOINTS = [(0, "short"), (18, "tall")]  # noqa: RUF012 - as above
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "keys", show=False),
        Binding("q", "leave", show=False),
        Binding("ctrl+c,ctrl+q", "leave", show=False, priority=True),
        Binding("ctrl+f", "follow_up", show=False, priority=True),
        Binding("ctrl+x", "abort", show=False, priority=True),
        Binding("escape", "timeline", show=False),
        Binding("enter", "zoom('detail')", show=False),
        Binding("w", "zoom('answer')", show=False),
        Binding("s", "speak", show=False),
        Binding("y", "answer('once')", show=False),
        Binding("a", "answer('always')", show=False),
        Binding("n", "answer('no')", show=False),
        Binding("c", "go_on", show=False),
        Binding("f", "fork", show=False),
        Binding("r", "rewind", show=False),
        Binding("d", "changes", show=False),
        Binding("o", "choose", show=False),
        Binding("t", "ground", show=False),
    ]

    def __init__(self, sessions: Sessions, session: str | None = None, *, theme: str = "dark") -> None:
        """Watches a session, or asks which one; `theme` is `dark` or `light`."""
        super().__init__()
        for each in THEMES:
            self.register_theme(each)
        self.ansi_theme_dark, self.ansi_theme_light = ANSI[True], ANSI[False]
        self.theme = f"holdfast-{theme}"
        self.watched: Watched | None = None
        """The session on the screen; None before one is chosen."""
        self._timeline = TimelinePane(id="timeline")
        self._answer, self._detail = Pane(id="answer", follows=True), Pane(id="detail")
        self._steer = SteerBox(id="steer", placeholder="say something to the run", select_on_focus=False)
        self._gate, self._status = Static(id="gate"), Static(id="status")
        self._sessions = sessions
        sessions.on_notice = self._noticed
        self._first = session
        self._acts = Acts(self)
        self._words = Transcript()
        self._follower: Worker[Any] | None = None
        self._due = False
        self._acting = False
        self._known = 0
        """Rows that the words were told of."""
        self._asked: tuple[str, float] = ("", 0.0)
        """The token that is asked about, and since when."""

    def compose(self) -> ComposeResult:
        """Makes the panes."""
        with Horizontal(id="body"):
            yield self._timeline
            yield self._answer
        yield self._detail
        yield self._gate
        with Horizontal(id="speak"):
            yield Static(Text("▸"), id="sign")
            yield self._steer
        yield self._status

    def on_mount(self) -> None:
        """Opens the session, or asks which."""
        self._answer.border_title = "answer"
        self._timeline.focus()
        self.set_interval(_LOOKS if self._sessions.drives else _LOOKS_THERE, self._look)
        self._do(self._choose(leave=True) if self._first is None else self.open(self._first))

    async def open(self, session: str) -> None:
        """Puts a session on the screen, in place of the one there."""
        watched = Watched(self._sessions, session)
        await watched.load()
        if self._follower is not None:
            self._follower.cancel()
        self.watched = watched
        self._words, self._known = Transcript(theme=self._ground), 0
        self._timeline.border_title = _title(session)
        self._timeline.show(watched.rows)
        self._draw()
        self._follower = self.run_worker(self._follow(watched), exit_on_error=False)

    async def _follow(self, watched: Watched) -> None:
        said = ""
        while True:
            try:
                async for item in watched.follow():
                    if not isinstance(item, Event):
                        self._words.hear(item)
                    self._soon()
            except HoldfastError as error:  # of the store: it may be well again
                if str(error) != said:
                    self._complain(error)
                said = str(error)
            await asyncio.sleep(_LOOKS)

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self.set_timer(_DRAWS, self._draw)

    async def _look(self) -> None:
        if self.watched is not None:
            with suppress(HoldfastError):  # whoever follows says what is wrong
                await self.watched.look()
            self._stand()

    # ---- drawing --------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._due = False
        watched = self.watched
        if watched is None or not self.is_running:
            return
        rows = watched.rows.rows
        if self._known < len(rows):
            for row in rows[max(self._known, len(rows) - _TOLD) :]:
                self._words.see(row)
            self._timeline.grown()
            self._known = len(rows)
        if watched.trouble is not None:
            self._complain(watched.trouble)
            watched.trouble = None
        self._answer.show(self._words.blocks(watched.sent.values()))
        self._stand()

    def _stand(self) -> None:
        """Draws how the session stands and what it asks."""
        watched = self.watched
        if watched is None:
            return
        self._status.update(status_line(watched, max(20, self.size.width - 2)))
        gate, question = self._gate, self.question
        gate.set_class(question is not None, "asks")
        if question is None:
            self._asked = ("", 0.0)
            return
        at, width = self._seq(question), max(20, self.size.width - 4)
        gate.update(gate_line(question, len(watched.questions) - 1, at=at, width=width))
        if question.token != self._asked[0]:
            self._asked = (question.token, time.monotonic())

    @property
    def question(self) -> Question | None:
        """What a person is asked: about the selected event, or else the first."""
        questions = [] if self.watched is None else self.watched.questions
        row = self._timeline.selected
        here = [each for each in questions if row is not None and self._seq(each) == row.seq]
        return next(iter(here or questions), None)

    def _seq(self, question: Question) -> int:
        return 0 if self.watched is None else self.watched.rows.waiting.get(question.token, 0)

    @property
    def answerable(self) -> bool:
        """Whether a key would answer the question on the screen now."""
        token, since = self._asked
        return bool(token) and time.monotonic() - since >= _GRACE

    def on_timeline_pane_selected(self, event: TimelinePane.Selected) -> None:
        """Shows what the selected event says."""
        row = event.row
        name = one_line(row.event.type, 40) if row.event is not None else ""
        self._detail.border_title = _title(f"{row.seq} {name}")
        self._detail.show([Block(each) for each in details_of(row, theme=self._ground)], top=True)
        self._stand()

    def on_resize(self, event: Resize) -> None:
        """Draws the status for the new width."""
        del event
        self._stand()

    # ---- acts -----------------------------------------------------------------------------------------------

    def _do(self, act: Coroutine[Any, Any, None]) -> None:
        """Does something that may ask a person, one thing at a time; what cannot be done is said."""
        if self._acting:
            act.close()
            return
        self._acting = True
        self.run_worker(self._guarded(act))

    async def _guarded(self, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
        except HoldfastError as error:
            self._complain(error)
        finally:
            self._acting = False
        self._stand()

    def _complain(self, error: HoldfastError) -> None:
        self.notify(one_line(str(error), 400), severity="error", markup=False, timeout=8)

    def _noticed(self, words: str) -> None:
        self.notify(one_line(words, 400), severity="warning", markup=False, timeout=8)
        self._stand()

    def _selected(self) -> tuple[Watched, Row] | None:
        row = self._timeline.selected
        return None if self.watched is None or row is None or row.event is None else (self.watched, row)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Says what is in the steer box."""
        event.stop()
        self._say(later=False)

    def _say(self, *, later: bool) -> None:
        box = self._steer
        words = box.value.strip()
        if not words:
            box.focus()
        elif self.watched is not None:
            self._do(self._said(self.watched, box, words, later))

    async def _said(self, watched: Watched, box: SteerBox, words: str, later: bool) -> None:
        await self._acts.say(watched, words, later=later)
        if box.value.strip() == words:  # what was not accepted stays to be sent again
            box.value = ""
        self._soon()

    def action_follow_up(self) -> None:
        """Says it when the run would be over."""
        if len(self.screen_stack) == 1:
            self._say(later=True)

    def action_abort(self) -> None:
        """Asks whether the run shall end."""
        if self.watched is not None and len(self.screen_stack) == 1:
            self._do(self._acts.abort(self.watched))

    def action_answer(self, answer: str) -> None:
        """Answers the question on the screen."""
        question = self.question
        if self.watched is None or question is None:
            self.notify("nothing waits for your word", markup=False, timeout=3)
        elif self.answerable:
            self._do(self._acts.answer(self.watched, question, answer))

    def action_go_on(self) -> None:
        """Takes the open run up here."""
        if self.watched is not None:
            self._do(self._acts.go_on(self.watched))

    def action_fork(self) -> None:
        """Forks from the selected event."""
        if (here := self._selected()) is not None:
            self._do(self._fork(*here))

    async def _fork(self, watched: Watched, row: Row) -> None:
        child = await self._acts.fork(watched, row)
        if child is not None:
            await self.open(child)

    def action_rewind(self) -> None:
        """Rewinds to the selected event."""
        if (here := self._selected()) is not None:
            self._do(self._acts.rewind(*here))

    def action_changes(self) -> None:
        """Shows what changed in files."""
        if (here := self._selected()) is not None:
            self._do(self._acts.show_changes(*here))

    def action_choose(self) -> None:
        """Asks for another session."""
        self._do(self._choose(leave=False))

    async def _choose(self, *, leave: bool) -> None:
        session = await self._acts.choose(self._sessions)
        if session is not None:
            await self.open(session)
        elif leave:
            self.exit()

    # ---- the screen -----------------------------------------------------------------------------------------

    def action_keys(self) -> None:
        """Shows all keys."""
        self.push_screen(Sheet("keys", help_lines()))

    def action_speak(self) -> None:
        """Goes to the steer box."""
        self._steer.focus()

    def action_timeline(self) -> None:
        """Goes back to the timeline, and to all panes."""
        self._zoom("")
        self._timeline.focus()

    def action_zoom(self, pane: str) -> None:
        """Gives one pane the whole screen, or takes it back."""
        self._zoom("" if self.screen.has_class(f"zoom-{pane}") else pane)

    def _zoom(self, pane: str) -> None:
        for each in ("detail", "answer"):
            self.screen.set_class(each == pane, f"zoom-{each}")
        shown: Widget = {"detail": self._detail, "answer": self._answer}.get(pane, self._timeline)
        self.call_after_refresh(shown.focus)

    def action_ground(self) -> None:
        """Changes between dark and light."""
        self.theme = "holdfast-light" if self._ground == "dark" else "holdfast-dark"
        if self.watched is not None:
            self._words, self._known = Transcript(theme=self._ground), 0
            self._draw()
            row = self._timeline.selected
            if row is not None:
                self._timeline.post_message(TimelinePane.Selected(row))
        for pane in (self._timeline, self._answer, self._detail):
            pane.forget()

    def action_leave(self) -> None:
        """Leaves; the run goes on where it is driven. What is selected with the mouse is copied instead."""
        if selected := self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
        else:
            self.exit()

    @property
    def _ground(self) -> str:
        return self.theme.rpartition("-")[2]


def _title(words: str) -> Any:
    return cast("Any", Content(one_line(words, 80)))  # a string would be read as markup
