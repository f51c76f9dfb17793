"""What the agent does on a bus: each event of the protocol under a subject that names it (source: AgentOps 2).

    agents.<namespace>.<agent>.fep.<type>

A run is followed as any reader follows it, whatever door its prompt came by, so that no run waits for the bus. What the
bus has not got waits in memory, within bounds; a run that a killed process left is told of from where it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, final

import msgspec

from holdfast.engine.events import InputDropped, RunFinished
from holdfast.errors import HoldfastError, UsageError
from holdfast.net.nats import Nats, is_token
from holdfast.runtime.runtime import Runtime
from holdfast.server.access.naming import HOME
from holdfast.server.doors.agentops import shapes as fep
from holdfast.server.doors.agentops.telling import Budgets, Teller, start_of
from holdfast.server.doors.agentops.translating import Translator
from holdfast.types import Event, TenantId

__all__ = ("Bus", "on_bus")

_DRAIN: Final = 3.0
"""Seconds that the bus has to take what is left, when the process ends."""
_PAGE = 200
_STOPPED = "the agent is being stopped: its run stays open, and goes on when it is started again"
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger("holdfast.server")


@final
class Bus:
    """Tells what one agent does."""

    def __init__(self, nats: Nats, agent: str, prefix: str) -> None:
        self._nats = nats
        self._agent = agent
        self._prefix = prefix
        self._watched: dict[str, asyncio.Task[None]] = {}
        """Who follows each session that has an open run."""
        self._again: set[str] = set()
        """Those of them in which another prompt was accepted meanwhile."""
        self._tellers: dict[str, Teller] = {}

    def tell(self, events: Iterable[fep.Fep]) -> None:
        """Publishes events, and waits for nothing."""
        for each in events:
            self._nats.publish(f"{self._prefix}{each.__struct_config__.tag}", _encode(each))

    def watch(
        self, runtime: Runtime, tenant: TenantId, session: str, after: int, budgets: Budgets | None = None
    ) -> None:
        """Tells what happens in a session after an event, until no run is open in it.

        Who reads the bus belongs to the agent's own tenant: what happens for others is not told there.
        """
        if tenant != HOME:
            return
        if session in self._watched:
            self._again.add(session)
            return
        self._tellers[session] = Teller(self._agent, session, known=after, budgets=budgets)
        self._watched[session] = asyncio.create_task(self._watch(runtime, session, after, budgets))

    async def resume(self, runtime: Runtime) -> None:
        """Watches what a process left open that is gone."""
        after = ""
        while True:
            page = await runtime.sessions(after=after, limit=_PAGE, states=("running", "waiting", "open"))
            for each in page.sessions:
                glance = await runtime.glance(each.session)
                if glance is not None and glance.busy:
                    self.watch(runtime, HOME, each.session, glance.seq)
            after = page.after
            if not after:
                return

    async def close(self) -> None:
        """Ends what is told of runs that stay open, and waits a while until the bus has it."""
        for task in (tasks := list(self._watched.values())):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for session, teller in self._tellers.items():
            told = teller.ending(_STOPPED)
            if not (told or teller.over):  # nothing of it was read yet
                told = Translator(self._agent, session).end(_STOPPED, datetime.now(UTC))
            self.tell(told)
        await self._nats.flush(_DRAIN)

    async def _watch(self, runtime: Runtime, session: str, after: int, budgets: Budgets | None) -> None:
        try:
            while True:
                self._again.discard(session)
                after = await self._follow(runtime, session, after)
                if session not in self._again:
                    del self._tellers[session]
                    return
                self._tellers[session] = Teller(self._agent, session, known=after, budgets=budgets)
        except HoldfastError as error:
            del self._tellers[session]
            _log.warning("what happens in session %r is not told on the bus any more: %s", session, error)
        finally:
            self._again.discard(session)
            del self._watched[session]  # in one breath with the last look, so that no prompt falls between

    async def _follow(self, runtime: Runtime, session: str, after: int) -> int:
        """Tells a session until no run is open in it, and returns its last event."""
        teller = self._tellers[session]
        items = runtime.follow(session, after=await start_of(runtime, session, after))
        async with contextlib.aclosing(items):
            async for batch in items:
                self.tell(each for each, _ in await teller.tell(runtime, batch))
                durable = [each for each in batch if isinstance(each, Event)]
                after = max([after, *(each.seq for each in durable)])
                if any(isinstance(each.data, RunFinished | InputDropped) for each in durable):
                    glance = await runtime.glance(session)
                    if glance is None or not glance.busy:
                        break
        return after


@asynccontextmanager
async def on_bus(url: str, agent: str, namespace: str) -> AsyncGenerator[Bus]:
    """Opens the bus of an agent, whose events are then under `agents.<namespace>.<agent>.fep`.

    Raises:
        UsageError: the address names no server, or a name cannot be part of a subject.
    """
    for variable, name in (("AGENT_NAMESPACE", namespace), ("AGENT_NAME", agent)):
        if not is_token(name):
            raise UsageError(f"{variable} is {name[:100]!r}, which cannot be part of a subject of NATS: leave dots out")
    async with Nats(url, f"agentops-runtime/{namespace}/{agent}") as nats:
        bus = Bus(nats, agent, f"agents.{namespace}.{agent}.fep.")
        try:
            yield bus
        finally:
            await bus.close()
