"""Processes that go on in native sandboxes: what commands beside them do, and what comes out of the sandbox."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from tests.running import soon, until
from tests.sandboxing import Place, of, sandboxes

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.longrunning.connecting import Connection, Forward, stream_of
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.policy.profile import Profile, Quotas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

SERVER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 8000))
print("listening", flush=True)
while True:
    end, _ = listener.accept()
    end.sendall(sys.argv[1].encode())
    end.close()
"""
ASK = "exec 3<>/dev/tcp/127.0.0.1/8000; cat <&3"
BOMB = """
import os
while True:
    try:
        os.fork()
        os.setsid()
    except OSError:
        pass
"""


async def start(place: Place, command: str, name: str = "it") -> Process:
    return await place.backend.start(command, name=name, folder=place.folder, env=place.env)


async def serve(place: Place, answer: str) -> Process:
    (place.folder / "server.py").write_text(SERVER)
    process = await start(place, f"exec python3 server.py {answer}")
    async with asyncio.timeout(20):
        await process.ring.more(0)
    assert process.read().text == "listening\n"
    return process


@pytest.mark.requirement("sandbox:long-process-spared")
async def test_a_fork_bomb_beside_a_kept_process_ends_alone(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, Profile(limits=Quotas(pids=100))) as place:
        process = await serve(place, "here")
        (tmp_path / "bomb.py").write_text(BOMB)
        ended = await place.run("python3 bomb.py & python3 bomb.py & sleep 0.5", seconds=10)
        assert ended.strays > 10
        assert process.code is None
        assert await place.says("! pgrep -f 'bom[b].py'") == ""
        assert await place.says(ASK) == "here"


@pytest.mark.requirement("sandbox:long-process-spared")
async def test_what_a_kept_process_starts_is_spared_in_a_session_of_its_own_too_and_ends_with_it(
    tmp_path: Path,
) -> None:
    line = "trap 'exit 3' TERM; setsid bash -c 'setsid sleep 1234 & sleep 1235' & echo up; while :; do sleep 0.05; done"
    async with sandboxes(tmp_path) as place:
        process = await start(place, line)
        await soon(process.ring.more(0), 20)
        assert await place.says("until pgrep -x sleep -a | grep -c 123 | grep -q 2; do sleep 0.05; done; echo 2") == "2"
        await place.run("setsid sleep 888 &")
        assert await place.says("pgrep -a sleep | grep -c 'sleep 123'") == "2"
        assert (await place.run("pgrep -a sleep | grep 'sleep 888'")).code == 1
        assert await process.stop() == 3
        assert (await place.run("pgrep -x sleep")).code == 1


@pytest.mark.requirement("sandbox:long-process-spared")
async def test_what_is_left_of_a_kept_process_ends_while_a_command_runs_on(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        process = await start(place, "sleep 1234 & echo up; exec sleep 1235")
        await soon(process.ring.more(0), 20)
        going = asyncio.create_task(place.run("touch began; until [ -e go ]; do sleep 0.02; done; pgrep -ax sleep"))
        await until((tmp_path / "began").exists, seconds=20)
        assert await process.stop() == 143
        (tmp_path / "go").touch()
        ended = await going
        assert "123" not in ended.output.text()


async def test_two_sessions_in_one_folder_have_the_same_port_each_for_itself(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as one:
        two = Place(one.backend, tmp_path, f"{tmp_path}-two#1")
        await serve(one, "one")
        second = await serve(two, "two")
        assert (await one.says(ASK), await two.says(ASK)) == ("one", "two")
        forward = await second.forward(8000)
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        assert await soon(reader.read()) == b"two"
        writer.close()


@pytest.mark.requirement("engine:fences-commands-of-lower-epochs")
async def test_a_higher_epoch_reaches_it_until_another_runtime_has_the_session(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        process = await serve(place, "here")
        place.env[OWNER] = f"{tmp_path}#2"
        assert await place.says(ASK) == "here"
        async with sandboxes(tmp_path) as other:
            assert await other.backend.attach(str(tmp_path), 3) == 1
        assert await soon(process.wait()) == 137
        assert not of(str(tmp_path))
        place.env[OWNER] = f"{tmp_path}#4"
        assert await place.says("echo on") == "on"  # in a new one


async def test_a_sandbox_idles_out_once_it_keeps_nothing(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        process = await serve(place, "here")
        await process.stop()
        [box] = list(place.backend.pool._idle._lying)
        assert box.kept == 0 and place.backend.pool._idle._lying[box][1] is not None  # its time runs


async def test_what_was_put_at_a_protected_path_is_removed_when_the_process_ends(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        path = place.backend.guarded[0]
        process = await start(place, f"mkdir -p $(dirname {path}); mkdir {path}; echo up; exec sleep 60")
        await soon(process.ring.more(0), 20)
        assert (tmp_path / path).exists()
        await process.stop()
        assert not (tmp_path / path).exists()
        assert f"removed, because programs outside obey it: {path}" in process.read().text


def pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def datagram() -> int:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()


def local() -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


@pytest.mark.parametrize("made", [pipe, datagram, local], ids=["a pipe", "datagrams", "a local socket"])
def test_a_descriptor_from_a_sandbox_that_is_no_connection_is_refused_and_closed(made: object) -> None:
    descriptor = made()  # type: ignore[operator]
    with pytest.raises(SandboxError, match="no connection"):
        stream_of(descriptor)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


async def test_a_connection_whose_other_holder_makes_it_wait_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        end = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
        held = end.dup()  # as the sandbox may keep it
        connection = Connection(stream_of(end.detach()))
        held.setblocking(True)
        waiting = asyncio.create_task(connection.receive())
        sending = asyncio.create_task(connection.send(b"x" * 50_000_000))
        await asyncio.sleep(0)
        assert not waiting.done()
        other.sendall(b"at last")
        assert await soon(waiting) == b"at last"
        sending.cancel()
        await asyncio.wait([sending])
        connection.close()
        held.close()
        other.close()


async def test_a_forwarded_port_bears_a_flood_and_a_client_that_leaves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def dial() -> Connection:
            end = socket.create_connection(listener.getsockname())
            return Connection(stream_of(end.detach()))

        forward = await Forward.open(dial)
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"go")
        loop = asyncio.get_running_loop()
        inner, _ = await asyncio.to_thread(listener.accept)
        inner.setblocking(False)
        assert await soon(loop.sock_recv(inner, 10)) == b"go"
        flood = asyncio.create_task(loop.sock_sendall(inner, bytes(120_000_000)))
        assert len(await soon(reader.readexactly(20_000_000), 20)) == 20_000_000
        writer.transport.abort()
        with pytest.raises(ConnectionError):
            await soon(flood)
        inner.close()
        forward.close()
        await until(lambda: not forward._going, "a connection is left")
