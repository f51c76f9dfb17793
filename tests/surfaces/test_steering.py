"""What another terminal learns of what it said to a session: who hears it, and how the session stands then."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.surfaces.commands import Shell, await_line, bash, shell

from holdfast.cli.answering import hearing
from holdfast.flow.clock import SystemClock
from holdfast.flow.ids import worker_name
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.runtime.speaking import Speaking
from holdfast.testing import Turn
from holdfast.types import StreamId, WorkerId

PASS = [bash("touch begun; read -r _ < gate"), Turn(text="Through.")]
"""Its command waits at a pipe named `gate`."""


def as_data(sh: Shell, *words: str) -> dict[str, Any]:
    done = sh.run("runs", *words, "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def answer(*, heard: bool, state: str) -> dict[str, object]:
    return {"session": "one", "status": "accepted", "heard": heard, "state": state}


@pytest.mark.requirement("cli:runs-steer", "cli:runs-abort")
def test_steer_and_abort_say_as_data_whether_a_run_at_work_has_taken_it_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, PASS) as sh, sh.running("run", "Pass", "-s", "one") as process:
        await_line(process, "I run touch")
        assert as_data(sh, "steer", "one", "Use tabs") == answer(heard=False, state="running"), "a call is under way"
        told = as_data(sh, "abort", "one", "--reason", "lunch")
        assert told | {"state": ""} == answer(heard=True, state="")
        assert told["state"] in ("running", "idle")
        out, _ = process.communicate(timeout=20)
    assert "■ aborted (lunch)" in out


@pytest.mark.requirement("cli:runs-steer", "cli:runs-abort")
def test_steer_and_abort_say_as_data_that_nobody_drives_the_session(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, PASS) as sh:
        with sh.running("run", "Pass", "-s", "one") as process:
            await_line(process, "I run touch")
            process.kill()
            process.wait(10)
        for words in (("steer", "one", "Use tabs"), ("abort", "one")):
            assert as_data(sh, *words) == answer(heard=False, state="open")
        assert sh.run("runs", "resume", "one").returncode == 0, "what was said to the run that ended opened another"
        refused = sh.run("runs", "abort", "one", "-o", "json")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "session 'one' has no open run to speak to" in refused.stderr


@pytest.mark.requirement("cli:runs-control")
def test_a_pause_while_a_call_runs_does_not_say_that_nobody_drives_the_session(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, PASS) as sh, sh.running("run", "Pass", "-s", "one") as process:
        await_line(process, "I run touch")
        assert sh.run("runs", "pause", "one").stdout == "⏸ paused: session one\n"
        assert sh.run("runs", "unpause", "one").stdout == "▶ goes on: session one\n"
        (tmp_path / "gate").write_text("\n")
        out, _ = process.communicate(timeout=20)
    assert "Through." in out


@pytest.mark.requirement("cli:runs-control")
@pytest.mark.parametrize(("alive", "surely"), [(False, True), (False, False), (True, False)])
async def test_what_is_known_already_is_not_waited_for(
    alive: bool, surely: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "_MOMENT", 3600)
    host, boot, pid, start = worker_name().rsplit(":", 3)
    owner = WorkerId(f"{host}:{boot}:{pid}:{start if alive else 1}")
    journal, stream = MemoryJournal(SystemClock()), StreamId("local/one")
    await journal.claim(stream, owner, 3_600_000_000)
    receipt = await Speaking(journal, stream).pause()
    async with asyncio.timeout(5):
        after = await hearing.heard(journal, stream, receipt, surely=surely)
    assert (after.taken, after.lost) == (False, not alive)
