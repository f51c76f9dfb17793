"""What was asked of models, what came of it, and what it cost."""

from __future__ import annotations

from typing import ClassVar, Literal

from holdfast.engine.letters import Shortage
from holdfast.types import AssistantMessage, Payload, Usage

__all__ = (
    "AccountOpened",
    "AnswerJudged",
    "AnswerUnfinished",
    "BudgetExhausted",
    "LastAnswerAsked",
    "ModelFailed",
    "ModelFinished",
    "ModelStarted",
)


class AccountOpened(Payload, frozen=True, gc=False):
    """The run takes what it spends out of the ledger from here on; when it is over, its grant is settled."""

    type: ClassVar[str] = "account.opened"
    must_understand: ClassVar[bool] = True
    account: tuple[str, ...]


class ModelStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model call is about to spend so much, which stays spent if it is lost; written where a limit needs it."""

    type: ClassVar[str] = "model.started"
    tokens: int
    cost: int | None = None
    """Nanodollars; None when the price is unknown."""
    model: str = ""
    """Who is asked, as `provider/name`; empty in logs of before chains."""


class ModelFinished(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model answered."""

    type: ClassVar[str] = "model.finished"
    message: AssistantMessage
    cost: int | None = None
    """Nanodollars; None when the price is unknown."""
    duration: int = 0
    """µs from request to last byte."""
    exceeded: bool = False
    """The provider reports more than was reserved: charged in full, and the run stops."""


class ModelFailed(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model call ended without an answer.

    Whoever puts deltas together takes the words of `partial` as what there is so far where `mode` is `continue`, and
    nothing otherwise.
    """

    type: ClassVar[str] = "model.failed"
    code: str
    """A `ModelError` code, or `interrupted` (by an abort or a limit), or `lost` (its process died)."""
    message: str
    again: bool = False
    """Whether trying again may help."""
    retry_at: int | None = None
    """µs UTC before which the provider does not want to be asked."""
    usage: Usage | None = None
    """What the provider says it used all the same; None when it did not say."""
    cost: int | None = None
    """Of `usage`, in nanodollars; None when the price is unknown."""
    exceeded: bool = False
    """The provider reports more than was reserved: charged in full, and the run stops."""
    model: str = ""
    """Who failed, as `provider/name`; empty in logs of before chains."""
    next: str = ""
    """Who is asked now, of a chain of models; empty where there is no chain, or nobody left."""
    next_at: int = 0
    """µs UTC before which that is not done; 0 for at once."""
    partial: AssistantMessage | None = None
    """What had come where it broke off, words and thinking, with the answer that it had gone on with; never a call."""
    mode: Literal["", "continue", "reset"] = ""
    """Whether the next one goes on where `partial` ends, or begins again; empty where nothing had come."""
    estimated: bool = False
    """Whether `usage` is the most that can have been used, as nobody said what was."""


class BudgetExhausted(Payload, frozen=True, gc=False, omit_defaults=True):
    """What is left does not pay for another model call."""

    type: ClassVar[str] = "budget.exhausted"
    limit: str
    """`tokens` or `dollars`; of an account, `tokens of account local/ada`."""
    again_at: int | None = None
    """Of a cap with a window, when enough may fit again, µs UTC; None where waiting alone does not help."""
    short: Shortage | None = None
    """What would have been enough; None in logs of before it was said, and where that is no question of size."""


class LastAnswerAsked(Payload, frozen=True, gc=False):
    """A limit was met: the model is asked once more, without tools, and then the run is over."""

    type: ClassVar[str] = "run.closing"
    limit: str


class AnswerUnfinished(Payload, frozen=True, gc=False):
    """The model's answer only says what it is about to do: it is told, once in a run, to do it."""

    type: ClassVar[str] = "answer.unfinished"


class AnswerJudged(Payload, frozen=True, gc=False, omit_defaults=True):
    """An answer that has to be data was read: it fits, or the model is told what does not, once for each question."""

    type: ClassVar[str] = "answer.judged"
    must_understand: ClassVar[bool] = True
    output: str = ""
    """The JSON of an answer that fits, where it is not all of the model's words."""
    why: str = ""
    """What does not fit; empty when it does."""
    text: str = ""
    """What the model reads about it; empty when it is not asked again."""
