"""What the tests of the sandbox's way out share: a proxy, servers behind public addresses, and raw clients.

Names lead to public addresses, and connections to those are led to servers on loopback at the last step, after
everything was judged. So nothing of the guard has to be opened for a test.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

import msgspec

from holdfast.sandbox.egress.answers import Decided
from holdfast.sandbox.egress.certificates import CertificateAuthority
from holdfast.sandbox.egress.credentials import Credential
from holdfast.sandbox.egress.dialling import Dialler
from holdfast.sandbox.egress.identity import Identity
from holdfast.sandbox.egress.proxy import Proxy
from holdfast.sandbox.egress.settings import ProxySettings, Service
from holdfast.sandbox.policy.openshell import Binary, Endpoint, NetworkPolicy, Policy, Request, Rule

PYTHON = str(Path(sys.executable).resolve())
PUBLIC, OTHER = "93.184.215.14", "93.184.215.15"
API = Endpoint(host="api.example.com", port=80)
SECURE = Endpoint(host="api.example.com", port=443)
READ = Endpoint(
    host="api.example.com",
    port=443,
    protocol="rest",
    enforcement="enforce",
    rules=(Rule(allow=Request(method="*", path="/public/**")),),
)
READ_PLAIN = msgspec.structs.replace(READ, port=80)

Handler = Callable[["Upstream", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@cache
def authority(name: str) -> CertificateAuthority:
    return CertificateAuthority(name)


def allowing(*endpoints: Endpoint, binaries: Sequence[str] = (PYTHON,)) -> Policy:
    programs = tuple(Binary(path=each) for each in binaries)
    return Policy(network_policies={"way": NetworkPolicy(endpoints=endpoints, binaries=programs)})


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as short:
        return short.partial


async def echo(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with the bytes it saw, head and body."""
    while head := await read_head(reader):
        body = b""
        lower = head.lower()
        if b"content-length: " in lower:
            body = await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
        elif b"chunked" in lower:
            body = await reader.readuntil(b"0\r\n\r\n")
        upstream.seen.append(head + body)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Was: here\r\nContent-Length: %d\r\n\r\n" % len(head + body) + head + body)
        await writer.drain()


async def raw_echo(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back whatever comes, and a last word after the client has ended its half."""
    while data := await reader.read(65536):
        upstream.seen.append(data)
        writer.write(data)
        await writer.drain()
    writer.write(b"<end>")


class Upstream:
    """A server behind a public address."""

    def __init__(self, handler: Handler = echo, *, host: str = "", port: int = 80, address: str = PUBLIC) -> None:
        self.handler = handler
        self.host = host
        """For TLS: in whose name it speaks."""
        self.where = (address, port)
        self.seen: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, stack: AsyncExitStack) -> None:
        context = authority("upstream").context_for(self.host) if self.host else None
        running: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.current_task()
            assert task is not None
            running.add(task)
            try:
                await self.handler(self, reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                running.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context, backlog=512)
        self.port = server.sockets[0].getsockname()[1]

        async def stop() -> None:
            server.close()
            for each in tuple(running):
                each.cancel()
            await server.wait_closed()

        stack.push_async_callback(stop)


class World:
    """A proxy and what is around it."""

    def __init__(self, path: Path, proxy: Proxy, log: list[Decided], looked_up: list[str]) -> None:
        self.path = path
        self.proxy = proxy
        self.log = log
        self.looked_up = looked_up
        self.dialled: list[str] = []

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        return [(each.layer, each.verdict) for each in self.log]

    async def ask(self, raw: bytes, *, half: bool = False) -> bytes:
        """Sends bytes, and returns the answer: head, and the body its length announces; all until the end otherwise."""
        async with asyncio.timeout(10), self.client() as (reader, writer):
            writer.write(raw)
            if half:
                writer.write_eof()
            return await answer(reader)

    async def get(self, url: str, *lines: str, method: str = "GET", host: str = "", body: bytes = b"") -> bytes:
        host = host or url.partition("://")[2].partition("/")[0]
        head = "\r\n".join((f"{method} {url} HTTP/1.1", f"Host: {host}", *lines, "", ""))
        return await self.ask(head.encode("latin-1") + body)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            yield reader, writer
        finally:
            writer.close()

    @asynccontextmanager
    async def tunnel(
        self, to: str, *, host: str = ""
    ) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A tunnel; with a host, TLS in it that asks for that name and trusts both authorities."""
        async with asyncio.timeout(10), self.client() as (reader, writer):
            writer.write(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode("latin-1"))
            head = await read_head(reader)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ConnectionRefusedError(head + await reader.read())
            if host:
                await writer.start_tls(trusting(), server_hostname=host)
            yield reader, writer


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority("upstream").pem + authority("sandbox").pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await read_head(reader)
    lower = head.lower()
    if b"content-length: " in lower:
        return head + await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return head + (await reader.readuntil(b"0\r\n\r\n") if b"chunked" in lower else await reader.read())


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1]) if raw.startswith(b"HTTP/1.1 ") else 0


def denial(raw: bytes) -> dict[str, object]:
    return msgspec.json.decode(raw.partition(b"\r\n\r\n")[2], type=dict[str, object])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def settles(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


@asynccontextmanager
async def egress(
    folder: Path,
    policy: Policy,
    *upstreams: Upstream,
    names: Mapping[str, Sequence[str] | list[list[str]]] | None = None,
    pids: Callable[[], Collection[int]] | None = None,
    services: Mapping[str, Service] | None = None,
    credentials: Sequence[Credential] = (),
    settings: ProxySettings | None = None,
    inspecting: bool = True,
    listener: socket.socket | None = None,
    init: int = 0,
    on_dial: Callable[[World], None] | None = None,
) -> AsyncGenerator[World]:
    """Runs a proxy; afterwards, no task and no descriptor of it is left."""
    known: dict[str, Sequence[str] | list[list[str]]] = {"api.example.com": [PUBLIC], "other.example.com": [OTHER]}
    known |= names or {}
    for each in ("sandbox", "upstream"):
        authority(each)  # made once, before anything is counted
    before = open_files() - (listener is not None)
    async with AsyncExitStack() as stack:
        log, looked_up = list[Decided](), list[str]()
        for each in upstreams:
            await each.serve(stack)
        ports = {each.where: each.port for each in upstreams}

        async def resolve(host: str, port: int) -> Sequence[str]:
            looked_up.append(host)
            if host not in known:
                raise OSError("no such name")
            found = known[host]
            return found.pop(0) if isinstance(found[0], list) else found  # type: ignore[union-attr]

        async def connect(address: str, port: int) -> socket.socket:
            world.dialled.append(address)
            if on_dial is not None:
                on_dial(world)
            made = socket.socket()
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", ports[address, port]))
            return made

        trust = ssl.create_default_context(cadata=authority("upstream").pem)
        proxy = Proxy(
            policy,
            log.append,
            identity=Identity(pids or (lambda: {os.getpid()}), init=init),
            certificates=authority("sandbox") if inspecting else None,
            credentials=credentials,
            dialler=Dialler(services=services, resolve=resolve, connect=connect, trust=trust, timeout=2),
            settings=settings,
        )
        world = World(folder / "p", proxy, log, looked_up)
        proxy.start(listener or world.path)
        stack.push_async_callback(proxy.close)
        yield world
    await settles(lambda: asyncio.all_tasks() == {asyncio.current_task()} and open_files() <= before)
