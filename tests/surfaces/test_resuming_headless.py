"""`holdfast runs resume` where nobody can be asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, bash, shell
from tests.surfaces.test_screen import on_terminal, plain

from holdfast import Runtime
from holdfast.cli.run import coder
from holdfast.engine.events import ToolWaiting
from holdfast.testing import Turn
from holdfast.types import Event, Limits

TURNS = [bash("touch one"), bash("touch two"), Turn(text="I did without.")]


def leave_waiting(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves a run open in session `one` that asks a person who was there when it began."""
    for name, value in sh.environment.items():
        if name.startswith("OPENAI"):
            monkeypatch.setenv(name, value)
    Path(sh.store.removeprefix("sqlite:///")).parent.mkdir(parents=True)

    async def go() -> None:
        async with Runtime.open(sh.store, sandbox="none") as runtime:
            agent = coder("openai/gpt-5-mini", Limits())
            run = await runtime.start(agent, "go", session="one", workspace=sh.home, mode="accept-edits")
            async for event in run.events():
                if isinstance(event, Event) and isinstance(event.data, ToolWaiting):
                    return

    asyncio.run(asyncio.wait_for(go(), 20))


@pytest.mark.requirement("cli:resume-headless")
@pytest.mark.parametrize("output", ["text", "json", "jsonl"])
def test_open_approvals_are_denied_and_the_result_says_so(
    tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shell(tmp_path, TURNS) as sh:
        leave_waiting(sh, monkeypatch)
        done = sh.run("runs", "resume", "one", "-o", output)
        log = sh.run("runs", "show", "one", "-o", "jsonl").stdout
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("one")) + list(tmp_path.glob("two"))
    assert log.count("deny: nobody could be asked") == 2
    if output == "text":
        assert "2 calls were denied: nobody could be asked\n" in done.stdout
        assert "I did without." in done.stdout
    elif output == "json":
        assert [json.loads(done.stdout)[key] for key in ("denied", "output")] == [2, "I did without."]
    else:
        assert json.loads(done.stdout.splitlines()[-1])["data"]["denied"] == 2


@pytest.mark.requirement("cli:resume-headless")
def test_at_a_terminal_the_person_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shell(tmp_path, TURNS) as sh:
        leave_waiting(sh, monkeypatch)
        with on_terminal(sh, "runs", "resume", "one") as (terminal, process):
            terminal.until(r"touch one[\s\S]*y once")
            terminal.press("y")
            terminal.until(r"touch two[\s\S]*y once")
            terminal.press("n")
            assert "1 call was denied by a person\r\n" in plain(terminal.rest())
            assert process.wait(10) == 0
    assert (tmp_path / "one").exists()
