"""What a run with an `Execution` did so far: which tools it used, which results still hold.

Changed by the fold alone, with what `execution/judging.py` reads of the log.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from holdfast.types import CallId, Effect, Execution, ToolError, ToolResult

__all__ = ("Track", "canonical", "key_of", "lacking")

_REMEMBERED = (
    "[This is the result of the same call from before, which nothing has changed since; it was not made again.]\n"
)
_DENIED = ToolResult(
    "Denied: this very call was made before in this run, and went well. Use what it came to, or call with other "
    "arguments.",
    ToolError("runtime_policy_invalid", "duplicate_tool_call", "denied"),
)
_EMPTY = "{}"


class Track(msgspec.Struct, gc=False):
    """What counts of a run for its `Execution`."""

    rules: Execution
    used: set[str] = set()
    """Tools that the model called with success."""
    noted: set[str] = set()
    """What is written down of the model's last answer and its calls."""
    asked: int | None = None
    """How much the answer lacked when the model was told so last."""
    broken: bool = False
    """Whether the run fails."""
    changes: int = 0
    """Counts up whenever something may have changed."""
    begun: dict[CallId, int] = {}
    """What it was when each call of the turn began."""
    known: dict[str, ToolResult] = {}
    """Results that hold as long as nothing changes, by the keys of their calls."""
    known_at: int = 0
    """The count that they hold at."""
    made: set[str] = set()
    """Keys of the calls that went well, where no call may be made twice."""

    # ---- what happened ------------------------------------------------------------------------------------

    def answered(self) -> None:
        """The model answered: there is a new turn to look at."""
        self.noted.clear()
        self.begun.clear()

    def changed(self) -> None:
        """Something may have changed."""
        self.changes += 1

    def began(self, call_id: CallId, effect: Effect, *, nested: bool) -> None:
        """A call began."""
        if not effect.repeatable:
            self.changed()
        if not nested:
            self.begun[call_id] = self.changes

    def ended(self, call_id: CallId, name: str, effect: Effect | None, written: set[str], result: ToolResult) -> None:
        """A call of the model came to something; without an effect it did not begin. `written` are its arguments, as
        they were written and as they were read.
        """
        at, changes = self.begun.pop(call_id, None), self.changes
        if effect is not None and not effect.repeatable:
            self.changed()
        if result.error is not None:
            return
        self.used.add(name)
        repeats = self.rules.repeats
        if repeats == "run" or effect is None:
            return
        keys = [key_of(name, each) for each in written]
        if repeats == "deny":
            self.made.update(keys)
        elif at == changes:  # nothing else changed anything while it was made
            if self.known_at != self.changes:
                self.known.clear()
                self.known_at = self.changes
            self.known.update(dict.fromkeys(keys, result))

    # ---- what follows -------------------------------------------------------------------------------------

    def again(self, name: str, arguments: str, *, unsettled: bool) -> ToolResult | None:
        """Returns the result of a call that is not to be made again; None when it is to be made.

        `unsettled` says that something goes on which may change anything at any time.
        """
        if self.rules.repeats == "deny":
            return _DENIED if self.made and key_of(name, arguments) in self.made else None
        if unsettled or not self.known or self.known_at != self.changes:
            return None
        result = self.known.get(key_of(name, arguments))
        if result is None:
            return None
        return msgspec.structs.replace(
            result, content=_REMEMBERED + result.content, metadata={"repeated": True}, attachments=()
        )

    def wrong(self, name: str) -> bool:
        """Whether a contract does not let the tool be called."""
        rules = self.rules
        return bool(rules.sequence) and name not in rules.sequence and name not in rules.besides

    def stops(self, name: str, result: ToolResult) -> bool:
        """Whether the run is over with what a call came to."""
        return self.rules.stop_on_first_tool and result.error is None and name not in self.rules.besides


def lacking(track: Track, output: str) -> tuple[list[str], list[str]]:
    """Returns the tools that were not used, and the markers that an answer does not hold."""
    rules = track.rules
    return [each for each in rules.sequence if each not in track.used], [
        each for each in rules.markers if each not in output
    ]


def key_of(name: str, arguments: str) -> str:
    """Returns what two calls have in common that are the same."""
    text = f"{name}\0{canonical(arguments)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def canonical(arguments: str) -> str:
    """Returns arguments with their names in order and nothing between them; what is no JSON stays as it is."""
    if not arguments.strip():
        return _EMPTY
    try:
        value: Any = msgspec.json.decode(arguments)
        return msgspec.json.encode(value, order="deterministic").decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return arguments
