"""How what is asked looks: in narrow and wide windows, with colours and without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.surfaces.commands import shell
from tests.surfaces.test_approve import asked, asking
from tests.surfaces.test_screen import on_terminal, plain
from tests.surfaces.vt import Vt

from holdfast.cli.asking.picking import lapse
from holdfast.testing import Call, Turn

WORDS = "the tests need a server, which takes some seconds to start, and a role that may create databases"
ASK = {
    "questions": [
        {
            "question": f"Which store? {WORDS}",
            "options": [{"label": "one", "description": f"{WORDS}; {WORDS}"}, {"label": "two"}],
        },
        {"question": "Which days?", "options": [{"label": "Mon"}, {"label": "Tue"}], "multiple": True, "free": False},
    ]
}
QUESTION = Turn(text="I ask.", calls=[Call("question", ASK)])
REVIEW = Turn(text=f"# Summary\n\n- **three** files\n\n{WORDS}, {WORDS}")
RUN = ("run", "go", "-s", "one", "--patience", "10m", "-o", "json")
LEFT = r"\d+ min \d+ s left, then "


@pytest.mark.requirement("cli:approve")
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}], ids=["colours", "none"])
def test_questions_are_shown_with_how_to_answer_and_what_happens_otherwise(
    tmp_path: Path, columns: int, more: dict[str, str]
) -> None:
    with shell(tmp_path, [QUESTION]) as sh, asking(sh, run=RUN):
        token = asked(sh)[0]["id"][:8]
        with on_terminal(sh, "approve", "show", token, COLUMNS=str(columns), **more) as (terminal, _):
            raw = terminal.rest()
    assert (re.search(r"\x1b\[[0-9;]*3[0-7]m", raw) is None) == bool(more)
    lines = plain(raw).replace("\r", "").splitlines()
    assert max(map(len, lines)) <= columns
    shown = "\n".join(lines)
    assert re.search(rf"  time    {LEFT}the agent goes on without an answer\n", shown)
    assert "  so far  120 tokens · $" in shown
    assert re.search(r"\n  1 one  the tests need.*\n(    \S.*\n)+  2 two\n    a number, or words of your own\n", shown)
    assert "  2 Tue\n    numbers, as in 1,3, or nothing for none\n" in shown
    assert lines[-1] == f"  answer  holdfast approve answer {token} ANSWER ANSWER"


@pytest.mark.requirement("cli:approve")
def test_what_is_asked_says_what_its_own_run_came_to_and_none_before_it(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Done."), QUESTION]) as sh:
        assert sh.run(*RUN).returncode == 0
        with asking(sh, run=RUN):
            shown = sh.run("approve", "show", asked(sh)[0]["id"]).stdout
    assert "  so far  120 tokens · $" in shown


@pytest.mark.requirement("cli:approve", "cli:run-review")
@pytest.mark.parametrize("columns", [80, 120])
def test_an_answer_under_review_is_drawn_on_a_terminal_and_plain_elsewhere(tmp_path: Path, columns: int) -> None:
    with shell(tmp_path, [REVIEW]) as sh, asking(sh, "--review", "2", run=RUN):
        token = asked(sh)[0]["id"][:8]
        with on_terminal(sh, "approve", "show", token, COLUMNS=str(columns)) as (terminal, _):
            lines = plain(terminal.rest()).replace("\r", "").splitlines()
        piped = sh.run("approve", "show", token).stdout
    assert max(map(len, lines)) <= columns
    shown = "\n".join(line.rstrip() for line in lines)
    assert re.search(rf"  time    {LEFT}it is refused, and the run fails\n", shown)
    assert "\nSummary\n\n • three files\n" in shown
    assert "# Summary\n\n- **three** files\n" in piped
    assert shown.endswith(
        f"  accept              holdfast approve yes {token}\n"
        f"  send back (2 left)  holdfast approve changes {token} FEEDBACK\n"
        f"  refuse              holdfast approve no {token} REASON"
    )


@pytest.mark.requirement("cli:questions", "cli:run-review")
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("turn", "more", "keys", "otherwise"),
    [
        (QUESTION, (), "a number, or words of your own: ", "the agent goes on without an answer"),
        (
            REVIEW,
            ("--review", "2"),
            r"c ask for changes \(2 left\)   n no, the run fails",
            "it is refused, and the run",
        ),
    ],
    ids=["question", "review"],
)
def test_a_person_at_a_run_sees_the_cost_and_what_happens_without_an_answer(
    tmp_path: Path, columns: int, turn: Turn, more: tuple[str, ...], keys: str, otherwise: str
) -> None:
    options = ("run", "go", "--patience", "10m", *more)
    with shell(tmp_path, [turn]) as sh, on_terminal(sh, *options, COLUMNS=str(columns)) as (terminal, _):
        screen = Vt(columns, 24)
        screen.feed(terminal.until(keys))
    lines = screen.text.splitlines()
    assert max(map(len, lines)) <= columns
    flat = " ".join(screen.text.split())
    assert re.search(rf"120 tokens · \$\d\.\d+ · {LEFT}{otherwise}", flat)


@pytest.mark.requirement("cli:approve")
def test_what_has_no_time_left_says_so() -> None:
    assert lapse("approval", 59.0) == "59 s left, then it is denied"
    assert lapse("review", -1) == (
        "no time left: it is refused, and the run fails as soon as somebody drives the session"
    )
