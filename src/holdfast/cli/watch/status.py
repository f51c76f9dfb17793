"""The line at the bottom, the question above it, and the page of keys: as text, for any width."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.chat.figures import Question
from holdfast.cli.hiding.masking import masked
from holdfast.cli.outcomes import about, arguments_of
from holdfast.cli.watch.session import Watched
from holdfast.cli.words import count, money, one_line

__all__ = ("KEYS", "gate_line", "help_lines", "status_line")

_STATES = {
    "running": ("●", "cyan"),
    "waiting": ("◐", "yellow"),
    "open": ("○", "magenta"),
    "away": ("✗", "red"),
    "idle": ("●", "dim"),
}
_ENDS = {"completed": ("✓", "green"), "failed": ("✗", "red")}
_HINTS = (("?", "keys"), ("s", "say"), ("f", "fork"), ("d", "diff"), ("r", "rewind"), ("q", "leave"))

KEYS = (
    (
        "move",
        (
            ("↑ ↓  j k", "the event before, the event after"),
            ("PgUp PgDn  Space", "a page"),
            ("[  ]", "the run before, the run after"),
            ("Home End  g G", "first event; last event, and go along with what comes"),
            ("Tab  Shift-Tab", "timeline, answer, details, steer box"),
            ("Enter", "details of the event on the whole screen"),
            ("w", "the answer on the whole screen"),
            ("Esc", "back"),
        ),
    ),
    (
        "speak",
        (
            ("s", "to the steer box; there Enter sends, heard at the next step"),
            ("Ctrl-F", "send it as a follow-up, heard when the run would be over"),
            ("Ctrl-X", "abort the run, after a question"),
            ("y  a  n", "a call that waits: once, always, no with a reason"),
            ("y  a  n", "an answer under review: yes, changes, no; of a question, y answers"),
            ("c", "go on here with a run that nobody drives"),
        ),
    ),
    (
        "go back",
        (
            ("f", "fork from the event, with the files of that moment"),
            ("r", "rewind to the event, after a question; only when no run is open"),
            ("d", "what changed in files up to the event"),
        ),
    ),
    (
        "the screen",
        (
            ("o", "another session"),
            ("t", "dark or light"),
            ("?", "this page"),
            ("q  Ctrl-C  Ctrl-Q", "leave; the run goes on where it is driven"),
        ),
    ),
)
"""Every key, by what it is for."""


def help_lines() -> list[Text]:
    """Returns the page of keys."""
    lines: list[Text] = []
    for name, keys in KEYS:
        lines += [Text(name, "bold cyan")]
        lines += [Text.assemble((f"  {key:<18}", "bold"), what) for key, what in keys]
        lines.append(Text())
    return lines[:-1]


def status_line(watched: Watched, width: int) -> Text:
    """Returns how the session stands; figures and key hints give way where it is narrow."""
    standing = "away" if watched.sessions.away else watched.standing
    last = watched.figures.state.last
    ended = "" if last is None or last.finished is None else last.finished.status
    sign, style = _ENDS.get(ended, ("■", "yellow")) if standing == "idle" and ended else _STATES[standing]
    parts = [Text.assemble((f"{sign} ", style), (_stands(watched, standing), f"bold {style}"))]
    parts += [Text(words) for words in _figures(watched)]
    hints = [Text.assemble((key, "bold"), (f" {what}", "dim")) for key, what in _HINTS]
    line, keys = _fitting(parts, hints, width)
    gap = max(2, width - line.cell_len - keys.cell_len)
    joined = line.append(" " * gap).append_text(keys) if keys else line
    joined.truncate(width, overflow="ellipsis")
    joined.no_wrap = True
    return joined


def _fitting(parts: list[Text], hints: list[Text], width: int) -> tuple[Text, Text]:
    """Returns as much as there is room for: all figures go before the hints but the first of them, which stays."""
    dot = Text(" · ", "dim")
    while True:
        line, keys = dot.join(parts), Text("  ").join(hints)
        if line.cell_len + 2 + keys.cell_len <= width or (len(parts) == 1 and len(hints) == 1):
            return line, keys
        if len(hints) > 1:
            hints = hints[:-1]
        else:
            parts = parts[:-1]


def _stands(watched: Watched, standing: str) -> str:
    if standing == "away":
        return "the server is away"
    if watched.unheard:
        return "nobody heard it: c goes on here"
    if standing == "open":
        return "open, nobody drives it: c goes on here"
    if standing == "waiting":
        kind = "your word" if watched.questions else watched.figures.waits_for
        return f"waits for {kind or 'mail'}"
    if standing == "idle":
        state = watched.figures.state
        status = "idle" if state.last is None or state.last.finished is None else state.last.finished.status
        return f"{status} · ended for good" if state.ended else status
    return standing


def _figures(watched: Watched) -> list[str]:
    figures = watched.figures
    run = figures.state.run or figures.state.last
    if run is None:
        return []
    queued = [f"{len(figures.queued)} queued"] if figures.queued else []
    cost = money(figures.cost, most=figures.usage.estimated, short=True)
    figures_ = [f"step {run.steps}", cost, f"{count(figures.usage.total_tokens, 'token')}"]
    return [*queued, one_line(figures.model, 40), *figures_]


def gate_line(question: Question, more: int, *, at: int, width: int) -> Text:
    """Returns what a person is asked, and the keys that answer; a call that is not all there names its event, `at`."""
    name = one_line(question.wait.subject or question.call.name, 60)
    rest = f"  and {more} more" if more else ""
    if question.wait.kind != "approval":
        return _asked(question, rest)
    command = about(question.call)
    ask = Text.assemble(("allow ", "bold"), (name, "bold yellow"), ("?  ", "bold"), command, (rest, "dim"))
    ask.no_wrap, ask.overflow = True, "ellipsis"
    keys = Text.assemble(*_key("y", "once"), *_key("a", "always"), *_key("n", "no, with a reason"))
    fields = arguments_of(question.call) or {}
    whole = [command] == [*fields.values()] and ask.cell_len <= width
    if not whole:
        keys = Text.assemble((f"not all of it is shown here: see event {at}   ", "bold red"), keys)
    keys.no_wrap, keys.overflow = True, "ellipsis"
    return Text("\n").join([ask, keys])


def _asked(question: Question, rest: str) -> Text:
    if question.wait.kind == "question":
        ask = Text.assemble(("asks: ", "bold yellow"), (one_line(masked(question.wait.prompt)), "bold"), (rest, "dim"))
        keys = Text.assemble(*_key("y", "answer"))
    else:
        ask = Text.assemble(
            ("will this answer do?  ", "bold yellow"), one_line(masked(question.wait.prompt)), (rest, "dim")
        )
        changes = _key("a", f"ask for changes ({question.changes_left} left)") if question.changes_left else ()
        keys = Text.assemble(*_key("y", "yes"), *changes, *_key("n", "no, the run fails"))
    for line in (ask, keys):
        line.no_wrap, line.overflow = True, "ellipsis"
    return Text("\n").join([ask, keys])


def _key(key: str, what: str) -> tuple[tuple[str, str], str]:
    return (key, "bold green" if key != "n" else "bold red"), f" {what}   "
