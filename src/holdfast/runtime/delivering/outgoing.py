"""What leaves a runtime: the outbox and the audit, where there is anybody to deliver to.

Without targets and hooks nothing of it exists: no code is loaded, no task runs, nothing looks at the feed. It begins
with the first run that wants its result delivered, whoever drives that run here, or at once for a runtime that was
given targets or hooks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, final

import msgspec

from holdfast.engine.state import Run, State
from holdfast.errors import UsageError
from holdfast.flow.clock import Clock, Timer
from holdfast.journal.port import Claim, Journal
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.runtime.delivering.port import Function, Target
from holdfast.runtime.delivering.targets.finding import HOOK, Targets, checked_names
from holdfast.runtime.delivering.targets.signing import TenantSecrets
from holdfast.types import SessionId, StreamId, TenantId, session_of, tenant_of

if TYPE_CHECKING:
    from holdfast.runtime.delivering.deliverer import Deliverer
    from holdfast.runtime.delivering.outbox import Outbox
    from holdfast.runtime.delivering.projecting import Projection

__all__ = ("Delivers", "Outgoing", "Outgoings", "Undelivered")

_PATIENCE = 5.0
"""Seconds that a runtime which is closed gives to what is still to be delivered."""
_HELD = 10.0
"""Seconds that somebody who has something revived waits for another process to give the outbox up."""
_LIVE = 1.0
"""Seconds between two looks of the audit while something runs."""


class Undelivered(msgspec.Struct, frozen=True, kw_only=True):
    """A result that its target has not got."""

    id: str
    session: SessionId
    run: int
    """Where the run started in its session."""
    target: str
    attempts: int
    error: str
    """What the last attempt came to; empty before the first."""
    retry_at: int
    """µs UTC of the next attempt; 0 for as soon as possible, or never."""
    dead: bool
    """Whether nothing is tried any more."""


@final
class Outgoing:
    """The outbox and the audit of one tenant, in one runtime."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        tenant: TenantId,
        claim: Callable[[StreamId], Awaitable[Claim]],
        targets: Targets,
        hooks: Hooks,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._tenant = tenant
        self._claim = claim
        self._targets = targets
        self._standing = (HOOK,) if hooks.delivery is not None else ()
        self._auditor = None
        if hooks.audit is not None:
            from holdfast.runtime.delivering.auditing import Auditor

            self._auditor = Auditor(journal, clock, tenant, claim, hooks.audit)
        self._active = False
        """Whether the outbox has begun."""
        self._running: set[StreamId] = set()
        self._timer: Timer | None = None
        self._stop: Callable[[], None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._hinted = False
        """Whether a hint came that was not looked at yet."""

    @cached_property
    def _deliverer(self) -> Deliverer:
        from holdfast.runtime.delivering.deliverer import Deliverer

        return Deliverer(self._journal, self._clock, self._tenant, self._claim, self._targets.find)

    def open(self) -> None:
        """Begins with what earlier processes left, if there is anybody to deliver to."""
        if self._targets:
            self.wake()
        if self._auditor is not None:
            self._auditor.wake()

    def names(self, deliver: Sequence[str]) -> tuple[str, ...]:
        """Returns where a run's result goes, as the log holds it.

        Raises:
            UsageError: one of the names is no target.
        """
        return (*checked_names(self._targets, deliver), *self._standing)

    def driven(self, stream: StreamId, run: Run) -> None:
        """Notices that a run is driven here."""
        if self._active or run.setup.setup.deliver:
            self.wake()
        if self._auditor is not None:
            self._running.add(stream)
            self._watch()

    def let_go(self, stream: StreamId, state: State) -> None:
        """Notices that a session is not driven here any more."""
        if self._active or state.dropped or (state.last is not None and state.last.setup.setup.deliver):
            self.wake()
        if self._auditor is not None:
            self._running.discard(stream)
            self._auditor.wake()

    def wake(self) -> None:
        """Has the outbox look."""
        if not self._active:
            self._active = True
            if self._targets:  # other processes may leave deliveries to this one
                self._stop = self._journal.listen(self._deliverer.book, self._heard)
        self._deliverer.wake()

    async def flush(self) -> None:
        """Returns when what can be delivered, or told, now is."""
        self._active = True
        await self._deliverer.flush()
        if self._auditor is not None:
            await self._auditor.flush()

    async def undelivered(self) -> list[Undelivered]:
        """Returns what targets have not got yet, and what they will not get."""
        return _listed(await self._deliverer.foreseen())

    async def revive(self, ids: Collection[str]) -> list[Undelivered]:
        """Has dead deliveries tried again, all without ids; returns those of them that have not arrived."""
        self._active = True
        dead = {each.id: each for each in await self.undelivered() if each.dead}
        if missing := [each for each in ids if each not in dead]:
            raise UsageError(f"no delivery {missing[0]!r} is dead: `holdfast deliveries list` shows what there is")
        with self._deliverer.reviving(ids or dead) as waiting:
            await self._deliverer.flush(_HELD)
            left = {each.id: each for each in await self.undelivered()}
            # What the outbox does not tell of any more has not arrived for that: it may be one dead one too many.
            return [left.get(id, each) for id, each in dead.items() if id in waiting]

    async def close(self) -> None:
        """Ends both, and gives what is still to be done a little time; the rest is done by whoever comes next."""
        if self._stop is not None:
            self._stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._hearing is not None:
            self._hearing.cancel()
        both: list[Projection] = [self._deliverer] if self._active else []
        both += [self._auditor] if self._auditor is not None else []
        for each in both:
            each.wake()
        await asyncio.gather(*(each.close(_PATIENCE) for each in both))

    def _watch(self) -> None:
        """Has the audit look now, and again while something runs."""
        if self._auditor is None:
            return
        self._auditor.wake()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(_LIVE, self._watch) if self._running else None

    def _heard(self) -> None:
        self._hinted = True
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        while self._hinted:  # another one may come during a look, which has seen what was there before
            self._hinted = False
            await self._deliverer.heard()


@final
class Outgoings:
    """Those of every tenant whose sessions a runtime drives; most drive one tenant's."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        claim: Callable[[StreamId], Awaitable[Claim]],
        targets: Mapping[str, Target | Function] | None,
        hooks: Hooks | None,
    ) -> None:
        self._made_of = journal, clock
        self._claim = claim
        self._hooks = hooks or Hooks()
        self._targets = Targets(targets or {}, self._hooks.delivery)
        self._of: dict[str, Outgoing] = {}
        self.wanted = self._hooks.delivery is not None
        """Whether every run of this runtime has something to deliver."""
        self._needed = bool(self._targets) or self._hooks.audit is not None
        """Whether every run is looked at; else only those that deliver something, until the first of them."""

    def begin(self, tenant: TenantId) -> None:
        """Begins with what earlier processes left for a tenant, if there is anybody to deliver to."""
        if self._needed:
            self.of(tenant)

    def of(self, tenant: TenantId) -> Outgoing:
        """Returns a tenant's, which begins with what earlier processes left."""
        self._needed = True
        if (found := self._of.get(tenant)) is None:
            journal, clock = self._made_of
            found = self._of[tenant] = Outgoing(journal, clock, tenant, self._claim, self._targets, self._hooks)
            found.open()
        return found

    def driven(self, stream: StreamId, run: Run) -> None:
        """Notices that a run is driven here."""
        if self._needed or run.setup.setup.deliver:
            self.of(tenant_of(stream)).driven(stream, run)

    def let_go(self, stream: StreamId, state: State) -> None:
        """Notices that a session is not driven here any more."""
        if self._needed or state.dropped or (state.last is not None and state.last.setup.setup.deliver):
            self.of(tenant_of(stream)).let_go(stream, state)

    def wake(self, stream: StreamId) -> None:
        """Has the outbox of a stream's tenant look."""
        self.of(tenant_of(stream)).wake()

    def sign(self, *secrets: str) -> None:
        """Signs what goes to `webhook:` addresses from now on."""
        self._targets.secrets = TenantSecrets(*secrets)

    def secrets(self, tenant: TenantId) -> tuple[str, ...]:
        """Returns what a tenant's endpoints know us by."""
        return () if self._targets.secrets is None else self._targets.secrets(tenant)

    @property
    def names(self) -> tuple[str, ...]:
        """What the targets are called that were given."""
        return self._targets.names

    async def close(self) -> None:
        """Ends them all, with a little time for what is still to be done."""
        await asyncio.gather(*(each.close() for each in self._of.values()))
        await self._targets.close()


def _listed(outbox: Outbox) -> list[Undelivered]:
    return [
        Undelivered(
            id=each.id,
            session=session_of(each.stream),
            run=each.run,
            target=each.target,
            attempts=each.attempts,
            error=each.error,
            retry_at=each.retry_at,
            dead=each.dead,
        )
        for each in outbox.pending.values()
    ]


class Delivers:
    """What a runtime offers of its outbox."""

    _outgoings: Outgoings
    _tenant: TenantId

    @property
    def _outgoing(self) -> Outgoing:
        return self._outgoings.of(self._tenant)

    def sign_webhooks(self, *secrets: str) -> None:
        """Signs what goes to `webhook:` addresses, which whoever starts a run names, and puts it into the envelope of
        CloudEvents 1.0; say it before the first of them is used.

        Each tenant's secrets follow from these, the newest first: what is sent is signed with all of them, so that one
        can be changed while endpoints still know the other. `webhook_secrets` tells a tenant its own.

        Raises:
            UsageError: one is no secret: write `whsec_` and 24 to 64 random bytes in base64.
        """
        self._outgoings.sign(*secrets)

    @property
    def targets(self) -> tuple[str, ...]:
        """What the targets that it was opened with are called: `start(deliver=...)` takes them by these names."""
        return self._outgoings.names

    def webhook_secrets(self) -> tuple[str, ...]:
        """Returns what this tenant's endpoints check signatures with, newest first; none where nothing is signed."""
        return self._outgoings.secrets(self._tenant)

    async def flush_deliveries(self) -> list[Undelivered]:
        """Returns when results that can be delivered now are, and the audit knows all that happened; and what remains:
        what is tried again later, waits for a process that has its target, or is dead.

        It goes on in the background where the caller is cancelled.

        Raises:
            HoldfastError: the store refuses, or the log cannot be read.
        """
        await self._outgoing.flush()
        return await self._outgoing.undelivered()

    async def undelivered(self) -> list[Undelivered]:
        """Returns what has not arrived of the runs that are over, and tries nothing and writes nothing.

        Raises:
            HoldfastError: the store refuses, or the log cannot be read.
        """
        return await self._outgoing.undelivered()

    async def revive_deliveries(self, *ids: str) -> list[Undelivered]:
        """Has dead deliveries tried again, all of them without ids, as often as new ones; returns when those that can
        be tried now were, and which of them have not arrived.

        A delivery keeps its id, so a target that honours ids, or can be asked, takes none twice. One that must not
        arrive twice, and of which nobody knows whether it did, is dead again at once.

        Raises:
            UsageError: one of the ids is of no dead delivery; nothing was changed.
            LeaseHeld: another process has been delivering for ten seconds; ask again later.
            HoldfastError: the store refuses, or the log cannot be read.
        """
        return await self._outgoing.revive(ids)
