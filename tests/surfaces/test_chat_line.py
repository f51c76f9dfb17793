"""The input line of a talk: what can be typed into it, what it offers, and what stands below it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from tests.surfaces.chatting import ALT_ENTER, CTRL_J, ENTER, READY, TAB, UP, chatting
from tests.surfaces.commands import Shell, shell
from tests.surfaces.test_chat import said

from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.faults import Drip


@pytest.mark.requirement("cli:chat-history")
def test_what_was_typed_is_there_on_another_day_and_for_nobody_else(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        with chatting(sh) as person:
            person.pastes("two\nlines")
            person.types(ENTER)
            person.sees(r"Yes\.(.*\n)+ ready")
            person.says("/cost")
            person.sees("context")
            assert person.leaves() == 0
        file = tmp_path / "data" / "holdfast" / "chat-history"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with file.open("ab") as damaged:
            damaged.write(b'"half a li\n\xff\xfe\n')
        with chatting(sh) as person:
            person.types(UP)
            person.sees(r"▸ /cost\n")
            person.types(UP)
            person.sees(r"▸ two\n  lines\n")
            assert person.process.poll() is None


@pytest.mark.requirement("cli:chat-multi-line")
def test_a_message_has_as_many_lines_as_are_pasted_or_asked_for(tmp_path: Path) -> None:
    with (
        ScriptedModelServer.in_thread([Turn(text="One."), Turn(text="Two.")]) as server,
        chatting(Shell(tmp_path, server)) as person,
    ):
        person.pastes("def f():\r\n    return 1\r\n\r\nprint(f())")
        person.sees(r"▸ def f\(\):\n      return 1\n\n  print\(f\(\)\)\n")
        person.types(ENTER)
        person.sees(r"One\.(.*\n)+ ready")
        assert said(server) == ["def f():\n    return 1\n\nprint(f())"]
        for part, end in (("a", ALT_ENTER), ("b", CTRL_J), ("c\\", ENTER), ("d", ENTER)):
            person.types(part + end)
        person.sees(r"Two\.(.*\n)+ ready")
        assert said(server)[-1] == "a\nb\nc\nd"
        assert person.leaves() == 0


@pytest.mark.requirement("cli:chat-edits-while-streaming")
def test_a_line_is_edited_while_the_answer_streams_above_it(tmp_path: Path) -> None:
    words = "First paragraph is finished.\n\nSecond one comes word by word and then it has an end."
    with shell(tmp_path, [Turn(text=words, chunk=4, fault=Drip())]) as sh, chatting(sh) as person:
        person.says("Tell me")
        person.types("my nxet")
        screen = person.sees(r"Second one(.*\n)+▸ my nxet\n(.*) working")
        assert "has an end" not in screen
        person.types("\x7f\x7f\x7fext")
        person.sees(r"has an end\.\n(.*\n)+.*✓  1 step(.*\n)+▸ my next\n ready")
        assert person.screen.text.count("First paragraph is finished.") == 1
        assert person.screen.text.count("has an end.") == 1


@pytest.mark.requirement("cli:chat-status")
def test_the_line_below_says_how_things_stand_and_gives_way_on_a_narrow_terminal(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes, and some more words so that it wraps.")] * 3) as sh:
        with chatting(sh, "-s", "one", columns=100) as person:
            person.says("x")
            bar = person.sees(r"\n ready · gpt-5-mini · accept-edits · \$0\.000065 · .*").rpartition("\n")[2]
            assert bar == " ready · gpt-5-mini · accept-edits · $0.000065 · 120 tokens, <1 % · one"
        with chatting(sh, "-s", "one", columns=24, ready=r"\n ready · \$0\.000") as person:
            person.says("x")
            person.sees(r"✓(.*\n)+ ready · \$0\.00013 · one$")
            assert max(map(len, person.screen.text.splitlines())) <= 24
            assert person.leaves() == 0


@pytest.mark.requirement("cli:chat-completion")
def test_commands_models_modes_and_paths_are_completed(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "sheet.py").write_text("")
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "x", "-s", "yesterday")
        with chatting(sh) as person:
            for typed, offered in (
                ("/mo", r"/mode +what it may do"),
                ("/mode acc", r"\n +accept-edits"),
                ("/model openai/gpt-5-n", r"\n +openai/gpt-5-nano"),
                ("/resume yes", r"\n +yesterday"),
                ("look at @sr", r"\n.* src/"),
                ("look at @src/sh", r"\n.* sheet\.py"),
            ):
                person.types(typed)
                person.sees(offered)
                person.types("\x15")
                person.sees(r"▸\n(\s*\n)* ready")
            person.types("look at @src/sh")
            person.sees(r" sheet\.py")
            person.types(TAB)
            person.sees(r"▸ look at @src/sheet\.py\n")


@pytest.mark.requirement("cli:chat-plain")
def test_without_colours_it_has_none_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="**Yes**, `it` is.")] * 2) as sh:
        with chatting(sh, NO_COLOR="1") as person:
            person.says("x")
            person.sees(r"Yes, it is\.(.*\n)+ ready")
            assert person.leaves() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", person.raw)
        assert person.raw.rindex("\x1b[?2004l") > person.raw.rindex("\x1b[?2004h")  # pastes are as before
        assert person.raw.rfind("\x1b[?25h") > person.raw.rfind("\x1b[?25l")  # the cursor is back


@pytest.mark.requirement("cli:chat-plain")
def test_a_dumb_terminal_gets_lines_and_can_do_the_same(tmp_path: Path) -> None:
    turns = [Turn(text="One."), Turn(text="Two.")]
    with (
        ScriptedModelServer.in_thread(turns) as server,
        chatting(Shell(tmp_path, server), "-s", "one", ready=r"\n>$", TERM="dumb") as person,
    ):
        person.types("first\\\nsecond\n")
        person.sees(r"One\.\n(.*\n)+>$")
        assert said(server) == ["first\nsecond"]
        person.types("/modle\n")
        person.sees("did you mean /mode")
        person.types("/quit\n")
        assert person.is_out() == 0
    assert "\x1b" not in person.raw
    assert "go on later: holdfast chat --session one" in person.screen.text
    assert READY.strip() not in person.screen.text
