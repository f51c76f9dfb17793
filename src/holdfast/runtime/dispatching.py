"""Starting agents on behalf of calls: who may start whom, on what files, and once however often the call runs.

The session of a child has a name that follows from the call, and the prompt that starts it a key, so whoever comes
second finds what the first has begun and waits for it. Every way to start a child goes through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast, final

import msgspec

from holdfast.engine.letters import Prompt, Setup
from holdfast.engine.lineage import Ancestor, Lineage, child_named, child_token, narrowed, refusal, start_key
from holdfast.engine.state import Run
from holdfast.errors import AuthFailed, SandboxError, UnknownPrice, UsageError
from holdfast.flow.clock import Clock
from holdfast.journal.port import Letter, Posted
from holdfast.ledger.amounts import Account, Cap
from holdfast.ledger.port import Ledger
from holdfast.models.access.access import Own
from holdfast.runtime.bound import BoundAgent, helping
from holdfast.runtime.lanes.counting import Family, account_name, family_of, session_account
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.runtime.speaking import said
from holdfast.tools.binding import Helper, Order
from holdfast.types import (
    Control,
    Digest,
    Limits,
    Outside,
    SessionId,
    SnapshotRef,
    StreamId,
    TenantId,
    ToolError,
    ToolResult,
    Wait,
    from_dollars,
    session_of,
    stream_id,
    tenant_of,
)

__all__ = ("Dispatcher", "Spawner", "Start", "account_of", "cap_of")

Start = Callable[[BoundAgent, StreamId, Letter], Awaitable[Posted]]
"""Puts a prompt into a session that drives it, here or elsewhere: the port to whatever runs sessions."""
Find = Callable[[TenantId, Digest], Awaitable[BoundAgent]]
"""Finds an agent by its spec."""
Priced = Callable[[str, Own | None], bool]
"""Whether it is known what the models of a spec cost."""
_SHOWN = 500
"""Characters of the prompt that whoever looks at the wait gets to read."""


@final
class Dispatcher:
    """Starts children of the runs of one store."""

    def __init__(
        self, start: Start, find: Find, priced: Priced, sandboxes: Sandboxes, clock: Clock, ledger: Ledger
    ) -> None:
        self._start = start
        self._priced = priced
        self._find = find
        self._sandboxes = sandboxes
        self._clock = clock
        self._family = Family(ledger)
        self.starting: set[asyncio.Task[Wait | ToolResult]] = set()
        """What is being started at the moment."""

    async def close(self) -> None:
        """Starts nothing more: what was half-way is started by whoever goes on with its parent."""
        for task in self.starting:
            task.cancel()
        await asyncio.gather(*self.starting, return_exceptions=True)

    async def spawn(
        self, parent: StreamId, run: Run, started: set[str], key: str, order: Order, own: Own | None = None
    ) -> Wait | ToolResult:
        """Starts a child of a run for the call with that key; returns the wait for its answer, or why it may not be.

        `started` holds the tokens of what this attempt has started and its log does not say yet; `own` is the key of
        the run's agent, which its helpers use.
        """
        agent, limits = await self._agent(parent, run, order, own), run.setup.setup.limits
        name = SessionId(child_named(parent, key))
        token, now = child_token(name), self._clock.now()
        begun = run.children | started
        if token in begun:
            why = await self._begin(parent, run, agent, name, order)
        elif not (why := refusal(_line(parent, run), agent.digest, limits, len(begun))):
            started.add(token)  # before anything is waited for: whoever is started beside it has to see it
            if why := await self._count_and_begin(parent, run, agent, name, order):
                started.discard(token)
        if why:
            return _refused(agent, why)
        deadline = None if order.seconds is None else now + int(order.seconds * 1e6)
        return Wait(token, "child", deadline, f"{agent.spec.name}: {order.prompt[:_SHOWN]}", subject=name)

    async def _count_and_begin(
        self, parent: StreamId, run: Run, agent: BoundAgent, name: SessionId, order: Order
    ) -> str:
        token, most = child_token(name), run.setup.setup.limits.descendants
        if why := await self._family.admit(family_of(parent, run), most, token):
            return why
        if why := await self._begin(parent, run, agent, name, order):
            await self._family.refused(token)
            return why
        await self._family.started(token)
        return ""

    async def _begin(self, parent: StreamId, run: Run, agent: BoundAgent, name: SessionId, order: Order) -> str:
        """Gives a child its prompt; returns why it takes none, empty when it does."""
        token = child_token(name)
        try:
            setup = await self._setup(parent, run, agent, name, order)
            body = msgspec.json.encode(Prompt(said(order.prompt), setup))
            letter = Letter(key=start_key(token), kind="prompt", body=body, actor=session_of(parent))
            posted = await self._start(agent, stream_id(tenant_of(parent), name), letter)
        except (AuthFailed, SandboxError, UnknownPrice, UsageError) as error:
            return str(error)
        taken = posted.status in ("accepted", "duplicate")
        return "" if taken else f"its session takes no prompt ({posted.status})"

    async def _setup(self, parent: StreamId, run: Run, agent: BoundAgent, name: SessionId, order: Order) -> Setup:
        """Returns what a child may do: no more than its parent."""
        setup, seconds = run.setup.setup, run.setup.setup.limits.seconds
        left = None if seconds is None else max(0.0, seconds - (self._clock.now() - run.started_at) / 1e6)
        folder, files = await self._files(parent, run, name, order)
        lineage = Lineage(
            child_token(name),
            _line(parent, run),
            run.workspace if files else "",
            files,
            _common(parent, run),
            order.phase,
            family_of(parent, run),
        )
        return Setup(
            spec=agent.digest,
            model=agent.spec.model,
            limits=narrowed(self._limits(agent, order), setup.limits, left),
            workspace=folder,
            mode=setup.mode,
            unattended=setup.unattended,
            effects=await self._effects(parent, run, agent),
            control=_unreviewed(setup.control),
            user=setup.user,
            agents=agent.below,
            lineage=lineage,
            phases=agent.spec.phases,
            typed=agent.reader is not None,
            priority=setup.priority,
            background=setup.background,
            execution=agent.spec.execution,
        )

    def _limits(self, agent: BoundAgent, order: Order) -> Limits:
        """Returns an agent's own limits; of a helper without dollars where nobody knows what they would buy."""
        limits = agent.spec.limits
        if limits.dollars is None or not isinstance(order.agent, Helper) or self._priced(agent.spec.model, agent.own):
            return limits
        return msgspec.structs.replace(limits, dollars=None)

    async def _effects(self, parent: StreamId, run: Run, agent: BoundAgent) -> dict[str, Outside]:
        """Returns what the user said of tools that the child has as well: not of others that go by the same names."""
        said_of = run.setup.setup.effects
        if not said_of:
            return {}
        above = await self._find(tenant_of(parent), run.setup.setup.spec)
        same = {tool.name: tool for tool in above.spec.tools}
        return {
            tool.name: said_of[tool.name]
            for tool in agent.spec.tools
            if tool.name in said_of and tool == same.get(tool.name)
        }

    async def _agent(self, parent: StreamId, run: Run, order: Order, own: Own | None) -> BoundAgent:
        given = cast("BoundAgent", order.agent)
        if isinstance(order.agent, Helper):
            return helping(order.agent, run.setup.setup.model, own)
        if isinstance(order.agent, BoundAgent):
            return given
        if isinstance(order.agent, str):
            return await self._find(tenant_of(parent), Digest(order.agent))
        raise UsageError(f"an order is for an Agent, and this one is for a {type(order.agent).__name__}")

    async def _files(
        self, parent: StreamId, run: Run, child: SessionId, order: Order
    ) -> tuple[str, tuple[SnapshotRef, ...]]:
        """Returns the folder that a child works in, and what is in it in the beginning, if it is one of its own."""
        if order.workspace == "none":
            return "", ()
        if not run.workspace:
            raise SandboxError("it is to work on the files of this run, and this run has none")
        if order.workspace == "shared":
            return run.workspace, ()
        tenant = tenant_of(parent)
        source = self._sandboxes.at(tenant, run.workspace)
        snapshot = await source.snapshots.capture(source.workspace)
        return str(await asyncio.to_thread(self._sandboxes.folder_for, tenant, child)), (snapshot,)


