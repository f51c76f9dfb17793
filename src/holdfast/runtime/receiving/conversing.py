"""Conversations that were had elsewhere, and go on here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.engine.letters import Prompt, Setup
from holdfast.errors import InputTooLarge, UnknownSession, UsageError
from holdfast.flow.ids import new_key, new_session
from holdfast.journal.port import Journal, Letter, Posted
from holdfast.journal.reading import read_events
from holdfast.runtime.binding import Binder
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.lanes.line import checked
from holdfast.runtime.run import Run
from holdfast.runtime.speaking import said
from holdfast.tools.typed.describing import Value
from holdfast.types import (
    AssistantMessage,
    Control,
    Limits,
    Message,
    Mode,
    StreamId,
    TenantId,
    Text,
    UserMessage,
    stream_id,
)

__all__ = ("HISTORY_BYTES", "Converses")

HISTORY_BYTES = 40 * 1024 * 1024
"""The longest conversation that is taken in, as JSON; providers take 32 MB."""


class Converses:
    """What a runtime takes in of conversations."""

    journal: Journal
    _bindings: Binder
    _tenant: TenantId
    _user: str
    _post: Callable[..., Awaitable[tuple[Posted, int]]]
    _accepted: Callable[..., Run]

    @property
    def governed(self) -> bool:
        """Whether a policy says what agents may do here: without one nobody thought about it."""
        return self._bindings.governs

    def models_of(self, name: str) -> list[str]:
        """Returns the models that a name means, as `provider/name`, in the order in which they are asked.

        Raises:
            UnknownModel: it means none.
        """
        return list(self._bindings.chain(name).names)

    def model_names(self) -> list[str]:
        """Returns the names of this runtime's own that stand for models: aliases, and tiers that do not change."""
        return list(self._bindings.routes.names)

    async def conversation(self, session: str, *, at: int | None = None) -> list[Message]:
        """Returns what was said in a session, as its model reads it: up to event `at`, or all of it.

        Raises:
            UnknownSession: there is no such session.
        """
        stream = stream_id(self._tenant, session)
        if await self.journal.head(stream) is None:
            raise UnknownSession(f"there is no session {session!r} in this store: look at which there are")
        return replay([event async for event in read_events(self.journal, stream, CODEC, until=at)]).messages

    async def go_on(  # noqa: PLR0913 - all but the first two by name
        self,
        agent: BoundAgent[Value],
        conversation: Sequence[Message],
        *,
        session: str | None = None,
        limits: Limits | None = None,
        mode: Mode = "auto",
        control: Control | None = None,
        key: str | None = None,
        priority: int = 0,
        background: bool = False,
    ) -> Run[Value]:
        """Gives a session a conversation that was had elsewhere, and returns the run that answers it.

        The conversation is written into the session's log and is from then on what was said in it. Its last message is
        a prompt, or the result of calls whose other side was elsewhere, too.

        Args:
            agent: Who answers.
            conversation: What was said, the last of it by a person or a tool.
            session: Which session it becomes a part of; a new one without.
            limits: How far the run may go; the agent's own without.
            mode: As for `start`.
            control: As for `start`.
            key: Makes a conversation that is sent twice one.
            priority: As for `start`.
            background: As for `start`.

        Raises:
            SessionExited, InboxFull: the session has ended, or has too much unread mail.
            UnknownModel, UnknownPrice, AuthFailed, InputTooLarge, PolicyDenied, UsageError: see their messages.
        """
        setup = agent.setup(limits, None, mode, None, control, self._user, False)
        self._bindings.check_start(agent, setup, self._tenant, self._user)
        if priority or background:
            setup = msgspec.structs.replace(setup, priority=checked(priority), background=background)
        letter = _letter(conversation, setup, key or new_key(), self._user)
        stream: StreamId = stream_id(self._tenant, session or new_session())
        if not self._bindings.knows(self._tenant, agent):
            await self._bindings.remember(self._tenant, agent)
        posted, after = await self._post(agent, stream, letter, if_idle=False, new=session is None)
        return self._accepted(agent, stream, letter, posted, after)


def _letter(conversation: Sequence[Message], setup: Setup, key: str, actor: str) -> Letter:
    """Returns a conversation as the letter that opens a run.

    Raises:
        UsageError: nothing in it is to be answered, or something cannot be written down.
        InputTooLarge: there is too much of it.
    """
    if not conversation or isinstance(conversation[-1], AssistantMessage):
        raise UsageError("nothing was said that could be answered: end with a prompt, or with the results of calls")
    for message in conversation[:-1]:
        if isinstance(message, UserMessage):
            for part in message.parts:
                if not isinstance(part, Text):
                    part.check()
    last = conversation[-1]
    if isinstance(last, UserMessage):
        kind, prompt = "prompt", Prompt(said(last.parts), setup, history=tuple(conversation[:-1]))
    else:
        kind, prompt = "proceed", Prompt(UserMessage(()), setup, history=tuple(conversation))
    try:
        body = msgspec.json.encode(prompt)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the conversation holds characters that no bytes stand for ({error}): take them out"
        ) from None
    if len(body) > HISTORY_BYTES:
        raise InputTooLarge(
            f"the conversation has {len(body):,} bytes and {HISTORY_BYTES:,} are allowed: leave out what is old, or "
            "send images smaller"
        )
    return Letter(key=key, kind=kind, body=body, actor=actor)
