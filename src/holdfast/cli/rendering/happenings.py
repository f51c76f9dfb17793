"""What happened to a run or its session beside words and calls, on one line: for every list of events alike."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from rich.text import Text

from holdfast.cli.words import count, model_name, one_line, seconds
from holdfast.engine.events import (
    AccountOpened,
    AnswerJudged,
    AnswerLacking,
    AnswerRefused,
    AnswerUnfinished,
    BudgetExhausted,
    ContractViolated,
    FilesKept,
    FilesRestored,
    InputDropped,
    LastAnswerAsked,
    LimitsRaised,
    ModelFailed,
    Paused,
    PhaseFailed,
    PhaseStarted,
    ProcessEnded,
    ProcessLost,
    ProcessStarted,
    Resumed,
    ReviewRequested,
    RunClosed,
    SessionEnded,
    ToolNoted,
    WaitResolved,
)
from holdfast.types import Payload

__all__ = ("again", "exhausted", "happening", "onward", "reply", "seam", "violation")

_LONG = 120
_DAY = 86_400


def again(at: int, now: int | None = None) -> str:
    """Returns when a time (µs UTC) is, for a person: the time of day, or the date as well, and how long that is."""
    left = (at - (time.time_ns() // 1000 if now is None else now)) / 1e6
    local = datetime.fromtimestamp(at / 1e6, UTC).astimezone()
    if left <= 0:
        return "now"
    span = f"{left / _DAY:.0f} days" if left > 2 * _DAY else seconds(left)
    return f"at {local:%H:%M} (in {span})" if left < _DAY else f"on {local:%Y-%m-%d %H:%M} (in {span})"


def exhausted(data: BudgetExhausted, now: int | None = None) -> str:
    """Returns what is used up, and when something may be left again."""
    what, _, account = data.limit.partition(" of account ")
    enough = "" if data.short is None else f": {data.short.words(data.limit)}"
    if not account:
        return f"the {what} left do not pay for another model call{enough}"
    said = f"account {one_line(account, 80)} has too few {what} left for another model call{enough}"
    return said if data.again_at is None else f"{said}; enough may be free again {again(data.again_at, now)}"


def onward(data: ModelFailed) -> str:
    """Returns who is asked after a model failed, for a person; empty where nobody is."""
    if not data.next or data.next == data.model:
        return "tries again" if data.again else ""
    where = {"continue": " where it ended", "reset": " from the beginning"}.get(data.mode, "")
    return f"{one_line(data.next, 60)} goes on{where}"


def seam(data: ModelFailed) -> str:
    """Returns who took over from whom, and how, in few words; empty where nobody took over."""
    if data.next in ("", data.model):
        return ""
    how = {"continue": "goes on there", "reset": "starts again"}.get(data.mode, "takes over")
    return f"{model_name(data.model or '?')} → {model_name(data.next)}  {how}"


def reply(data: WaitResolved, most: int = 400) -> str:
    """Returns what was said to whatever waited, on one line; a review that was passed is accepted, not allowed once."""
    if data.content is None:
        return "nobody answered in time"
    if data.content == "once" and data.token.startswith("review:"):
        return "accepted"
    return one_line(data.content, most) + (", with other arguments" if data.arguments else "")


def happening(payload: Payload) -> tuple[str, str, Text] | None:
    """Returns an event's sign, the sign's colour and its words; None for one that others know better."""
    match payload:
        case BudgetExhausted():
            return "■", "bold yellow", Text(exhausted(payload), "yellow")
        case AccountOpened():
            return "◇", "dim", Text(f"spends out of account {one_line('/'.join(payload.account), _LONG)}", "dim")
        case PhaseStarted():
            job = one_line(payload.wait.prompt, _LONG)
            return "▷", "cyan", Text.assemble((f"phase {payload.phase + 1} ", "bold"), job)
        case PhaseFailed():
            return "✗", "bold red", Text.assemble((f"phase {payload.phase + 1} ", "bold"), one_line(payload.why, _LONG))
        case RunClosed():
            return "·", "dim", Text("what was owed for the run is settled and told", "dim")
        case InputDropped():
            why = f": {one_line(payload.reason, _LONG)}" if payload.reason else ""
            return "⊘", "yellow", Text(f"event {payload.input} will not join the conversation{why}", "dim")
        case _:
            return _control(payload)


def _control(payload: Payload) -> tuple[str, str, Text] | None:
    match payload:
        case Paused():
            return "⏸", "bold yellow", Text.assemble(("paused  ", "yellow"), one_line(payload.reason, _LONG))
        case Resumed():
            return "▶", "cyan", Text("goes on")
        case SessionEnded():
            return "■", "bold yellow", Text.assemble(("ended for good  ", "yellow"), one_line(payload.reason, _LONG))
        case ReviewRequested():
            left = f"  changes may be asked for {count(payload.changes_left, 'time')}" if payload.changes_left else ""
            return "◐", "bold yellow", Text.assemble(("will this answer do?", "bold yellow"), (left, "dim"))
        case _:
            return _going_on(payload)


def _going_on(payload: Payload) -> tuple[str, str, Text] | None:
    match payload:
        case LastAnswerAsked():
            limit = payload.limit.replace("_", " ")
            return "■", "yellow", Text(f"the limit of {limit} is met: a last answer is asked for", "yellow")
        case AnswerRefused():
            said = (
                f"an answer to {one_line(payload.token, _LONG)} came before it was asked for, and is too much to keep"
            )
            return "⊘", "yellow", Text(said, "yellow")
        case AnswerUnfinished():
            return "↳", "yellow", Text("it only said what it would do next: it is told to do it", "dim")
        case LimitsRaised():
            more = [count(payload.steps, "step")] if payload.steps else []
            more += [seconds(payload.seconds)] if payload.seconds else []
            return "⊕", "cyan", Text(f"may go on for {' and '.join(more) or 'no more'}")
        case FilesRestored():
            return "↶", "magenta", Text("files are as they were", "dim")
        case FilesKept():
            return "◇", "dim", Text("how the files are now is kept", "dim")
        case _:
            return _beside(payload)


def _promised(payload: Payload) -> tuple[str, str, Text] | None:
    match payload:
        case AnswerLacking():
            return "↳", "yellow", Text(f"the answer lacks {count(payload.lacking, 'thing')}: it is told what", "dim")
        case ContractViolated():
            return "✗", "red" if payload.ends else "yellow", Text(violation(payload), "yellow")
        case _:
            return None


def violation(data: ContractViolated) -> str:
    """Returns how a contract was broken, for a person."""
    about = one_line(data.name or data.text, _LONG)
    said = {
        "wrong_tool": f"calls {about}, which its contract does not name",
        "repeated_tool": f"makes the same call of {about} again",
        "missing_tool": f"did not use {about}",
        "missing_marker": f"does not say {about}",
    }
    return f"the contract is broken: the agent {said.get(data.kind, data.kind)}"


def _beside(payload: Payload) -> tuple[str, str, Text] | None:
    match payload:
        case AnswerJudged() if payload.why:
            again = ", and is asked for once more" if payload.text else ""
            said = f"the answer is not what was asked for{again}: {one_line(payload.why, _LONG)}"
            return "✗", "yellow", Text(said, "yellow")
        case AnswerJudged():
            return "✓", "dim", Text("the answer is what was asked for", "dim")
        case ToolNoted():
            sign, style = ("!", "bold yellow") if payload.kind == "security" else ("✎", "dim")
            return (
                sign,
                style,
                Text.assemble((f"{one_line(payload.topic, _LONG)}  ", style), one_line(payload.text, _LONG)),
            )
        case ProcessStarted():
            named = (f"process {one_line(payload.name, _LONG)} runs  ", "bold")
            return "▷", "cyan", Text.assemble(named, one_line(payload.command, _LONG))
        case ProcessEnded():
            return "·", "dim", Text(f"process {one_line(payload.name, _LONG)} ended with code {payload.code}", "dim")
        case ProcessLost():
            named = (f"process {one_line(payload.name, _LONG)} is gone  ", "yellow")
            return "✗", "bold yellow", Text.assemble(named, one_line(payload.why, _LONG))
        case _:
            return _promised(payload)
