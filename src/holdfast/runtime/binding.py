"""From what the log says of a run to what it acts through: model, tools, workspace."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping
from typing import TypeGuard, final
from weakref import WeakValueDictionary

import msgspec

from holdfast.engine.attempt import Bindings
from holdfast.engine.purse import Purse, key_of
from holdfast.engine.state import Run
from holdfast.errors import AuthFailed
from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.ledger.amounts import Account
from holdfast.ledger.port import Ledger
from holdfast.models.port import Model
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.runtime.bound import AgentTool, BoundAgent, agent_reference, agent_tool
from holdfast.runtime.dispatching import Dispatcher, Spawner, Start, account_of, cap_of
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.safety.addresses import TRUSTED
from holdfast.storage.blobs import REFRESH
from holdfast.tools.binding import Tool
from holdfast.tools.gateway import Gateway
from holdfast.tools.permitting import Rules
from holdfast.tools.resolving import find_tool
from holdfast.types import AgentSpec, Digest, Mode, Price, StreamId, TenantId, ToolSpec, tenant_of

__all__ = ("Binder",)


_SHARED = 3
"""Names of an account that others draw from, too: tenant, user, session; the fourth is the run itself."""
_KNOWN = 1024
"""Agents that are known though nobody else holds them."""
_LOOKED_AGAIN = 1.0
"""Seconds until the accounts that have caps are looked up again."""


@final
class Binder:
    """Knows the agents of this process, and finds the others' tools by their references."""

    def __init__(
        self,
        journal: Journal,
        prices: Mapping[str, Price],
        sandboxes: Sandboxes,
        clock: Clock,
        start: Start,
        ledger: Ledger,
    ) -> None:
        self._journal = journal
        self._sandboxes = sandboxes
        self._clock = clock
        self._ledger = ledger
        self._any_capped = False
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._prices = prices
        self._client = HttpClient(TRUSTED)
        self._models: dict[str, Model] = {}
        self._agents: WeakValueDictionary[tuple[TenantId, Digest], BoundAgent] = WeakValueDictionary()
        """Those that somebody holds: a program, an open session, another agent, or the next."""
        self._known: dict[tuple[TenantId, Digest], tuple[BoundAgent, int]] = {}
        """Those whose specs were put last, each with the time of that."""
        self.noticed: Callable[[StreamId, Run], None] | None = None
        """Is told of each run that is about to be driven here."""
        self._lent: dict[StreamId, dict[str, BoundAgent]] = {}
        """Which agent each prompt of an open session came with: two with one spec may have other functions."""
        self.dispatcher = Dispatcher(start, self.agent, sandboxes, clock, ledger)
        """Starts agents on behalf of calls."""

    def knows(self, tenant: TenantId, agent: BoundAgent) -> bool:
        """Whether the log can name the agent by its digest."""
        known, at = self._known.get((tenant, agent.digest), (None, None))
        return known is agent and self._is_put(at)

    def lend(self, stream: StreamId, key: str, agent: BoundAgent) -> None:
        """Gives the run of that prompt this very agent's functions."""
        self._lent.setdefault(stream, {})[key] = agent

    def take_back(self, stream: StreamId, key: str) -> None:
        """Lets go of what was lent to a prompt that was not taken."""
        lent = self._lent.get(stream)
        if lent is not None and lent.pop(key, None) is not None and not lent:
            del self._lent[stream]

    def forget(self, stream: StreamId) -> None:
        """Lets go of what was lent to a session that is idle now."""
        self._lent.pop(stream, None)

    async def remember(self, tenant: TenantId, agent: BoundAgent) -> None:
        """Sees to it that the log can name the agent by its digest."""
        key = tenant, agent.digest
        _, at = self._known.get(key, (agent, None))
        if not self._is_put(at):
            at = self._clock.now()
            await self._journal.blobs.put(tenant, agent.encoded)
        self._known.pop(key, None)
        self._known[key] = agent, at
        self._agents[key] = agent
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        for each in agent.tools:
            if isinstance(each, AgentTool) and not self.knows(tenant, each.agent):
                await self.remember(tenant, each.agent)
        for each in agent.phases:
            if not self.knows(tenant, each):
                await self.remember(tenant, each)

    def _is_put(self, at: int | None) -> TypeGuard[int]:
        # A blob nothing referred to yet is collected after a time: whoever refers to it has put it lately.
        return at is not None and 0 <= self._clock.now() - at < REFRESH

    def model(self, name: str) -> Model:
        """Returns a model for one run; address and key are read from the environment at its first use.

        Raises:
            UnknownModel: no provider goes by that name.
        """
        if name not in self._models:
            self._models[name] = find_model(name, self._client, os.environ, self._prices)
        return self._models[name].fresh()

    def price(self, name: str) -> Price | None:
        """Returns what a model that can be called costs; None when nobody knows.

        Raises:
            UnknownModel: no provider goes by that name.
            AuthFailed: the key it needs is missing; the environment is looked at again next time.
        """
        if name not in self._models:
            self.model(name)
        model = self._models[name]
        try:
            model.check()
        except AuthFailed:
            del self._models[name]
            raise
        return model.price

    async def bind(self, stream: StreamId, run: Run) -> Bindings:
        """Returns what a run acts through, by its recorded spec.

        Raises:
            UnknownTool: a function is neither bound in this process nor found by its reference.
            UnknownModel: no provider goes by that name.
        """
        if self.noticed is not None:
            self.noticed(stream, run)
        setup = run.setup.setup
        tenant = tenant_of(stream)
        agent = self._lent.get(stream, {}).get(run.key) or await self.agent(tenant, setup.spec)
        spawn = Spawner(self.dispatcher, stream, run)
        if run.workspace and _runs_programs(agent, setup.mode):
            await self._sandboxes.ready()
        gateway = Gateway(
            agent.tools,
            stream=stream,
            sandbox=self._sandboxes.at(tenant, run.workspace) if run.workspace else None,
            blobs=self._journal.blobs,
            rules=Rules(setup.mode, setup.unattended, setup.effects, setup.control.patience),
            clock=self._clock,
            spawn=spawn,
        )
        model = self.model(setup.model) if setup.model else None
        return Bindings(agent.spec, model, gateway, spawn, self._draw, await self._purse(stream, run))

    async def _draw(self, stream: StreamId, run: Run) -> Purse | None:
        """Returns the purse of a run that is under way, which would be left behind if it waited for each look."""
        return await self._purse(stream, run, known_for=2 * _LOOKED_AGAIN)

    async def _purse(self, stream: StreamId, run: Run, *, known_for: float = _LOOKED_AGAIN) -> Purse | None:
        """Returns the purse of a run that shares what it may spend with others, as was known so many seconds ago or
        less; None where it does not share.
        """
        setup, ledger = run.setup.setup, self._ledger
        family = setup.lineage is not None or bool(setup.agents)
        shares = family and (setup.limits.tokens is not None or setup.limits.dollars is not None)
        if (age := self._clock.monotonic() - self._looked_at) >= _LOOKED_AGAIN / 2:
            await self._look_at_caps(ledger, wait=age >= known_for)
        if not (shares or self._any_capped or run.account):
            return None
        account = account_of(stream, run) if setup.lineage is None else setup.lineage.account
        if not (shares or run.account or await self._is_capped(ledger, account)):
            return None
        cap = cap_of(setup.limits) if shares and setup.lineage is None else None
        return Purse(ledger, account, key_of(stream, run.seq), cap, family=family)

    async def _is_capped(self, ledger: Ledger, account: Account) -> bool:
        """Returns whether an account that others draw from, too, has a cap."""
        for depth in range(1, len(account)):
            if await ledger.caps(account[:depth]):
                return True
        return False

    async def _look_at_caps(self, ledger: Ledger, *, wait: bool) -> None:
        """Looks whether anybody has caps: another process may have set one, and it is heard of within a second.

        Where much goes on somebody looks in time, and nobody waits; otherwise whoever comes waits for the answer, or
        would slip through.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._ask_for_caps(ledger))
            self._looking.add_done_callback(lambda looked: looked.cancelled() or looked.exception())
        if wait:
            await asyncio.shield(self._looking)

    async def _ask_for_caps(self, ledger: Ledger) -> None:
        now = self._clock.monotonic()
        self._any_capped = bool(await ledger.capped(_SHARED, limit=1))
        self._looked_at = now

    async def agent(self, tenant: TenantId, digest: Digest) -> BoundAgent:
        """Returns an agent of this process, or one that is made again from its spec.

        Raises:
            UnknownTool: one of its tools is not found by its reference.
        """
        known = self._agents.get((tenant, digest))
        if known is not None:
            return known
        spec = msgspec.json.decode(await self._journal.blobs.get(tenant, digest), type=AgentSpec)
        tools = [await self._tool(tenant, each) for each in spec.tools]
        return BoundAgent.again(spec, tuple(tools))

    async def _tool(self, tenant: TenantId, spec: ToolSpec) -> Tool:
        found = agent_reference(spec.reference)
        if found is None:
            return find_tool(spec.reference)
        digest, workspace, seconds = found
        return agent_tool(await self.agent(tenant, digest), spec.name, spec.description, workspace, seconds)

    async def close(self) -> None:
        """Closes the connections to models."""
        if self._looking is not None:
            await asyncio.wait([self._looking])
        await self.dispatcher.close()
        await self._client.close()


def _runs_programs(agent: BoundAgent, mode: Mode) -> bool:
    """Whether a call may run something in a sandbox; of our own tools those that do also change files, which a run may
    not that only looks.
    """
    inside = [each for each in agent.tools if each.tier == "inside" and not each.delegates]
    return any(mode != "read-only" or not each.spec.reference.startswith("builtin:") for each in inside)
