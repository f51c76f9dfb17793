"""What the command line says of small things: names, amounts, files that go, and calls that were lost."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from tests.running import MODEL, scene
from tests.surfaces.commands import Shell, bash, shell

from holdfast import Agent, Phase, Pipeline
from holdfast.errors import UsageError
from holdfast.testing import Turn
from holdfast.testing.faults import Hang


@pytest.mark.requirement("newcomers:rewind-told")
def test_a_rewind_says_what_it_put_back_and_names_what_it_removed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "old").write_text("before\n", "utf-8")
    with shell(tmp_path, [bash("echo after > old; echo x > new"), Turn(text="Over.")]) as sh:
        sh.run("run", "go", "-s", "one", "-w", str(work))
        (work / "mine.txt").write_text("by hand\n", "utf-8")
        said = sh.run("runs", "rewind", "one", "--at", "2").stdout
        assert "  files   1 file put back, 2 removed: mine.txt, new\n" in said
        undo = re.search(r"rewind one --at (\d+)", said)
        assert undo
        back = json.loads(sh.run("runs", "rewind", "one", "--at", undo[1], "-o", "json").stdout)
    assert (back["restored"], back["removed"]) == (["mine.txt", "new", "old"], [])
    assert (work / "mine.txt").read_text("utf-8") == "by hand\n"


@pytest.mark.requirement("newcomers:none-unsuggested")
def test_no_misspelling_is_taken_for_the_sandbox_that_isolates_nothing(tmp_path: Path) -> None:
    for name in ("nope", "non", "nonee"):
        said = Shell(tmp_path).run("sandbox", "run", "--sandbox", name, "--", "true").stderr
        assert f"there is no sandbox '{name}'" in said
        assert "did you mean 'none'" not in said


@pytest.mark.requirement("newcomers:lost-calls-told")
def test_tokens_of_a_lost_call_are_said_beside_those_that_were_used(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.", fault=Hang(times=1))]) as sh:
        with sh.running("run", "go", "-s", "one", "--max-tokens", "100000") as process:
            sh.await_asked(1)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        done = sh.run("runs", "resume", "one")
        log = sh.run("runs", "show", "one").stdout
    charged = re.search(r"120 tokens \+ ([\d,]+) charged for a lost call", " ".join(done.stdout.split()))
    assert charged, done.stdout
    assert f"charged {charged[1]} tokens" in log


@pytest.mark.requirement("newcomers:plain-amounts")
def test_small_amounts_keep_two_digits(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        result = json.loads(sh.run("run", "go", "-s", "one", "-o", "json").stdout)
        table = sh.run("runs", "list").stdout
    assert f"${result['cost']:f}" in table


@pytest.mark.requirement("newcomers:plain-names")
def test_a_taken_name_is_a_session_and_the_stub_has_a_short_help(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "go", "-s", "one")
        said = sh.run("runs", "fork", "one", "--as", "one").stderr
        assert "session 'one' exists already" in said
        assert "local/" not in said
        assert "Usage: holdfast stub" in sh.run("stub", "-h").stdout


@pytest.mark.requirement("newcomers:plain-names")
async def test_a_receipt_says_what_it_is() -> None:
    async with scene(["one"]) as s:
        receipt = await s.runtime.session("s").pause(key="k")
    assert repr(receipt) == "Receipt(status='accepted', session='s', key='k', n=1)"


@pytest.mark.requirement("newcomers:phase-names")
def test_a_prompt_that_names_no_phase_before_it_is_refused_when_it_is_declared() -> None:
    agent = Agent(MODEL)
    with pytest.raises(UsageError, match=r"\{querry\}, which names nothing before it: did you mean \{query\}\?"):
        Pipeline([Phase("facts", agent, "Find: {querry}")])
    with pytest.raises(UsageError, match=r"\{later\}, which names nothing before it"):
        Pipeline([Phase("facts", agent, "{query} {later}"), Phase("later", agent)])
    Pipeline([Phase("facts", agent, "{query} as {{json}}"), Phase("later", agent, "{facts}")])
