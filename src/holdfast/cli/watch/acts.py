"""What a person does to the session they watch, from the question to its outcome.

Each act asks what it has to, does it through the runtime, and says in a word what came of it. What a person has to
confirm is what cannot be taken back from the same screen.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, final

from rich.text import Text

from holdfast.cli.asking.answers import SAID
from holdfast.cli.asking.picking import hint, picked, question_lines
from holdfast.cli.chat.figures import Question
from holdfast.cli.hiding.masking import masked
from holdfast.cli.outcomes import about
from holdfast.cli.reaching.port import Sessions
from holdfast.cli.rendering.diffs import tally
from holdfast.cli.watch.details import diff_lines
from holdfast.cli.watch.dialogs import Choice, Confirm, Fill, Sheet
from holdfast.cli.watch.rows import Row
from holdfast.cli.watch.session import Watched
from holdfast.cli.words import age, count, money, one_line
from holdfast.errors import HoldfastError, UsageError
from holdfast.types import Changes, shown

if TYPE_CHECKING:
    from textual.app import App

__all__ = ("Acts", "nothing_yet")

_RUNS = 200
_PATHS = 8
"""Changed paths that a question names."""
_STYLES = {"completed": "green", "running": "cyan", "waiting": "yellow", "open": "magenta", "failed": "red"}


def nothing_yet(sessions: Sessions) -> str:
    """Returns what a person is told where there is nothing to watch."""
    how = f'holdfast run{sessions.option} "…"' if sessions.drives else f"holdfast chat{sessions.option}"
    return f"no run is in {sessions.place} yet: start one with {how}"


@final
class Acts:
    """The acts of one screen."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app

    async def choose(self, sessions: Sessions) -> str | None:
        """Returns a session that a person chose; None when they chose none."""
        now = time.time_ns() // 1000
        choices: dict[str, Text] = {}
        for run in await sessions.listed(_RUNS):
            if run.session not in choices:
                style = _STYLES.get(run.status, "yellow")
                parts = [(f"{run.session:<14} ", "bold"), (f"{run.status:<10}", style), f"{age(run.started, now):<11} "]
                cost = _cost(run.cost, most=run.estimated)
                choices[run.session] = Text.assemble(*parts, (f"{cost:>8}  ", "dim"), run.prompt)
        if not choices:
            raise UsageError(nothing_yet(sessions))
        return await self._app.push_screen_wait(Choice("sessions, newest first", list(choices.items())))

    async def say(self, watched: Watched, words: str, *, later: bool) -> None:
        """Says something to the open run."""
        await watched.say(words, later=later)
        self._tell(
            "follow-up is queued: it is heard when the run would be over" if later else "said: heard at the next step"
        )

    async def abort(self, watched: Watched) -> None:
        """Asks the open run to end, once a person confirmed it."""
        run = watched.run
        lines = [Text("What is under way is stopped; what the run has is kept.")]
        if await self._app.push_screen_wait(Confirm("abort the run?", lines, "abort it")):
            await run.abort("a person who watched it")
            self._tell("asked to end")

    async def answer(self, watched: Watched, question: Question, answer: str) -> None:
        """Gives a call, or an answer under review, a person's word; of a no, the reason is asked."""
        if question.wait.kind == "question":
            await self._reply(watched, question, answer)
            return
        if question.wait.kind == "review" and answer == "always":
            await self._request_changes(watched, question)
            return
        reason = ""
        if answer == "no":
            name = one_line(question.wait.subject or question.call.name, 60)
            lines = [Text.assemble((name, "bold"), f" {about(question.call)}")]
            given = await self._app.push_screen_wait(Fill("why not?", lines, "the model reads this; may be empty"))
            if given is None:
                return
            reason = given
        if question.token in {each.token for each in watched.questions}:
            await watched.answer(question, answer, reason)
            self._tell(SAID.get(answer, ("denied", ""))[0])
        else:
            self._tell("it was answered elsewhere meanwhile")

    async def _reply(self, watched: Watched, question: Question, answer: str) -> None:
        """Asks each of the questions that a call asks, and sends the answers."""
        if answer != "once":
            self._tell("y answers it; whoever else sees it may, too")
            return
        asked, given = question.wait.questions, list[list[str]]()
        while len(given) < len(asked):
            each = asked[len(given)]
            lines = question_lines(each, len(given) + 1, len(asked))
            said = await self._app.push_screen_wait(Fill("a question", lines, hint(each)))
            if said is None:
                return
            try:
                given.append(picked(each, said))
            except UsageError as error:
                self._tell(str(error))
        await self._once(watched, question, watched.reply(question, given), "answered")

    async def _request_changes(self, watched: Watched, question: Question) -> None:
        lines = [Text(one_line(masked(question.wait.prompt), 200))]
        said = await self._app.push_screen_wait(Fill("what is to be different?", lines, "the agent reads this"))
        if said:
            await self._once(watched, question, watched.request_changes(question, said), "sent back")

    async def _once(self, watched: Watched, question: Question, answer: Coroutine[Any, Any, None], done: str) -> None:
        if question.token in {each.token for each in watched.questions}:
            await answer
            self._tell(done)
        else:
            answer.close()
            self._tell("it was answered elsewhere meanwhile")

    async def fork(self, watched: Watched, row: Row) -> str | None:
        """Makes a session beside this one from an event, with the files of that moment; returns it to be watched."""
        at = row.seq
        lines = [Text(f"A session of its own, with the log and the files as they were at event {at}.")]
        name = await self._app.push_screen_wait(Fill(f"fork at event {at}", lines, "name; empty for a new one"))
        if name is None:
            return None
        child = await watched.sessions.fork(watched.session, at=at, name=name or None)
        self._tell(f"session {child} is made")
        lines = [Text.assemble((child, "bold"), f"  from {watched.session} at event {at}")]
        return child if await self._app.push_screen_wait(Confirm("watch the fork?", lines, "watch it")) else None

    async def rewind(self, watched: Watched, row: Row) -> None:
        """Takes the session and its files back to an event, once a person confirmed what goes."""
        if watched.figures.run is not None:
            await watched.rewind(row.seq)  # says why not
        to = row.seq
        gone = watched.figures.state.seq - to
        lines = [Text(f"{count(gone, 'event')} after it leave the conversation; the log keeps them.")]
        lines += _paths((await self._changed(watched, to)) or ())
        if await self._app.push_screen_wait(Confirm(f"back to event {to}?", lines, "rewind")):
            await watched.rewind(to)
            self._tell(f"back at event {to}")

    async def show_changes(self, watched: Watched, row: Row) -> None:
        """Shows what became of the files up to an event."""
        found = await watched.sessions.changes(watched.session, until=row.seq)
        if not found.changes:
            self._tell(f"no file was changed up to event {row.seq}")
            return
        head = Text.assemble((count(len(found.changes), "path"), "bold"), "  ", tally(found.text))
        title = f"files from the beginning to event {row.seq}"
        await self._app.push_screen_wait(Sheet(title, [head, Text(), *diff_lines(found.text)]))

    async def go_on(self, watched: Watched) -> None:
        """Has the open run gone on with."""
        self._tell(await watched.go_on())

    async def _changed(self, watched: Watched, to: int) -> Changes | None:
        try:
            return (await watched.sessions.changes(watched.session, since=to)).changes
        except (
            HoldfastError
        ):  # without a folder, or with files that are not known: the rewind itself says what it cannot
            return None

    def _tell(self, words: str) -> None:
        self._app.notify(words, markup=False, timeout=4)


def _paths(changes: Changes) -> list[Text]:
    lines = [Text.assemble(("  put back  ", "dim"), one_line(shown(change.path), 60)) for change in changes[:_PATHS]]
    if len(changes) > _PATHS:
        lines.append(Text(f"  and {len(changes) - _PATHS:,} more", "dim"))
    return lines or [Text("  no file has to be put back", "dim")]


def _cost(cost: int | None, *, most: bool) -> str:
    return "?" if cost is None else money(cost, most=most, short=True)
