"""Known secrets in what a call came to: hidden before anybody reads it or it is written down.

Hidden is what somebody said. What is ours stays as it is, such as digests, kinds and tokens: it holds no secret, and a
value that looks like a part of it would break it.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from holdfast.safety.redacting import Redactor
from holdfast.types import Attachment, Question, ToolError, ToolResult, Wait

__all__ = ("hidden",)

R = TypeVar("R", ToolResult, Wait)
_replace = msgspec.structs.replace


def hidden(outcome: R, redactor: Redactor) -> R:
    """Returns a result or a wait without the values that the redactor knows; the same object where there are none.

    What only looks like a secret stays: a model that edits a file has to read what is in it.
    """
    if not redactor.knows:
        return outcome
    clean = _result(outcome, redactor) if isinstance(outcome, ToolResult) else _wait(outcome, redactor)
    return outcome if clean == outcome else clean


def _result(result: ToolResult, redactor: Redactor) -> ToolResult:
    return _replace(
        result,
        content=redactor.hide(result.content),
        error=None if result.error is None else _error(result.error, redactor),
        metadata=redactor.hide_data(msgspec.to_builtins(result.metadata)),
        attachments=_attachments(result.attachments, redactor),
    )


def _wait(wait: Wait, redactor: Redactor) -> Wait:
    return _replace(
        wait,
        prompt=redactor.hide(wait.prompt),
        arguments=redactor.hide(wait.arguments),
        questions=tuple(_question(each, redactor) for each in wait.questions),
        attachments=_attachments(wait.attachments, redactor),
    )


def _error(error: ToolError, redactor: Redactor) -> ToolError:
    return _replace(error, code=redactor.hide(error.code), reason=redactor.hide(error.reason))


def _question(question: Question, redactor: Redactor) -> Question:
    options = tuple(
        _replace(each, label=redactor.hide(each.label), description=redactor.hide(each.description))
        for each in question.options
    )
    return _replace(
        question, question=redactor.hide(question.question), header=redactor.hide(question.header), options=options
    )


def _attachments(attachments: tuple[Attachment, ...], redactor: Redactor) -> tuple[Attachment, ...]:
    return tuple(_replace(each, name=redactor.hide(each.name)) for each in attachments)
