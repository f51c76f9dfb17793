"""The line below the input line: how things stand, as much of it as fits."""

from __future__ import annotations

import time

from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.picking import hint
from holdfast.cli.chat.talk import Talk
from holdfast.cli.outcomes import about
from holdfast.cli.rendering.figures import percent
from holdfast.cli.words import model_name, money, one_line, seconds
from holdfast.models.counting import attachment_tokens
from holdfast.types import Image

__all__ = ("answer_hint", "ask_line", "asked_about", "status_line", "to_fragments")

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def status_line(talk: Talk, width: int, typed: str = "") -> StyleAndTextTuples:
    """Returns how the talk stands: what it is at, then what matters less and less, as far as the width goes.

    What was `typed` and not sent yet counts for how full the model's window is.
    """
    conversation, terms = talk.conversation, talk.conversation.terms
    figures, state = conversation.figures, talk.state
    run = figures.run
    mode = terms.mode if run is None else run.setup.setup.mode
    # Who took over stays there until something else is named: the log says it of the last answer.
    model = figures.model if run is not None or figures.spec == terms.model else terms.model
    first = _doing(talk, state)
    # What is left out first where there is little room stands last here; on the line it has its own place.
    ranked: list[tuple[int, str]] = [(4, money(figures.cost, most=figures.usage.estimated, short=True))]
    if run is not None:
        ranked.append((3, f"step {run.steps + (0 if figures.state.calls else 1)}"))
    ranked.append((2, mode))
    if figures.context:
        coming = _coming(talk, model, typed)
        ranked.append((5, ("~" if coming else "") + _context(figures.context + coming, figures.window(model))))
    ranked.append((1, model_name(model)))
    ranked.append((6, one_line(conversation.session, 40)))
    room, fields = width - len(first) - 2, list[tuple[int, str]]()
    for place, text in ranked:
        if len(text) + 3 > room:
            continue
        fields.append((place, text))
        room -= len(text) + 3
    style = "class:asks" if state in ("asking", "aborting", "stopped") else "class:state"
    rest = "".join(f" · {text}" for _, text in sorted(fields))
    return [(style, f" {first}"[:width]), ("class:bar", rest)]


def _doing(talk: Talk, state: str) -> str:
    if talk.conversation.sessions.away:
        return "✗ the server is away"
    run = talk.conversation.figures.run
    match state:
        case "working" | "aborting":
            since = "" if run is None else f" {seconds(max(0.1, time.time() - run.started_at / 1e6))}"
            return f"{_SPINNER[int(time.monotonic() * 10) % len(_SPINNER)]} {state}{since}"
        case "asking":
            return "? waits for you"
        case "waiting":
            return f"⏸ waits for {one_line(talk.conversation.figures.waits_for, 20)}"
        case "stopped":
            return "■ stopped, still open"
        case _:
            return "ready"


def _coming(talk: Talk, model: str, typed: str) -> int:
    """Returns about how many tokens the model has not seen yet: what waits to join, is typed, or goes with that."""
    conversation = talk.conversation
    said = [each.message.text for each in conversation.queued]
    if typed and talk.question is None and not typed.startswith("/"):
        said.append(typed)
    size = sum(len(text.encode("utf-8", "replace")) for text in said)
    pictures = sum(attachment_tokens(each) for each in talk.attached if isinstance(each, Image))
    return conversation.sessions.estimate(model, size) + pictures


def _context(used: int, window: int | None) -> str:
    size = f"{used / 1000:.1f}k" if used >= 1000 else str(used)
    return f"{size} tokens" if not window else f"{size} tokens, {percent(used / window)}"


def ask_line(talk: Talk, *, empty: bool, columns: int) -> StyleAndTextTuples:
    """Returns which keys answer the question on the screen, and to which call.

    On an empty line letters do, elsewhere they belong to the line.
    """
    alt = "" if empty else "Alt-"
    question = talk.question
    if question is not None and question.wait.kind == "question":
        return [("", "  "), ("class:asks", f"{answer_hint(talk)}"[: columns - 3])]
    if question is not None and question.wait.kind == "review":
        keys = ((f"{alt}y", " yes · "), (f"{alt}n", " no, the run fails"), ("", _changes(question.changes_left)))
    else:
        keys = ((f"{alt}y", " once · "), (f"{alt}a", " always · "), (f"{alt}n", " no, and why"))
    parts: StyleAndTextTuples = [("", "  ")]
    for key, what in keys:
        parts += [("class:asks", key), ("class:bar", what)]
    room = columns - 1 - sum(len(each[1]) for each in parts)
    return parts if room < 8 else [*parts, ("class:bar", f" · {asked_about(talk, room - 3)}")]


def answer_hint(talk: Talk) -> str:
    """Returns how the question on the screen is answered with a line."""
    question = talk.question
    if question is None:
        return ""
    if question.wait.kind == "question":
        return hint(question.wait.questions[talk.answered])
    if question.wait.kind == "review":
        return f"y yes, n no (and why, behind it){_changes(question.changes_left)}"
    return "y once, a always, n no (and why, behind it)"


def _changes(left: int) -> str:
    return f" · or type what is to be different ({left} left)" if left else ""


def asked_about(talk: Talk, most: int) -> str:
    """Returns which call the question on the screen is about, and how many wait behind it."""
    question, waiting = talk.question, len(talk.conversation.figures.questions) - 1
    if question is None:
        return ""
    more = f" (+{waiting})" if waiting else ""
    return one_line(f"{question.call.name} {about(question.call)}", max(1, most - len(more))) + more


def to_fragments(rows: list[Text], console: Console) -> StyleAndTextTuples:
    """Returns rich lines as the input line's own, each with its end, in the colours the console has."""
    with console.capture() as capture:
        for row in rows:
            console.print(row, no_wrap=True, overflow="ignore", crop=False)
    return list(to_formatted_text(ANSI(capture.get())))
