"""What became of what a run waited for, and why calls of it were denied, in words for a person.

A person or a rule said no, or nobody answered in time, or nobody could be asked: each wants another remedy, so each is
said.
"""

from __future__ import annotations

from collections import Counter
from typing import final

from holdfast.cli.asking.answers import ALWAYS, ONCE, SAID, UNASKED
from holdfast.cli.outcomes import MARKS
from holdfast.cli.words import count, one_line, seconds
from holdfast.engine.events import (
    PhaseFailed,
    PhaseStarted,
    ReviewRequested,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.turns import own
from holdfast.types import Event, PhaseSpec, Wait

__all__ = ("Waits", "denials", "outcome")

_FORBIDDEN = "tool_permission_denied"
_REFUSED = {
    "tool_approval_denied": "person",
    "tool_approval_required": "unasked",
    "tool_mode_read_only": "read-only",
    "tool_hook_failed": "rule",
    _FORBIDDEN: "rule",
}
"""What a call's own result says of why it was denied."""
_WHY = {
    "person": "by a person",
    "late": "as nobody answered in time",
    "unasked": "as nobody could be asked",
    "read-only": "as the run was read-only",
    "rule": "by a policy or a hook",
}


@final
class Waits:
    """Learns a run's events in their order."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[Wait, int]] = {}
        """What was waited for, and since when, by its token."""
        self._denied: Counter[str] = Counter()
        self._begun: set[str] = set()
        """Calls that were made: whatever they come to, nobody forbade them."""
        self._phases: tuple[PhaseSpec, ...] = ()
        self._places: dict[str, int] = {}
        """Of each wait for a phase, the phase's place."""

    def learn(self, event: Event) -> None:
        """Takes an event in."""
        match event.data:
            case RunStarted() as data:
                self._asked.clear()
                self._denied.clear()
                self._begun.clear()
                self._phases = data.setup.phases
            case ToolWaiting() | ReviewRequested() | PhaseStarted() as data:
                self._asked[data.wait.token] = data.wait, event.at
                if isinstance(data, PhaseStarted):
                    self._places[data.wait.token] = data.phase
            case ToolStarted() as data:
                self._begun.add(data.call_id)
            case ToolFinished() as data if data.result.error is not None:
                error = data.result.error
                why = None if error.reason == _FORBIDDEN and data.call_id in self._begun else _REFUSED.get(error.reason)
                if why is not None and error.status == "denied":
                    self._denied[why] += 1
            case WaitResolved() as data if data.token in self._asked:
                wait, _ = self._asked[data.token]
                if wait.kind == "approval" and not _allowed(wait, data):
                    self._denied["late" if data.content is None else "unasked" if _unasked(data) else "person"] += 1
            case _:
                pass

    def became(self, data: WaitResolved) -> tuple[str, str] | None:
        """Returns what became of a wait, and its colour; None for one that is not known."""
        known = self._asked.get(data.token)
        if known is None:
            return None
        words, style = outcome(*known, data)
        return (f"{words}; its fallback is used" if "fallback" in self.fallen_back(data) else words), style

    def fallen_back(self, data: WaitResolved | PhaseFailed) -> str:
        """Returns that a phase failed, and whether its fallback counts instead; empty where none did."""
        place = data.phase if isinstance(data, PhaseFailed) else self._places.get(data.token)
        if place is None or place >= len(self._phases):
            return ""
        if isinstance(data, WaitResolved):
            said = data.content is not None and not data.is_error
            if said if data.outcome is None else data.outcome.status != "failed":
                return ""
        return "failed, fallback used" if self._phases[place].optional else "failed"

    def denials(self, number: int, advice: str = "") -> str:
        """Returns how many calls were denied and why; `advice` is what helps where nobody could be asked."""
        return denials(number, self._denied, advice)


def outcome(wait: Wait, since: int, data: WaitResolved) -> tuple[str, str]:
    """Returns what became of a wait that began at a time (µs UTC), and its colour."""
    if wait.kind == "child" and data.outcome is not None:
        mark, style = MARKS[data.outcome.status]
        why = f": {one_line(data.outcome.reason, 120)}" if data.outcome.reason else ""
        return f"{mark} {one_line(wait.subject, 60)} {data.outcome.status}{why}", style
    if data.content is None:
        if wait.kind == "timer":
            return "▶ the time has come", "cyan"
        span = "time" if wait.deadline is None else seconds(max(0, wait.deadline - since) / 1e6)
        return f"⊘ nobody answered in {span}", "yellow"
    if wait.kind == "approval":
        return _approval(wait, data)
    if wait.kind == "review":
        return _review(data, data.content)
    return (f"✗ {one_line(data.content)}", "red") if data.is_error else ("✓ answered", "green")


def _approval(wait: Wait, data: WaitResolved) -> tuple[str, str]:
    said = data.content or ""
    if _allowed(wait, data):
        words, style = SAID[said]
        return (f"{words}, with other arguments: {one_line(data.arguments)}" if data.arguments else words), style
    why = one_line(said.removeprefix("deny").strip(": \n")) if not data.arguments else "its arguments cannot be changed"
    return f"⊘ denied: {why}" if why else "⊘ denied", "yellow"


def _review(data: WaitResolved, said: str) -> tuple[str, str]:
    word, _, why = said.partition(":")
    if word in (ONCE, ALWAYS) and not data.is_error:
        return "✓ accepted", "green"
    if word == "changes" and not data.is_error:
        return f"↻ sent back: {one_line(why.strip())}", "cyan"
    why = one_line((why if word == "deny" else said).strip())
    return f"⊘ refused: {why}" if why else "⊘ refused", "yellow"


def _allowed(wait: Wait, data: WaitResolved) -> bool:
    """Whether an approval's answer is a clear yes, by the rule of the fold."""
    return data.content in (ONCE, ALWAYS) and not data.is_error and (own(wait) or not data.arguments)


def _unasked(data: WaitResolved) -> bool:
    return (data.content or "").endswith(UNASKED)


def denials(number: int, why: Counter[str], advice: str = "") -> str:
    """Returns how many calls were denied; of how many it is known why, that, too."""
    said = f"{count(number, 'call')} {'was' if number == 1 else 'were'} denied"
    known = {name: times for name, times in why.items() if times}
    if sum(known.values()) != number:  # of what it started, or of a run that is seen in part
        return said
    if len(known) > 1:
        parts = [f"{known[name]} {words}" for name, words in _WHY.items() if name in known]
        return f"{said}: {', '.join(parts)}{advice if 'unasked' in known else ''}"
    only = next(iter(known))
    if only in ("person", "rule"):
        return f"{said} {_WHY[only]}"
    return f"{said}: {_WHY[only].removeprefix('as ')}{advice if only == 'unasked' else ''}"
