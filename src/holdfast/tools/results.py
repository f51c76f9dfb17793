"""Results as the model reads them and the log holds them: refusals, failures, and whatever a function returned."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.tools.binding import Output
from holdfast.tools.contract.taxonomy import TAXONOMY
from holdfast.types import TOKEN_LIMIT, ToolError, ToolResult, Wait

__all__ = (
    "Refused",
    "bounded",
    "broken",
    "canceled",
    "concluded",
    "failure",
    "forbidden",
    "nobody_there",
    "not_free",
    "refusal",
    "rolled_back",
    "shaped",
    "shown",
    "skipped",
    "token_too_long",
    "token_used",
    "unasked",
    "unknown_outcome",
)


_TOKEN = 200
"""Characters of a token that the model gets to read."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A call that must not run, and why, as the model reads it."""

    result: ToolResult


def refusal(text: str, code: str, reason: str, *, denied: bool = False) -> Refused:
    """Returns a refusal in the words the model reads."""
    return Refused(ToolResult(text, ToolError(code, reason, "denied" if denied else "error")))


def forbidden(name: str, rule: str) -> Refused:
    """Returns the refusal of a call that a policy does not allow, with the rule that decided."""
    text = f"Denied: this agent may not call {name!r} so ({rule}). Do without it, or say what you would need."
    return refusal(text, "permission_denied", "tool_permission_denied", denied=True)


def canceled(why: str) -> ToolResult:
    """Returns the result of a call that was stopped or never begun."""
    return ToolResult(f"Canceled: {why}.", ToolError("canceled", "tool_execution_canceled"))


def skipped() -> ToolResult:
    """Returns the result of a call that had not begun when a person said something."""
    text = "Skipped: somebody said something before this call began. Read it, and decide again what to call."
    return ToolResult(text, ToolError("canceled", "tool_skipped"))


def concluded() -> ToolResult:
    """Returns the result of a call that was not made, or not waited for, because another one had ended the run."""
    text = "Skipped: another call of this turn ended the run before this one was made or answered."
    return ToolResult(text, ToolError("canceled", "tool_skipped"))


def rolled_back(result: ToolResult) -> ToolResult:
    """Returns the result of a call that failed, with a word on its files, which were put back."""
    note = "[the call failed, so the files are back as they were before it]"
    return msgspec.structs.replace(result, content=f"{result.content}\n{note}")


def nobody_there(name: str) -> ToolResult:
    """Returns the result of a question in a run that nobody attends."""
    text = f"Nobody can be asked here, so {name!r} has no answer. Decide by yourself, and say what you assumed."
    return ToolResult(text, ToolError("permission_denied", "tool_unattended", "denied"))


def not_free(why: object) -> ToolResult:
    """Returns the result of a call that was not begun because somebody else is changing the folder."""
    return ToolResult(f"Not run: {why}", ToolError("execution_failed", "tool_workspace_busy", retryable=True))


def token_used(name: str, token: str) -> ToolResult:
    """Returns the result of a call that wants to wait under a token that its session has used before."""
    shown = token if len(token) <= _TOKEN else f"{token[:_TOKEN]}…"
    text = (
        f"{name!r} began, and what it began goes on, but its answer cannot be waited for: the token {shown!r} was used "
        "in this session before, and an answer to one wait could be taken for that to another. Do not call it again as "
        "it is: the tool has to give each wait a token of its own, for example `ToolContext.key`."
    )
    return ToolResult(text, ToolError("execution_failed", "tool_wait_token_used"))


def token_too_long(name: str) -> ToolResult:
    """Returns the result of a call that wants to wait under a token that is longer than any that is kept."""
    text = (
        f"{name!r} began, and what it began goes on, but its answer cannot be waited for: its token has more than "
        f"{TOKEN_LIMIT:,} characters. Do not call it again as it is: the tool has to wait under a shorter one, for "
        "example `ToolContext.key`."
    )
    return ToolResult(text, ToolError("execution_failed", "tool_wait_token_too_long"))


def unknown_outcome(name: str, files: str = "") -> ToolResult:
    """Returns the result of a call that may or may not have happened; `files` says what changed since it began."""
    text = (
        f"Outcome unknown: the process died while {name!r} was running. It was not run again, because doing it twice "
        "might do harm. Check what it did before you decide."
    )
    return _unknown(f"{text}\n\n{files}" if files else text)


def unasked(name: str, failed: str, why: str) -> ToolResult:
    """Returns the result of a call that failed, where nobody could say whether it had happened all the same."""
    return _unknown(
        f"{failed}\nOutcome unknown: whether {name!r} took effect could not be found out ({why}). Check before you "
        "call it again."
    )


def _unknown(text: str) -> ToolResult:
    return ToolResult(text, ToolError("execution_failed", "outcome_unknown"))


def failure(code: str) -> ToolError:
    """Returns the error of a call that failed with this code."""
    kind = TAXONOMY.get(code, TAXONOMY["execution_failed"])
    return ToolError(code, kind.reason, kind.status, retryable=kind.retryable)


def broken(name: str, error: BaseException) -> ToolResult:
    """Returns the result of a call whose function raised."""
    return ToolResult(f"{name!r} failed: {type(error).__name__}: {error}", failure("execution_failed"))


def shaped(raw: Output) -> ToolResult | Wait:
    """Returns what a function returned as a result, or the wait that it returned."""
    if isinstance(raw, Wait):
        if raw.kind == "approval":
            raise ValueError("only the gateway asks for approvals; a tool that wants to know something asks a question")
        if raw.below:  # whose answer it is, only the calls above can say
            raw = msgspec.structs.replace(raw, below="")
        return msgspec.json.decode(msgspec.json.encode(raw), type=Wait)  # what cannot be read again must not be logged
    if not isinstance(raw, ToolResult):
        return ToolResult(_as_text(raw))
    content = _as_text(raw.content)
    if content is raw.content and raw.error is None and raw.metadata == {} and not raw.attachments:
        return raw
    copy = msgspec.structs.replace(raw, content=content, metadata=shown(raw.metadata))
    return msgspec.json.decode(msgspec.json.encode(copy), type=ToolResult)  # as above


def shown(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns metadata as the log can hold it; what JSON has no word for is left out, all of it."""
    try:
        return msgspec.json.decode(msgspec.json.encode(metadata, enc_hook=_pydantic), type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError, ValueError, NotImplementedError, RecursionError):
        return {}


def _as_text(raw: object) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, (bytes, bytearray)):
        return f"[{len(raw)} bytes of binary data, not shown: return text, or write a file and return its path]"
    return msgspec.json.encode(raw, enc_hook=_pydantic).decode()


def _pydantic(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"a tool returned {type(value).__name__}, which JSON cannot hold")
    return dump(mode="json")


def bounded(text: str, limit: int, advice: str) -> str:
    """Returns the beginning and the end of a text, and between them how much is missing and what to do about it."""
    head, tail = limit * 2 // 3, limit // 3
    left_out = len(text) - head - tail
    note = f"\n[... {left_out} of {len(text)} characters left out; {advice} ...]\n"
    return text[:head] + note + text[len(text) - tail :]
