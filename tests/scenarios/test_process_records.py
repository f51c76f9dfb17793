"""What is known of processes that go on: of those that ended, of those whose start was stopped, and of their files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, of, scene, soon, until

from holdfast import Agent, ToolContext, tool
from holdfast.engine.events import ProcessEnded, ProcessLost, ProcessStarted, RunFinished, ToolFinished
from holdfast.runtime.run import RunResult
from holdfast.sandbox.backends import none
from holdfast.sandbox.longrunning.keeping import Kept
from holdfast.sandbox.policy.profile import Profile, Tree
from holdfast.sandbox.snapshots.walking import reading, scanning, watching
from holdfast.testing import Call, Turn
from holdfast.testing.conformance.backends.running import alive, marker

WHEN = "until [ -e {} ]; do sleep 0.02; done"


@tool(effect="none")
async def outer(context: ToolContext, command: str) -> str:
    """Starts a process on the way."""
    return (await context.call("process", {"action": "start", "name": "web", "command": command})).content


AGENT = Agent(MODEL, tools=["bash", "process", outer])


def starting(name: str, command: str) -> Call:
    return Call("process", {"action": "start", "name": name, "command": command})


def bash(command: str) -> Call:
    return Call("bash", {"command": command})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


async def go(s: Scene, folder: Path) -> RunResult:
    return await soon((await s.runtime.start(AGENT, "go", session="s", workspace=folder)).result(), 20)


@pytest.mark.requirement("engine:lost-processes-are-told")
async def test_one_that_ended_long_ago_is_not_lost_and_takes_no_other_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = marker()
    monkeypatch.setattr(none, "Kept", partial(Kept, record=0))
    web = starting("web", f"exec bash -c 'echo up; while :; do sleep 0.1; done' {name}")
    build = starting("build", f"echo up; {WHEN.format('over')}; exit 3")
    script = [Turn(calls=[web, build]), Turn(text="started"), Turn(text="looked"), Turn(text="again")]
    async with scene(script, seconds=60) as s:
        await go(s, folder)
        [_, kept] = s.runtime.processes("s")
        (folder / "over").touch()
        assert await soon(kept.wait()) == 3
        await go(s, folder)
        events = await s.log()
        assert not of(ProcessLost, events)
        assert [(each.name, each.code) for each in of(ProcessEnded, events)] == [("build", 3)]
        assert alive(name)
        await until(lambda: [each.asked.name for each in s.runtime.processes("s")] == ["web"], "it is forgotten")


@pytest.mark.requirement("sandbox:long-process-ends-with-sandbox")
@pytest.mark.parametrize("inside", [False, True], ids=["by the model", "by another call"])
async def test_one_whose_start_was_stopped_is_written_down_and_ends_with_its_session(
    folder: Path, inside: bool
) -> None:
    name = marker()
    command = f"touch up; exec bash -c 'while :; do sleep 0.1; done' {name}"
    call = Call("outer", {"command": command}) if inside else starting("web", command)
    async with scene([Turn(calls=[call])], seconds=60) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=folder)
        await until((folder / "up").exists)
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        [started] = of(ProcessStarted, await s.log())
        assert started.name == "web"
        await s.runtime.session("s").exit("over")
        await s.runtime.sweep()
        await until(lambda: not alive(name), "it runs still")


@pytest.mark.requirement("sandbox:rollback-after-failed-tool")
async def test_none_is_started_where_what_it_writes_could_be_put_back(folder: Path) -> None:
    profile = Profile(backend="none", workspace=Tree(rollback="failed"))
    async with scene([Turn(calls=[starting("web", "touch up; sleep 60")]), Turn(text="a")], sandbox=profile) as s:
        await go(s, folder)
        [refused] = of(ToolFinished, await s.log())
        assert not s.runtime.processes("s")
    assert refused.result.error is not None
    assert "run it within one command, or set rollback to never" in refused.result.content
    assert not (folder / "up").exists()


@pytest.fixture
def watched() -> Iterator[None]:
    """Workspaces of any size are watched, and what was just written counts as settled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "MANY", 0)
        for module in (reading, scanning):
            patch.setattr(module, "settled", lambda *_: True)
        yield


MAPPING = """
import mmap, os, time
mapped = mmap.mmap(os.open('files/db', os.O_RDWR), 0)
print('up', flush=True)
while not os.path.exists('{n}go'): time.sleep(0.01)
mapped[:4] = b'NEW{n}'
open('{n}gone', 'x').close()
while True: time.sleep(1)
"""


@pytest.mark.usefixtures("watched")
@pytest.mark.requirement("sandbox:watched-workspaces", "sandbox:long-process-port")
async def test_what_a_process_writes_through_a_mapping_is_in_the_next_snapshot_also_when_it_is_over(
    folder: Path,
) -> None:
    (folder / "files").mkdir()
    (folder / "files/db").write_bytes(b"OLD0" * 1024)
    (folder / "1.py").write_text(MAPPING.format(n=1))
    (folder / "2.py").write_text(MAPPING.format(n=2))
    runs = [
        [starting("a", "exec python3 1.py"), bash("true"), bash(f"touch 1go; {WHEN.format('1gone')}")],
        [starting("b", "exec python3 2.py"), bash("true")],
        [Call("process", {"action": "list"}), bash("true")],
    ]
    script = [turn for calls in runs for turn in (Turn(calls=calls), Turn(text="done"))]
    async with scene(script, seconds=60) as s:
        for _ in runs[:2]:
            await go(s, folder)
        for kept in s.runtime.processes("s"):
            if kept.asked.name == "b":
                (folder / "2go").touch()
                await until((folder / "2gone").exists)
            await kept.stop()
        await s.runtime._sandboxes._backend.processes.end()  # as when the record is over
        await go(s, folder)
        sandbox = s.runtime._sandboxes.at(s.runtime._tenant, folder)
        found = list[bytes]()
        for over in of(RunFinished, await s.log()):
            assert over.files is not None
            found.append(await sandbox.snapshots.read(sandbox.workspace, over.files, "files/db", 4))
    assert found == [b"NEW1", b"NEW1", b"NEW2"]
