"""Speaking to a session: whatever anybody says to it goes into its inbox, from any process, at any time.

What was said is *accepted* once it lies in the inbox: it survives a crash. It is *committed* once the owner has
written into the log what it does; a session that nobody drives reads it when somebody takes it up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import msgspec

from holdfast.engine.events import CODEC, AnswerRefused, ReviewRequested, ToolWaiting, WaitResolved
from holdfast.engine.letters import Answer, Prompt, Stop
from holdfast.engine.turns import own
from holdfast.errors import InboxFull, InputTooLarge, SessionBusy, SessionExited, UnknownWait, UsageError
from holdfast.flow.ids import new_key
from holdfast.journal.port import KEY_LIMIT, Journal, Letter, Posted
from holdfast.journal.reading import decode_record, latest_first
from holdfast.runtime.history.waiting import asked_under, tool_of
from holdfast.runtime.recalling.letters import is_same
from holdfast.tools.schema.fitting import misfit
from holdfast.types import (
    TOKEN_LIMIT,
    Document,
    Image,
    Question,
    SessionId,
    StreamId,
    Text,
    ToolError,
    UserMessage,
    UserPart,
    digest_of,
    session_of,
)

__all__ = ("ATTACHED_BYTES", "PROMPT_BYTES", "Receipt", "Speaking", "refused", "said", "sayable")

PROMPT_BYTES = 4 * 1024 * 1024
"""The longest input; more is no prompt but a file."""
ATTACHED_BYTES = 20 * 1024 * 1024
"""All images and documents of one input together; as base64 they still fit a request of 32 MB."""
_URGENT = frozenset(("abort", "pause", "resume", "exit"))
"""What may use the places of an inbox that are kept free."""


@final
class Receipt:
    """What became of something that was said."""

    __slots__ = ("_journal", "_letter", "_stream", "key", "n", "status")

    def __init__(self, journal: Journal, stream: StreamId, letter: Letter, posted: Posted) -> None:
        self._letter = letter
        self._journal = journal
        self._stream = stream
        self.key = letter.key
        """Its idempotency key: the log names it as the cause of what came of it."""
        self.status: Literal["accepted", "duplicate"] = "duplicate" if posted.status == "duplicate" else "accepted"
        self.n = posted.n
        """Its number in the session's inbox."""

    def __repr__(self) -> str:
        return f"Receipt(status={self.status!r}, session={session_of(self._stream)!r}, key={self.key!r}, n={self.n})"

    async def committed(self) -> None:
        """Returns when the log holds what came of it; as long as nobody drives the session, that is not yet.

        Raises:
            InboxFull: it was an answer to something that nobody waits for yet, and is not kept for later: no run is
                open, or all such answers are too much.
        """
        changed = asyncio.Event()
        stop = self._journal.listen(self._stream, changed.set)
        try:
            while True:
                changed.clear()
                head = await self._journal.head(self._stream)
                if head is None or head.inbox_taken >= self.n:
                    break
                await changed.wait()
        finally:
            stop()
        if self._letter.kind == "answer" and await self._was_refused():
            raise InboxFull(
                f"nothing in session {session_of(self._stream)!r} waits for this answer yet, and it is not kept, as no "
                "run is open or what came too early is more than is kept: send it again under another key once it is "
                "waited for, or answer with the name of a file"
            )

    async def is_same(self) -> bool:
        """Returns whether a duplicate says what was said before under its key, as far as the store knows: the first
        one counts, and what this one says otherwise is heard by nobody. Reads the log back to there.
        """
        return self.status == "accepted" or await is_same(self._journal, self._stream, self._letter)

    async def _was_refused(self) -> bool:
        """Whether the answer was refused; what came of it stands near the end of the log."""
        async for record in latest_first(self._journal, self._stream):
            if record.type in (AnswerRefused.type, WaitResolved.type):
                event = await decode_record(record, self._stream, CODEC, self._journal)
                if event.cause == self.key:
                    return record.type == AnswerRefused.type
        return False


