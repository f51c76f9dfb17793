"""The one gateway for effects: every tool call of every kind passes these three functions.

    consult   hooks look at it                                          no effect, may be done again
    admit     resolve -> repair -> validate -> authorise -> permit      no effect, may be done again
    protect   snapshot of what the call may change                      the last of admission, at its turn (`gating/`)
    perform   run it within its timeout, with a place and secrets       the effect
    finish    hooks see it -> known secrets go -> bound the size        what the model gets to read

What a run has not got costs it nothing: no hooks, no rules, no secrets. A refusal is a result the model reads. After a
crash `ask` finds out whether a checkable call has happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container, Mapping
from functools import partial
from typing import TYPE_CHECKING, final

import msgspec

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.journal.owning import Pen
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.policy.profile import Ceiling
from holdfast.sandbox.port import Backend
from holdfast.sandbox.sandbox import Sandbox
from holdfast.storage.blobs import BlobStore
from holdfast.storage.chunks import get_chunked
from holdfast.tools import authored
from holdfast.tools.attaching import MOST, stored_file, waiting
from holdfast.tools.binding import Order, Tool, ToolContext, key_of_call
from holdfast.tools.gating.admitted import Admitted
from holdfast.tools.gating.files import Place, ensure_held, owner_of
from holdfast.tools.gating.hiding import hidden
from holdfast.tools.gating.taking_turns import a_place
from holdfast.tools.permitting import Rules, bound_to, granted, in_short, judge
from holdfast.tools.results import Refused, bounded, forbidden, nobody_there, refusal, unasked
from holdfast.types import (
    Attachment,
    CallId,
    Digest,
    Effect,
    EventId,
    ToolCall,
    ToolResult,
    ToolSpec,
    Wait,
    tenant_of,
)

if TYPE_CHECKING:
    from holdfast.safety.secrets.chain import Secrets
    from holdfast.tools.authorising.authority import Authority
    from holdfast.tools.hooks.port import Note
    from holdfast.tools.hooks.running import Advice, HookRunner
    from holdfast.tools.keeping.kept import Kept

__all__ = ("Admitted", "Gateway", "Nest", "Spawn", "owner_of")

Nest = Callable[[str, str], Awaitable[ToolResult]]
"""Makes a call of another tool, by its name and its arguments' JSON, on behalf of a running one."""

Spawn = Callable[[str, Order], Awaitable[Wait | ToolResult]]
"""Starts another agent on behalf of the call with that idempotency key."""


