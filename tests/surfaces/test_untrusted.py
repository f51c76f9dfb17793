"""What models, files and tools say reaches the terminal as letters, whatever it spells."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from tests.surfaces.chatting import chatting
from tests.surfaces.commands import shell
from tests.surfaces.test_screen import on_terminal

from holdfast.cli.chat.view import View
from holdfast.cli.rendering.answer import Answer
from holdfast.cli.rendering.markdown import Words
from holdfast.cli.terminal import open_console
from holdfast.cli.watch.details import prose
from holdfast.cli.watch.lines import strips_of
from holdfast.testing import Turn

SPELLED = [
    "%1b]0;T%07",
    "%1b[2J",
    "%c2%9b2J",
    "&#x202e;",
    "&#27;[2J",
    "&#155;",
    "%E2%80%AE",
    "%0d",
    "%08%08",
    "\x1b[2J",
]
FORMS = [
    "# <http://x/{}>",
    "```{}\n{}\n```",
    '[r]: http://x/{} "{}"\n\n[r]',
    "> {}",
    "1. <mailto:{}@x.y>",
    "<http://x/{}>",
    "[a](http://x/{})",
    "[{}](y)",
    "![{}](http://x/{})",
    "| a |\n|---|\n| <http://x/{}> |",
    "`{}`",
]
EVIL = ("\x1b]", "\x1b[2", "\x9b", "\x07", "\x08", "\r", "\u202e")


def harmless(drawn: str) -> bool:
    left = re.sub(r"\x1b\[[0-9;]*m", "", drawn)  # colours, which are the program's own
    return all(letter.isprintable() or letter in "\n\t" for letter in left)


@pytest.mark.requirement("cli:terminal-safe")
@given(st.sampled_from(FORMS), st.lists(st.sampled_from(SPELLED), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_nothing_that_markdown_spells_is_a_control_sequence_in_a_run_a_talk_or_on_the_screen(
    form: str, spelled: list[str]
) -> None:
    source = form.replace("{}", "".join(spelled))
    plain = Console(file=io.StringIO(), force_terminal=True, width=90)
    answer = Answer(plain)
    answer.feed(source)
    answer.finish(source)
    talk = Console(file=io.StringIO(), force_terminal=True, width=90)
    View(talk, Path()).words(source)
    for on in (plain, talk):
        assert isinstance(on.file, io.StringIO)
        assert harmless(on.file.getvalue()), source
    assert all(harmless(strip.text) for strip in strips_of(prose(source, "dark"), 80)), source


@pytest.mark.requirement("cli:terminal-safe")
def test_a_console_of_the_command_line_lets_nothing_through_even_what_nobody_cleaned() -> None:
    out = io.StringIO()
    console = open_console(file=out)
    console.print(Text("a\x1b[2Jb\x9bc\u202ed"), Words("<http://x/%1b[2J>"))
    assert harmless(out.getvalue())


@pytest.mark.requirement("cli:terminal-safe")
def test_an_address_does_not_move_the_terminal_of_a_run_or_of_a_talk(tmp_path: Path) -> None:
    words = Turn(text="See <http://x/%1b]0;TITLE%07%1b[2J%c2%9b2J>.\n\nOver.")
    with shell(tmp_path, [words, words]) as sh:
        with on_terminal(sh, "run", "go") as (terminal, process):
            run = terminal.rest()
            assert process.wait(10) == 0
        with chatting(sh) as person:
            person.says("Go")
            person.sees(r"Over\.(.*\n)+ ready")
            talk = person.raw
    for screen in (run, talk):
        assert "TITLE" in screen
        assert not re.search(r"\x1b\]0|\x1b\[2J|\x9b|\x07", screen.replace("\x1b[?2004h", ""))