class Speaking:
    """A session that can be spoken to."""

    def __init__(self, journal: Journal, stream: StreamId, actor: str = "user") -> None:
        self._journal = journal
        self._stream = stream
        self._actor = actor

    @property
    def session(self) -> SessionId:
        """The session's name."""
        return session_of(self._stream)

    async def steer(self, text: str | Sequence[str | UserPart], *, key: str | None = None) -> Receipt:
        """Says something that the model reads as soon as what is under way is over: calls of the turn that have not
        begun are skipped.
        """
        return await self._post("steer", msgspec.json.encode(Prompt(said(text))), key)

    async def follow_up(self, text: str | Sequence[str | UserPart], *, key: str | None = None) -> Receipt:
        """Says something that joins the conversation when the run would otherwise be over."""
        return await self._post("follow_up", msgspec.json.encode(Prompt(said(text))), key)

    async def pause(self, reason: str = "", *, key: str | None = None) -> Receipt:
        """Lets what is under way come to its end, and nothing new begin until `resume`: no model call, no tool call,
        no run.
        """
        return await self._post("pause", msgspec.json.encode(Stop(sayable(reason))), key)

    async def resume(self, *, key: str | None = None) -> Receipt:
        """Lets a paused session go on."""
        return await self._post("resume", b"{}", key)

    async def exit(self, reason: str = "", *, key: str | None = None) -> Receipt:
        """Ends the session for good: its open run is aborted, what is queued is dropped, and it takes nothing more.

        Where nobody drives the session, it ends as soon as somebody takes it up: `Runtime.sweep` does, and a server.
        """
        return await self._post("exit", msgspec.json.encode(Stop(sayable(reason))), key)

    async def answer(
        self,
        token: str,
        content: str,
        *,
        is_error: bool = False,
        error: ToolError | None = None,
        arguments: str = "",
        key: str | None = None,
    ) -> Receipt:
        """Gives a call that waits what it waits for; the first answer counts, later ones are duplicates.

        `error` says of one that is an error which it is; without it, the call has failed, and no more is known.

        One that comes before it is waited for is kept while a run is open, as long as all of them are not too much:
        `Receipt.committed` says so.

        Raises:
            UsageError: the token is longer than any that is waited for.
        """
        if len(token) > TOKEN_LIMIT:
            raise UsageError(
                f"no wait has a token of {len(token):,} characters, {TOKEN_LIMIT:,} are the most: answer with the "
                "token that the wait names, and put what it comes to into the content"
            )
        body = msgspec.json.encode(
            Answer(token, sayable(content), is_error or error is not None, arguments, error=error)
        )
        return await self._post("answer", body, key or _answer_key(token))

    async def approve(
        self,
        token: str,
        *,
        always: bool = False,
        arguments: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Allows the call that waits under this token, or accepts the answer that is under review.

        `always` also allows every later call of its tool in this session; `arguments` are put in place of all of the
        model's, which is told.

        Raises:
            UnknownWait: nothing that waits has this token; said only where arguments are given.
            UsageError: the arguments are none that JSON can hold, do not fit the tool, or the token is not that of a
                call of the model; nothing was allowed.
        """
        edited = "" if arguments is None else await self._edited(token, arguments)
        return await self.answer(token, "always" if always else "once", arguments=edited, key=key)

    async def deny(self, token: str, reason: str = "", *, key: str | None = None) -> Receipt:
        """Does not allow the call that waits under this token, and the model reads the reason; of a review, ends the
        run as failed.
        """
        return await self.answer(token, f"deny: {reason}" if reason else "deny", key=key)

    async def request_changes(self, token: str, feedback: str, *, key: str | None = None) -> Receipt:
        """Has an answer that is under review done again; the model reads the feedback.

        Raises:
            UnknownWait: nothing under review has this token.
            UsageError: there is no feedback, or no more changes may be asked for: approve or deny it.
        """
        if not feedback.strip():
            raise UsageError("asking for changes needs words: say what is to be different")
        asked = await asked_under(self._journal, self._stream, token)
        if not isinstance(asked, ReviewRequested):
            raise UnknownWait(f"{token!r} is no review: answer it with approve or deny")
        if asked.changes_left <= 0:
            raise UsageError("no more changes may be asked for in this run: approve the answer, or deny it")
        return await self.answer(token, f"changes: {feedback}", key=key)

    async def reply(self, token: str, answers: Sequence[str | Sequence[str]], *, key: str | None = None) -> Receipt:
        """Answers the questions that wait under this token, one answer each: words, or the labels of what is picked.

        Raises:
            UnknownWait: nothing that waits has this token.
            UsageError: the answers do not fit the questions; says which and why.
        """
        asked = await asked_under(self._journal, self._stream, token)
        if not isinstance(asked, ToolWaiting) or asked.wait.kind != "question":
            raise UnknownWait(f"{token!r} is no question: answer it with approve or deny")
        fitting = _fitting(asked.wait.questions, answers)
        return await self.answer(token, msgspec.json.format(msgspec.json.encode(fitting), indent=2).decode(), key=key)

    async def _edited(self, token: str, arguments: Mapping[str, Any]) -> str:
        wait = (await asked_under(self._journal, self._stream, token)).wait
        if wait.kind != "approval" or not own(wait):
            raise UsageError(
                f"what waits under {token!r} has no arguments that could be changed: approve it as it is, or deny it"
            )
        try:
            encoded = sayable(msgspec.json.encode(dict(arguments)).decode())
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise UsageError(f"the arguments cannot be written down as JSON ({error}): give plain values") from error
        tool = await tool_of(self._journal, self._stream, wait.subject)
        if tool is not None and (why := misfit(tool.parameters, msgspec.json.decode(encoded))):
            raise UsageError(
                f"the arguments do not fit {tool.name!r}: {why}; nothing was allowed: give all of its arguments, they "
                "take the place of the model's"
            )
        return encoded

    async def _post(self, kind: str, body: bytes, key: str | None) -> Receipt:
        letter = Letter(key=key or new_key(), kind=kind, body=body, actor=self._actor, urgent=kind in _URGENT)
        posted = await self._journal.post(self._stream, letter)
        if (error := refused(posted, self.session)) is not None:
            raise error
        return Receipt(self._journal, self._stream, letter, posted)


def refused(posted: Posted, session: str) -> UsageError | None:
    """Returns why a letter was not taken; None when it was."""
    match posted.status:
        case "busy":
            return SessionBusy(f"session {session!r} is busy: wait for it, steer it, or send without if_idle")
        case "full":
            return InboxFull(
                f"session {session!r} has too much unread mail: wait until it has read some, then send again"
            )
        case "ended":
            return SessionExited(f"session {session!r} has ended for good: start a new one, or fork it")
        case _:
            return None


def _fitting(questions: Sequence[Question], answers: Sequence[str | Sequence[str]]) -> list[list[str]]:
    if len(answers) != len(questions):
        raise UsageError(f"{len(questions)} questions were asked and {len(answers)} answers given: give one for each")
    fitting: list[list[str]] = []
    for question, given in zip(questions, answers, strict=True):
        picked = [sayable(each) for each in ([given] if isinstance(given, str) else given)]
        if len(picked) != 1 and not question.multiple:
            raise UsageError(f"{question.question!r} takes one answer, and {len(picked)} were given")
        labels = [option.label for option in question.options]
        if not all(each.strip() for each in picked):
            raise UsageError(f"{question.question!r} cannot be answered with nothing: say something")
        strange = [each for each in picked if labels and each not in labels]
        if strange and not question.free:
            raise UsageError(f"{question.question!r} cannot be answered with {strange[0]!r}: pick from {labels}")
        fitting.append(picked)
    return fitting


def said(words: str | Sequence[str | UserPart]) -> UserMessage:
    """Returns what somebody says as a message: words, or words, images and documents in their order.

    Raises:
        InputTooLarge: it is longer than an input may be.
        UsageError: it says nothing, or holds something that is none of these.
    """
    if isinstance(words, str):
        return UserMessage((Text(sayable(words)),))
    parts = [Text(part) if isinstance(part, str) else part for part in words]
    if not parts:
        raise UsageError("a prompt without parts says nothing: give it at least some text")
    for part in parts:
        if not isinstance(part, Text | Image | Document):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise UsageError(f"a prompt holds a {type(part).__name__!r}: give text, an Image or a Document")
        if not isinstance(part, Text):
            part.check()
    attached = sum(len(part.data) for part in parts if not isinstance(part, Text))
    if attached > ATTACHED_BYTES:
        raise InputTooLarge(
            f"the input's images and documents have {attached:,} bytes and {ATTACHED_BYTES:,} are allowed: "
            "make them smaller, or put them into the workspace and tell the agent their names"
        )
    sayable("".join([part.text for part in parts if isinstance(part, Text)]))  # the bound is for all words together
    return UserMessage(tuple([Text(sayable(part.text)) if isinstance(part, Text) else part for part in parts]))


def _answer_key(token: str) -> str:
    """Returns the key under which a wait is answered once; a tool may have made its token longer than a key."""
    key = f"answer:{token}"
    return key if len(key) <= KEY_LIMIT else f"answer:{digest_of(token.encode('utf-8', 'replace'))}"


def sayable(text: str) -> str:
    """Returns text as it can be written down: a lone surrogate, which no bytes stand for, becomes a question mark."""
    if len(text) <= PROMPT_BYTES and text.isascii():
        return text
    encoded = text.encode("utf-8", "replace")
    size = len(encoded)
    if size > PROMPT_BYTES:
        raise InputTooLarge(
            f"the input has {size:,} bytes and {PROMPT_BYTES:,} are allowed: "
            "put it into a file in the workspace and tell the agent its name"
        )
    return encoded.decode()
