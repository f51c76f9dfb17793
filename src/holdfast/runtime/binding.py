"""From what the log says of a run to what it acts through: model, tools, workspace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, final
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
from holdfast.models.access.access import Own
from holdfast.models.access.making import ModelMaker
from holdfast.models.catalogue import ModelCard
from holdfast.models.port import Model
from holdfast.models.routing.routes import Routes
from holdfast.models.routing.targets import Chain, Target
from holdfast.net.client import HttpClient
from holdfast.runtime.bound import BoundAgent, agent_reference, agent_tool, showing_of
from holdfast.runtime.configuring.equipment import Equipment, secrets_of
from holdfast.runtime.dispatching import Dispatcher, Spawner, Start, account_of, cap_of
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.safety.addresses import TRUSTED
from holdfast.safety.redacting import Redactor
from holdfast.storage.blobs import REFRESH
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.clients import CLIENT, handed_out
from holdfast.tools.gateway import Gateway
from holdfast.tools.gating.closing import Closing
from holdfast.tools.hooks.port import ToolHooks
from holdfast.tools.permitting import Rules
from holdfast.tools.resolving import find_tool
from holdfast.tools.typed.declaring import REFERENCE, answer_tool
from holdfast.tools.typed.reading import AnswerReader
from holdfast.types import (
    AgentSpec,
    Digest,
    Limits,
    Mode,
    StreamId,
    TenantId,
    ThinkingLevel,
    ToolSpec,
    session_of,
    tenant_of,
)

if TYPE_CHECKING:
    from holdfast.tools.authorising.authority import Authority
    from holdfast.tools.authorising.decision import Decision
    from holdfast.tools.hooks.running import HookRunner
    from holdfast.tools.keeping.kept import Kept

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

    def __init__(
        self, journal: Journal, sandboxes: Sandboxes, clock: Clock, start: Start, ledger: Ledger, given: Equipment
    ) -> None:
        self._journal = journal
        self._sandboxes = sandboxes
        self._clock = clock
        self._ledger = ledger
        self._any_capped = False
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        access, facts = given.access, given.facts
        self.secrets = secrets_of(given.secrets, Redactor())
        """What tools are authenticated with, and what is never to be read or written down."""
        learn = self.secrets.redactor.learn
        self.models = ModelMaker(
            HttpClient(TRUSTED), clock, access=access, prices=given.prices, facts=facts, learn=learn
        )
        """Makes the models, with their keys."""
        self.routes = given.routes or Routes(clock)
        """What names of models stand for, and how the models do."""
        self._policy = given.policy
        self._servers = () if access is None else tuple(access.servers)
        self._tables: dict[tuple[TenantId, Digest], Mapping[str, Decision]] = {}
        """What is decided about the tools of agents, by their specs."""
        self._asked: set[tuple[TenantId, Digest, tuple[str, ...]]] = set()
        """Which agents may ask which models: a policy is the same as long as its runtime is, and is asked once."""
        self._hooks = None if given.hooks is None else given.hooks.tools
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
        self._closing = Closing()
        self.dispatcher = Dispatcher(start, self.agent, self.priced, sandboxes, clock, ledger)
        """Starts agents on behalf of calls."""

    @property
    def governs(self) -> bool:
        """Whether there is a policy."""
        return self._policy is not None

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
        for each in agent.startable:
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

    def priced(self, spec: str, own: Own | None = None) -> bool:
        """Whether it is known what each model costs that a spec means.

        Raises:
            UnknownModel, UsageError: see `chain`.
        """
        return all(model.price is not None for model, _, _ in self._meant(spec, own))

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
            PolicyDenied: the policy does not let it ask one of its models.
        """
        if self.noticed is not None:
            self.noticed(stream, run)
        setup = run.setup.setup
        tenant = tenant_of(stream)
        lent = self._lent.get(stream)
        agent = None if lent is None else lent.get(run.key)
        if agent is None:
            agent = await self.agent(tenant, setup.spec)
        spawn = Spawner(self.dispatcher, stream, run, agent.own)
        if run.workspace and _runs_programs(agent, setup.mode):
            await self._sandboxes.ready()
        sandbox = self._sandboxes.at(tenant, run.workspace) if run.workspace else None
        if agent.named.closes:
            self._closing.note(agent.named.closes)
        rules = Rules(setup.mode, setup.unattended, setup.effects, setup.control.patience)
        gateway = Gateway(
            tools=agent.named,
            inner=agent.named.inner,
            stream=stream,
            run=run.id,
            sandbox=sandbox,
            blobs=self._journal.blobs,
            agent=agent.spec.name,
            rules=rules,
            clock=self._clock,
            spawn=spawn,
            secrets=self.secrets,
            authority=self._authority(agent, tenant, run.workspace),
            hooks=None if self._hooks is None else self._asked_about(self._hooks, run.workspace),
            kept=partial(self._kept, stream, setup.user, agent.spec.name),
            ceiling=self._sandboxes.ceiling,
        )
        # Only this very agent's key: another with the same spec may be another customer's.
        chain = self.chain(setup.model, setup.limits.model_retries, agent.own) if setup.model else None
        if self._policy is not None:
            self._check_asked(agent, () if chain is None else chain.names, tenant)
        purse = None if self._is_alone(setup, run) else await self._purse(stream, run)
        return Bindings(agent.spec, gateway, spawn, self._draw, purse, agent.reader, chain, showing_of(agent))

    def _asked_about(self, hooks: ToolHooks, workspace: str) -> HookRunner:
        from holdfast.tools.hooks.running import HookRunner

        return HookRunner(hooks, self.secrets.redactor, workspace)

    def _authority(self, agent: BoundAgent, tenant: TenantId, workspace: str) -> Authority | None:
        """Returns who decides which calls of an agent there may be; None where every one may, as without a policy."""
        if self._policy is None and not agent.governed:
            return None
        table = self._tables.get((tenant, agent.digest))
        if table is None:
            from holdfast.tools.authorising.deciding import table_of

            if len(self._tables) >= _KNOWN:
                self._tables.clear()
            specs = [each.spec for each in agent.named.values()]
            table = self._tables[tenant, agent.digest] = table_of(self._policy, agent.spec, specs, tenant) or {}
            if self._policy is not None:
                from holdfast.runtime.configuring.policing import doubts_of, warn_of

                warn_of(doubts_of(self._policy, agent.spec, tenant, specs, self._servers))
        if not table:
            return None
        from holdfast.tools.authorising.authority import Authority

        return Authority(table, workspace)

    def check_start(self, agent: BoundAgent, setup: Setup, tenant: TenantId, user: str) -> None:
        """Ends quietly when a run of that agent may begin for that user.

        Raises:
            PolicyDenied: the policy does not let the user keep it, or it ask one of its models; says by which rule.
            UnknownModel, AuthFailed, UnknownPrice, UsageError: see `check`.
        """
        self.check(setup.model, setup.limits, agent.own)
        if self._policy is None:
            return
        from holdfast.runtime.configuring.policing import check_kept

        check_kept(self._policy, agent.spec, tenant, user)
        meant = self._meant(setup.model, agent.own) if setup.model else ()
        self._check_asked(agent, tuple([model.name for model, _, _ in meant]), tenant)

    def _check_asked(self, agent: BoundAgent, models: tuple[str, ...], tenant: TenantId) -> None:
        """Ends quietly when the policy lets an agent ask each of these models; of those that it was asked about
        before, at once. They are asked about again by name when a run is bound: since it was accepted a name may have
        come to mean others, and another process may have accepted it.

        Raises:
            PolicyDenied: it does not; says by which rule.
        """
        asked = tenant, agent.digest, models
        if asked in self._asked:
            return
        from holdfast.runtime.configuring.policing import check_asked

        check_asked(self._policy, agent.spec, tenant, models)
        if len(self._asked) >= _KNOWN:
            self._asked.clear()
        self._asked.add(asked)

    def _kept(self, stream: StreamId, user: str, agent: str) -> Kept:
        """Returns what a call may keep, and where; most runs keep nothing, and load nothing of it."""
        from holdfast.runtime.opening import open_values
        from holdfast.tools.keeping.kept import Kept

        values, tenant = open_values(self._journal, self._clock), tenant_of(stream)
        return Kept(
            values=values,
            blobs=self._journal.blobs,
            tenant=tenant,
            user=user,
            agent=agent,
            session=session_of(stream),
        )

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
        if spec.reference.startswith(CLIENT):
            return handed_out(spec)
        found = agent_reference(spec.reference)
        if found is None:
            return find_tool(spec.reference)
        digest, workspace, seconds = found
        return agent_tool(await self.agent(tenant, digest), spec.name, spec.description, workspace, seconds)

    async def close(self) -> None:
        """Closes the connections to models, and to what tools speak with."""
        if self._looking is not None:
            await asyncio.wait([self._looking])
        await self.dispatcher.close()
        await self._closing.close()
        await self.models.client.close()


def _runs_programs(agent: BoundAgent, mode: Mode) -> bool:
    """Whether a call may run something in a sandbox; of our own tools those that do also change files, which a run may
    not that only looks.
    """
    inside = [each for each in agent.tools if each.tier == "inside" and not each.delegates]
    return any(mode != "read-only" or not each.spec.reference.startswith("builtin:") for each in inside)
