"""What sandboxes reach can be changed while they live: the policy of the network, and services by name."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.egressing import PUBLIC, Upstream, allowing
from tests.sandboxing import Place, sandboxes

from holdfast import Runtime
from holdfast.errors import IsolationMissing, SandboxError, UsageError
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.egress import proxy
from holdfast.sandbox.egress.dialling import Dialler
from holdfast.sandbox.policy.openshell import Endpoint, FilesystemPolicy, Policy
from holdfast.sandbox.policy.profile import Profile, Quotas
from holdfast.sandbox.port import Backend
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.types import TenantId

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

OPEN = allowing(Endpoint(host="api.example.com", port=80), binaries=("/usr/bin/python3*",))
NOTHING = Policy()
ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print("nothing")
"""
HOLD = """
import socket, time
made = socket.create_connection(("127.0.0.1", 3128))
made.sendall(b"CONNECT api.example.com:80 HTTP/1.1\\r\\nHost: api.example.com:80\\r\\n\\r\\n")
made.recv(1000)
open("held", "w").close()
made.settimeout(15)
print("ended" if made.recv(1000) == b"" else "more")
"""


@pytest.fixture
async def upstream(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Upstream]:
    """A server for which every public name stands."""
    served = Upstream()

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [PUBLIC]

    async def connect(address: str, port: int) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", served.port))
        return made

    monkeypatch.setattr(proxy, "Dialler", lambda: Dialler(resolve=resolve, connect=connect, timeout=5))
    async with AsyncExitStack() as stack:
        await served.serve(stack)
        yield served


async def asked(place: Place, url: str = "http://api.example.com/") -> str:
    (place.folder / "ask.py").write_text(ASK)
    return await place.says(f"/usr/bin/python3 ask.py {url}")


@pytest.mark.requirement("sandbox:live-network-update")
async def test_what_a_sandbox_reaches_is_what_the_policy_of_the_moment_says(tmp_path: Path, upstream: Upstream) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("echo kept > /tmp/mark")
        assert place.backend.posture.isolated
        assert await asked(place) == "nothing"
        await place.backend.update(OPEN, {})
        assert not place.backend.posture.isolated
        assert "egress-proxy" in place.backend.posture.layers
        assert await asked(place) == "200"
        await place.says("echo kept > /tmp/mark")
        await place.backend.update(allowing(Endpoint(host="other.example.com", port=80)), {})
        assert await asked(place) == "403"
        await place.backend.update(OPEN, {})
        assert await asked(place) == "200"
        await place.backend.update(NOTHING, {})
        assert place.backend.posture.isolated
        assert await asked(place) == "403"
        assert await place.says("cat /tmp/mark") == "kept"  # all of that in one sandbox, which lived on


@pytest.mark.requirement("sandbox:live-network-update")
async def test_a_connection_that_is_no_longer_allowed_ends_while_its_command_runs(
    tmp_path: Path, upstream: Upstream
) -> None:
    (tmp_path / "hold.py").write_text(HOLD)
    async with sandboxes(tmp_path, Profile(policy=OPEN)) as place:
        holding = asyncio.create_task(place.run("/usr/bin/python3 hold.py"))
        while not (tmp_path / "held").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        await place.backend.update(NOTHING, {})
        ended = await holding
    assert ended.output.text() == "ended\n"
    assert any("the policy has changed" in str(each["reason"]) for each in ended.out)


@pytest.mark.requirement("sandbox:live-network-update")
async def test_an_update_that_cannot_be_kept_changes_nothing(tmp_path: Path, upstream: Upstream) -> None:
    async with sandboxes(tmp_path, Profile(policy=OPEN, require=("egress-proxy",))) as place:
        with pytest.raises(IsolationMissing, match="egress-proxy"):
            await place.backend.update(NOTHING, {})
        with pytest.raises(UsageError, match="only the network"):
            await place.backend.update(Policy(filesystem_policy=FilesystemPolicy(read_only=("/usr",))), {})
        with pytest.raises(UsageError, match="no name of a host"):
            await place.backend.update(OPEN, {"not a host": tmp_path / "socket"})
        assert await asked(place) == "200"
    bare = await ProcessSandboxes.open(Profile(limits=Quotas(memory=None)))
    try:
        with pytest.raises(SandboxError, match="take the sandbox native"):
            await bare.update(OPEN, {})
    finally:
        await bare.close()


@asynccontextmanager
async def service(path: Path) -> AsyncGenerator[list[bytes]]:
    """Serves HTTP at the path of a unix socket."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 207 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    try:
        yield seen
    finally:
        server.close()


@pytest.mark.requirement("sandbox:services-by-name")
async def test_a_service_is_reached_by_its_name_without_a_network_and_only_as_long_as_it_is_given(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    async with service(tmp_path / "socket") as seen, sandboxes(work) as place:
        url = "http://models.local/v1"
        assert await asked(place, url) == "nothing"
        await place.backend.update(NOTHING, {"models.local": tmp_path / "socket"})
        assert await asked(place, url) == "207"
        assert seen[0].startswith(b"GET /v1 ")
        assert await asked(place, "http://other.local/v1") == "403"
        await place.backend.update(NOTHING, {})
        assert await asked(place, url) == "403"
    assert len(seen) == 1


@pytest.mark.requirement("sandbox:live-network-update", "sandbox:services-by-name")
async def test_a_program_changes_what_its_agents_reach(tmp_path: Path, upstream: Upstream) -> None:
    boxes = Sandboxes(MemoryBlobStore(), None, profile=Profile(backend="native"))
    try:
        backend: Backend = boxes.at(TenantId("us"), tmp_path).backend
        (tmp_path / "ask.py").write_text(ASK)

        async def says() -> str:
            env = {"PATH": "/usr/bin:/bin"}
            command = ["/usr/bin/python3", "ask.py", "http://api.example.com/"]
            ended = await backend.run(command, folder=tmp_path, env=env, timeout=20, keep=1000)
            return ended.output.text().strip()

        assert await says() == "nothing"
        assert not (await boxes.update(OPEN, {})).isolated
        assert await says() == "200"
    finally:
        await boxes.close()
    async with Runtime.open("memory:", sandbox="native") as runtime:
        assert (await runtime.posture()).isolated
        assert not (await runtime.allow(OPEN)).isolated
        assert (await runtime.allow(NOTHING)).isolated
        assert not (await runtime.allow(NOTHING, {"models.local": tmp_path / "socket"})).isolated
    async with Runtime.open("memory:", sandbox="none") as runtime:
        with pytest.raises(SandboxError, match="take the sandbox native"):
            await runtime.allow(OPEN)
