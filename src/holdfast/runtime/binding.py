"""From what the log says of a run to what it acts through: model, tools, workspace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import final
from weakref import WeakValueDictionary

import msgspec

from holdfast.engine.attempt import Bindings
from holdfast.engine.letters import Setup
from holdfast.engine.purse import Purse, key_of
from holdfast.engine.state import Run
from holdfast.errors import AuthFailed, UnknownPrice
from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.ledger.amounts import Account
from holdfast.ledger.port import Ledger
from holdfast.models.access.access import Access, Own
from holdfast.models.access.making import ModelMaker
from holdfast.models.catalogue import Facts, ModelCard
from holdfast.models.port import Model
from holdfast.models.routing.routes import Routes
from holdfast.models.routing.targets import Chain, Target
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
from holdfast.tools.typed.declaring import REFERENCE, answer_tool
from holdfast.tools.typed.reading import AnswerReader
from holdfast.types import (
    AgentSpec,
    Digest,
    Limits,
    Mode,
    Price,
    StreamId,
    TenantId,
    ThinkingLevel,
    ToolSpec,
    tenant_of,
)

__all__ = ("Binder",)


_SHARED = 3
"""Names of an account that others draw from, too: tenant, user, session; the fourth is the run itself."""
_KNOWN = 1024
"""Agents that are known though nobody else holds them."""
_NOBODY = (None, -math.inf)
"""What is known of an agent that is not: it was never put."""
_LOOKED_AGAIN = 1.0
"""Seconds until the accounts that have caps are looked up again."""
_BELIEVED = _LOOKED_AGAIN / 2
"""Seconds for which nobody looks."""
_LOOKED_UP = 0.2
"""Seconds for which it is believed what a spec means. A model looks at its key before each call (`models/access`)."""
_Meant = Sequence[tuple[Model, ModelCard | None, ThinkingLevel | None]]


@final
class Binder:
    """Knows the agents of this process, and finds the others' tools by their references."""

    def __init__(  # noqa: PLR0913 - what `Runtime.open` gathers
        self,
        journal: Journal,
        prices: Mapping[str, Price],
        sandboxes: Sandboxes,
        clock: Clock,
        start: Start,
        ledger: Ledger,
        routes: Routes | None = None,
        access: Access | None = None,
        facts: Mapping[str, Facts] | None = None,
    ) -> None:
        self._journal = journal
        self._sandboxes = sandboxes
        self._clock = clock
        self._ledger = ledger
        self._any_capped = False
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self.models = ModelMaker(HttpClient(TRUSTED), clock, access=access, prices=prices, facts=facts)
        """Makes the models, with their keys."""
        self.routes = routes or Routes(clock)
        """What names of models stand for, and how the models do."""
        self._looked_up: dict[str, tuple[float, _Meant]] = {}
        """What specs mean, and until when that is believed."""
        self._agents: WeakValueDictionary[tuple[TenantId, Digest], BoundAgent] = WeakValueDictionary()
        """Those that somebody holds: a program, an open session, another agent, or the next."""
        self._known: dict[tuple[TenantId, Digest], tuple[BoundAgent, float]] = {}
        """Those whose specs were put last, each with the time of that: a blob nothing referred to yet is collected
        after a time, and whoever refers to it has put it lately.
        """
        self.noticed: Callable[[StreamId, Run], None] | None = None
        """Is told of each run that is about to be driven here."""
        self._lent: dict[StreamId, dict[str, BoundAgent]] = {}
        """Which agent each prompt of an open session came with: two with one spec may have other functions."""
        self.dispatcher = Dispatcher(start, self.agent, sandboxes, clock, ledger)
        """Starts agents on behalf of calls."""

    def knows(self, tenant: TenantId, agent: BoundAgent) -> bool:
        """Whether the log can name the agent by its digest."""
        known, at = self._known.get((tenant, agent.digest), _NOBODY)
        return known is agent and 0 <= self._clock.now() - at < REFRESH

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
        key, now = (tenant, agent.digest), self._clock.now()
        _, at = self._known.get(key, _NOBODY)
        if not 0 <= now - at < REFRESH:
            at = now
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

    def chain(self, spec: str, retries: int = 1, own: Own | None = None) -> Chain:
        """Returns the models that a spec means, for one run, with the agent's own key where it has one. One may be
        asked again so many times at most.

        Raises:
            UnknownModel: an element of it is none, or no provider goes by its name.
            UsageError: it is not clear whose the agent's key is.
        """
        targets = [Target(model.fresh(), card, level) for model, card, level in self._meant(spec, own)]
        return self.routes.chain(targets, retries)

    def check(self, spec: str, limits: Limits, own: Own | None = None) -> None:
        """Ends quietly when a run of that spec can be kept within its limits, and each of its models can be called; of
        a pipeline, which has none, always.

        Raises:
            UnknownModel: an element of it is none, or no provider goes by its name.
            AuthFailed: the key that one needs is missing; the environment is looked at again next time.
            UnknownPrice: dollars are limited, and nobody knows what one costs.
            UsageError: it is not clear whose the agent's key is.
        """
        for model, _, _ in self._meant(spec, own) if spec else ():
            try:
                model.check()
            except AuthFailed:
                self._looked_up.pop(spec, None)
                raise
            if limits.dollars is not None and model.price is None:
                raise UnknownPrice(
                    f"the price of {model.name!r} is unknown, so a dollar limit cannot be kept: limit tokens instead, "
                    "or give the price: holdfast config set models.<name>.input, or Runtime.open(prices={...})"
                )

    def _meant(self, spec: str, own: Own | None) -> _Meant:
        """Returns the models that a spec means; looked for again only after a moment, as looking takes longer than the
        rest of what a run begins with.
        """
        now = self._clock.monotonic()
        if own is None and (known := self._looked_up.get(spec)) is not None and now < known[0]:
            return known[1]
        written = self.routes.meant(spec)
        if own is not None:
            own.check(each.name.partition("/")[0] for each in written)
        meant: _Meant = [(*self.models.find(each.name, own), each.level) for each in written]
        if own is None:
            if len(self._looked_up) >= _KNOWN:
                self._looked_up.clear()
            self._looked_up[spec] = now + _LOOKED_UP, meant
        return meant

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
        lent = self._lent.get(stream)
        agent = None if lent is None else lent.get(run.key)
        if agent is None:
            agent = await self.agent(tenant, setup.spec)
        spawn = Spawner(self.dispatcher, stream, run)
        if run.workspace and _runs_programs(agent, setup.mode):
            await self._sandboxes.ready()
        sandbox = self._sandboxes.at(tenant, run.workspace) if run.workspace else None
        rules = Rules(setup.mode, setup.unattended, setup.effects, setup.control.patience)
        gateway = Gateway(agent.named, stream, run.id, sandbox, self._journal.blobs, rules, self._clock, spawn)
        # Only this very agent's key: another with the same spec may be another customer's.
        chain = self.chain(setup.model, setup.limits.model_retries, agent.own) if setup.model else None
        purse = None if self._is_alone(setup, run) else await self._purse(stream, run)
        return Bindings(agent.spec, gateway, spawn, self._draw, purse, agent.reader, chain)

    def _is_alone(self, setup: Setup, run: Run) -> bool:
        """Whether a run shares what it may spend with nobody, for all that was known a moment ago."""
        if self._any_capped or run.account or setup.agents or setup.lineage is not None:
            return False
        return self._clock.monotonic() - self._looked_at < _BELIEVED

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
        if (age := self._clock.monotonic() - self._looked_at) >= _BELIEVED:
            await self._look_at_caps(ledger, wait=age >= known_for)
        if not (shares or self._any_capped or run.account):
            return None
        account = account_of(stream, run) if setup.lineage is None else setup.lineage.account
        if not (shares or run.account or await self._is_capped(ledger, account)):
            return None
        cap = cap_of(setup.limits) if shares and setup.lineage is None else None
        return Purse(ledger, account, key_of(stream, run.id), cap, family=family)

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
            return known.bare()  # its key is for those who hold it
        spec = msgspec.json.decode(await self._journal.blobs.get(tenant, digest), type=AgentSpec)
        reader = None if spec.output is None else AnswerReader(spec.output)
        tools = [await self._tool(tenant, each, reader) for each in spec.tools]
        return BoundAgent.again(spec, tuple(tools), reader)

    async def _tool(self, tenant: TenantId, spec: ToolSpec, reader: AnswerReader | None) -> Tool:
        if reader is not None and spec.reference.startswith(REFERENCE):
            return answer_tool(spec, reader)
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
        await self.models.client.close()


def _runs_programs(agent: BoundAgent, mode: Mode) -> bool:
    """Whether a call may run something in a sandbox; of our own tools those that do also change files, which a run may
    not that only looks.
    """
    inside = [each for each in agent.tools if each.tier == "inside" and not each.delegates]
    return any(mode != "read-only" or not each.spec.reference.startswith("builtin:") for each in inside)
