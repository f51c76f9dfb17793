"""Every way to a forbidden address ends before a connection: a trap listens there and must never hear anything."""

from __future__ import annotations

import ast
import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from tests.architecture.tree import nodes
from tests.loopback import Request, Server, answer, serving

import holdfast
from holdfast.errors import AddressBlocked, ConnectionBroken, NetError
from holdfast.net.client import HttpClient
from holdfast.net.guarding import BlockedSocketError, GuardedSockets
from holdfast.net.settings import NetSettings, Resolve
from holdfast.safety.addresses import PUBLIC, TRUSTED, AddressPolicy

# 127.0.0.2 stands for "somewhere allowed", 127.0.0.1 for "somewhere forbidden": both can be listened to.
ELSEWHERE = PUBLIC.opening(["127.0.0.2"])

SPELLINGS = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0x7f.1",
    "0x7f000001",
    "0.0.0.0",
    "0",
    "localhost",
    "LocalHost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "\uff11\uff12\uff17.0.0.1",  # full-width digits
    "127\u30020\u30020\u30021",  # ideographic full stops
]


async def ok_and_close(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer(headers="Connection: close\r\n"))


def names(table: Mapping[str, Sequence[str]]) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return table[host]

    return resolve


@pytest_asyncio.fixture
async def trap() -> AsyncGenerator[Server]:
    async with serving() as server:
        yield server
        assert server.connections == 0


async def refused(client: HttpClient, url: str) -> NetError:
    with pytest.raises(AddressBlocked) as caught:
        async with client.get(url, redirects=3) as response:
            await response.body()
    return caught.value


@pytest.mark.requirement("net:guard-at-connect", "safety:guard-odd-spellings", "safety:guard-loopback-and-unspecified")
@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_this_machine_is_reached_by_the_public_policy(host: str, trap: Server) -> None:
    async with HttpClient(PUBLIC) as client:
        error = await refused(client, f"http://{host}:{trap.port}/secret?key=geheim")
    assert "geheim" not in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_the_trusted_policy_reaches_this_machine_however_it_is_spelled(host: str) -> None:
    async with serving() as server, HttpClient(TRUSTED) as client, client.get(f"http://{host}:{server.port}/") as got:
        assert await got.body() == b"ok"


@pytest.mark.requirement("safety:guard-link-local-and-metadata")
@pytest.mark.parametrize("policy", [PUBLIC, TRUSTED])
@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "[fd00:ec2::254]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "224.0.0.1", "0"]
)
async def test_metadata_and_link_local_addresses_are_reached_by_no_policy(policy: AddressPolicy, host: str) -> None:
    async with HttpClient(policy) as client:
        await refused(client, f"http://{host}/latest/meta-data/")


@pytest.mark.requirement("net:guard-at-connect")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "10.0.0.1"])
async def test_a_name_that_leads_to_a_forbidden_address_is_refused_by_name(address: str, trap: Server) -> None:
    async with HttpClient(PUBLIC, resolve=names({"innocent.example": [address]})) as client:
        error = await refused(client, f"http://innocent.example:{trap.port}/")
    assert "'innocent.example'" in str(error)
    assert address in str(error)


@pytest.mark.requirement("net:guard-any-answer-forbidden")
@pytest.mark.parametrize("answers", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["::1", "127.0.0.2"]])
async def test_a_name_with_several_addresses_is_dialled_only_at_the_allowed_ones(answers: list[str]) -> None:
    async with serving(ok_and_close, host="127.0.0.2") as allowed, serving(port=allowed.port) as forbidden:
        settings = NetSettings(name_memory=0)
        async with HttpClient(ELSEWHERE, settings, resolve=names({"two.example": answers})) as client:
            for _ in range(3):
                async with client.get(f"http://two.example:{allowed.port}/") as got:
                    assert got.status == 200
        assert (allowed.connections, forbidden.connections) == (3, 0)


@pytest.mark.requirement("net:guard-any-answer-forbidden")
async def test_when_the_allowed_address_does_not_answer_the_forbidden_one_is_not_tried(trap: Server) -> None:
    table = {"two.example": ["127.0.0.2", "127.0.0.1"]}
    async with HttpClient(ELSEWHERE, resolve=names(table)) as client:
        with pytest.raises(ConnectionBroken):
            async with client.get(f"http://two.example:{trap.port}/"):
                pass


