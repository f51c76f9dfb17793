"""Questions and reviews where a person sits: in `holdfast run`, in a talk, and on the watching screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.running import asked, scene, seen, soon
from tests.surfaces.chatting import ENTER, READY, chatting
from tests.surfaces.commands import shell
from tests.surfaces.test_screen import on_terminal, plain
from tests.surfaces.watching import watching

from holdfast import Agent
from holdfast.testing import Call, Turn
from holdfast.tools.builtin.question import question
from holdfast.types import Control

ASK = {
    "questions": [
        {"question": "Which colour?", "options": [{"label": "red"}, {"label": "blue", "description": "like the sea"}]},
        {"question": "Which days?", "options": [{"label": "Mon"}, {"label": "Tue"}], "multiple": True, "free": False},
        {"question": "Why?"},
    ]
}
QUESTION = Turn(text="I ask.", calls=[Call("question", ASK)])
NAMES = {" ": "space", ",": "comma"}
ANSWERS = [["blue"], ["Mon", "Tue"], ["for fun"]]


def said_last(requests: list[list[dict[str, object]]]) -> object:
    return json.loads(str(next(m["content"] for m in reversed(requests[-1]) if m["role"] == "tool")))


@pytest.mark.requirement("cli:questions")
@pytest.mark.parametrize("more", [{}, {"TERM": "dumb"}], ids=["live", "plain"])
def test_a_person_at_a_run_answers_by_number_several_numbers_and_in_words(tmp_path: Path, more: dict[str, str]) -> None:
    with (
        shell(tmp_path, [QUESTION, Turn(text="Thanks.")]) as sh,
        on_terminal(sh, "run", "go", **more) as (term, process),
    ):
        term.until(r"Which colour\?[\s\S]*1 red[\s\S]*2 blue[\s\S]*like the sea[\s\S]*a number, or words of your own")
        term.press("2\r")
        term.until(r"Which days\?[\s\S]*numbers, as in 1,3")
        term.press("3\r")
        term.until(r"is no answer to 'Which days\?': give one of the numbers 1 to 2[\s\S]*numbers, as in 1,3")
        term.press("x\x7f1, 2\r")
        term.until(r"Why\?[\s\S]*your answer")
        term.press("for fun\r")
        screen = plain(term.rest())
        assert process.wait(10) == 0
        log = sh.run("runs", "list", "-o", "json").stdout
        session = json.loads(log)[0]["session"]
        shown = sh.run("runs", "show", session, "-o", "jsonl").stdout
    assert "Thanks." in screen
    resolved = next(json.loads(line) for line in shown.splitlines() if "wait.resolved" in line)
    assert json.loads(resolved["data"]["content"]) == ANSWERS


@pytest.mark.requirement("cli:run-review")
def test_a_person_at_a_run_sends_its_answer_back_and_accepts_the_next(tmp_path: Path) -> None:
    turns = [Turn(text="First try."), Turn(text="Second try.")]
    with shell(tmp_path, turns) as sh, on_terminal(sh, "run", "go", "--review") as (term, process):
        term.until(r"First try\.[\s\S]*will the answer do\?.*c ask for changes \(1 left\)")
        term.press("c")
        term.until("what is to be different")
        term.press("shorter\r")
        term.until(r"Second try\.[\s\S]*will the answer do\?  y yes   n no, the run fails")
        term.press("y")
        term.rest()
        assert process.wait(10) == 0


@pytest.mark.requirement("cli:run-review")
def test_a_person_at_a_run_refuses_its_answer_and_the_run_fails(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="First try.")]) as sh, on_terminal(sh, "run", "go", "--review", "0") as (term, run):
        term.until(r"will the answer do\?  y yes   n no")
        term.press("n")
        term.until(r"why not\?")
        term.press("too long\r")
        assert "review_denied: too long" in plain(term.rest())
        assert run.wait(10) == 1


@pytest.mark.requirement("cli:questions")
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_questions_in_a_talk_are_answered_on_its_line(tmp_path: Path, term: str) -> None:
    ready = r"\n>$" if term == "dumb" else READY
    end = "\n" if term == "dumb" else ENTER
    with (
        shell(tmp_path, [QUESTION, Turn(text="Thanks.")]) as sh,
        chatting(sh, "-s", "one", TERM=term, ready=ready) as person,
    ):
        person.types(f"Paint it{end}")
        person.sees(r"Which colour\?(.*\n)+.*1 red(.*\n)+.*a number, or words of your own")
        while "Which days?" not in person.screen.text:  # what is typed before it stood there a while is no answer
            person.types("2")
            person.sees(r"(▸ |\n)2")
            person.types(f"{end}\x7f")
            person.sees(r"▸\n|Which days")
        person.sees(r"Which days\?(.*\n)+.*numbers, as in 1,3")
        person.types(f"1,2{end}")
        person.sees(r"Why\?(.*\n)+.*your answer")
        person.types(f"for fun{end}")
        person.sees(r"✓ answered(.*\n)+.*Thanks\.")
        log = sh.run("runs", "show", "one", "-o", "jsonl").stdout
    resolved = next(json.loads(line) for line in log.splitlines() if "wait.resolved" in line)
    assert json.loads(resolved["data"]["content"])[1:] == ANSWERS[1:]


@pytest.mark.requirement("cli:questions", "cli:run-review")
async def test_questions_and_reviews_are_answered_on_the_watching_screen(tmp_path: Path) -> None:
    agent = Agent("openai/scripted", tools=[question])
    async with scene([QUESTION, "First try.", "Second try."], url=f"sqlite:///{tmp_path}/s.db", seconds=40) as s:
        run = await s.runtime.start(agent, "go", session="s", control=Control(review=1))
        await soon(seen(run, "tool.waiting"))
        async with s.other() as other, watching(other) as viewer:
            await viewer.is_asked("asks: Which colour?", "y answer")
            await viewer.presses("y")
            for shown, words in (("like the sea", "2"), ("Tue", "1,2"), ("Why?", "for fun")):
                await viewer.sees(shown)
                await viewer.presses(*[NAMES.get(letter, letter) for letter in words], "enter")
            await viewer.is_asked("will this answer do?", "First try.")
            await viewer.presses("a")
            await viewer.sees("what is to be different?")
            await viewer.types("shorter")
            await viewer.presses("enter")
            await viewer.is_asked("Second try.")
            await viewer.presses("y")
            await viewer.ends("completed")
        assert (await soon(run.result())).output == "Second try."
        assert said_last(asked(s.server)[:-1]) == ANSWERS
