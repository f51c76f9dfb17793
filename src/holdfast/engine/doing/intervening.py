"""What the loop writes down between asking and acting: that calls are skipped, that a last answer is due, that an
answer is none yet, that it is to be reviewed, that whoever waited for a run has heard how it ended.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.engine.attempt import Attempt
from holdfast.engine.decide import AskReview, Close, CloseBooks, JudgeAnswer, PressOn, Record, Skip
from holdfast.engine.doing.acting import close_calls
from holdfast.engine.doing.children import abandon, close_books, start_phase
from holdfast.engine.events import AnswerJudged, AnswerUnfinished, LastAnswerAsked, ReviewRequested, ToolFinished
from holdfast.engine.phases import StartPhase
from holdfast.errors import UsageError
from holdfast.tools.results import concluded, skipped
from holdfast.types import AssistantMessage, CallId, Wait

__all__ = ("intervene",)

_SHOWN = 2_000
"""Characters of the answer that stand in the question; all of it is the conversation's last message."""


async def intervene(
    attempt: Attempt, step: Skip | Close | PressOn | Record | JudgeAnswer | AskReview | CloseBooks | StartPhase
) -> None:
    """Writes it down."""
    match step:
        case Skip(calls, over):
            await _skip(attempt, calls, over=over)
        case Record(events):
            for payload in events:
                attempt.write(payload)
        case PressOn():
            attempt.write(AnswerUnfinished())
        case Close(limit):
            await abandon(attempt, f"the run that started it is at its limit of {limit}")
            close_calls(attempt, f"the run is at its limit of {limit}")
            attempt.write(LastAnswerAsked(limit))
        case JudgeAnswer():
            await _judge(attempt)
        case AskReview():
            _ask_review(attempt)
        case CloseBooks():
            await close_books(attempt)
        case StartPhase(phase):
            await start_phase(attempt, phase)


async def _skip(attempt: Attempt, calls: Iterable[CallId], *, over: bool) -> None:
    if over:
        await abandon(attempt, "the run that started it is over")
    for call_id in calls:
        attempt.write(ToolFinished(call_id, concluded() if over else skipped()))


async def _judge(attempt: Attempt) -> None:
    """Reads the answer by the shape it was to have; one that is read again after a crash is read to the same end."""
    reader, answer = (await attempt.bindings()).reader, attempt.state.messages[-1]
    said = answer.text if isinstance(answer, AssistantMessage) else ""
    if reader is None:  # somebody went on with the run with another agent than the one it was begun with
        raise UsageError(
            "the run's answer has to be data, and the agent it goes on with has no output: give it the same"
        )
    reading = await reader.read(said)
    if not reading.why:
        attempt.write(AnswerJudged(output="" if reading.output == said else reading.output))
    else:
        text = "" if attempt.run.misfits else reader.again(reading.why)
        attempt.write(AnswerJudged(why=reading.why, text=text))


def _ask_review(attempt: Attempt) -> None:
    run, answer = attempt.run, attempt.state.messages[-1]
    control = run.setup.setup.control
    text = run.concluded or run.fitting or (answer.text if isinstance(answer, AssistantMessage) else "")
    deadline = None if control.patience is None else attempt.clock.now() + int(control.patience * 1e6)
    token = f"review:{run.seq}:{attempt.state.turn}"
    wait = Wait(token, "review", deadline, text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
    attempt.write(ReviewRequested(wait, (control.review or 0) - run.changes))