@pytest.mark.requirement("net:guard-rebinding")
async def test_a_name_that_changes_its_mind_is_refused_at_the_next_connection() -> None:
    answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])

    async def resolve(host: str, port: int) -> list[str]:
        return [next(answers)]

    async with serving(ok_and_close, host="127.0.0.2") as allowed, serving(port=allowed.port) as forbidden:
        async with HttpClient(ELSEWHERE, NetSettings(name_memory=0), resolve=resolve) as client:
            url = f"http://rebinding.example:{allowed.port}/"
            async with client.get(url) as got:
                assert await got.body() == b"ok"
            await refused(client, url)
        assert (allowed.connections, forbidden.connections) == (1, 0)


@pytest.mark.requirement("net:guard-rebinding")
async def test_an_answer_that_is_a_name_itself_is_not_looked_up_again(trap: Server) -> None:
    for policy in (PUBLIC, TRUSTED):
        async with HttpClient(policy, resolve=names({"alias.example": ["localhost"]})) as client:
            await refused(client, f"http://alias.example:{trap.port}/")


@pytest.mark.requirement("net:guard-at-connect")
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "169.254.169.254", "2130706433"])
def test_no_socket_exists_for_a_forbidden_address_even_behind_the_resolver(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(BlockedSocketError):
        GuardedSockets(PUBLIC).open((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.requirement("net:guard-every-redirect")
@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "//0x7f.1:{port}/", "http://inner.example:{port}/"],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_forbidden_address_is_refused(status: int, target: str, trap: Server) -> None:
    async def redirect(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(status=f"{status} Moved", headers=f"Location: {target.format(port=trap.port)}\r\n"))

    table = {"inner.example": ["127.0.0.1"], "localhost": ["127.0.0.1"]}
    client = HttpClient(ELSEWHERE, resolve=names(table))
    async with serving(redirect, host="127.0.0.2") as allowed, client:
        await refused(client, allowed.url)
        sent = client.get(allowed.url)
        async with sent as got:
            assert got.status == status


@pytest.mark.requirement("net:guard-covers-every-request", "net:no-ambient-state")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_in_the_environment_is_no_way_around_the_guard(
    variable: str, trap: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, trap.url)
    async with serving(host="127.0.0.2") as allowed, HttpClient(ELSEWHERE) as client:
        sent = client.get(allowed.url)
        async with sent as got:
            assert await got.body() == b"ok"


async def test_a_connection_of_one_policy_is_not_used_by_another() -> None:
    async with serving() as server, HttpClient(TRUSTED) as trusted, HttpClient(PUBLIC) as public:
        async with trusted.get(server.url) as got:
            assert await got.body() == b"ok"
        await refused(public, server.url)
        assert server.connections == 1


WAYS_OUT = {"aiohttp", "httpx", "requests", "urllib3", "http.client", "urllib.request", "socket", "ftplib", "telnetlib"}
CALLS_OUT = {"open_connection", "create_connection", "sock_connect"}
SERVES = {"testing", "server"}  # they listen; they do not call
# Sockets to sandboxes and to what goes on in them; and their way out, which has the guard.
OF_SANDBOXES = {f"sandbox/{each}" for each in ("native", "programs", "confining", "longrunning", "egress")}


@pytest.mark.requirement("net:guard-covers-every-request")
def test_no_other_room_imports_or_calls_what_opens_a_connection() -> None:
    house = Path(holdfast.__file__).parent
    found: list[str] = []
    for file in house.rglob("*.py"):
        room = file.relative_to(house).parts[0]
        if room == "net" or room in SERVES or any(file.is_relative_to(house / each) for each in OF_SANDBOXES):
            continue
        for node in nodes(file, ast.Import, ast.ImportFrom, ast.Attribute):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if isinstance(node, ast.Attribute) and node.attr in CALLS_OUT:
                found.append(f"{file}:{node.lineno} {node.attr}")
            found += [f"{file} {name}" for name in names if name in WAYS_OUT or name.partition(".")[0] in WAYS_OUT]
    assert found == []
    assert (house / "net" / "client.py").exists()
