"""What a person's lines and keys do in a talk, whatever they are typed into.

A line is a command, a prompt, or joins the run that is open. The input line itself is a `Front`: there is one that
edits (`line/editor.py`) and one for terminals that can do nothing but lines (`line/plain.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, final

from holdfast.cli.asking.answers import ALWAYS, DENY, ONCE
from holdfast.cli.asking.picking import picked
from holdfast.cli.attached import attach
from holdfast.cli.chat.attaching import find_attached
from holdfast.cli.chat.conversation import Conversation
from holdfast.cli.chat.figures import Question
from holdfast.cli.chat.view import View
from holdfast.cli.words import count
from holdfast.errors import HoldfastError, UsageError
from holdfast.types import Delta, Document, Event, Image, Text, UserPart

__all__ = ("Front", "Talk")

_COMMAND = re.compile(r"/[A-Za-z?-]*(\s|$)")
_WORD = re.compile(r"/\S*")


class Front(Protocol):
    """Where a person types."""

    def refresh(self) -> None:
        """Draws what changes again, soon."""
        ...

    def leave(self) -> None:
        """Ends the reading of lines."""
        ...

    def put(self, text: str) -> None:
        """Puts text on the input line, if nothing else stands there."""
        ...

    def wipe(self) -> None:
        """Clears the screen."""
        ...


@final
class Talk:
    """A talk under way."""

    def __init__(self, conversation: Conversation, view: View, obey: Callable[[Talk, str], Awaitable[None]]) -> None:
        self.conversation = conversation
        self.view = view
        self.attached: list[Image | Document] = []
        """What goes with the next message."""
        self.hurried = False
        """Whether the person wants out at once."""
        self.known_sessions: list[str] = []
        """Names of sessions, for completing."""
        self.offered: list[str] = []
        """Models to pick from by their numbers, as they were shown last."""
        self.front: Front | None = None
        self._obey = obey
        self._aborted = ""
        """Key of the run that was asked to end."""
        self._abort: asyncio.Task[None] | None = None
        self._warned = ("", "")
        """The question and the answer to it that has to be given again."""
        self._given: tuple[str, list[list[str]]] = ("", [])
        """The token of the questions on the screen, and what was said to the first of them."""
        conversation.on_event = self._see
        conversation.on_trouble = self._trouble
        conversation.sessions.on_notice = self._noticed

    # ---- what happens ---------------------------------------------------------------------------------------

    def _see(self, event: Event | Delta) -> None:
        self.view.see(event)
        self.refresh()

    def _trouble(self, error: BaseException) -> None:
        self.view.complain(str(error) if isinstance(error, HoldfastError) else f"{type(error).__name__}: {error}")
        self.view.note("the run is still open: say something, and it is tried again", "yellow")
        self.refresh()

    def _noticed(self, words: str) -> None:
        self.view.note(words, "yellow")
        self.refresh()

    def refresh(self) -> None:
        """Draws what changes again, soon."""
        if self.front is not None:
            self.front.refresh()

    @property
    def question(self) -> Question | None:
        """The question on the screen: an answer is to what a person sees, whatever else waits."""
        questions = self.conversation.figures.questions
        return next((each for each in questions if each.token == self.view.asking), None)

    @property
    def state(self) -> str:
        """What the talk is at: `ready`, `working`, `aborting`, `asking` or `waiting`."""
        figures = self.conversation.figures
        run = self.conversation.open_run
        if figures.aborting or (run is not None and run.key == self._aborted):
            return "aborting"
        if figures.questions:
            return "asking"
        if figures.busy and figures.waits_for:
            return "waiting"
        return "working" if run is not None else "stopped" if figures.busy else "ready"

    # ---- what a person does ---------------------------------------------------------------------------------

    async def line(self, text: str, *, later: bool = False) -> None:
        """Does what a line wants; what is wrong with it is shown, and the line comes back."""
        text = text.rstrip()
        try:
            if _COMMAND.match(text) or _is_misspelt(text):
                self.view.command(text)
                await self._obey(self, text)
            elif not later and (asked := self.question) is not None and asked.wait.kind != "approval":
                await self.answer_line(asked, text)
            elif text or self.attached:
                await self._say(text, later=later)
        except HoldfastError as error:
            self.view.complain(str(error))
            if self.front is not None:
                self.front.put(text)
        except Exception as error:  # noqa: BLE001 - boundary: one line; the talk, and the run in it, must outlive it
            self._failed(error)
        self.refresh()

    def _failed(self, error: Exception) -> None:
        self.view.complain(f"that failed unexpectedly, and the talk goes on: {type(error).__name__}: {error}")

    async def _say(self, text: str, *, later: bool) -> None:
        if later and not self.conversation.busy:
            later = False  # nothing has to be over first
        folder = self.conversation.terms.workspace
        parts: list[UserPart] = [Text(text)] if text else []
        parts += [*self.attached, *(attach(path) for path in find_attached(text, folder))]
        await self.conversation.say(parts, later=later)
        self.attached.clear()

    async def answer(self, question: Question, said: str) -> None:
        """Answers a question; what its card does not show in whole is allowed by a second answer."""
        doubted = question.token == self.view.asking and not self.view.whole
        if doubted and said in (ONCE, ALWAYS) and self._warned != (question.token, said):
            self._warned = (question.token, said)
            self.view.note("! not all of it was shown: the same answer again allows it", "bold red")
            self.refresh()
            return
        await self._give(self.conversation.answer(question.token, said))

    async def _give(self, answer: Awaitable[None]) -> None:
        """Gives an answer; what is wrong with it is shown."""
        try:
            await answer
        except HoldfastError as error:
            self.view.complain(str(error))
        except Exception as error:  # noqa: BLE001 - boundary: as above
            self._failed(error)
        self.refresh()

    async def answer_line(self, question: Question, text: str) -> bool:
        """Answers a question with a typed line; whether it was an answer.

        Words that are no yes and no no answer a question, and are what is to be different in what is reviewed.
        """
        if question.wait.kind == "question":
            await self._reply(question, text)
            return True
        word, _, reason = text.strip().partition(" ")
        match word.lower().rstrip(",:"):
            case "y" | "yes" if not reason:
                await self.answer(question, ONCE)
            case "a" | "always" if not reason and question.wait.kind == "approval":
                await self.answer(question, ALWAYS)
            case "n" | "no":
                await self.answer(question, f"{DENY}: {reason.strip()}" if reason.strip() else DENY)
            case "" if question.wait.kind == "review":
                pass
            case _ if question.wait.kind == "review":
                await self._give(self.conversation.request_changes(question.token, text))
            case _:
                return False
        return True

    async def _reply(self, question: Question, text: str) -> None:
        """Takes a line as the answer to the next of the questions that a call asks; the last one sends them all."""
        token, asked = question.token, question.wait.questions
        given = self._given[1] if self._given[0] == token else []
        try:
            given = [*given, picked(asked[len(given)], text)]
        except UsageError as error:
            self.view.note(f"! {error}", "yellow")
            return
        self._given = (token, given)
        self.view.chosen(given[-1])
        if len(given) < len(asked):
            self.view.questions(question, len(given))
            self.refresh()
            return
        self._given = ("", [])
        await self._give(self.conversation.reply(token, given))

    @property
    def answered(self) -> int:
        """How many of the questions on the screen have their answer."""
        return len(self._given[1]) if self.question is not None and self._given[0] == self.question.token else 0

    def interrupt(self) -> bool:
        """Asks the open run to end, or when that was done leaves at once; False when no run is open."""
        run = self.conversation.open_run
        if run is None:
            return False
        if self._aborted == run.key:
            self.hurried = True
            self.leave()
        else:
            self._aborted = run.key
            self._abort = asyncio.ensure_future(self._send_abort())
        return True

    async def _send_abort(self) -> None:
        try:
            await self.conversation.abort()
        except HoldfastError as error:
            self._aborted = ""
            self.view.complain(str(error))

    def hint(self) -> None:
        """Says how to leave, to somebody who tries to."""
        self.view.note("Ctrl-D or /quit leaves, /help shows what else there is", "dim")

    def leave(self) -> None:
        """Ends the talk."""
        if self.front is not None:
            self.front.leave()

    # ---- first and last words -------------------------------------------------------------------------------

    async def begin(self, session: str | None) -> None:
        """Goes to a session, shows where it stands, and goes on with what is open in it."""
        events = await self.conversation.open(session)
        figures = self.conversation.figures
        self.view.forget()
        self.where()
        if figures.run is not None:
            self.view.note(f"↻ session {self.conversation.session} has an open run")
            begin = figures.run.setup.input
            for event in events:
                if event.seq >= begin:
                    self.view.see(event)
        elif events:
            runs = count(figures.runs, "run")
            self.view.note(f"↻ session {self.conversation.session}, {runs} so far; the last of it was:")
            self.view.exchange(figures)
        elif session is not None:
            self.view.note(f"session {self.conversation.session}, a new one")
        mode = await self.conversation.freer()
        try:
            await self.conversation.take_up()
        except UsageError as error:
            if mode is None:
                raise
            self.view.note(f"! {error}", "bold yellow")
        self.refresh()

    def where(self) -> None:
        """Says which folder the session works in, where it is not the one the person is in."""
        folder = self.conversation.terms.workspace
        if folder != self.conversation.home:
            self.view.note(f"  its files are in {folder}", "dim")
        if self.conversation.sessions.drives:
            self.view.folder = folder

    def farewell(self) -> str:
        """Returns what a person should know who leaves now; empty when there is nothing to come back to."""
        sessions = self.conversation.sessions
        again = f"holdfast chat --session {self.conversation.session}{sessions.option}"
        if sessions.place == "memory:":
            return "left; the talk is gone with its log" if self.conversation.figures.state.seq else ""
        if self.conversation.busy and not sessions.drives:
            return f"left; the run goes on at the server: {again}"
        if self.conversation.busy:
            return f"left; the run is still open: {again}"
        return f"go on later: {again}" if self.conversation.figures.state.seq else ""


def _is_misspelt(text: str) -> bool:
    """Whether a line is a lone word with a slash, and no path: no model is asked, for money, what that means."""
    return _WORD.fullmatch(text) is not None and not Path(text).exists()
