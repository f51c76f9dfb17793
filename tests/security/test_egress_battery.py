"""The fifteen ways round the sandbox's way out: each is refused, and the same request without the trick passes."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.egressing import (
    API,
    PUBLIC,
    READ,
    READ_PLAIN,
    SECURE,
    Upstream,
    World,
    allowing,
    answer,
    denial,
    egress,
    raw_echo,
    settles,
    status,
)

from holdfast.sandbox.policy.openshell import Endpoint, Policy, Request

BASH = str(Path(shutil.which("bash") or "/bin/bash").resolve())
GOOD = b"GET http://api.example.com/public/a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
pytestmark = pytest.mark.requirement("sandbox:egress-battery")


@pytest.fixture
def plain() -> Upstream:
    return Upstream()


async def connect(world: World, to: str) -> int:
    return status(await world.ask(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode("latin-1"), half=True))


async def test_null_byte_host(tmp_path: Path, plain: Upstream) -> None:
    async with egress(tmp_path, allowing(API, Endpoint(host="*.example.com", port=80)), plain) as world:
        for host in ("evil.test\0.example.com", "evil.test%00.example.com", "api.example.com\0"):
            assert status(await world.get(f"http://{host}/")) == 400
            assert await connect(world, f"{host}:80") == 400
        assert world.looked_up == []
        assert status(await world.ask(GOOD)) == 200


async def test_ip_literal(tmp_path: Path, plain: Upstream) -> None:
    by_name, by_number = allowing(API), allowing(Endpoint(host=PUBLIC, port=80))
    async with egress(tmp_path, by_name, plain) as world:
        assert status(await world.get(f"http://{PUBLIC}/")) == 403
        assert await connect(world, f"{PUBLIC}:80") == 403
        assert (world.dialled, plain.connections) == ([], 0)
        world.proxy.update(by_number)
        assert status(await world.get(f"http://{PUBLIC}/")) == 200
        assert world.looked_up == []


@pytest.mark.parametrize("spelling", ["2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "127.1", "017700000001"])
async def test_decimal_or_octal_ip(tmp_path: Path, plain: Upstream, spelling: str) -> None:
    everything = allowing(
        API, Endpoint(host="127.0.0.1", port=80), Endpoint(host="**.1", port=80), Endpoint(host=PUBLIC, port=80)
    )
    async with egress(tmp_path, everything, plain) as world:
        refused = await world.get(f"http://{spelling}/")
        assert (status(refused), denial(refused)["host"]) == (403, "127.0.0.1")
        assert await connect(world, f"{spelling}:80") == 403
        assert world.dialled == []
        number = int.from_bytes(socket.inet_aton(PUBLIC))
        for public in (PUBLIC, str(number), hex(number)):  # what is allowed may be spelled like that
            assert status(await world.get(f"http://{public}/")) == 200


@pytest.mark.parametrize(
    "spelling", ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]"]
)
async def test_ipv4_mapped_ipv6(tmp_path: Path, plain: Upstream, spelling: str) -> None:
    everything = allowing(Endpoint(port=80, allowed_ips=("0.0.0.0/0", "::/0")))
    async with egress(tmp_path, everything, plain) as world:
        assert status(await world.get(f"http://{spelling}/")) == 403
        assert await connect(world, f"{spelling}:80") == 403
        assert world.dialled == []
        assert status(await world.get(f"http://[::ffff:{PUBLIC}]/")) == 200
        assert world.dialled == [PUBLIC]


async def test_trailing_dot_and_case(tmp_path: Path, plain: Upstream) -> None:
    guarded = msgspec.structs.replace(
        API, protocol="rest", enforcement="enforce", access="full", deny_rules=(Request(method="*", path="/admin/**"),)
    )
    async with egress(tmp_path, allowing(guarded), plain) as world:
        for host in ("API.Example.COM", "api.example.com.", "API.EXAMPLE.COM."):
            assert status(await world.get(f"http://{host}/admin/x")) == 403
            assert status(await world.get(f"http://{host}/open", host="api.example.com")) == 200
        assert status(await world.get("http://api.example.com../open")) == 400
        assert all(b"Host: api.example.com\r\n" in each for each in plain.seen)


async def test_userinfo_in_authority(tmp_path: Path, plain: Upstream) -> None:
    async with egress(tmp_path, allowing(API), plain) as world:
        for named in ("api.example.com@evil.test", "user:pw@api.example.com", "api.example.com%40evil.test"):
            assert status(await world.get(f"http://{named}/", host="api.example.com")) == 400
            assert await connect(world, f"{named}:80") == 400
        assert status(await world.ask(GOOD)) == 200


async def test_dns_rebinding(tmp_path: Path, plain: Upstream) -> None:
    names = {"api.example.com": [[PUBLIC], ["127.0.0.1"], ["10.0.0.1", PUBLIC]]}
    async with egress(tmp_path, allowing(API), plain, names=names) as world:
        assert status(await world.ask(GOOD)) == 200
        assert (world.looked_up, world.dialled) == (["api.example.com"], [PUBLIC])  # once, and what was judged
        refused = await world.ask(GOOD)
        assert (status(refused), "loopback" in str(denial(refused)["detail"])) == (403, True)
        assert status(await world.ask(GOOD)) == 200  # of two addresses the one that may
        assert world.dialled == [PUBLIC, PUBLIC]


async def test_connect_to_loopback(tmp_path: Path, plain: Upstream) -> None:
    names = {"local.example.com": ["127.0.0.1"], "six.example.com": ["::1"], "nil.example.com": ["0.0.0.0"]}
    anywhere = ("0.0.0.0/0", "::/0")
    hosts = [*names, "127.0.0.1", "localhost", "api.example.com"]
    open_to_all = allowing(*(Endpoint(host=each, port=80, allowed_ips=anywhere) for each in hosts))
    async with egress(tmp_path, open_to_all, plain, names={**names, "localhost": ["127.0.0.1"]}) as world:
        for host in (*names, "127.0.0.1", "localhost", "[::1]", "0"):
            assert status(await world.get(f"http://{host}/")) == 403
            assert await connect(world, f"{host}:80") == 403
        assert world.dialled == []
        assert status(await world.ask(GOOD)) == 200


async def test_connect_to_metadata(tmp_path: Path, plain: Upstream) -> None:
    names = {"meta.example.com": ["169.254.169.254"], "cloud.example.com": ["100.100.100.200"]}
    anywhere = ("0.0.0.0/0", "::/0")
    hosts = [*names, "169.254.169.254", "fd00:ec2::254", "api.example.com"]
    open_to_all = allowing(*(Endpoint(host=each, port=80, allowed_ips=anywhere) for each in hosts))
    async with egress(tmp_path, open_to_all, plain, names=names) as world:
        for host in (*names, "169.254.169.254", "[fd00:ec2::254]", "2852039166"):
            assert status(await world.get(f"http://{host}/latest/meta-data/")) == 403
        assert world.dialled == []
        assert status(await world.ask(GOOD)) == 200


async def test_host_vs_connect_mismatch(tmp_path: Path, plain: Upstream) -> None:
    upstream = Upstream(host="api.example.com", port=443)
    async with egress(tmp_path, allowing(READ, API), plain, upstream) as world:
        for host in ("other.example.com", "api.example.com:8443", "api.example.com\r\nHost: other.example.com", ""):
            async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
                writer.write(f"GET /public/a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert status(await answer(reader)) in (400, 403)
            assert status(await world.get("http://api.example.com/", host=host or "x")) in (400, 403)
        assert (upstream.connections, plain.connections) == (0, 0)
        async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
            writer.write(b"GET /public/a HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            assert status(await answer(reader)) == 200
        assert status(await world.ask(GOOD)) == 200


@pytest.mark.parametrize("endpoint", [SECURE, READ], ids=["passed", "read"])
async def test_sni_mismatch_fronting(tmp_path: Path, endpoint: Endpoint) -> None:
    upstream = Upstream(host="api.example.com", port=443)
    async with egress(tmp_path, allowing(endpoint), upstream) as world:
        with pytest.raises(OSError):
            async with world.tunnel("api.example.com:443", host="other.example.com"):
                pass
        assert "asks for 'other.example.com'" in world.log[-1].reason
        assert upstream.seen == []
        async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
            writer.write(b"GET /public/a HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            assert status(await answer(reader)) == 200


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: a\r\n Content-Length: 4",
        "X: a\nContent-Length: 4",
        "X: a\rContent-Length: 4",
        "X: \0",
    ],
)
async def test_cl_te_smuggling(tmp_path: Path, plain: Upstream, lines: str) -> None:
    hidden = b"0\r\n\r\nGET http://api.example.com/private HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
    async with egress(tmp_path, allowing(READ_PLAIN), plain) as world:
        raw = await world.get("http://api.example.com/public/a", lines, method="POST", body=hidden)
        assert (status(raw), plain.seen) == (400, [])
        fine = await world.get("http://api.example.com/public/a", "Content-Length: 4", method="POST", body=b"body")
        assert status(fine) == 200
        assert plain.seen[0].endswith(b"Content-Length: 4\r\n\r\nbody")


@pytest.mark.parametrize(
    "path",
    [
        "/public%2f..%2fprivate",
        "/public/%2e%2e/private",
        "/public/..%2fprivate",
        "/public/../private",
        "/public/..;/private",
        "/public\\..\\private",
        "/public%5c..%5cprivate",
        "/public/%00",
        "/public/%zz",
        "/public/%252e%252e%252fprivate",
    ],
)
async def test_encoded_slash_path(tmp_path: Path, plain: Upstream, path: str) -> None:
    async with egress(tmp_path, allowing(READ_PLAIN), plain) as world:
        assert status(await world.get(f"http://api.example.com{path}")) in (400, 403)
        assert plain.seen == []
        assert status(await world.get("http://api.example.com/public/%7euser/a%20b")) == 200
        world.proxy.update(allowing(msgspec.structs.replace(READ_PLAIN, allow_encoded_slash=True)))
        assert status(await world.get("http://api.example.com/public/a%2fb")) == 200
        assert b"GET /public/a%2Fb " in plain.seen[-1]


@asynccontextmanager
async def by_programs(
    folder: Path, policy: Policy, *upstreams: Upstream
) -> AsyncGenerator[tuple[World, list[int], int]]:
    """A proxy on TCP for programs that are started with `bash_client`; with the list of their numbers."""
    pids: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with egress(
            folder, policy, *upstreams, pids=lambda: pids, listener=listener.dup(), init=os.getpid()
        ) as world:
            yield world, pids, port


async def bash_client(program: str, script: str, pids: list[int], *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, "-c", f"read -r _; {script}", program, *arguments, stdin=pipe, stdout=pipe
    )
    pids.append(process.pid)
    await told(process)
    return process


async def told(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()


OPEN = "exec 3<>/dev/tcp/127.0.0.1/$1"
SEND = (
    r'printf "GET http://api.example.com/public/a HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n" >&3'
)
READ_LINE = "read -r line <&3; echo $line"


async def said(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(5):
        out, _ = await process.communicate()
    return out.decode()


async def test_copied_allowed_binary(tmp_path: Path, plain: Upstream) -> None:
    copy, pinned = str(tmp_path / "bash"), str(tmp_path / "tool")
    shutil.copy(BASH, copy)
    shutil.copy(BASH, pinned)
    async with by_programs(tmp_path, allowing(API, binaries=(BASH, pinned)), plain) as (world, pids, port):
        script = f"{OPEN}; {SEND}; {READ_LINE}"
        for program in (BASH, pinned):
            assert " 200 " in await said(await bash_client(program, script, pids, str(port)))
        assert " 403 " in await said(await bash_client(copy, script, pids, str(port)))
        assert (world.log[-1].binary, world.log[-1].verdict) == (copy, "denied")
        shutil.copy(BASH, tmp_path / "other")
        with (tmp_path / "other").open("ab") as file:
            file.write(b"\0")
        (tmp_path / "other").chmod(0o755)
        (tmp_path / "other").replace(pinned)  # the same path, another file
        assert " 403 " in await said(await bash_client(pinned, script, pids, str(port)))
        assert "not the one it was at its first use" in world.log[-1].reason


async def test_exec_after_connect(tmp_path: Path) -> None:
    copy = str(tmp_path / "bash")
    shutil.copy(BASH, copy)
    web, pipe = Upstream(), Upstream(raw_echo, port=9000)
    policy = allowing(API, msgspec.structs.replace(API, port=9000), binaries=(BASH,))
    tunnel = r'printf "CONNECT api.example.com:9000 HTTP/1.1\r\n\r\n" >&3; read -r line <&3; read -r _ <&3'
    speak = "read -r _; echo hello >&3; read -r line <&3; echo got $line"
    async with by_programs(tmp_path, policy, web, pipe) as (world, pids, port):

        async def attempt(first: str, then: str, before: str, after: str) -> str:
            script = f"{OPEN}; {before}; read -r _; exec {then} -c '{after}'"
            process = await bash_client(first, script, pids, str(port))
            await settles(lambda: any(client.peers[0].pid == process.pid for client in world.proxy._open.values()))
            await told(process)
            await told(process)
            return await said(process)

        request = f"{SEND}; {READ_LINE}"
        assert " 200 " in await attempt(BASH, BASH, ":", request)
        assert " 403 " in await attempt(BASH, copy, ":", request)  # who speaks is not who connected
        assert " 403 " in await attempt(copy, BASH, ":", request)  # and who connected still counts
        assert "got hello" in await attempt(BASH, BASH, tunnel, speak)
        assert "hello" not in await attempt(BASH, copy, tunnel, speak)
        assert b"".join(pipe.seen) == b"hello\n"


ATTEMPTS = """
null_byte_host ip_literal decimal_or_octal_ip ipv4_mapped_ipv6 trailing_dot_and_case userinfo_in_authority
dns_rebinding connect_to_loopback connect_to_metadata host_vs_connect_mismatch sni_mismatch_fronting cl_te_smuggling
encoded_slash_path copied_allowed_binary exec_after_connect
"""


def test_the_battery_has_all_fifteen_attempts() -> None:
    names = ATTEMPTS.split()
    assert len(names) == 15
    assert [name for name in names if f"test_{name}" not in globals()] == []
