"""The tool that keeps processes: through whole runs, over a kill of the runtime, and from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, asked, of, scene, soon, until

from holdfast import Agent, Control
from holdfast.engine.events import FilesKept, ProcessEnded, ProcessLost, ProcessStarted, ToolFinished, ToolStarted
from holdfast.errors import UnknownSession
from holdfast.runtime.run import RunResult
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.testing.conformance.backends.running import alive, marker
from holdfast.types import ToolResult

AGENT = Agent(MODEL, tools=["bash", "process"])
SERVER = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"


def process(**arguments: object) -> Turn:
    return Turn(calls=[Call("process", arguments)])


def bash(command: str) -> Turn:
    return Turn(calls=[Call("bash", {"command": command})])


def lasting(name: str) -> str:
    return f"exec bash -c 'echo up; while :; do sleep 0.1; done' {name}"


async def go(s: Scene, folder: Path, *, session: str = "s") -> RunResult:
    return await soon((await s.runtime.start(AGENT, "go", session=session, workspace=folder)).result(), 20)


async def results(s: Scene, session: str = "s") -> list[ToolResult]:
    return [each.result for each in of(ToolFinished, await s.log(session))]


@asynccontextmanager
async def sandboxed(script: list[Turn], url: str, sandbox: str) -> AsyncGenerator[Scene]:
    """A scene whose commands run in a sandbox."""
    async with (
        scene(script, url=url, seconds=60) as s,
        Runtime.open(url, sandbox=sandbox, clock=s.clock) as runtime,  # type: ignore[arg-type]
    ):
        yield Scene(s.server, runtime, url, s.clock)


@pytest.mark.requirement("sandbox:long-process-port", "tools:process-tool")
@pytest.mark.parametrize("sandbox", ["none", "native"])
async def test_a_model_starts_a_server_asks_it_reads_its_output_and_stops_it(sandbox: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "hi").write_text("hello\n")
    get = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /hi HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    script = [
        process(action="start", name="web", command=f'exec python3 -u -c "{SERVER.format(port=port)}"'),
        process(action="read", name="web", wait=20),
        bash(get),
        process(action="read", name="web", since=62),
        process(action="list"),
        Turn(text="it serves"),
        bash(get),
        process(action="stop", name="web"),
        process(action="list"),
        Turn(text="done"),
    ]
    async with sandboxed(script, f"sqlite:///{tmp_path}/s.db", sandbox) as s:
        assert (await go(s, folder)).status == "completed"
        started, read, got, log, listed = await results(s)
        assert started.error is None, started.content
        assert read.content.startswith(f"Serving HTTP on 127.0.0.1 port {port}")
        assert read.metadata["running"] is True and read.metadata["next"] > 0
        assert got.content.startswith("HTTP/1.0 200 OK") and "hello" in got.content
        assert "GET /hi" in log.content
        assert listed.content.startswith("web: running for ")
        [kept] = s.runtime.processes("s")
        forward = await kept.forward(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"GET /hi HTTP/1.0\r\n\r\n")
        assert (await soon(reader.read())).endswith(b"hello\n")
        writer.close()
        assert (await go(s, folder)).status == "completed"  # the session's next run finds it
        got, stopped, listed = (await results(s))[5:]
        assert got.content.startswith("HTTP/1.0 200 OK")
        assert "[ended with exit code 143 after " in stopped.content
        assert listed.content.startswith("web: ended with exit code 143")
        events = await s.log()
    [begun], [ended] = of(ProcessStarted, events), of(ProcessEnded, events)
    [first, *_] = of(ToolStarted, events)
    assert (begun.name, begun.call_id) == ("web", first.call_id) and begun.command.endswith('"')
    assert (ended.process, ended.code) == (begun.process, 143)
    assert not of(ProcessLost, events)


@pytest.mark.requirement("sandbox:long-process-ends-with-sandbox")
async def test_processes_end_with_the_runtime_and_the_model_is_told_in_the_next(tmp_path: Path) -> None:
    name = marker()
    folder, url = tmp_path / "work", f"sqlite:///{tmp_path}/s.db"
    folder.mkdir()
    script = [
        process(action="start", name="web", command=lasting(name)),
        Turn(text="started"),
        process(action="read", name="web"),
        Turn(text="I see"),
    ]
    async with scene(script, url=url) as s:
        async with s.other() as first:
            run = await first.start(AGENT, "go", session="s", workspace=folder)
            assert (await soon(run.result())).status == "completed"
            assert alive(name)
        assert not alive(name)
        assert (await go(s, folder)).output == "I see"
        [lost] = of(ProcessLost, await s.log())
        told = [each["content"] for each in asked(s.server)[2] if each["role"] == "user"]
        assert lost.name == "web" and "'web' does not run any more" in str(told[-1])
        assert "There is no process 'web'" in (await results(s))[1].content


CHILD = """
import asyncio, sys
from holdfast import Agent, Runtime

