"""What the engine writes into a session's log: all kinds of events, and the codec that reads and writes them.

Each struct holds only what is new; everything else follows by folding (`folding.py`).
"""

from __future__ import annotations

from holdfast.engine.answers import AnswerJudged
from holdfast.engine.kinds.acting import (
    AnswerRefused,
    CallReopened,
    Nested,
    ProcessEnded,
    ProcessLost,
    ProcessStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.kinds.asking import (
    AccountOpened,
    AnswerUnfinished,
    BudgetExhausted,
    LastAnswerAsked,
    ModelFailed,
    ModelFinished,
    ModelStarted,
)
from holdfast.engine.kinds.running import (
    FilesKept,
    FilesRestored,
    Forked,
    PhaseFailed,
    PhaseStarted,
    Rewound,
    RunClosed,
    RunFinished,
    RunStarted,
)
from holdfast.engine.kinds.speaking import (
    AbortRequested,
    InputApplied,
    InputDropped,
    InputReceived,
    LimitsRaised,
    Paused,
    Resumed,
    ReviewRequested,
    SessionEnded,
)
from holdfast.types import Codec

__all__ = (
    "CODEC",
    "AbortRequested",
    "AccountOpened",
    "AnswerJudged",
    "AnswerRefused",
    "AnswerUnfinished",
    "BudgetExhausted",
    "CallReopened",
    "FilesKept",
    "FilesRestored",
    "Forked",
    "InputApplied",
    "InputDropped",
    "InputReceived",
    "LastAnswerAsked",
    "LimitsRaised",
    "ModelFailed",
    "ModelFinished",
    "ModelStarted",
    "Nested",
    "Paused",
    "PhaseFailed",
    "PhaseStarted",
    "ProcessEnded",
    "ProcessLost",
    "ProcessStarted",
    "Resumed",
    "ReviewRequested",
    "RunClosed",
    "Rewound",
    "RunFinished",
    "RunStarted",
    "SessionEnded",
    "ToolFinished",
    "ToolStarted",
    "ToolWaiting",
    "WaitResolved",
)

CODEC = Codec(
    (
        InputReceived,
        RunStarted,
        InputApplied,
        InputDropped,
        AccountOpened,
        ModelStarted,
        ModelFinished,
        ModelFailed,
        BudgetExhausted,
        ToolStarted,
        ToolFinished,
        ToolWaiting,
        WaitResolved,
        AnswerRefused,
        CallReopened,
        PhaseStarted,
        PhaseFailed,
        ProcessStarted,
        ProcessEnded,
        ProcessLost,
        AbortRequested,
        Paused,
        Resumed,
        SessionEnded,
        ReviewRequested,
        LastAnswerAsked,
        AnswerUnfinished,
        AnswerJudged,
        LimitsRaised,
        FilesKept,
        FilesRestored,
        RunFinished,
        RunClosed,
        Forked,
        Rewound,
    )
)
"""Reads and writes everything above."""
