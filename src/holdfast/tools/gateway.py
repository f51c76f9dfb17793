"""The one gateway for effects: every tool call of every kind passes these three functions.

    admit     resolve -> repair -> validate -> coerce -> permit    no effect, may be done again
    protect   snapshot of what the call may change                 (the last stage of admission, done at its turn)
    perform   run it within its timeout                            the effect
    finish    bound the size                                       what the model gets to read

Stages whose rooms are not built yet (authorisation, hooks, budget, secrets, redaction) are absent; each gets its place
in these lists when it comes, and nowhere else. A refusal is a result the model reads. After a crash `ask` finds out
whether a checkable call has happened, `restore` puts files back, and `changed` says what became of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, final

import msgspec

from holdfast.errors import HoldfastError, PathEscape, SandboxError, UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.journal.owning import Pen
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.port import Backend, Posture
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.differences import unified
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.storing import in_thread
from holdfast.storage.blobs import BlobStore
from holdfast.storage.chunks import get_chunked
from holdfast.tools import authored
from holdfast.tools.attaching import MOST, stored_file, waiting
from holdfast.tools.binding import Order, Tool, ToolContext, key_of_call
from holdfast.tools.permitting import Rules, bound_to, granted, in_short, judge
from holdfast.tools.results import Refused, bounded, nobody_there, refusal, unasked
from holdfast.types import (
    Attachment,
    Digest,
    Effect,
    EventId,
    SnapshotRef,
    StreamId,
    ToolCall,
    ToolResult,
    ToolSpec,
    Wait,
    session_of,
    tenant_of,
)

__all__ = ("Admitted", "Gateway", "Nest", "Spawn", "owner_of")

Nest = Callable[[str, str], Awaitable[ToolResult]]
"""Makes a call of another tool, by its name and its arguments' JSON, on behalf of a running one."""

Spawn = Callable[[str, Order], Awaitable[Wait | ToolResult]]
"""Starts another agent on behalf of the call with that idempotency key."""

_NOWHERE = Posture("none")
_TURN_SECONDS = 300.0
"""Seconds that a call waits while another session changes files of the same folder."""
_DIFF = 8_000
"""Characters of the changes of files that the model gets to read when an outcome is unknown."""


def owner_of(stream: StreamId) -> str:
    """Returns how a session is called where somebody else finds its folder taken."""
    return f"session {session_of(stream)!r}"


class Admitted(msgspec.Struct, frozen=True):
    """A call that may run."""

    call: ToolCall
    """With the arguments it is made with, which are those it was judged by."""
    tool: Tool
    arguments: Any
    effect: Effect
    key: str
    """Idempotency key: of this call for ever, whoever runs it."""
    snapshot: SnapshotRef | None = None
    unsaved: str = ""
    """Why there is no snapshot of files that it may change."""
    absent: tuple[str, ...] = ()
    """Protected paths of the workspace at which there is nothing yet."""
    read: str = ""
    """The arguments of the call, where they are not as they were written: mended, or read as the schema wants them."""