async def main():
    async with Runtime.open(sys.argv[1], sandbox=sys.argv[3]) as runtime:
        agent = Agent("openai/scripted", tools=["bash", "process"])
        await (await runtime.start(agent, "go", session="s", workspace=sys.argv[2])).result()
        print("idle", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.requirement("sandbox:long-process-ends-with-sandbox", "engine:lost-processes-are-told")
@pytest.mark.parametrize("sandbox", ["none", "native"])
@pytest.mark.parametrize("during", [True, False], ids=["during a run", "between runs"])
async def test_after_a_kill_of_the_runtime_nothing_pretends_to_run(sandbox: str, during: bool, tmp_path: Path) -> None:
    name = marker()
    root, url = tmp_path / "work", f"sqlite:///{tmp_path}/s.db"
    root.mkdir()
    (root / "stay.sh").write_text("echo up >up; while :; do sleep 0.1; done")
    second = bash("touch there; sleep 4") if during else Turn(text="started")
    script = [
        process(action="start", name="web", command=f"setsid bash stay.sh {name} & wait"),
        second,
        process(action="list"),
        Turn(text="done"),
    ]
    async with scene(script, url=url, seconds=60) as s:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", CHILD, url, str(root), sandbox),
            env={**os.environ, "OPENAI_BASE_URL": s.server.base_url},
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        await until((root / "up").exists, seconds=20)
        if during:
            await until((root / "there").exists, seconds=20)
        else:
            assert await soon(child.stdout.readline(), 20) == b"idle\n"
        assert alive(name)
        child.send_signal(signal.SIGKILL)
        await child.wait()
        if during:
            result = await soon((await s.runtime.resume("s", AGENT)).result(), 20)
        else:
            result = await go(s, root)
        assert not alive(name)
        events = await s.log()
        listed = (await results(s))[-1]
    assert result.status == "completed"
    [begun], [lost] = of(ProcessStarted, events), of(ProcessLost, events)
    assert lost.process == begun.process
    assert listed.content == "There are no processes."


PLANTER = CHILD.replace(
    "async def main", "from holdfast.sandbox.native.lasting import boxed\nboxed._LOOK = 600\n\nasync def main"
)


@pytest.mark.requirement("sandbox:kept-processes-guarded")
@pytest.mark.parametrize("during", [True, False], ids=["during a run", "between runs"])
async def test_after_a_kill_of_the_runtime_what_a_process_planted_for_programs_outside_is_removed(
    during: bool, tmp_path: Path
) -> None:
    root, url = tmp_path / "work", f"sqlite:///{tmp_path}/s.db"
    (root / ".git").mkdir(parents=True)
    (root / ".git/config").write_text("[core]\n")
    hook = root / ".git/hooks/pre-commit"
    script = [
        process(action="start", name="web", command="mkdir .git/hooks; echo evil >.git/hooks/pre-commit; sleep 60"),
        *([bash("touch there; sleep 4")] if during else []),
        Turn(text="done"),
        Turn(text="done"),
    ]
    async with scene(script, url=url, seconds=60) as s:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PLANTER, url, str(root), "native"),
            env={**os.environ, "OPENAI_BASE_URL": s.server.base_url},
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        if during:
            await until((root / "there").exists, seconds=20)
        else:
            assert await soon(child.stdout.readline(), 20) == b"idle\n"
        assert hook.exists()
        child.send_signal(signal.SIGKILL)
        await child.wait()
        assert hook.exists()
        if during:
            await soon((await s.runtime.resume("s", AGENT)).result(), 20)
        else:
            await go(s, root)
        events = await s.log()
    assert not hook.exists()
    [begun], [lost], kept = of(ProcessStarted, events), of(ProcessLost, events), of(FilesKept, events)
    assert ".git/hooks" in begun.absent
    assert kept
    assert during or "removed, because programs outside obey it: .git/hooks" in lost.why


