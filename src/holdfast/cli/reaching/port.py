"""What a screen needs of sessions, wherever they are. Each sentence here holds of both sides: one test asks both.

A session is named, and not held: whoever asks twice is told twice how it is. What happens in it comes as the log's own
events, and between them the deltas of an answer under way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from holdfast.cli.listing import Listed
from holdfast.models.counting import TokenCount
from holdfast.runtime.delivering.outgoing import Undelivered
from holdfast.runtime.history.reports import Difference
from holdfast.runtime.history.waiting import Waiting
from holdfast.runtime.run import RunResult
from holdfast.runtime.sessions.listing import Standing
from holdfast.types import Delta, Event, Limits, Mode, SessionId, ThinkingLevel, UserPart

__all__ = ("Offered", "Said", "Sessions", "Spoken", "Stand", "Terms")

Words = str | Sequence[str | UserPart]


class Terms(msgspec.Struct):
    """What the next prompt is sent with; changed by commands."""

    model: str
    mode: Mode
    workspace: Path
    limits: Limits
    thinking: ThinkingLevel | None = None
    """How much the model thinks; None leaves it to the model."""
    roles: tuple[str, ...] = ()
    """What the agent is for a policy."""
    strict: bool = False
    """Whether the mode was named by hand, so that nothing goes on here in a freer one."""
    pinned: bool = False
    """Whether the workspace was named by hand, so that the first session's own does not go before it."""
    agent: str = ""
    """Who answers, of those that a server has; `model` is that one's. Empty where the model is all there is to name."""


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """How a session stands."""

    state: Standing
    seq: int
    """Its last event."""
    unread: bool
    """Whether something was said to it that nobody took yet."""
    updated_at: int
    """µs UTC."""


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, or something, with a few words about it."""

    name: str
    about: str = ""


class Said(Protocol):
    """What became of something that was said."""

    @property
    def key(self) -> str:
        """The log names it as the cause of what comes of it."""
        ...

    @property
    def status(self) -> Literal["accepted", "duplicate"]:
        """Whether it was said before, under the same key."""
        ...


class Spoken(Protocol):
    """One accepted input and what comes of it."""

    key: str
    """Of the prompt that opened it."""

    def events(self, after: int | None = None) -> AsyncIterator[Event | Delta]:
        """Yields what happens, from the run's beginning (or from the events after `after`) to its end.

        Durable events come in order, each once. Deltas come in between while it is live; after a `Reset` the answer so
        far comes again, or another.
        """
        ...

    async def result(self) -> RunResult[Any]:
        """Returns what it came to, once it is over."""
        ...

    async def steer(self, text: Words, *, key: str | None = None) -> Said:
        """Says something that the model reads as soon as what is under way is over."""
        ...

    async def follow_up(self, text: Words, *, key: str | None = None) -> Said:
        """Says something that joins the conversation when the run would otherwise be over."""
        ...

    async def pause(self, reason: str = "", *, key: str | None = None) -> Said:
        """Lets what is under way come to its end, and nothing new begin until `resume`."""
        ...

    async def resume(self, *, key: str | None = None) -> Said:
        """Lets a paused session go on."""
        ...

    async def abort(self, reason: str = "", *, key: str | None = None) -> Said:
        """Asks the run to end."""
        ...

    async def exit(self, reason: str = "", *, key: str | None = None) -> Said:
        """Ends the session for good."""
        ...

    async def answer(self, token: str, content: str) -> Said:
        """Gives what waits a person's word: `once`, `always`, `deny`, or `deny: ` and why."""
        ...

    async def approve(self, token: str, *, always: bool = False, arguments: Mapping[str, Any] | None = None) -> Said:
        """Allows the call that waits, with other arguments if some are given, or accepts what is under review."""
        ...

    async def deny(self, token: str, reason: str = "") -> Said:
        """Does not allow it; the model reads the reason."""
        ...

    async def reply(self, token: str, answers: Sequence[str | Sequence[str]]) -> Said:
        """Answers questions, one answer each."""
        ...

    async def request_changes(self, token: str, feedback: str) -> Said:
        """Has an answer that is under review done again."""
        ...


