"""Ctrl-C and SIGTERM: what is asked for happens, and the log is none the worse."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.surfaces.commands import await_line, bash, deaf, shell

from holdfast.testing import Turn

STUCK = [bash("read -r _ < gate"), Turn(text="Through.")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path


@pytest.mark.requirement("cli:interrupt")
@pytest.mark.parametrize("output", ["text", "json"])
def test_ctrl_c_aborts_the_run_keeps_what_it_has_and_says_how_to_go_on(home: Path, output: str) -> None:
    with shell(home, STUCK) as sh:
        with sh.running("run", "Pass", "-s", "one", "-o", output) as process:
            if output == "text":
                await_line(process, "I run read")
            else:  # it prints nothing before the end
                while "tool.started" not in sh.run("runs", "show", "one").stdout:
                    pass
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=10)
        assert process.returncode == 4
        assert error == ""
        assert json.loads(sh.run("runs", "list", "-o", "json").stdout)[0]["status"] == "aborted"
    if output == "json":
        assert (json.loads(out)["status"], json.loads(out)["reason"]) == ("aborted", "Ctrl-C")
        return
    assert "■ aborting; Ctrl-C again leaves at once\n" in out
    assert "■ aborted (Ctrl-C)  1 step" in out
    assert '  go on   holdfast run --session one "…"\n' in out


@pytest.mark.requirement("cli:interrupt-twice")
def test_a_second_ctrl_c_leaves_at_once_and_the_run_can_be_brought_to_its_end(home: Path) -> None:
    with shell(home, deaf()) as sh:
        with sh.running("run", "Pass", "-s", "one") as process:
            await_line(process, "I run trap")
            while not (home / "deaf").exists():  # said is not yet begun
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            await_line(process, "aborting")
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=10)
        assert process.returncode == 130
        assert error == "left; the run is still open: holdfast runs resume one\n"
        # Whether the wish to abort was in the log by then is a matter of microseconds; that the run ends is not.
        assert sh.run("runs", "resume", "one").returncode in (0, 4)


@pytest.mark.requirement("cli:terminated")
def test_sigterm_leaves_the_run_open_for_somebody_else_at_once(home: Path) -> None:
    with shell(home, STUCK) as sh:
        with sh.running("run", "Pass", "-s", "one", "-o", "jsonl") as process:
            await_line(process, "tool.started")
            process.send_signal(signal.SIGTERM)
            _, error = process.communicate(timeout=10)
        assert (process.returncode, error) == (143, "")
        assert json.loads(sh.run("runs", "list", "-o", "json").stdout)[0]["status"] == "open"
        assert sh.run("runs", "resume", "one").returncode == 0
