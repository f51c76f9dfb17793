"""A talk with more than one question open, with names that are no files, and with what nobody expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.document import Document
from rich.console import Console
from tests.surfaces.chatting import ENTER, chatting
from tests.surfaces.commands import Shell, bash, shell

from holdfast.cli.chat.attaching import find_attached
from holdfast.cli.chat.conversation import Conversation, Terms
from holdfast.cli.chat.line.completing import PATHS, ChatCompleter
from holdfast.cli.chat.talk import Talk
from holdfast.cli.chat.view import View
from holdfast.cli.reaching.local import LocalSessions
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.types import Limits

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
BOTH = Turn(text="Both.", calls=[Call("bash", {"command": f"echo {each} >> log"}) for each in ("one", "two")])


@pytest.mark.requirement("cli:chat-approvals")
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_questions_that_are_open_at_once_are_shown_one_after_another_and_named_where_they_are_answered(
    tmp_path: Path, term: str
) -> None:
    dumb = term == "dumb"
    ready = r"\n>$" if dumb else r"\n ready · "
    with shell(tmp_path, [BOTH, Turn(text="It is over.")]) as sh, chatting(sh, ready=ready, TERM=term) as person:
        person.types(f"Do both{chr(10) if dumb else ENTER}")
        screen = person.sees(
            r"allow bash\?[\s\S]*y once.* · bash echo (one|two) >> log" + ("" if dumb else r" \(\+1\)")
        )
        first = "one" if "· bash echo one" in screen else "two"
        other = "two" if first == "one" else "one"
        assert screen.count("allow bash?") == 1
        assert f"$ echo {other}" not in screen
        person.types("n\n" if dumb else f"\x1bn{ENTER}")
        person.sees(rf"denied(.*\n)+.*\$ echo {other} >> log(.*\n)+.*y once.* · bash echo {other} >> log")
        person.types("y\n" if dumb else "\x1by")
        person.sees(r"allowed once(.*\n)+It is over")
    assert (tmp_path / "log").read_text() == f"{other}\n"


@pytest.mark.requirement("cli:chat")
@pytest.mark.parametrize("name", ["/" + "a" * 300 + ".png", "~nobody-of-that-name/x.png", "@~nobody-of-that-name/x"])
def test_a_name_that_can_be_no_file_is_part_of_the_words(tmp_path: Path, name: str) -> None:
    assert find_attached(f"see {name} please", tmp_path) == []
    completer = ChatCompleter({}, {"image": PATHS}, lambda: tmp_path)
    for line in (name, f"/image {name}"):
        assert list(completer.get_completions(Document(line), None)) == []  # pyright: ignore[reportArgumentType] - it is not looked at
    with shell(tmp_path, [Turn(text="I see.")]) as sh, chatting(sh) as person:
        person.pastes(f"/image {name}")
        person.types(ENTER)
        person.sees("error there is no file")
        person.types("\x15")
        person.pastes(f"see {name} please")
        person.types(ENTER)
        person.sees(r"I see\.(.*\n)+ ready")
        assert person.leaves() == 0


@pytest.mark.requirement("cli:chat")
async def test_what_nobody_expected_of_a_line_is_shown_and_the_talk_goes_on(tmp_path: Path) -> None:
    async def obey(talk: Talk, line: str) -> None:
        raise ZeroDivisionError(line)

    console = Console(record=True, width=100)
    async with Runtime.open("memory:") as runtime:
        terms = Terms("openai/gpt-5-mini", "ask", tmp_path, Limits())
        talk = Talk(Conversation(LocalSessions(runtime), terms), View(console, tmp_path), obey)
        await talk.line("/boom")
        await talk.line("/boom")
    assert console.export_text().count("the talk goes on: ZeroDivisionError: /boom") == 2


@pytest.mark.requirement("cli:chat")
def test_an_image_of_the_home_is_attached(tmp_path: Path) -> None:
    (tmp_path / "shot.png").write_bytes(PNG)
    (tmp_path / "work").mkdir()
    with shell(tmp_path, []) as sh, chatting(sh, "-w", "work") as person:
        person.says("/image ~/shot.png")
        person.sees(r"\+ shot\.png, 58 bytes")


@pytest.mark.requirement("cli:chat", "cli:plain")
def test_a_talk_takes_the_limits_and_the_looks_that_a_run_takes(tmp_path: Path) -> None:
    turns = [bash("true"), Turn(text="Never said.")]
    limits = ("--max-tokens", "100", "--max-seconds", "60", "--yes", "--plain")
    with shell(tmp_path, turns) as sh, chatting(sh, *limits, ready=r"\n>$") as person:
        person.types("go\n")
        person.sees(r"limited \(tokens\)(.*\n)+>$")
        assert "\x1b[" not in person.raw
    refused = Shell(tmp_path).run("chat", "--max-seconds", "0")
    assert refused.returncode == 2
