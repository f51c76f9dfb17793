"""What the engine writes of answers that have to be data; the codec that reads it is in `events.py`."""

from __future__ import annotations

from typing import ClassVar

from holdfast.types import Payload

__all__ = ("AnswerJudged",)


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