def account_of(stream: StreamId, run: Run) -> Account:
    """Returns the account of a run that nobody started: its tenant's, its user's, its session's, and its own."""
    own = account_name(f"{session_of(stream)}@{run.id}")
    return (*session_account(stream, run.setup.setup.user), own)


def cap_of(limits: Limits) -> Cap | None:
    """Returns what a run and all it starts may spend together; None when that is not bounded."""
    if limits.tokens is None and limits.dollars is None:
        return None
    return Cap(tokens=limits.tokens, cost=None if limits.dollars is None else from_dollars(limits.dollars))


def _common(parent: StreamId, run: Run) -> Account:
    """Returns the account from which a child takes what it spends: its root's, if anything bounds it."""
    setup = run.setup.setup
    return account_of(parent, run) if setup.lineage is None else setup.lineage.account


def _line(parent: StreamId, run: Run) -> tuple[Ancestor, ...]:
    """Returns the runs above a child, the root's first."""
    setup = run.setup.setup
    return (*(setup.lineage.line if setup.lineage else ()), Ancestor(parent, setup.spec))


def _unreviewed(control: Control) -> Control:
    """Returns how people take part in a child: what it comes to is reviewed with its parent's answer, and it is kept as
    long as its parent may speak to it.
    """
    if control.review is None and control.idle is None:
        return control
    return msgspec.structs.replace(control, review=None, idle=None)


@final
class Spawner(msgspec.Struct, eq=False):
    """Starts children of one run, as long as one process drives it."""

    _dispatcher: Dispatcher
    _stream: StreamId
    _run: Run
    _own: Own | None = None
    _started: set[str] | None = None
    """Tokens of what was started here and the log does not say yet."""
    _starting: set[asyncio.Task[Wait | ToolResult]] | None = None

    async def __call__(self, key: str, order: Order) -> Wait | ToolResult:
        """Starts a child for what has that key; see `Dispatcher.spawn`. A cancelled caller leaves it started."""
        if self._started is None:
            self._started = set()
        if self._starting is None:
            self._starting = set()
        spawn = self._dispatcher.spawn(self._stream, self._run, self._started, key, order, self._own)
        task = asyncio.create_task(spawn)
        self._starting.add(task)
        self._dispatcher.starting.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[Wait | ToolResult]) -> None:
        if self._starting is not None:
            self._starting.discard(task)
        self._dispatcher.starting.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has heard of it, or was stopped

    async def settle(self) -> None:
        """Returns when nothing is being started any more."""
        while self._starting:
            await asyncio.wait(self._starting)


def _refused(agent: BoundAgent, why: str) -> ToolResult:
    text = f"The agent {agent.spec.name!r} was not started: {why}. Do it yourself, or say what is left to do."
    return ToolResult(text, ToolError("permission_denied", "child_refused", "denied"))