@final
class Gateway(msgspec.Struct, eq=False):
    """The tools of one run, and the place they act in."""

    tools: Mapping[str, Tool]
    """By their names."""
    stream: StreamId
    run: EventId
    sandbox: Sandbox | None
    blobs: BlobStore
    rules: Rules = Rules()
    clock: Clock = SystemClock()
    spawn: Spawn | None = None
    _pen: Pen | None = None
    _named: Mapping[Digest, tuple[Digest, ...]] = {}
    _trays: dict[str, list[Attachment]] = {}
    """What calls attached that are under way, by their keys."""

    def attach(self, pen: Pen, stored: Mapping[Digest, tuple[Digest, ...]] | None = None) -> None:
        """Ties every effect to the attempt of that pen: a process that lost its session touches nothing more.

        `stored` are the outputs that the session's results named and the files it was given, which it may read, with
        the blobs that make up a large one.
        """
        self._pen = pen
        self._named = stored if stored is not None else {}
        if self.sandbox is not None:
            workspace = self.sandbox.workspace
            workspace.guard = partial(_ensure_held, pen, asyncio.get_running_loop())
            workspace.env[OWNER] = f"{self._owner}#{pen.epoch}"

    async def fence(self) -> int:
        """Kills what an earlier owner's commands left running, and returns how many processes that were."""
        if self.sandbox is None or self._pen is None:
            return 0
        return await self.sandbox.backend.attach(self._owner, self._pen.epoch)

    @property
    def _owner(self) -> str:
        return f"{self.sandbox.store}{self.stream}" if self.sandbox else self.stream

    @property
    def processes(self) -> Collection[Process]:
        """Those of this session that go on in this process, and those that ended lately."""
        return () if self.sandbox is None else self.sandbox.backend.processes.of(self._owner)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of."""
        return tuple(tool.spec for tool in self.tools.values())

    @property
    def terminal(self) -> frozenset[str]:
        """Tools whose calls end the run."""
        return frozenset([name for name, tool in self.tools.items() if tool.spec.terminal])

    @property
    def posture(self) -> Posture:
        """What isolates the commands of this run."""
        return _NOWHERE if self.sandbox is None else self.sandbox.backend.posture

    # ---- admit --------------------------------------------------------------------------------------------

    def admit(
        self,
        call: ToolCall,
        name: str,
        *,
        cut: bool = False,
        approved: Container[Digest] = (),
        always: Container[Digest] = (),
        edited: ToolCall | None = None,
    ) -> Admitted | Refused | Wait:
        """Returns the call ready to run, or why it must not, or that a person has to be asked first.

        `name` tells the call from every other of its session; `cut` says that the model was stopped by its length
        cap, so that damaged arguments may be half of what it meant. `approved` is what a person allowed once,
        `always` the tools, with their effects, a person allowed for good; `edited` is the call as they want it made.
        """
        prepared = self.prepare(call, name, cut=cut)
        if isinstance(prepared, Refused):
            return prepared
        if self.rules.mode != "auto" and not prepared.tool.delegates:
            permitted = self._permit(prepared, name, approved, always)
            if not isinstance(permitted, Admitted):
                return permitted
        return prepared if edited is None else self._correct(edited, name)

    def _correct(self, edited: ToolCall, name: str) -> Admitted | Refused:
        """Returns the call with a person's arguments: they allowed these very ones, but not what the mode denies."""
        prepared = self.prepare(edited, name)
        if isinstance(prepared, Admitted) and judge(self.rules.mode, prepared.effect) == "deny":
            return _read_only(edited)
        return prepared

    def prepare(self, call: ToolCall, name: str, *, cut: bool = False) -> Admitted | Refused:
        """Returns the call ready to run as far as the call itself goes: nobody is asked whether it may."""
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self.tools)) or "none"
            return refusal(f"There is no tool {call.name!r}. Tools: {known}.", "unsupported_tool", "tool_unsupported")
        parsed = authored.parse(tool, call.arguments, cut=cut)
        if isinstance(parsed, Refused):
            return parsed
        arguments, read = parsed
        if read:
            call = msgspec.structs.replace(call, arguments=read)
        effect = authored.effect_of(tool, arguments, self.posture)
        if isinstance(effect, Refused):
            return effect
        if self.rules.effects and (known_better := self.rules.effects.get(call.name)) is not None:
            effect = Effect(effect.workspace, known_better)  # it sends nothing, either
        return Admitted(call, tool, arguments, effect, key_of_call(self.stream, self.run, name), read=read)

    def _permit(
        self, admitted: Admitted, name: str, approved: Container[Digest], always: Container[Digest]
    ) -> Admitted | Refused | Wait:
        call, rules = admitted.call, self.rules
        verdict = judge(rules.mode, admitted.effect)
        if verdict == "deny":
            return _read_only(call)
        grant = granted(admitted.tool.spec, admitted.effect)
        if verdict == "allow" or grant in always:
            return admitted
        digest = bound_to(name, call, admitted.tool.spec, rules.mode, admitted.effect)
        if digest in approved:
            return admitted
        if rules.unattended:
            text = (
                f"Denied: {call.name!r} needs a person's word here, and nobody can be asked. Do without it, or say "
                "what should be run."
            )
            return refusal(text, "permission_denied", "tool_approval_required", denied=True)
        token = f"approval:{name}:{digest[-12:]}"
        prompt = f"{call.name} {in_short(call.arguments)}"
        deadline = None if rules.patience is None else self.clock.now() + int(rules.patience * 1e6)
        return Wait(
            token, "approval", deadline, prompt, subject=call.name, grant=grant, digest=digest, arguments=admitted.read
        )

    async def protect(self, admitted: Admitted) -> Admitted | Refused:
        """Returns the call with a snapshot of the files it may change: of those it names, or of the whole workspace.

        A workspace that is too large to be kept whole is no reason not to work in it: then the call says that
        nothing was saved.
        """
        sandbox = self.sandbox
        if not admitted.effect.workspace or sandbox is None:
            return admitted
        paths = authored.paths_of(admitted.tool, admitted.arguments)
        if isinstance(paths, Refused):
            return paths
        if paths is None:
            if guarded := sandbox.backend.guarded:
                from holdfast.sandbox.native.guarding import look  # noqa: PLC0415 - with the first such call

                _, none = await asyncio.to_thread(look, sandbox.workspace.root, guarded)
                admitted = msgspec.structs.replace(admitted, absent=tuple(sorted(none)))
            try:
                return msgspec.structs.replace(
                    admitted, snapshot=await self._looking(sandbox).capture(sandbox.workspace)
                )
            except (HoldfastError, OSError) as error:
                return msgspec.structs.replace(admitted, unsaved=str(error))
        try:
            snapshot = await sandbox.snapshots.capture(sandbox.workspace, paths)
        except PathEscape as error:
            return refusal(str(error), "permission_denied", "tool_permission_denied", denied=True)
        except (HoldfastError, OSError) as error:
            return refusal(
                f"The files could not be saved beforehand: {error}", "execution_failed", "tool_backend_failure"
            )
        return msgspec.structs.replace(admitted, snapshot=snapshot)

    def exclusive(self, *, wait: bool = True) -> AbstractAsyncContextManager[object]:
        """Returns the right to change files of the workspace, which one session has at a time.

        Entering raises `WorkspaceBusy` when another one keeps it too long; without `wait`, when another one has it.
        """
        if self.sandbox is None:
            return nullcontext()
        return self.sandbox.exclusive(owner_of(self.stream), _TURN_SECONDS if wait else 0.0)

    # ---- files --------------------------------------------------------------------------------------------

    def _looking(self, sandbox: Sandbox) -> SnapshotStore:
        """Returns the store of snapshots, which now knows whether processes go on that may write to any file."""
        sandbox.snapshots.doubt(sandbox.workspace, lasting=any(each.code is None for each in self.processes))
        return sandbox.snapshots

    async def capture(self) -> SnapshotRef | None:
        """Returns how the whole workspace is; None when there is none, or it cannot be kept."""
        if self.sandbox is None:
            return None
        try:
            return await self._looking(self.sandbox).capture(self.sandbox.workspace)
        except (HoldfastError, OSError):
            return None

    async def restore(self, snapshot: SnapshotRef) -> None:
        """Puts the files of a snapshot back.

        Raises:
            SandboxError, OSError: it cannot be done; what was put back by then stays.
        """
        if self.sandbox is not None:
            await self.sandbox.snapshots.restore(self.sandbox.workspace, snapshot)

    @property
    def rolls_back(self) -> bool:
        """Whether files are put back after a call that failed."""
        return self.sandbox is not None and self.sandbox.rollback

    async def roll_back(self, admitted: Admitted) -> bool:
        """Puts the files back after a call that failed or was stopped, where that is wanted and there is a snapshot;
        returns whether there was anything to put back.

        Raises:
            Fenced: the session has another owner, who puts them back.
            SandboxError: it cannot be done; what was put back by then stays.
        """
        sandbox, snapshot = self.sandbox, admitted.snapshot
        if sandbox is None or not sandbox.rollback or snapshot is None:
            return False
        if self._pen is not None:
            await self._pen.hold()
        try:
            if not await self._looking(sandbox).changes(sandbox.workspace, snapshot):
                return False
            await sandbox.snapshots.restore(sandbox.workspace, snapshot)
        except (SandboxError, OSError) as error:
            raise SandboxError(
                f"what {admitted.call.name!r} did to files before it failed cannot be undone: {error}"
            ) from error
        return True

    async def changed(self, snapshot: SnapshotRef) -> str:
        """Returns what is different from a snapshot now, in words the model reads; empty when that cannot be told."""
        if self.sandbox is None:
            return ""
        store, workspace = self._looking(self.sandbox), self.sandbox.workspace
        try:
            changes = await store.changes(workspace, snapshot)
            text = await unified(store, workspace, changes, snapshot, limit=_DIFF)
        except (HoldfastError, OSError):
            return ""
        return f"Files that changed since it began:\n{text}" if text else "No file changed since it began."

    async def appeared(self, paths: Sequence[str]) -> frozenset[str]:
        """Returns those of the paths that are protected in the workspace, and at which there is something."""
        if self.sandbox is None or not paths:
            return frozenset()
        from holdfast.sandbox.native.guarding import appeared  # noqa: PLC0415 - with the first such call

        return await asyncio.to_thread(appeared, self.sandbox.workspace.root, paths, self.sandbox.backend.guarded)

    async def put_away(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Removes what is at protected paths where nothing was before a call, and returns what that was: programs
        outside obey it, and whoever would have removed it was killed. Other paths stay, whatever a log says of them.

        Raises:
            OSError: it cannot be done.
        """
        if self.sandbox is None or not (there := await self.appeared(paths)):
            return ()
        from holdfast.sandbox.native.guarding import put_away  # noqa: PLC0415 - with the first such call

        folder = self.sandbox.workspace.root
        return await in_thread(lambda: put_away(folder, there))

    # ---- perform ------------------------------------------------------------------------------------------

    async def perform(self, admitted: Admitted, nest: Nest | None = None) -> ToolResult | Wait:
        """Returns what the call came to; its failures come back as results too.

        A checkable call that fails is asked about at once: it may have happened all the same.

        Raises:
            asyncio.CancelledError: the run wants it to stop.
            Fenced: the session has another owner, and nothing more was done.
        """
        if self._pen is not None and not self._pen.held:
            await self._pen.hold()
        context = self._context(admitted, nest)
        if admitted.effect.outside != "checkable":
            outcome = await authored.run(admitted.tool, admitted.arguments, context)
            if not isinstance(outcome, Wait):
                return outcome
            if outcome.kind == "question" and self.rules.unattended:
                return nobody_there(admitted.call.name)
            return waiting(outcome, self._trays.pop(admitted.key, ()))
        began = self.clock.now()
        outcome = await authored.run(admitted.tool, admitted.arguments, context)
        if isinstance(outcome, Wait):
            return waiting(outcome, self._trays.pop(admitted.key, ()))
        if not authored.may_have_acted(outcome):
            return outcome
        try:
            return await self.ask(admitted, began) or outcome
        except LookupError as error:
            return unasked(admitted.call.name, outcome.content, str(error))

    def _context(self, admitted: Admitted, nest: Nest | None = None) -> ToolContext:
        sandbox = self.sandbox
        return ToolContext(
            call_id=admitted.call.id,
            stream=self.stream,
            key=admitted.key,
            workspace=None if sandbox is None else sandbox.workspace,
            backend=None if sandbox is None else _backend_of(admitted.tool, sandbox),
            confined=sandbox is not None and sandbox.confined,
            stored=self._stored,
            keep=self._keep,
            nest=nest,
            now=self.clock.now,
            spawner=self.spawn,
        )

    async def _stored(self, digest: Digest) -> bytes:
        chunks = self._named[digest]  # or a KeyError, whatever else the store may hold
        return await get_chunked(self.blobs, tenant_of(self.stream), digest, chunks)

    async def _keep(self, key: str, name: str, data: bytes, media_type: str) -> Attachment:
        """Keeps a file that a call attaches until the call has come to something."""
        tray = self._trays.setdefault(key, [])
        if len(tray) >= MOST:
            raise UsageError(f"a call may attach {MOST} files: put more into an archive, and attach that")
        attachment = await stored_file(self.blobs, tenant_of(self.stream), name, data, media_type)
        tray.append(attachment)
        return attachment

    async def ask(self, admitted: Admitted, began: int) -> ToolResult | None:
        """Returns what a checkable call came to that began then (µs UTC); None when it certainly did not happen.

        Raises:
            LookupError: nobody can tell; says why.
        """
        tool, context = admitted.tool, self._context(admitted)
        found = await authored.ask(tool, admitted.arguments, context)
        left = began / 1e6 + tool.spec.settles - self.clock.now() / 1e6
        if found is None and left > 0:  # it may be on its way still
            await self.clock.sleep(left)
            found = await authored.ask(tool, admitted.arguments, context)
        return found

    # ---- finish -------------------------------------------------------------------------------------------

    async def finish(self, admitted: Admitted, raw: ToolResult) -> ToolResult:
        """Returns the result as the model reads it: valid text, and no more of it than the tool may give.

        All of a longer one is kept as a blob, where there is a tool that can read it.
        """
        if self._trays and (tray := self._trays.pop(admitted.key, None)):
            raw = msgspec.structs.replace(raw, attachments=(*raw.attachments, *tray))
        content, limit, stored = raw.content, admitted.tool.spec.max_output, raw.stored
        if len(content) > limit:
            advice = "ask for less at a time"
            if "read" in self.tools:
                stored = await self.blobs.put(tenant_of(self.stream), content.encode("utf-8", "replace"))
                advice = f'read it all, a piece at a time, with read(path="blob:{stored}")'
            content = bounded(content, limit, advice)
        if not content.isascii():
            content = content.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written down
        return raw if content is raw.content else msgspec.structs.replace(raw, content=content, stored=stored)


def _backend_of(tool: Tool, sandbox: Sandbox) -> Backend | None:
    """Returns what a tool's calls may run commands in: by its tier, and where it says nothing only the sandbox."""
    if tool.tier == "direct":
        return None
    return NoIsolation() if tool.tier == "outside" else sandbox.backend


def _read_only(call: ToolCall) -> Refused:
    text = f"Denied: this run is read-only, and {call.name!r} may change something. Look, and say what to change."
    return refusal(text, "permission_denied", "tool_mode_read_only", denied=True)


def _ensure_held(pen: Pen, loop: asyncio.AbstractEventLoop) -> None:
    """Raises when this process has lost the session; the event loop itself cannot wait for what it has to do."""
    if pen.held:
        return
    if threading.get_ident() == getattr(loop, "_thread_id", None):
        raise SandboxError("the lease of the session ran out, so nothing is changed: call it again")
    asyncio.run_coroutine_threadsafe(pen.hold(), loop).result()
