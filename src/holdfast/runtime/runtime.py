"""The runtime: one store, and the sessions this process drives in it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import final

import msgspec

from holdfast.engine.letters import Prompt, Setup
from holdfast.engine.state import State
from holdfast.errors import AuthFailed, JournalError, LeaseHeld, UnknownSession, UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.flow.ids import new_key, new_session
from holdfast.journal.port import Journal, Letter, Posted
from holdfast.ledger.port import Ledger
from holdfast.models.access.access import Access
from holdfast.models.catalogue import Facts
from holdfast.models.routing.chain import Failover
from holdfast.models.routing.health import Health
from holdfast.models.routing.routes import Routes
from holdfast.models.routing.tiers import Tiers
from holdfast.runtime.binding import Binder
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.configuring.entering import Opening
from holdfast.runtime.configuring.equipment import Equipment
from holdfast.runtime.delivering.events import is_book
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.runtime.delivering.outgoing import Delivers, Outgoings
from holdfast.runtime.delivering.port import Function, Target
from holdfast.runtime.delivering.staging import InputFile, stage, with_files
from holdfast.runtime.driving.posting import Posting
from holdfast.runtime.driving.working import Worker
from holdfast.runtime.guarding.confining import Confines
from holdfast.runtime.guarding.critic import Critic, Judge
from holdfast.runtime.guarding.proceeding import next_setup, where_it_ended
from holdfast.runtime.history.archiving import Archive
from holdfast.runtime.history.branching import Branching
from holdfast.runtime.history.waiting import Waiting, waiting_in
from holdfast.runtime.lanes.keeping import left_behind
from holdfast.runtime.lanes.line import Load, with_more
from holdfast.runtime.lanes.tallying import Tally
from holdfast.runtime.opening import default_url, open_ledger
from holdfast.runtime.receiving.bringing import Brings
from holdfast.runtime.receiving.conversing import Converses
from holdfast.runtime.run import Run
from holdfast.runtime.sandboxes import Sandboxes, sandboxes_of
from holdfast.runtime.sessions.offering import Looks
from holdfast.runtime.speaking import Speaking, refused, said
from holdfast.runtime.weighing.counting import Counts
from holdfast.runtime.weighing.embedding import Embeds
from holdfast.safety.secrets.port import Resolver
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.policy.profile import BackendName, Profile
from holdfast.tools.authorising.policy import Policies
from holdfast.tools.typed.describing import Value
from holdfast.types import (
    Control,
    Limits,
    Mode,
    Outside,
    Price,
    SessionId,
    StreamId,
    TenantId,
    UserMessage,
    UserPart,
    session_of,
    stream_id,
    tenant_of,
)

__all__ = ("Runtime",)


@final
class Runtime(Archive, Delivers, Counts, Confines, Brings, Converses, Embeds, Looks):
    """Starts, resumes, forks and follows runs; open it with `async with Runtime.open(...)`."""

    def __init__(
        self, journal: Journal, clock: Clock, sandboxes: Sandboxes | None = None, given: Equipment | None = None
    ) -> None:
        given = given or Equipment()
        tenant, user, hooks = given.tenant, given.user, given.hooks
        self.journal = journal
        """The durable log, for programs that read it directly."""
        self.ledger: Ledger = open_ledger(journal, clock)
        """What was spent, and may be; accounts are (tenant, user, session, run)."""
        self._clock = clock
        self._tenant = tenant
        self._user = user
        self._sandboxes = sandboxes or sandboxes_of("memory:", journal.blobs)
        self._bindings = Binder(journal, self._sandboxes, clock, self._dispatch, self.ledger, given)
        self._branching = Branching(journal, clock, self._sandboxes)
        self._worker = Worker(journal, clock, self._bindings.bind, self._bindings.forget, self.ledger, given.at_once)
        self._posting = Posting(journal, self._bindings, self._worker)
        self._post, self._claim, self._adopt = self._posting.post, self._worker.claims.claim, self._worker.adopt
        self._outgoings = Outgoings(journal, clock, self._claim, given.targets, hooks)
        self._branching.left = self._outgoings.wake
        self._bindings.noticed, self._worker.let_go = self._outgoings.driven, self._let_go
        self._watch = None
        if given.critic is not None:
            from holdfast.runtime.guarding.watching import Watch

            self._watch = Watch.over(given.critic, journal, clock, self._bindings, self._worker)
        self._outgoings.begin(tenant)

    @staticmethod
    def open(  # noqa: PLR0913 - all of it by name, and most of it for few programs
        url: str | None = None,
        *,
        prices: Mapping[str, Price] | None = None,
        tenant: str = "local",
        user: str = "user",
        clock: Clock | None = None,
        targets: Mapping[str, Target | Function] | None = None,
        hooks: Hooks | None = None,
        at_once: int | None = None,
        critic: Critic | Judge | None = None,
        sandbox: Profile | BackendName = "auto",
        aliases: Mapping[str, str] | None = None,
        tiers: Tiers | Mapping[str, str] | None = None,
        provider: str = "",
        failover: Failover | None = None,
        access: Access | None = None,
        facts: Mapping[str, Facts] | None = None,
        secrets: Sequence[Resolver] | Mapping[str, str] | None = None,
        policy: Policies = None,
    ) -> Opening[Runtime]:
        """Returns the runtime of a store, to be entered with `async with`.

        Args:
            url: `memory:`, `sqlite:///relative.db` or `sqlite:////absolute.db`; without one, `HOLDFAST_STORE`, or
                a database in the user's data folder.
            prices: What models cost, by `provider/name`, where the catalogue is wrong or silent.
            tenant: Whose sessions these are.
            user: Who speaks through this runtime: the log says it of everything that was said.
            clock: Where time comes from, for tests.
            targets: Where results can go, by the names that `start(deliver=...)` uses: targets, or `async` functions.
            hooks: What is told of runs, handed their results, and asked about calls of tools.
            at_once: How many sessions are driven here at once at most; the others wait their turn, fairly across users.
            critic: Is asked about runs in which nothing happens for a while, and may say something, give them more
                time or steps, or end them: an `async` function, or a `Critic`.
            sandbox: What commands run in: a backend's name, or a `Profile`. With `auto` the strongest that works here;
                where none does commands are refused. With `none` they run as you.
            aliases: What names stand for where a model is named: one, or several with commas between.
            tiers: The same of names whose meaning may change meanwhile: `Tiers` ask a configuration again.
            provider: Whose models all other names are.
            failover: How models that fail are stood in for.
            access: Keys, headers and servers that go before the environment's, and after an agent's own.
            facts: What is known better of models than the catalogue does, by `provider/name`; prices go before it.
            secrets: Where tools find what they are authenticated with: places, or names with values. Without it the
                encrypted store of `holdfast secrets`, then the environment.
            policy: Roles, permissions and lists that decide which calls there may be, one `Policy` or several.

        Raises:
            UsageError: an alias or a tier cannot be one, or stands for nothing.
        """
        profile = sandbox if isinstance(sandbox, Profile) else Profile(backend=sandbox)
        own = clock or SystemClock()
        routes = Routes(own, aliases=aliases, tiers=tiers, provider=provider, failover=failover)
        asked = (TenantId(tenant), user, prices or {}, targets, hooks, at_once, critic)
        given = Equipment(*asked, routes, access, facts, secrets, policy)
        return Opening(url or default_url(), own, profile, given, Runtime)

    @property
    def health(self) -> Health:
        """How the models do that were asked here: to look at, and to bench one or take it off the bench."""
        return self._bindings.routes.health

    async def start(  # noqa: PLR0913 - what a person may say of a job; most is said rarely, and all of it by name
        self,
        agent: BoundAgent[Value],
        text: str | Sequence[str | UserPart],
        *,
        session: str | None = None,
        limits: Limits | None = None,
        workspace: str | Path | None = None,
        mode: Mode = "auto",
        unattended: bool = False,
        effects: Mapping[str, Outside] | None = None,
        control: Control | None = None,
        deliver: Sequence[str] = (),
        files: Sequence[InputFile] = (),
        key: str | None = None,
        if_idle: bool = False,
        user: str | None = None,
        priority: int = 0,
        background: bool = False,
        origin: Mapping[str, str] | None = None,
    ) -> Run[Value]:
        """Gives a session a prompt and returns the run that will answer it.

        In a session that is busy the prompt waits its turn. Once this returns it is accepted, and survives a crash.

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
            control: How people take part: whether they review the answer, how long they have, and what they may say.
            deliver: Where the result goes, however it ends: targets by name, `file:/folder`, `webhook:https://...`.
            files: What it may read: paths, or names with bytes, of 50 MB at most each; the prompt only names them.
            key: Makes a prompt that is sent twice one prompt.
            if_idle: Refuse to wait for a run that is under way.
            user: For whom; the runtime's own user without. Caps are kept and places shared by user.
            priority: Of one user's runs that wait for a place, the one with the higher number begins first.
            background: Nobody waits for it: in a runtime opened with `at_once` all others begin first, and a quarter
                of the places is kept for them.
            origin: Where it comes from, for whoever reads the log: names with values, such as a W3C `traceparent`.

        Raises:
            SessionBusy, SessionExited, InboxFull: the session is not idle, has ended, or has too much unread mail.
            UnknownModel, UnknownPrice, AuthFailed, InputTooLarge, PolicyDenied, UsageError: see their messages.
        """
        message, setup = said(text), agent.setup(limits, workspace, mode, effects, control, self._user, unattended)
        self._bindings.check_start(agent, setup, self._tenant, user or self._user)
        setup = with_more(setup, user, priority, background, origin)
        stream = stream_id(self._tenant, session or new_session())
        body = await self._body(agent, message, setup, deliver, files)
        letter = Letter(key=key or new_key(), kind="prompt", body=body, actor=user or self._user)
        posted, after = await self._post(agent, stream, letter, if_idle=if_idle, new=session is None)
        return self._accepted(agent, stream, letter, posted, after)

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
        if agent is not None and self._worker.has(stream):
            self._bindings.lend(stream, key, agent)  # while it is parked, its agent may be forgotten
        return self._run(stream, key, 0, agent)

    async def proceed(
        self, session: str, agent: BoundAgent | None = None, *, limits: Limits | None = None, user: str | None = None
    ) -> Run:
        """Goes on where the session's last run ended half-way, without another prompt, and returns the run that does.

        The last run was aborted, failed or met a limit, and its conversation ends with what somebody said or with the
        results of calls: the model is asked again, in a run that is set up as that one was. What was said to the
        session and not heard yet goes first: then that is what opens the run.

        Args:
            session: Which conversation; of a fork, as it was where it branched off.
            agent: Who goes on; the last run's own without.
            limits: How far this run may go; as far as the last one without, counted anew.
            user: Who asks for it, and whose account pays; whoever asked for the last one without.

        Raises:
            UsageError: the last run ended with an answer, or was a pipeline's, or one of a file: give it a prompt.
            SessionBusy, SessionExited, InboxFull: a run is open, or the session takes nothing more.
            UnknownSession, UnknownTool, UnknownModel, UnknownPrice, AuthFailed: see their messages.
        """
        stream = await self._known(session)
        state, heard = await where_it_ended(self.journal, stream, self._worker.state(stream))
        if agent is not None:
            await self._bindings.remember(self._tenant, agent)
        if heard:
            if agent is not None:
                self._bindings.lend(stream, heard, agent)
            with contextlib.suppress(LeaseHeld):  # whoever has it reads its mail
                await self._worker.take(stream)
            return self._run(stream, heard, 0, agent)
        setup = next_setup(state, session, agent, limits)
        if user is not None:
            setup = msgspec.structs.replace(setup, user=user)
        self._bindings.check(setup.model, setup.limits, None if agent is None else agent.own)
        agent = agent or await self._bindings.agent(self._tenant, setup.spec)
        body = msgspec.json.encode(Prompt(UserMessage(()), setup))
        letter = Letter(key=new_key(), kind="proceed", body=body, actor=user or self._user)
        posted, after = await self._post(agent, stream, letter, if_idle=True)
        return self._accepted(agent, stream, letter, posted, after)

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
        await self._branching.fork(parent, at, stream, workspace, self._worker.claims.claim, self._worker.adopt)
        return child

    async def branches(
        self, session: str, n: int, *, at: int | None = None, name: str | None = None
    ) -> tuple[SessionId, ...]:
        """Returns `n` new sessions that share the log of another one up to event `at`: all of them, or none.

        Each is as `fork` makes it, in a folder of its own in the data folder, and all are live at once: give each a
        prompt. They are called `name-1` and so on, or anyhow. `release` takes them away again.

        Raises:
            UnknownSession, UsageError: there is no such session or event, or a name is taken; or `n` is below 1.
            SandboxError: the files of that moment are not known, or no longer kept.
        """
        if n < 1:
            raise UsageError(f"{n} branches cannot be made: ask for 1 or more")
        children = tuple(SessionId(f"{name}-{each}" if name else new_session()) for each in range(1, n + 1))
        streams = [stream_id(self._tenant, child) for child in children]
        claims, parent = self._worker.claims.claim, await self._known(session)
        await self._branching.fork_all(parent, at, streams, claims, self._worker.adopt, self._forget)
        return children

    def stats(self) -> Load:
        """Returns how many sessions are driven here, and how many wait for a place."""
        return self._worker.work()

    def tally(self) -> Tally:
        """Returns sums that grow from the first call on: runs of this process by how they ended, and what its models
        used. Sessions that are driven already are counted from the next time on that they are taken up.
        """
        if self._worker.tally is None:
            self._worker.tally = Tally()
        return self._worker.tally

    def resize(self, at_once: int) -> None:
        """Lets so many sessions be driven here at once from now on; those above that go on until they park.

        Raises:
            UsageError: the number is negative, or the runtime was opened without `at_once`.
        """
        if self._worker.line is None:
            raise UsageError("this runtime drives any number of sessions at once: open it with at_once to bound them")
        self._worker.line.resize(at_once)

    async def waiting(self, session: str | None = None) -> list[Waiting]:
        """Returns what people are asked in a session, or in all: approvals, questions and reviews, oldest first."""
        return await waiting_in(self.journal, self._tenant, session)

    def processes(self, session: str) -> Collection[Process]:
        """Returns the processes that a session keeps running here, and those that ended within ten minutes.

        What one prints can be read, and `await process.forward(8000)` leads a port of this machine's loopback to the
        one it listens on.
        """
        return self._sandboxes.processes(stream_id(self._tenant, session))

    def session(self, session: str) -> Speaking:
        """Returns a session to speak to, wherever it is driven, whatever it does."""
        return Speaking(self.journal, stream_id(self._tenant, session), self._user)

    def run(self, session: str, key: str, *, after: int = 0) -> Run:
        """Returns a run by the key of its prompt, wherever it is driven."""
        return self._run(stream_id(self._tenant, session), key, after)

    def acting_for(self, *, tenant: str | None = None, user: str | None = None) -> Runtime:
        """Returns this runtime as somebody else has it: with the sessions of another tenant, or what another user says
        and starts. It shares everything else, costs next to nothing, and need not be closed; closing it closes all.

        Raises:
            UsageError: that is no name of a tenant.
        """
        view = copy.copy(self)
        if tenant is not None:
            view._tenant = tenant_of(stream_id(TenantId(tenant), SessionId("any")))
        view._user = self._user if user is None else user
        return view

    async def sweep(self, *, everyone: bool = False, killed: bool = False) -> int:
        """Takes up every session that has something to do and no owner, of this tenant or of everyone; returns how
        many. With `killed`, also those at once whose owner was a process of this machine that is gone.

        Sessions whose functions this process has not got are left to another.
        """
        taken = 0
        seen: set[StreamId] = set()
        left = await left_behind(self.journal) if killed else []
        if killed:
            await self._settle_lost(() if everyone else (self._tenant,))
        # What is left to others stays due: twice as many each time, and all rounds together stay linear.
        while fresh := [s for s in (*left, *await self.journal.due(2 * len(seen) + 100)) if s not in seen]:
            seen.update(fresh)
            for stream in fresh:
                if is_book(stream):
                    self._outgoings.wake(stream)  # it is nobody's session
                elif (everyone or tenant_of(stream) == self._tenant) and not self._worker.has(stream):
                    # One that cannot be taken stops no other.
                    with contextlib.suppress(JournalError, UsageError, AuthFailed):
                        await self._worker.take(stream)
                        taken += 1
        return taken

    async def drain(self, seconds: float) -> None:
        """Begins nothing more; calls under way that may not be made again have so many seconds. Close it then."""
        await self._worker.drain(seconds)

    async def close(self) -> None:
        """Stops driving sessions and lets go of the store; open runs stay open in the log. What is to be delivered has
        five seconds; the rest is delivered by whoever opens the store next.
        """
        if self._watch is not None:
            await self._watch.close()
        await self._worker.close()
        await self._outgoings.close()
        await self._bindings.close()
        await self._posting.settle()
        await self._worker.settle()
        await self._sandboxes.close()
        await self.journal.close()

    # ---- inside -------------------------------------------------------------------------------------------

    async def _body(
        self, agent: BoundAgent, message: UserMessage, setup: Setup, deliver: Sequence[str], files: Sequence[InputFile]
    ) -> bytes:
        """Returns a prompt as it is posted, which knows where its result goes, and which files it was given."""
        if not self._bindings.knows(self._tenant, agent):
            await self._bindings.remember(self._tenant, agent)
        if deliver or files or self._outgoings.wanted:
            message, setup = await self._equip(agent, message, setup, deliver, files)
        return msgspec.json.encode(Prompt(message, setup))

    async def _equip(
        self, agent: BoundAgent, message: UserMessage, setup: Setup, deliver: Sequence[str], files: Sequence[InputFile]
    ) -> tuple[UserMessage, Setup]:
        targets = self._outgoing.names(deliver)
        staged = await stage(self.journal.blobs, self._tenant, files)
        setup = msgspec.structs.replace(setup, deliver=targets, files=staged)
        readable = any(each.spec.reference == "builtin:read" for each in agent.tools)
        return with_files(message, staged, readable=readable) if staged else message, setup

    def _accepted(self, agent: BoundAgent[Value], stream: StreamId, by: Letter, got: Posted, after: int) -> Run[Value]:
        """Returns the run of a prompt that was posted, or raises why it was not taken."""
        if not got.n:
            self._bindings.take_back(stream, by.key)
            if (error := refused(got, session_of(stream))) is not None:
                raise error
        run = Run(self.journal, stream, by.key, after, self._worker.tail, self._user, agent.reader)
        run.again = by if got.status == "duplicate" else None
        return run

    async def _dispatch(self, agent: BoundAgent, stream: StreamId, letter: Letter) -> Posted:
        return await self._posting.dispatch(agent, stream, letter)

    def _let_go(self, stream: StreamId, state: State) -> None:
        """Is told of each session that is driven no longer."""
        self._outgoings.let_go(stream, state)
        if state.ended and state.processes:
            self._sandboxes.end_processes_soon(stream)

    def _run(self, stream: StreamId, key: str, after: int, agent: BoundAgent[Value] | None = None) -> Run[Value]:
        reader = None if agent is None else agent.reader
        return Run(self.journal, stream, key, after, self._worker.tail, self._user, reader)
