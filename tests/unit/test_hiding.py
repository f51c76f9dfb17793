"""What is hidden of a call's outcome, and what is ours and stays."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.safety.redacting import MARK, Redactor
from holdfast.tools.gating.hiding import hidden
from holdfast.types import Attachment, Digest, Option, Question, ToolError, ToolResult, Wait

SECRET = "hunter22"
REDACTOR = Redactor([SECRET])
DIGEST = Digest("sha256:abcdef")


@pytest.mark.requirement("safety:redaction-values")
def test_a_secret_is_hidden_wherever_somebody_says_something() -> None:
    error = ToolError("execution_failed", f"no {SECRET}")
    file = Attachment(f"{SECRET}.txt", "text/plain", DIGEST, 3)
    result = ToolResult(f"a {SECRET}", error, {SECRET: [{"deep": SECRET}], "pin": 1}, attachments=(file,))
    assert SECRET not in repr(hidden(result, REDACTOR))
    question = Question(SECRET, SECRET, (Option(SECRET, SECRET),))
    wait = Wait("t", "question", prompt=SECRET, arguments=f'{{"a": "{SECRET}"}}', questions=(question,))
    assert SECRET not in repr(hidden(wait, REDACTOR))


@pytest.mark.requirement("safety:redaction-values")
@pytest.mark.parametrize("secret", ["denied", "content", "metadata", "abcdef", "question", "sha256"])
def test_a_secret_that_is_a_word_of_ours_breaks_nothing(secret: str) -> None:
    redactor = Redactor([secret])
    file = Attachment("a.txt", "text/plain", DIGEST, 3)
    result = ToolResult(f"a {secret}", ToolError("permission_denied", "r", "denied"), {}, DIGEST, (file,))
    clean = hidden(result, redactor)
    assert clean.content == f"a {MARK}"
    assert clean.error is not None
    assert (clean.error.status, clean.stored, clean.attachments) == ("denied", DIGEST, (file,))
    assert hidden(Wait(f"token {secret}", "question", prompt=secret), redactor) == Wait(
        f"token {secret}", "question", prompt=MARK
    )


@pytest.mark.requirement("safety:redaction-values")
def test_what_holds_no_secret_is_the_same_object() -> None:
    result, wait = ToolResult("x", metadata={"a": [1, "b"]}), Wait("t", prompt="p")
    for redactor in (REDACTOR, Redactor()):
        assert hidden(result, redactor) is result
        assert hidden(wait, redactor) is wait


@pytest.mark.requirement("safety:redaction-values")
def test_data_may_nest_deeper_than_any_stack() -> None:
    data: Any = SECRET
    for _ in range(5_000):
        data = [data]
    clean = REDACTOR.hide_data(data)
    while isinstance(clean, list):
        clean = clean[0]
    assert clean == MARK
