"""A prompt on its way: into a session's inbox, and into the hands of whoever drives that session."""

from __future__ import annotations

import asyncio
from typing import Protocol, final

import msgspec

from holdfast.engine.letters import Prompt
from holdfast.errors import UsageError
from holdfast.journal.port import Claim, Journal, Letter, Posted
from holdfast.models.access.access import Own
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.driving.working import Worker
from holdfast.types import Limits, StreamId, TenantId, tenant_of

__all__ = ("Posting",)


class Lending(Protocol):
    """What runs act through, as far as a prompt needs it before anybody drives it (`runtime/binding.py`)."""

    def lend(self, stream: StreamId, key: str, agent: BoundAgent) -> None:
        """Keeps an agent for the run of that prompt."""
        ...

    def check(self, spec: str, limits: Limits, own: Own | None = None) -> None:
        """Ends quietly where those models can be asked within those limits."""
        ...

    def knows(self, tenant: TenantId, agent: BoundAgent) -> bool:
        """Whether an agent need not be written down any more."""
        ...

    async def remember(self, tenant: TenantId, agent: BoundAgent) -> None:
        """Writes an agent down, so that whoever goes on finds it."""
        ...


@final
class Posting:
    """Posts the prompts of one process, and drives what nobody drives yet."""

    def __init__(self, journal: Journal, bindings: Lending, worker: Worker) -> None:
        self._journal = journal
        self._bindings = bindings
        self._worker = worker
        self._under_way = 0
        self._settled: asyncio.Future[None] | None = None

    async def post(
        self, agent: BoundAgent, stream: StreamId, letter: Letter, *, if_idle: bool, new: bool = False
    ) -> tuple[Posted, int]:
        """Posts a prompt, and drives the session if nobody does; returns after which event its run begins, too."""
        key, worker = letter.key, self._worker
        self._bindings.lend(stream, key, agent)
        self._under_way += 1
        try:
            if (line := worker.line) is not None:
                posted = await line.post(stream, letter, if_idle=if_idle, new=new)
                self._bindings.lend(stream, key, agent)  # it may have been forgotten meanwhile
                return posted, 0
            posted = await self._journal.post(stream, letter, if_idle=if_idle, lease=worker.claims.lease, new=new)
            claim = posted.claim or (await worker.claims.inherit(stream) if posted.n else None)
            if claim is None:  # somebody drives it, and takes the prompt from the inbox
                return posted, 0
            if not new:  # it may have fallen idle, and been forgotten, meanwhile
                self._bindings.lend(stream, key, agent)
            await self._begin(claim)
        except asyncio.CancelledError:
            worker.adopt(stream)
            raise
        finally:
            self._under_way -= 1
            if not self._under_way and self._settled is not None and not self._settled.done():
                self._settled.set_result(None)
        return posted, claim.head.seq if posted.status == "accepted" else 0  # a duplicate may lie far back

    async def _begin(self, claim: Claim) -> None:
        worker = self._worker
        if worker.closed:  # whoever opens the store next finds the prompt in the inbox, and must not have to wait
            await worker.claims.give_up(claim.head.stream, claim.head.epoch)
        elif worker.begin_new(claim) is None:
            try:
                await worker.begin(claim)
            except UsageError:
                if not worker.closed:  # then it was given back, as above
                    raise

    async def settle(self) -> None:
        """Returns when no prompt is on its way any more."""
        while self._under_way:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    async def dispatch(self, agent: BoundAgent, stream: StreamId, letter: Letter) -> Posted:
        """Starts a child here: the session is driven by this process unless another one drives it already."""
        setup = msgspec.json.decode(letter.body, type=Prompt).setup
        limits = agent.spec.limits if setup is None else setup.limits  # its parent's bind it, too
        self._bindings.check(agent.spec.model, limits, agent.own)
        if not self._bindings.knows(tenant := tenant_of(stream), agent):
            await self._bindings.remember(tenant, agent)
        return (await self.post(agent, stream, letter, if_idle=False))[0]
