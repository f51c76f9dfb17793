"""Which program is at the other end: by unix socket, by TCP, and by TCP from a network namespace of its own."""

from __future__ import annotations

import array
import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from tests.egressing import API, PYTHON, Upstream, allowing, denial, egress, status

from holdfast.sandbox.egress.identity import Identity

GOOD = "GET http://api.example.com/ HTTP/1.1\\r\\nHost: api.example.com\\r\\nConnection: close\\r\\n\\r\\n"
BASH = str(Path(shutil.which("bash") or "/bin/bash").resolve())

ASK = f"""
import socket, sys
made = socket.socket(socket.AF_UNIX) if sys.argv[1].startswith("/") else socket.socket()
made.connect(sys.argv[1] if sys.argv[1].startswith("/") else ("127.0.0.1", int(sys.argv[1])))
made.sendall(b"{GOOD}")
print(made.makefile("rb").readline().decode())
"""

INSIDE = f"""
import array, ctypes, fcntl, os, socket, struct, sys
if ctypes.CDLL(None).unshare(0x40000000):
    sys.exit(77)
made = socket.socket()
fcntl.ioctl(made, 0x8914, struct.pack("16sh", b"lo", 1 | 64))
listener = socket.create_server(("127.0.0.1", 3128))
ours = socket.socket(fileno=int(sys.argv[1]))
ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))])
listener.close()
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")):
    made = socket.socket(family)
    made.connect((host, 3128))
    made.sendall(b"{GOOD}")
    print(made.makefile("rb").readline().decode())
"""


def below(pid: int) -> set[int]:
    """Returns what a process has started, and what that has started: here, everything in the sandbox."""
    with suppress(OSError):
        files = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")]
        started = {int(each) for file in files for each in file.split()}
        return started.union(*(below(each) for each in started))
    return set()


def family() -> set[int]:
    return below(os.getpid())


async def run(*command: str, pass_fds: Sequence[int] = ()) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, pass_fds=pass_fds
    )
    async with asyncio.timeout(10):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest.mark.requirement("sandbox:egress-identity")
async def test_a_process_outside_the_sandbox_is_refused_by_unix_socket(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(API), Upstream(), pids=family) as world:
        refused = await world.get("http://api.example.com/")
        assert (status(refused), "no process of this sandbox" in str(denial(refused)["detail"])) == (403, True)
        assert " 200 " in (await run(sys.executable, "-c", ASK, str(world.path)))[1]


@pytest.mark.requirement("sandbox:egress-identity")
async def test_what_a_program_started_goes_where_it_may_but_nothing_outside_counts(tmp_path: Path) -> None:
    script = f'"{sys.executable}" -c "$1" "$2"; :'
    async with egress(tmp_path, allowing(API, binaries=(BASH,)), Upstream(), pids=family) as world:
        assert " 200 " in (await run(BASH, "-c", script, BASH, ASK, str(world.path)))[1]
        assert world.log[0].binary == PYTHON
        direct = (await run(sys.executable, "-c", ASK, str(world.path)))[1]
        assert " 403 " in direct  # whoever started us is not in the sandbox
        assert repr(PYTHON) in world.log[-1].reason


@pytest.mark.requirement("sandbox:egress-identity")
async def test_everybody_who_holds_a_tcp_connection_is_seen() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        child = await asyncio.create_subprocess_exec(
            BASH, "-c", "read -r _", stdin=asyncio.subprocess.PIPE, pass_fds=(client.fileno(),)
        )
        seen = await Identity(lambda: {os.getpid(), child.pid}, init=os.getpid()).of(accepted)
        assert {each.pid for each in seen} == {os.getpid(), child.pid}
        await child.communicate(b"\n")


@pytest.mark.requirement("sandbox:egress-identity")
async def test_every_holder_of_a_tcp_connection_has_to_be_allowed(tmp_path: Path) -> None:
    copy = str(tmp_path / "bash")
    shutil.copy(BASH, copy)
    request = GOOD.replace("\\r\\n", r"\r\n")
    inner = f"printf '{request}' >&3; read -r line <&3; echo $line"
    outer = 'exec 3<>/dev/tcp/127.0.0.1/$1; "$2" -c "$3"; :'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        policy = allowing(API, binaries=(BASH,))
        async with egress(
            tmp_path, policy, Upstream(), pids=family, listener=listener.dup(), init=os.getpid()
        ) as world:
            assert " 200 " in (await run(BASH, "-c", outer, BASH, port, BASH, inner))[1]
            assert {each.verdict for each in world.log} == {"allowed"}
            assert " 403 " in (await run(copy, "-c", outer, copy, port, BASH, inner))[1]
            assert repr(copy) in world.log[-1].reason


@pytest.mark.requirement("sandbox:egress-identity")
async def test_a_listener_in_a_network_namespace_of_its_own_serves_and_knows_its_clients(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    others = family()  # an earlier test may have left a process that goes on
    running = asyncio.create_task(run(sys.executable, "-c", INSIDE, str(theirs.fileno()), pass_fds=(theirs.fileno(),)))
    with ours:
        ours.setblocking(False)
        readable = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(ours, lambda: readable.done() or readable.set_result(None))
        await asyncio.wait((readable, running), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        asyncio.get_running_loop().remove_reader(ours)
        theirs.close()
        if running.done() and running.result()[0] == 77:
            pytest.skip("network namespaces are not to be had here")
        _, rights, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        listener = socket.socket(fileno=array.array("i", rights[0][2])[0])
    init = min(family() - others)
    async with egress(tmp_path, allowing(API), Upstream(), pids=family, listener=listener, init=init) as world:
        said = (await running)[1]
        assert said.count(" 200 ") == 2
        assert {(each.binary, each.pid) for each in world.log} == {(PYTHON, world.log[0].pid)}