class Sessions(Protocol):
    """All sessions that one place has for this person."""

    place: str
    """Its name: a store's, or a server's address."""
    option: str
    """What a command has to be given to find it again, with a blank before it; empty where it is the default."""
    drives: bool
    """Whether runs are driven in this process, and so end with it; otherwise somebody else sees to them."""
    on_notice: Callable[[str], None]
    """Is told, in words for a person, when the way there is lost and when it is found again."""

    @property
    def away(self) -> str:
        """Why nothing comes from there at the moment; empty while all is well."""
        ...

    async def named(self, session: str) -> SessionId:
        """Returns the session of that name, else the only one whose name begins so.

        Raises:
            UnknownSession: there is none, or there are several.
        """
        ...

    async def stand(self, session: str) -> Stand | None:
        """Returns how a session stands; None where there is none."""
        ...

    def events(self, session: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Event]:
        """Yields what happened in a session after an event, up to another or to the last that is durable; nothing
        where there is no such session.
        """
        ...

    def follow(self, session: str, *, after: int = 0) -> AsyncGenerator[Event | Delta]:
        """Yields what happens in a session after an event, for ever, whoever drives it: durable events in order, each
        once. Deltas come in between where somebody else drives it and tells; of what is driven here a run tells them.
        """
        ...

    def run(self, session: str, key: str, *, after: int = 0) -> Spoken:
        """Returns a run by the key of its prompt, which is known to come after an event."""
        ...

    async def take_up(self, session: str) -> Spoken:
        """Sees to it that what is open in a session goes on, if that is this process's to do, and returns its run; the
        last one where none is open.

        Raises:
            HoldfastError: this process cannot go on with it; or nothing was ever said there.
        """
        ...

    async def go_on(self, session: str) -> str:
        """Has the open run of a session driven, at a person's wish, and returns in words by whom."""
        ...

    async def start(self, terms: Terms, parts: Sequence[UserPart], *, session: str, after: int = 0) -> Spoken:
        """Gives a session a prompt, one that is there or a new one of that name; returns the run that will answer.

        `after` is the last event of the session that is known, so that the run is not looked for before it.
        """
        ...

    async def held(self, session: str) -> list[Mode]:
        """Returns the modes of prompts that lie unread and that this process would begin if it took the session up."""
        ...

    async def fork(self, session: str, *, at: int | None = None, name: str | None = None) -> SessionId:
        """Returns a new session that shares the log of another one up to event `at`, with the files as they were."""
        ...

    async def rewind(self, session: str, *, to: int) -> int:
        """Takes everything after an event out of an idle session's conversation, and puts its files back; a rewind to
        what this returns takes it all back.
        """
        ...

    async def changes(self, session: str, *, since: int = 0, until: int | None = None) -> Difference:
        """Returns what became of a session's files between two of its events."""
        ...

    async def listed(self, limit: int) -> list[Listed]:
        """Returns the newest runs, newest first; at least the last one of each of the newest sessions."""
        ...

    async def names(self, limit: int) -> list[str]:
        """Returns names of sessions, those that changed last first."""
        ...

    async def waiting(self, session: str | None = None) -> list[Waiting]:
        """Returns what people are asked in a session, or in all, oldest first."""
        ...

    async def undelivered(self) -> list[Undelivered]:
        """Returns results that their targets have not got."""
        ...

    async def agents(self) -> list[Offered]:
        """Returns who can be asked, each with the model it asks; none where a prompt names a model itself."""
        ...

    async def tools(self, terms: Terms) -> list[Offered]:
        """Returns what the agent of these terms can do."""
        ...

    async def count_tokens(
        self, terms: Terms, model: str, parts: Sequence[UserPart], *, session: str, ask: bool
    ) -> TokenCount:
        """Returns the input tokens of the next request.

        Raises:
            UsageError: nobody can count them from here.
        """
        ...

    def estimate(self, model: str, size: int) -> int:
        """Returns about how many tokens so many bytes are to a model."""
        ...
