"""Questions as a person reads them, and their answers as a person types them: a number, several, or words; and what
happens when nobody answers.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from holdfast.cli.hiding.masking import masked
from holdfast.cli.terminal import indented
from holdfast.cli.words import one_line, printable, seconds
from holdfast.errors import UsageError
from holdfast.types import Question

__all__ = ("hint", "lapse", "picked", "print_question", "question_lines")

_NUMBER = 4
"""Columns of the number before an option."""
_LAPSES = {
    "approval": "it is denied",
    "question": "the agent goes on without an answer",
    "review": "it is refused, and the run fails",
}
"""What becomes of what nobody answers, by what is asked."""


def question_lines(question: Question, number: int = 1, of: int = 1) -> list[Text]:
    """Returns a question with its options, each with the number that picks it."""
    head = f"{one_line(question.header, 60)}: " if question.header else ""
    several = f" ({number} of {of})" if of > 1 else ""
    asked = masked(printable(question.question)).strip().splitlines() or [""]
    lines = [Text.assemble((head, "cyan"), (asked[0], "bold"), (several, "dim"))]
    lines += [Text(line, "bold") for line in asked[1:]]
    for place, option in enumerate(question.options, 1):
        about = f"  {one_line(masked(option.description), 200)}" if option.description else ""
        lines.append(Text.assemble((f"{place:>3} ", "bold cyan"), one_line(masked(option.label), 200), (about, "dim")))
    return lines


def print_question(console: Console, question: Question, number: int, of: int, by: int) -> None:
    """Prints a question, indented; what is long goes on below itself, and below its option's label."""
    lines = question_lines(question, number, of)
    options = len(lines) - len(question.options)
    for place, line in enumerate(lines):
        indented(console, line, by, hang=_NUMBER if place >= options else 0)


def lapse(kind: str, left: float) -> str:
    """Returns what happens when nobody answers for so many seconds."""
    if left <= 0:
        return f"no time left: {_LAPSES[kind]} as soon as somebody drives the session"
    return f"{seconds(left)} left, then {_LAPSES[kind]}"


def hint(question: Question) -> str:
    """Returns how a question is answered."""
    if not question.options:
        return "your answer"
    many = "numbers, as in 1,3, or nothing for none" if question.multiple else "a number"
    return f"{many}{', or words of your own' if question.free else ''}"


def picked(question: Question, said: str) -> list[str]:
    """Returns what a person's words pick: labels and their numbers, several parted by commas, or the words themselves.

    Raises:
        UsageError: they are no answer to it; says what would be one.
    """
    text = said.strip()
    labels = [option.label for option in question.options]
    if question.multiple and labels and not text:
        return []
    if (found := _of_options(labels, [text])) is not None:
        return found
    parts = [part.strip() for part in text.split(",")]
    if question.multiple and (found := _of_options(labels, parts)) is not None:
        return found
    number = bool(labels) and all(part.isascii() and part.isdigit() for part in parts)  # of no option: mistyped
    if text and not number and (question.free or not labels):
        return [text]
    options = ", ".join(f"{place} {one_line(label, 40)}" for place, label in enumerate(labels, 1))
    names = f"one of the numbers 1 to {len(labels)} ({options})" if labels else "something"
    own = ", or words of your own" if number and question.free else ""
    raise UsageError(f"{text!r} is no answer to {one_line(question.question, 80)!r}: give {names}{own}")


def _of_options(labels: list[str], parts: list[str]) -> list[str] | None:
    """Returns the labels that are meant, each once; None when some part means none of them."""
    found: dict[str, None] = {}
    for part in parts:
        if part in labels:
            found[part] = None
        elif part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= len(labels):
            found[labels[int(part) - 1]] = None
        else:
            return None
    return list(found)
