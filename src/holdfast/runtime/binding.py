"""From what the log says of a run to what it acts through: model, tools, workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import final

import msgspec

from holdfast.engine.attempt import Bindings
from holdfast.engine.state import Run
from holdfast.errors import AuthFailed
from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.models.port import Model
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.safety.addresses import TRUSTED
from holdfast.storage.blobs import REFRESH
from holdfast.tools.gateway import Gateway
from holdfast.tools.permitting import Rules
from holdfast.tools.resolving import find_tool
from holdfast.types import AgentSpec, Digest, Price, StreamId, TenantId, tenant_of

__all__ = ("Binder",)


@final
class Binder:
    """Knows the agents of this process, and finds the others' tools by their references."""

    def __init__(self, journal: Journal, prices: Mapping[str, Price], sandboxes: Sandboxes, clock: Clock) -> None:
        self._journal = journal
        self._sandboxes = sandboxes
        self._clock = clock
        self._prices = prices
        self._client = HttpClient(TRUSTED)
        self._models: dict[str, Model] = {}
        self._agents: dict[tuple[TenantId, Digest], BoundAgent] = {}
        self._put_at: dict[tuple[TenantId, Digest], int] = {}
        self._lent: dict[StreamId, dict[str, BoundAgent]] = {}
        """Which agent each prompt of an open session came with: two with one spec may have other functions."""

    def knows(self, tenant: TenantId, agent: BoundAgent) -> bool:
        """Whether the log can name the agent by its digest."""
        return self._agents.get((tenant, agent.digest)) is agent and self._is_put(tenant, agent.digest)

    def lend(self, stream: StreamId, key: str, agent: BoundAgent) -> None:
        """Gives the run of that prompt this very agent's functions."""
        self._lent.setdefault(stream, {})[key] = agent

    def forget(self, stream: StreamId) -> None:
        """Lets go of what was lent to a session that is idle now."""
        self._lent.pop(stream, None)

    async def remember(self, tenant: TenantId, agent: BoundAgent) -> None:
        """Sees to it that the log can name the agent by its digest."""
        if not self._is_put(tenant, agent.digest):
            at = self._clock.now()
            await self._journal.blobs.put(tenant, agent.encoded)
            self._put_at[tenant, agent.digest] = at
        self._agents[tenant, agent.digest] = agent

    def _is_put(self, tenant: TenantId, digest: Digest) -> bool:
        # A blob nothing referred to yet is collected after a time: whoever refers to it has put it lately.
        at = self._put_at.get((tenant, digest))
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
        setup = run.setup.setup
        tenant = tenant_of(stream)
        agent = self._lent.get(stream, {}).get(run.key) or self._agents.get((tenant, setup.spec))
        if agent is not None:
            spec, tools = agent.spec, agent.tools
        else:
            spec = msgspec.json.decode(await self._journal.blobs.get(tenant, setup.spec), type=AgentSpec)
            tools = tuple(find_tool(each.reference) for each in spec.tools)
        gateway = Gateway(
            tools,
            stream=stream,
            sandbox=self._sandboxes.at(tenant, run.workspace) if run.workspace else None,
            blobs=self._journal.blobs,
            rules=Rules(setup.mode, setup.unattended, setup.effects),
            clock=self._clock,
        )
        return Bindings(spec, self.model(setup.model), gateway)

    async def close(self) -> None:
        """Closes the connections to models."""
        await self._client.close()
