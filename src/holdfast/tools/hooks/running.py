"""Asks the hooks of a run about its calls, so that nothing they do breaks it.

Not here: when they are asked (`gateway.py`), and where notes are written down (`engine/doing/`).
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any, TypeVar, final

import msgspec

from holdfast.flow.interrupting import cancellations
from holdfast.safety.redacting import Redactor
from holdfast.tools.gating.admitted import Admitted
from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling, ToolHooks
from holdfast.tools.results import Refused, refusal
from holdfast.types import CallId, StreamId, ToolResult, session_of

__all__ = ("Advice", "HookRunner")

T = TypeVar("T", Ruling, Finding)
_TEXT = 4_000
"""Characters of a note that are kept."""
_WORD = 500
"""Characters of its topic, and of each other word of it."""
_NOTES = 100
"""Notes of one call that are kept."""
_CALLS = 2_000
"""Calls whose context is kept until their results come: more than any turn makes, and than one call makes others."""
_CONTEXT = 8_000
"""Characters that hooks may add to a result."""


class Advice(msgspec.Struct, frozen=True, gc=False):
    """What the hooks of a run say of a call."""

    refused: Refused | None = None
    ask: str = ""
    """Why a person has to be asked; empty where nobody has."""


_PASS = Advice()


@final
class HookRunner:
    """The hooks of one run."""

    def __init__(self, hooks: ToolHooks, redactor: Redactor | None = None, workspace: str = "") -> None:
        self._hooks = hooks
        self._redactor = redactor or Redactor()
        self._workspace = workspace
        self._notes: list[tuple[CallId, Note]] = []
        self._context: dict[str, str] = {}
        """What calls that are under way have the model read beside their results, by their keys."""

    async def before(self, admitted: Admitted, stream: StreamId, agent: str) -> Advice:
        """Returns what they say of a call that could be made."""
        self._context.pop(admitted.key, None)  # of a call that has waited, it is found anew
        calling = self._calling(admitted, stream, agent)
        asks: list[str] = []
        context: list[str] = []
        for hook in self._hooks.before:
            try:
                ruling = await self._said(hook, Ruling, calling)
            except Exception as error:  # noqa: BLE001 - boundary: a hook of a call; somebody's function
                return self._broken(calling, hook, error)
            if ruling is None:
                continue
            self._note(calling, ruling.notes)
            if ruling.verdict == "deny":
                words = ruling.reason or f"a hook ({_name(hook)}) does not allow it"
                return Advice(refusal(f"Denied: {words}", "permission_denied", "tool_permission_denied", denied=True))
            if ruling.verdict == "ask":
                asks.append(ruling.reason or f"a hook wants it asked about ({_name(hook)})")
            context += ruling.context
        if context:
            self._context[admitted.key] = "\n\n".join(context)[:_CONTEXT]
            if len(self._context) > _CALLS:  # of calls that were refused after all
                del self._context[next(iter(self._context))]
        return Advice(ask="; ".join(asks)) if asks else _PASS

    async def after(self, admitted: Admitted, stream: StreamId, agent: str, result: ToolResult) -> ToolResult:
        """Returns what the model reads of a result: what they put in its place, with what they add to it."""
        calling = self._calling(admitted, stream, agent)
        for hook in self._hooks.after:
            try:
                finding = await self._said(hook, Finding, calling, result)
            except Exception as error:  # noqa: BLE001 - boundary: as above; what was done is done
                text = f"{_told(hook)} failed: {type(error).__name__}: {error}"
                self._note(calling, (Note("security", "security/hook_failed", text, (calling.tool,)),))
                continue
            if finding is None:
                continue
            self._note(calling, finding.notes)
            if finding.result is not None:
                result = finding.result
        if context := self._context.pop(admitted.key, ""):
            result = msgspec.structs.replace(result, content=f"{context}\n\n{result.content}")
        return result

    def take(self) -> list[tuple[CallId, Note]]:
        """Returns what they want written down since this was asked last."""
        notes, self._notes = self._notes, []
        return notes

    async def _said(self, hook: Callable[..., Any], kind: type[T], *told: Any) -> T | None:
        """Returns what a hook says, as the log can hold it.

        Raises:
            Exception: whatever it raises, or what is wrong with what it says.
            asyncio.CancelledError: the run wants it to stop.
        """
        before = cancellations()
        try:
            said = hook(*told)
            if inspect.isawaitable(said):
                async with asyncio.timeout(self._hooks.seconds):
                    said = await said
        except asyncio.CancelledError as error:
            if cancellations() > before:
                raise
            raise RuntimeError("something that it awaited was cancelled") from error
        if said is None:
            return None
        if not isinstance(said, kind):
            raise TypeError(f"it returned {type(said).__name__}: return a {kind.__name__}, or None")
        return msgspec.json.decode(_encoded(said), type=kind)

    def _calling(self, admitted: Admitted, stream: StreamId, agent: str) -> Calling:
        return Calling(
            tool=admitted.call.name,
            arguments=msgspec.json.decode(admitted.call.arguments or "{}", type=dict[str, Any]),
            effect=admitted.effect,
            agent=agent,
            session=session_of(stream),
            call_id=admitted.call.id,
            workspace=self._workspace,
        )

    def _broken(self, calling: Calling, hook: object, error: Exception) -> Advice:
        text = f"{_told(hook)} failed: {type(error).__name__}: {error}"
        self._note(calling, (Note("security", "security/hook_failed", text, (calling.tool,)),))
        words = f"Denied: a check that every call passes could not be made ({_name(hook)}). Tell the operator."
        return Advice(refusal(words, "permission_denied", "tool_hook_failed", denied=True))

    def _note(self, calling: Calling, notes: tuple[Note, ...]) -> None:
        for note in notes[:_NOTES]:
            tags = tuple([self._written(each, _WORD) for each in note.tags[:_NOTES]])
            kind, topic, scope = (self._written(each, _WORD) for each in (note.kind, note.topic, note.scope))
            self._notes.append((calling.call_id, Note(kind, topic, self._written(note.text, _TEXT), tags, scope)))

    def _written(self, text: str, most: int) -> str:
        """Returns a text as it is written down: without secrets, also one that would be cut in two."""
        text = self._redactor.clean(text[: 2 * _TEXT])[:most]
        return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _name(hook: object) -> str:
    return str(getattr(hook, "__name__", type(hook).__name__))


def _told(hook: object) -> str:
    """Returns what a hook is called where no model reads it: a program with its arguments."""
    return str(getattr(hook, "told", _name(hook)))


def _encoded(said: Ruling | Finding) -> bytes:
    """Returns what a hook says as JSON, half a character as a question mark."""
    try:
        return msgspec.json.encode(said)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(said), ensure_ascii=False).encode("utf-8", "replace")
