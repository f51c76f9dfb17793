"""The runtime: one store, and the sessions this process drives in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, cast, final

import msgspec

from holdfast.engine.events import CODEC, Prompt, Setup
from holdfast.engine.layers import folder_of
from holdfast.errors import AuthFailed, InboxFull, JournalError, SessionBusy, UnknownPrice, UnknownSession, UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.flow.ids import new_key, new_session
from holdfast.journal.port import Journal, Letter
from holdfast.journal.reading import read_events
from holdfast.runtime.binding import Binder
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.history.branching import Branching
from holdfast.runtime.history.collecting import GRACE, Collected, Retention, collect
from holdfast.runtime.history.committing import bring_back
from holdfast.runtime.history.differing import Difference, difference
from holdfast.runtime.opening import default_url, open_journal
from holdfast.runtime.run import Run, said
from holdfast.runtime.sandboxes import Sandboxes, sandboxes_of
from holdfast.runtime.working import Worker
from holdfast.sandbox.port import Posture
from holdfast.types import (
    MODES,
    Changes,
    Effect,
    Limits,
    Mode,
    Outside,
    Price,
    SessionId,
    StreamId,
    TenantId,
    UserPart,
    session_of,
    stream_id,
    tenant_of,
)

__all__ = ("Runtime",)


@final
class Runtime:
    """Starts, resumes, forks and follows runs; open it with `async with Runtime.open(...)`."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        prices: Mapping[str, Price],
        tenant: TenantId,
        sandboxes: Sandboxes | None = None,
    ) -> None:
        self.journal = journal
        """The durable log, for programs that read it directly."""
        self._clock = clock
        self._tenant = tenant
        self._sandboxes = sandboxes or sandboxes_of("memory:", journal.blobs)
        self._bindings = Binder(journal, prices, self._sandboxes, clock)
        self._branching = Branching(journal, clock, self._sandboxes)
        self._worker = Worker(journal, clock, self._bindings.bind, self._bindings.forget)

    @staticmethod
    def open(
        url: str | None = None,
        *,
        prices: Mapping[str, Price] | None = None,
        tenant: str = "local",
        clock: Clock | None = None,
    ) -> _Opening:
        """Returns the runtime of a store, to be entered with `async with`.

        Args:
            url: `memory:`, `sqlite:///relative.db` or `sqlite:////absolute.db`; without one, `HOLDFAST_STORE`, or
                a database in the user's data folder.
            prices: What models cost, by `provider/name`, where the catalogue is wrong or silent.
            tenant: Whose sessions these are.
            clock: Where time comes from, for tests.
        """
        return _Opening(url or default_url(), prices or {}, TenantId(tenant), clock or SystemClock())

    async def start(  # noqa: PLR0913 - what a person may say of a job; most is said rarely, and all of it by name
        self,
        agent: BoundAgent,
        text: str | Sequence[str | UserPart],
        *,
        session: str | None = None,
        limits: Limits | None = None,
        workspace: str | Path | None = None,
        mode: Mode = "auto",
        unattended: bool = False,
        effects: Mapping[str, Outside] | None = None,
        key: str | None = None,
        if_idle: bool = False,
    ) -> Run:
        """Gives a session a prompt and returns the run that will answer it.

        In a session that is busy the prompt waits its turn. When this returns the prompt is accepted: it
        survives a crash.

        Args:
            agent: Who answers.
            text: What is wanted: text, or a sequence of text, `Image` and `Document` parts.
            session: Which conversation this goes on with; a new one without.
            limits: How far the run may go; the agent's own without.
            workspace: The folder its tools act in; without one the session's, if it has one.
            mode: What the agent may do without asking: `auto` asks about nothing, `accept-edits` about effects outside
                the workspace, `ask` about every change, and `read-only` denies them all. What is asked about parks
                the run until `Run.approve` or `Run.deny`.
            unattended: Nobody will answer: what would be asked about is denied.
            effects: What calls of a tool do outside the workspace, by the tool's name, where you know better than
                the tool: `{"bash": "none"}` lets commands that were interrupted run again.
            key: Makes a prompt that is sent twice one prompt.
            if_idle: Refuse to wait for a run that is under way.

        Raises:
            SessionBusy: `if_idle` was asked for and the session is not.
            InboxFull: the session has too much unread mail.
            UnknownModel, UnknownPrice, AuthFailed, InputTooLarge, UsageError: see their messages.
        """
        message = said(text)
        if effects or mode not in MODES:
            _check_rules(agent, mode, effects or {})
        limits = limits or agent.spec.limits
        self._check(agent.spec.model, limits)
        stream = stream_id(self._tenant, session or new_session())
        folder = _absolute(workspace)
        if not self._bindings.knows(self._tenant, agent):
            await self._bindings.remember(self._tenant, agent)
        setup = Setup(agent.digest, agent.spec.model, limits, folder, mode, unattended, dict(effects or {}))
        letter = Letter(
            key=key or new_key(), kind="prompt", body=msgspec.json.encode(Prompt(message, setup)), actor="user"
        )
        return await self._prompt(agent, stream, letter, if_idle=if_idle)

    async def resume(self, session: str, agent: BoundAgent | None = None) -> Run:
        """Goes on with the run a crash or a stop left open, and returns it; of a session without an open run, the
        last one.

        `agent` brings the functions along that cannot be imported again by name.

        Raises:
            UnknownSession: there is no such session, or no run in it.
            LeaseHeld: it is being driven by a process that is, or may be, alive.
            UnknownTool, UnknownModel, AuthFailed: this process lacks what the open run acts through; it stays open.
            NotOwnable: a newer version of Holdfast wrote something this one must not ignore.
        """
        if agent is not None:
            await self._bindings.remember(self._tenant, agent)
        stream = await self._known(session)
        key = await self._worker.take(stream)
        if key is None:
            raise UnknownSession(f"session {session!r} has no run yet: give it a prompt")
        return self._run(stream, key, 0)

    async def fork(
        self, session: str, *, at: int | None = None, name: str | None = None, workspace: str | Path | None = None
    ) -> SessionId:
        """Returns a new session that shares the log of another one up to event `at` (its end by default).

        It has a folder of its own with the files as they were then: `workspace`, or one in the data folder. Calls
        that are open there, and waits, stay with the original.

        Raises:
            UnknownSession, UsageError: there is no such session or event, `name` is taken, or the folder is not empty.
            SandboxError: the files of that moment are not known, or no longer kept.
        """
        child = SessionId(name or new_session())
        parent, stream = await self._known(session), stream_id(self._tenant, child)
        await self._branching.fork(parent, at, stream, workspace, self._worker.claim, self._worker.adopt)
        return child

    async def rewind(self, session: str, *, to: int) -> int:
        """Takes everything after event `to` out of an idle session's conversation, and puts its files back.

        The log keeps what was taken out, and the files as they were before, also what a person had done to them:
        a rewind to the event that this returns takes it all back.

        Raises:
            UnknownSession, UsageError: there is no such session or event.
            LeaseHeld: a run is going on in it.
            SandboxError: the files of that moment are not known, or no longer kept; nothing was done.
        """
        claim = await self._worker.claim(await self._known(session))
        return await self._branching.rewind(claim, to)

    @property
    def posture(self) -> Posture:
        """What stands between the commands of this runtime's agents and the machine."""
        return self._sandboxes.posture

    async def workspace(self, session: str) -> str | None:
        """Returns the folder a session works in; None when it has none.

        Raises:
            UnknownSession: there is no such session.
        """
        stream = await self._known(session)
        return folder_of([event async for event in read_events(self.journal, stream, CODEC)]) or None

    async def changes(self, session: str, *, since: int = 0, until: int | None = None) -> Difference:
        """Returns what became of a session's files between two of its events: by default since its beginning, and up
        to now.

        Raises:
            UnknownSession, UsageError: there is no such session.
            SandboxError: the files of one of the moments are not known, or no longer kept.
        """
        return await difference(self.journal, self._sandboxes, await self._known(session), since, until)

    def run(self, session: str, key: str, *, after: int = 0) -> Run:
        """Returns a run by the key of its prompt, wherever it is driven."""
        return self._run(stream_id(self._tenant, session), key, after)

    async def commit(
        self, session: str, paths: Sequence[str] = (), *, into: str | Path | None = None, dry_run: bool = False
    ) -> Changes:
        """Brings what a fork changed back into the folder it was made from (or `into`), and returns what that changed.

        All paths are checked before one is written; a `dry_run` only checks.

        Raises:
            UnknownSession, UsageError: there is no such session, or it is no fork with a folder.
            SandboxError: some paths are refused, all of them named: they changed in both, or would bring what acts
                later (a link that leads out, a setuid bit, a hook of git).
        """
        stream = await self._known(session)
        return await bring_back(self.journal, self._sandboxes, stream, paths, into, dry_run=dry_run)

    async def collect(self, keep: Retention | None = None, *, grace: float = GRACE, dry_run: bool = False) -> Collected:
        """Removes this tenant's blobs that the log does not need, and snapshots past what `keep` says; a `dry_run`
        only counts them. It may run beside anything else.

        Raises:
            UsageError: the grace, in seconds, is below two hours.
            SandboxError, Corrupt: something in the log cannot be read; nothing was removed.
        """
        return await collect(
            self.journal,
            self._sandboxes.keepers,
            tenant=self._tenant,
            clock=self._clock,
            keep=keep,
            grace=grace,
            dry_run=dry_run,
        )

    async def sweep(self) -> int:
        """Takes up every session of the store that has something to do and no owner; returns how many.

        Sessions whose functions this process has not got are left to another.
        """
        taken = 0
        seen: set[StreamId] = set()
        while fresh := [stream for stream in await self.journal.due(len(seen) + 100) if stream not in seen]:
            seen.update(fresh)
            for stream in fresh:
                if tenant_of(stream) == self._tenant and self._worker.state(stream) is None:
                    with contextlib.suppress(
                        JournalError, UsageError, AuthFailed
                    ):  # one that cannot be taken stops no other
                        await self._worker.take(stream)
                        taken += 1
        return taken

    async def close(self) -> None:
        """Stops driving sessions and lets go of the store; open runs stay open in the log."""
        await self._worker.close()
        await self._bindings.close()
        await self._sandboxes.close()
        await self.journal.close()

    # ---- inside -------------------------------------------------------------------------------------------

    async def _prompt(self, agent: BoundAgent, stream: StreamId, letter: Letter, *, if_idle: bool) -> Run:
        """Posts a prompt, and drives the session if nobody does."""
        after, key = 0, letter.key
        self._bindings.lend(stream, key, agent)
        try:
            posted = await self.journal.post(stream, letter, if_idle=if_idle, lease=self._worker.lease)
            claim = posted.claim or (await self._worker.inherit(stream) if posted.n else None)
            if claim is not None:  # otherwise somebody drives it, and takes the prompt from the inbox
                # The session may have fallen idle, and been forgotten, meanwhile.
                self._bindings.lend(stream, key, agent)
                after = claim.head.seq if posted.status == "accepted" else 0  # a duplicate may lie far back
                await self._worker.begin(claim)
        except asyncio.CancelledError:
            self._worker.adopt(stream)
            raise
        if posted.status == "busy":
            raise SessionBusy(f"session {session_of(stream)!r} is busy: wait for it, steer it, or send without if_idle")
        if posted.status == "full":
            raise InboxFull(
                f"session {session_of(stream)!r} has too much unread mail: wait until it has read some, then send again"
            )
        return self._run(stream, key, after)

    def _run(self, stream: StreamId, key: str, after: int) -> Run:
        return Run(self.journal, stream, key, after, partial(self._worker.tail, stream))

    async def _known(self, session: str) -> StreamId:
        stream = stream_id(self._tenant, session)
        if await self.journal.head(stream) is None:
            raise UnknownSession(
                f"there is no session {session!r} in this store: `holdfast runs list` shows what there is"
            )
        return stream

    def _check(self, model: str, limits: Limits) -> None:
        if self._bindings.price(model) is None and limits.dollars is not None:
            raise UnknownPrice(
                f"the price of {model!r} is unknown, so a dollar limit cannot be kept: limit tokens instead, or give "
                "the price with Runtime.open(prices={...})"
            )


def _check_rules(agent: BoundAgent, mode: str, effects: Mapping[str, str]) -> None:
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}: write one of {', '.join(map(repr, MODES))}")
    names = [tool.spec.name for tool in agent.tools]
    for name, word in effects.items():
        if name not in names:
            raise UsageError(f"effects name a tool {name!r}, which the agent has not got: it has {', '.join(names)}")
        Effect(outside=cast(Any, word))  # says which words there are


def _absolute(workspace: str | Path | None) -> str:
    return "" if workspace is None else str(Path(workspace).resolve())


class _Opening:
    """A runtime about to be opened."""

    def __init__(self, url: str, prices: Mapping[str, Price], tenant: TenantId, clock: Clock) -> None:
        self._url = url
        self._prices = prices
        self._tenant = tenant
        self._clock = clock
        self._runtime: Runtime | None = None

    async def __aenter__(self) -> Runtime:
        journal = await open_journal(self._url, self._clock)
        sandboxes = sandboxes_of(self._url, journal.blobs)
        self._runtime = Runtime(journal, self._clock, self._prices, self._tenant, sandboxes)
        return self._runtime

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runtime is not None:
            await self._runtime.close()
