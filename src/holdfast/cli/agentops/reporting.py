"""What a task came to, as the JSON that its operator reads (source: AgentOps 6.6)."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from holdfast.errors import UsageError
from holdfast.server.doors.agentops.outcomes.finishing import Outcome

__all__ = ("LIMIT", "TERMINATION", "TaskResult", "fitted", "result_file", "write_result")

TERMINATION = Path("/dev/termination-log")
LIMIT = 4096
"""Bytes that an operator is given of the file (source: AgentOps 6.6)."""
_CUT = " [truncated]"


class TaskResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The object."""

    output: str
    steps: int
    model: str
    success: bool
    error: str = ""
    trace_id: str = msgspec.field(name="traceID", default="")
    input_tokens: int = 0
    output_tokens: int = 0
    outcome: Outcome | None = None
    """What it came to, in a line; not of one that failed."""


def fitted(result: TaskResult, most: int = LIMIT) -> bytes:
    """Returns the object as JSON of at most so many bytes: its texts are cut, so that it stays whole."""
    whole = msgspec.json.encode(result)
    if len(whole) <= most:
        return whole
    outcome = result.outcome
    if outcome is not None and len(msgspec.json.encode(outcome)) > most // 2:
        outcome = msgspec.structs.replace(outcome, artifacts=())
    result = msgspec.structs.replace(result, outcome=outcome, model=result.model[:200])
    for field in ("output", "error"):
        if len(msgspec.json.encode(result)) > most:
            result = _cut(result, field, most)
    return msgspec.json.encode(result)


def _cut(result: TaskResult, field: str, most: int) -> TaskResult:
    """Returns the same with as much of a text as there is room for."""
    text: str = getattr(result, field)
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        tried = msgspec.structs.replace(result, **{field: text[:middle] + _CUT})
        low, high = (middle, high) if len(msgspec.json.encode(tried)) <= most else (low, middle - 1)
    return msgspec.structs.replace(result, **{field: text[:low] + _CUT})


def result_file(named: Path | None) -> Path | None:
    """Returns the file that takes the result; None for none."""
    if named is not None:
        return named
    return TERMINATION if TERMINATION.is_file() and os.access(TERMINATION, os.W_OK) else None


def write_result(result: TaskResult, path: Path | None) -> None:
    """Writes the object into a file, at most as long as an operator reads.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        return
    try:
        path.write_bytes(fitted(result))
    except OSError as error:
        raise UsageError(
            f"the result file {str(path)!r} cannot be written: {error.strerror}; it is on standard output"
        ) from error
