"""`holdfast run`: what it prints, in which form, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import ALLOWED, bash, shell

from holdfast.engine.events import CODEC
from holdfast.testing import Turn
from holdfast.testing.faults import Status
from holdfast.testing.scripts import Call

HELLO = [bash("echo from the tool"), Turn(text="**Done.**")]


@pytest.mark.requirement("cli:run")
def test_it_prints_what_is_said_and_done_and_how_it_ended(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO) as sh:
        done = sh.run("run", "Say something")
    assert done.returncode == 0
    assert done.stderr == ""
    first, *lines = done.stdout.splitlines()
    assert first.startswith("! no sandbox: commands run as you")
    assert lines[:2] == ["", "I run echo."]
    assert lines[2].startswith("  ✓ bash echo from the tool  ")
    assert lines[3:6] == ["    from the tool", "", "**Done.**"]
    assert lines[7].startswith("✓ completed  2 steps · 240 tokens · price unknown · ") or "$" in lines[7]
    assert lines[8] == f"  log     {sh.store}"
    assert lines[9].startswith("  look    holdfast runs show s-")


@pytest.mark.requirement("cli:output-when-piped")
def test_piped_output_has_no_control_codes_no_padding_and_no_line_that_moves(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO) as sh:
        done = sh.run("run", "Say something", FORCE_COLOR="", TERM="xterm-256color")
    assert "\x1b" not in done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []


def test_the_job_may_come_from_standard_input_and_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Read.")]) as sh:
        assert sh.run("run", given=b"Fix this: \xff").returncode == 0
        listed = json.loads(sh.run("runs", "list", "-o", "json").stdout)
    assert [row["prompt"] for row in listed] == ["Fix this: \ufffd"]


@pytest.mark.requirement("cli:result-as-json")
def test_json_prints_the_result_as_one_object_and_nothing_else(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO) as sh:
        done = sh.run("run", "Say something", "-o", "json")
    result = json.loads(done.stdout)
    assert (result["output"], result["status"], result["steps"]) == ("**Done.**", "completed", 2)
    assert result["usage"] == {
        "input_tokens": 200,
        "output_tokens": 40,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "estimated": False,
    }
    assert result["session"].startswith("s-")
    assert done.stderr == ""


@pytest.mark.requirement("cli:result-as-json")
def test_jsonl_prints_the_events_of_the_log_and_the_deltas_an_object_a_line(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO) as sh:
        lines = sh.run("run", "Say something", "-o", "jsonl", "-s", "one").stdout.splitlines()
        shown = sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()
    objects = [json.loads(line) for line in lines]
    deltas = [each for each in objects if "seq" not in each]
    assert {frozenset(each) for each in deltas} == {frozenset({"type", "data"})}
    assert {each["type"] for each in deltas} == {"text.delta", "call.delta"}
    durable = [line for line, each in zip(lines, objects, strict=True) if "seq" in each]
    assert durable == shown
    assert [CODEC.decode(line.encode()).type for line in durable] == [
        "input.received",
        "run.started",
        "model.finished",
        "tool.started",
        "tool.finished",
        "model.finished",
        "run.finished",
    ]


@pytest.mark.requirement("cli:run-failure-exit")
@pytest.mark.parametrize(
    ("turns", "options", "code", "line"),
    [
        ([Turn(text="x", fault=Status(status=401))], (), 1, "✗ failed"),
        ([bash("true"), Turn(text="x")], ("--max-steps", "1"), 3, "■ limited (steps)"),
        ([bash("true"), Turn(text="x")], ("--max-tokens", "1"), 3, "■ limited (tokens)"),
        ([Turn(text="x")], ("--max-steps", "0"), 2, ""),
    ],
    ids=["failed", "limited", "no tokens", "misused"],
)
def test_each_end_has_its_exit_code(
    tmp_path: Path, turns: list[Turn], options: tuple[str, ...], code: int, line: str
) -> None:
    with shell(tmp_path, turns) as sh:
        done = sh.run("run", "go", *options)
    assert done.returncode == code
    assert line in done.stdout


def test_a_failed_run_says_why_once_and_how_to_go_on(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Never.", fault=Status(status=401))]) as sh:
        done = sh.run("run", "go")
    assert done.returncode == 1
    assert done.stdout.count("OPENAI_API_KEY") == 1
    assert "  go on   holdfast run --session s-" in done.stdout


def test_a_call_that_is_tried_again_says_so(tmp_path: Path) -> None:
    turns = [Turn(text="Fine.", fault=Status(status=503, retry_after=0, times=1))]
    with shell(tmp_path, turns) as sh:
        done = sh.run("run", "go")
    assert done.returncode == 0
    assert "trying again" in done.stdout


@pytest.mark.requirement("cli:terminal-safe")
def test_what_models_and_tools_say_cannot_act_on_the_terminal_or_the_markup(tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;x\x07[bold]x[/bold]"
    turns = [
        Turn(text=evil, calls=[Call(name=evil, arguments="{"), *bash(r"printf '\033[2J[red]r'").calls]),
        Turn(text=evil),
    ]
    with shell(tmp_path, turns) as sh:
        done = sh.run("run", evil, "-s", "one")
        shown = sh.run("runs", "show", "one")
        listed = sh.run("runs", "list")
    assert done.stdout.count("\ufffd[2J\ufffd]0;x\ufffd[bold]x[/bold]") == 3
    assert "[red]r" in done.stdout
    assert not {"\x1b", "\x07"} & set(done.stdout + shown.stdout + listed.stdout)


@pytest.mark.requirement("cli:output-when-piped")
def test_a_closed_pipe_ends_it_quietly_and_the_run_can_go_on(tmp_path: Path) -> None:
    with shell(tmp_path, HELLO) as sh:
        for output in ("text", "jsonl"):
            with subprocess.Popen(
                [sys.executable, "-m", "holdfast", "run", "Say something", "-s", output, "-o", output],
                cwd=tmp_path,
                env=sh.environment | ALLOWED,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                assert process.stdout is not None
                process.stdout.close()
                assert process.stderr is not None
                assert process.stderr.read() == b""
                assert process.wait(20) == 141
            assert sh.run("runs", "resume", output).returncode == 0
