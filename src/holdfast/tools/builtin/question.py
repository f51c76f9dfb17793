"""The tool that asks a person."""

from __future__ import annotations

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.declaring import tool
from holdfast.types import Question, Wait

__all__ = ("question",)

_MOST = 8
"""Questions at once: more nobody reads to their end."""
_LONGEST = 2_000
"""Characters of a question, or of an option."""


@tool(effect="none", tier="direct", reference="builtin:question")
async def question(context: ToolContext, questions: tuple[Question, ...], minutes: float = 10) -> Wait:
    """Ask the person you work for something you cannot find out yourself, and wait for the answers. Ask all you want
    to know at once. The result is a JSON list with the list of answers to each question.

    Args:
        context: Where the call runs.
        questions: What to ask. Give options where there are some; words of one's own are an answer, too, unless `free`
            is false; with `multiple`, several options may be picked.
        minutes: How long to wait for the answers.
    """
    if not questions:
        raise ToolFailure("at least one question is required", code="invalid_input")
    if len(questions) > _MOST:
        raise ToolFailure(f"ask at most {_MOST} questions at once", code="invalid_input")
    for each in questions:
        _check(each)
    if not 0 < minutes <= 24 * 60:
        raise ToolFailure("`minutes` has to be more than 0 and at most 1440", code="invalid_input")
    deadline = context.now() + int(minutes * 60e6)
    prompt = "\n".join(each.question for each in questions)
    token = f"question:{context.key.removeprefix(context.stream)}"
    return Wait(token, "question", deadline, prompt, questions=questions)


def _check(asked: Question) -> None:
    words = [asked.question, asked.header, *(word for each in asked.options for word in (each.label, each.description))]
    if not asked.question.strip() or any(len(word) > _LONGEST for word in words):
        raise ToolFailure(f"a question has 1 to {_LONGEST} characters, and so has each option", code="invalid_input")
    labels = [each.label for each in asked.options]
    if len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
        raise ToolFailure("the options of a question need labels that differ", code="invalid_input")
    if not labels and not asked.free:
        raise ToolFailure("a question that words do not answer needs options", code="invalid_input")
