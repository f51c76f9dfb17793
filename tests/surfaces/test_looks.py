"""The same run for people in a hurry, for logs and for narrow windows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.surfaces.commands import bash, shell
from tests.surfaces.test_screen import on_terminal, plain

from holdfast.testing import Turn
from holdfast.testing.faults import Status

HELLO = [bash("echo from the tool"), Turn(text="**Done.**")]


@pytest.mark.requirement("cli:quiet")
def test_quiet_prints_the_answer_alone_and_what_went_wrong_to_standard_error(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO) as sh:
        done = sh.run("run", "Say something", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "**Done.**\n", "")
    with shell(tmp_path, [Turn(text="x", fault=Status(status=401))]) as sh:
        failed = sh.run("run", "Say something", "-q")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("failed (")


@pytest.mark.requirement("cli:plain")
def test_plain_on_a_terminal_reads_like_a_file(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO * 3) as sh:
        piped = sh.run("run", "Say something", "-s", "one", "--plain").stdout.splitlines()
        with on_terminal(sh, "run", "Say something", "-s", "one", "--plain") as (terminal, _):
            shown = terminal.rest().replace("\r\n", "\n")
        with on_terminal(sh, "run", "Say something", "-s", "one", HOLDFAST_PLAIN="yes") as (terminal, _):
            set_ = terminal.rest()
    assert "\x1b" not in shown + set_
    took = re.compile(r"\d+(\.\d+)? m?s")
    assert [took.sub("", line).split() for line in shown.splitlines()] == [took.sub("", line).split() for line in piped]


@pytest.mark.requirement("cli:narrow")
@pytest.mark.parametrize("columns", ["30", "50"])
def test_nothing_is_wider_than_a_narrow_window_but_what_is_to_be_copied(tmp_path: Path, columns: str) -> None:
    long = Turn(
        text="- An item with a good many words in it, and a `piece of code` to wrap.\n\n```\nlong_name = 1\n```\n"
    )
    turns = [bash("echo some rather long line of output that goes on and on"), long]
    with shell(tmp_path, turns) as sh, on_terminal(sh, "run", "x", COLUMNS=columns) as (terminal, _):
        screen = plain(terminal.rest())
    lines = re.split(r"[\r\n]+", screen.partition("  log ")[0])
    assert [line for line in lines if len(line.rstrip()) > int(columns)] == []