@pytest.mark.requirement("sandbox:kept-processes-guarded")
async def test_what_a_person_puts_there_after_the_runtime_has_ended_its_processes_stays(tmp_path: Path) -> None:
    root, url = tmp_path / "work", f"sqlite:///{tmp_path}/s.db"
    (root / ".git").mkdir(parents=True)
    hook = root / ".git/hooks/pre-commit"
    script = [process(action="start", name="web", command="sleep 60"), Turn(text="done"), Turn(text="done")]
    async with sandboxed(script, url, "native") as s:
        async with Runtime.open(url, sandbox="native", clock=s.clock) as first:
            run = await first.start(AGENT, "go", session="s", workspace=root)
            assert (await soon(run.result(), 20)).status == "completed"
        hook.parent.mkdir()
        hook.write_text("mine")
        await go(s, root)
        [begun], [_] = of(ProcessStarted, await s.log()), of(ProcessLost, await s.log())
    assert ".git/hooks" in begun.absent
    assert hook.read_text() == "mine"


async def test_a_fork_has_none_of_its_parents_processes_and_is_told_so(tmp_path: Path) -> None:
    name = marker()
    folder = tmp_path / "work"
    folder.mkdir()
    script = [process(action="start", name="web", command=lasting(name)), Turn(text="a"), Turn(text="b")]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        await go(s, folder)
        forked = await s.runtime.fork("s", workspace=tmp_path / "fork")
        run = await s.runtime.start(AGENT, "go", session=forked)
        assert (await soon(run.result())).output == "b"
        assert [each.name for each in of(ProcessLost, await s.log(forked))] == ["web"]
        assert alive(name)  # its parent's is its parent's


async def test_deleting_a_session_ends_its_processes(tmp_path: Path) -> None:
    name = marker()
    folder = tmp_path / "work"
    folder.mkdir()
    script = [process(action="start", name="web", command=lasting(name)), Turn(text="a")]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        await go(s, folder)
        assert alive(name)
        async with s.other() as another:  # whoever deletes it
            await another.delete("s")
        assert not alive(name)
        with pytest.raises(UnknownSession):
            await s.runtime.resume("s", AGENT)


@pytest.mark.parametrize("how", ["exit", "expiry"])
async def test_ending_a_session_for_good_ends_its_processes(how: str, tmp_path: Path) -> None:
    name = marker()
    folder = tmp_path / "work"
    folder.mkdir()
    script = [process(action="start", name="web", command=lasting(name)), Turn(text="a")]
    async with scene(script) as s:
        control = Control(idle=0.001) if how == "expiry" else None
        await soon((await s.runtime.start(AGENT, "go", session="s", workspace=folder, control=control)).result(), 20)
        assert alive(name)
        if how == "exit":
            await s.runtime.session("s").exit("enough")
        async with asyncio.timeout(5):
            while alive(name):
                await s.runtime.sweep()
                await asyncio.sleep(0)


BAD = {
    "no name": ({"action": "read"}, "give its name"),
    "no command": ({"action": "start", "name": "a"}, "give its command"),
    "a strange name": ({"action": "start", "name": "../a", "command": "true"}, "name"),
    "an unknown one": ({"action": "stop", "name": "a"}, "There is no process 'a'. Processes: none."),
    "a NUL": ({"action": "start", "name": "a", "command": "echo \0"}, "NUL|null"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_cannot_be_done_is_said_with_the_next_step(case: str, tmp_path: Path) -> None:
    arguments, said = BAD[case]
    async with scene([process(**arguments), Turn(text="a")]) as s:
        await go(s, tmp_path)
        [result] = await results(s)
    assert result.error is not None
    assert any(each in result.content for each in said.split("|")), result.content


async def test_a_flood_of_hostile_output_is_read_in_parts_that_are_safe_to_show(tmp_path: Path) -> None:
    flood = "head -c 2000000 /dev/zero | tr '\\0' x; printf '\\033]0;owned\\007\\xff end\\n'"
    script = [process(action="start", name="a", command=flood), bash("true")]
    script += [process(action="read", name="a", since=2_000_000, wait=20), Turn(text="a")]
    async with scene(script, seconds=40) as s:
        await go(s, tmp_path)
        said = (await results(s))[-1]
    assert "\x1b" not in said.content and "\u241b]0;owned\u2407\ufffd end" in said.content
    assert said.metadata["next"] == 2_000_016


async def test_a_read_only_run_looks_and_starts_nothing(tmp_path: Path) -> None:
    script = [process(action="start", name="a", command="true"), process(action="list"), Turn(text="a")]
    async with scene(script) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path, mode="read-only")
        await soon(run.result())
        denied, listed = await results(s)
    assert denied.error is not None and denied.content.startswith("Denied")
    assert listed.content == "There are no processes."