@final
class Gateway(Place, eq=False, kw_only=True):
    """The tools of one run, and the place they act in."""

    tools: Mapping[str, Tool]
    """By their names."""
    inner: Container[str] = ()
    """Names of those that no model may call, only a tool."""
    run: EventId
    blobs: BlobStore
    agent: str = ""
    """Whose calls these are, by name."""
    rules: Rules = Rules()
    clock: Clock = SystemClock()
    spawn: Spawn | None = None
    secrets: Secrets | None = None
    authority: Authority | None = None
    """Who decides by policy which calls there may be; None where every one may."""
    hooks: HookRunner | None = None
    kept: Callable[[], Kept] | None = None
    """Gives what calls may keep beyond the run."""
    ceiling: Ceiling = Ceiling()
    """What tools may start that are programs or containers of their own."""
    _named: Mapping[Digest, tuple[Digest, ...]] = msgspec.field(default_factory=dict[Digest, tuple[Digest, ...]])
    _trays: dict[str, list[Attachment]] = msgspec.field(default_factory=dict[str, list[Attachment]])
    """What calls attached that are under way, by their keys."""
    _touched: Collection[str] = ()

    def attach(
        self, pen: Pen, stored: Mapping[Digest, tuple[Digest, ...]] | None = None, touched: Collection[str] = ()
    ) -> None:
        """Ties every effect to the attempt of that pen: a process that lost its session touches nothing more.

        `stored` are the outputs that the session's results named and the files it was given, which it may read, with
        the blobs that make up a large one; `touched` are the URLs that the run's calls went to or found, and it grows.
        """
        self._pen = pen
        self._touched = touched
        self._named = stored if stored is not None else {}
        if self.sandbox is not None:
            workspace = self.sandbox.workspace
            workspace.guard = partial(ensure_held, pen, asyncio.get_running_loop())
            workspace.env[OWNER] = f"{self._owner}#{pen.epoch}"

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of."""
        return tuple(tool.spec for tool in self.tools.values())

    @property
    def terminal(self) -> frozenset[str]:
        """Tools whose calls end the run."""
        return frozenset([name for name, tool in self.tools.items() if tool.spec.terminal])

    # ---- admit --------------------------------------------------------------------------------------------

    def admit(
        self,
        call: ToolCall,
        name: str,
        *,
        cut: bool = False,
        below: bool = False,
        approved: Container[Digest] = (),
        always: Container[Digest] = (),
        edited: ToolCall | None = None,
        advice: Advice | None = None,
    ) -> Admitted | Refused | Wait:
        """Returns the call ready to run, or why it must not, or that a person has to be asked first.

        `name` tells the call from every other of its session; `cut` says that the model was stopped by its length
        cap, so that damaged arguments may be half of what it meant, and `below` that a tool makes the call. `approved`
        is what a person allowed once, `always` the tools, with their effects, a person allowed for good; `edited` is
        the call as they want it made. `advice` is what `consult` came to, where there are hooks.
        """
        if advice is not None and advice.refused is not None:
            return advice.refused
        if not below and call.name in self.inner:
            return self._unknown(call.name)
        prepared = self.prepare(call, name, cut=cut)
        if isinstance(prepared, Refused):
            return prepared
        asks = self.rules.mode != "auto" and not prepared.tool.delegates
        if asks or self.authority is not None or advice is not None:
            permitted = self._permit(prepared, name, approved, always, advice, by_mode=asks)
            if not isinstance(permitted, Admitted):
                return permitted
        return prepared if edited is None else self._correct(edited, name)

    async def consult(self, call: ToolCall, name: str, *, cut: bool = False, below: bool = False) -> Advice | None:
        """Returns what the hooks say of a call; None where there are none, or the call is refused anyway."""
        if self.hooks is None or (not below and call.name in self.inner):
            return None
        prepared = self.prepare(call, name, cut=cut)
        return None if isinstance(prepared, Refused) else await self.hooks.before(prepared, self.stream, self.agent)

    def noted(self) -> list[tuple[CallId, Note]]:
        """Returns what hooks want written down since this was asked last."""
        return [] if self.hooks is None else self.hooks.take()

    def _correct(self, edited: ToolCall, name: str) -> Admitted | Refused:
        """Returns the call with a person's arguments: they allowed these very ones, but not what is denied anyway."""
        prepared = self.prepare(edited, name)
        if isinstance(prepared, Refused):
            return prepared
        if judge(self.rules.mode, prepared.effect) == "deny":
            return _read_only(edited)
        if self.authority is not None:
            decision = self.authority.judge(prepared.call)
            if decision.verdict == "deny":
                return forbidden(edited.name, decision.rule)
        return prepared

    def prepare(self, call: ToolCall, name: str, *, cut: bool = False) -> Admitted | Refused:
        """Returns the call ready to run as far as the call itself goes: nobody is asked whether it may."""
        tool = self.tools.get(call.name)
        if tool is None:
            return self._unknown(call.name)
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

    def _unknown(self, name: str) -> Refused:
        known = ", ".join(sorted([each for each in self.tools if each not in self.inner])) or "none"
        return refusal(f"There is no tool {name!r}. Tools: {known}.", "unsupported_tool", "tool_unsupported")

    def _permit(
        self,
        admitted: Admitted,
        name: str,
        approved: Container[Digest],
        always: Container[Digest],
        advice: Advice | None,
        *,
        by_mode: bool,
    ) -> Admitted | Refused | Wait:
        call, rules = admitted.call, self.rules
        verdict = judge(rules.mode, admitted.effect) if by_mode else "allow"
        if verdict == "deny":
            return _read_only(call)
        why = rule = ""
        if self.authority is not None:
            decision = self.authority.judge(call)
            if decision.verdict == "deny":
                return forbidden(call.name, decision.rule)
            if decision.verdict == "approval_required":
                why, rule = decision.rule, decision.digest
        if advice is not None and advice.ask:
            why = f"{why}; {advice.ask}" if why else advice.ask
            rule = f"{rule}{advice.ask}"
        if verdict == "allow" and not why:
            return admitted
        rule += admitted.tool.declared
        grant = granted(admitted.tool.spec, admitted.effect, rule)
        if grant in always:
            return admitted
        digest = bound_to(name, call, admitted.tool.spec, rules.mode, admitted.effect, rule)
        return admitted if digest in approved else self._asked(admitted, name, grant, digest, why)

    def _asked(self, admitted: Admitted, name: str, grant: Digest, digest: Digest, why: str) -> Refused | Wait:
        """Returns the wait for a person's word, or what the model reads where nobody can be asked."""
        call, rules = admitted.call, self.rules
        if rules.unattended:
            text = (
                f"Denied: {call.name!r} needs a person's word here, and nobody can be asked. Do without it, or say "
                "what should be run."
            )
            return refusal(text, "permission_denied", "tool_approval_required", denied=True)
        from holdfast.safety.redacting import Redactor  # noqa: PLC0415 - a run that asks about nothing needs none

        redactor = Redactor() if self.secrets is None else self.secrets.redactor
        prompt = redactor.clean(f"{call.name} {in_short(call.arguments)}{f' ({why})' if why else ''}")
        token = f"approval:{name}:{digest[-12:]}"
        deadline = None if rules.patience is None else self.clock.now() + int(rules.patience * 1e6)
        return Wait(
            token, "approval", deadline, prompt, subject=call.name, grant=grant, digest=digest, arguments=admitted.read
        )

    # ---- perform ------------------------------------------------------------------------------------------

    async def perform(
        self, admitted: Admitted, nest: Nest | None = None, *, has_place: bool = False
    ) -> ToolResult | Wait:
        """Returns what the call came to; its failures come back as results too.

        A checkable call that fails is asked about at once: it may have happened all the same. One that `has_place`
        runs within another call of its tool, and would wait for that for ever.

        Raises:
            asyncio.CancelledError: the run wants it to stop.
            Fenced: the session has another owner, and nothing more was done.
        """
        if self._pen is not None and not self._pen.held:
            await self._pen.hold()
        tool, context = admitted.tool, self._context(admitted, nest)
        checkable = admitted.effect.outside == "checkable"
        began = self.clock.now() if checkable else 0
        if tool.spec.at_once is None or has_place:
            outcome = await authored.run(tool, admitted.arguments, context)
        else:
            async with a_place(tool.spec):
                outcome = await authored.run(tool, admitted.arguments, context)
        if isinstance(outcome, Wait):
            if outcome.kind == "question" and self.rules.unattended:
                return nobody_there(admitted.call.name)
            if self.secrets is not None:
                outcome = hidden(outcome, self.secrets.redactor)
            return waiting(outcome, self._trays.pop(admitted.key, ()))
        if not checkable:
            return outcome
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
            sleep=self.clock.sleep,
            spawner=self.spawn,
            secrets=self.secrets,
            touched=self._touched,
            agent=self.agent,
            tools=self.tools,
            kept=self.kept,
            ceiling=self.ceiling,
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
        """Returns the result as the model reads it: valid text without known secrets, no more than the tool may give.

        All of a longer one is kept as a blob, where there is a tool that can read it.
        """
        if self._trays and (tray := self._trays.pop(admitted.key, None)):
            raw = msgspec.structs.replace(raw, attachments=(*raw.attachments, *tray))
        raw = self.hide(raw)
        if self.hooks is not None:
            seen = await self.hooks.after(admitted, self.stream, self.agent, raw)
            raw = seen if seen is raw else self.hide(seen)
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

    async def receive(self, call: ToolCall, name: str, raw: ToolResult) -> ToolResult:
        """Returns what a call came to that had waited for it, as `finish` does: an agent's answer, or a program's."""
        prepared = self.prepare(call, name)
        return self.hide(raw) if isinstance(prepared, Refused) else await self.finish(prepared, raw)

    def hide(self, raw: ToolResult) -> ToolResult:
        """Returns a result without known secrets."""
        return raw if self.secrets is None else hidden(raw, self.secrets.redactor)


def _backend_of(tool: Tool, sandbox: Sandbox) -> Backend | None:
    """Returns what a tool's calls may run commands in: by its tier, and where it says nothing only the sandbox."""
    if tool.tier == "direct":
        return None
    return NoIsolation() if tool.tier == "outside" else sandbox.backend


def _read_only(call: ToolCall) -> Refused:
    text = f"Denied: this run is read-only, and {call.name!r} may change something. Look, and say what to change."
    return refusal(text, "permission_denied", "tool_mode_read_only", denied=True)
