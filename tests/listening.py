"""A server as `holdfast serve` runs it, in the loop of the test, and clients that speak to its socket themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import Runtime
from holdfast.flow.clock import SystemClock
from holdfast.server.access.local import LocalAccess
from holdfast.server.app import ROUTES, make_app
from holdfast.server.listening.caps import Caps
from holdfast.server.listening.listener import Listener
from holdfast.server.listening.proxies import Proxies
from holdfast.server.listening.sockets import Place
from holdfast.server.observing.figures import Figures
from holdfast.server.parts import Bounds, Observer, Service
from holdfast.server.routing.route import Route

BOUND = 20
"""Seconds after which a test that waits has failed."""


@dataclass
class Listening:
    """A server that listens."""

    listener: Listener
    service: Service
    port: int
    clients: list[Client]

    async def connect(self, source: str = "127.0.0.1") -> Client:
        """Returns a client of it, which comes from one of this machine's addresses."""
        self.clients.append(
            client := Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)))
        )
        return client

    async def get(self, path: str = "/healthz") -> int:
        """Returns the status of an answer, as an ordinary client gets it."""
        async with asyncio.timeout(BOUND):
            client = await self.connect()
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return int((await client.rest()).split()[1])


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, text: str | bytes) -> None:
        """Sends what a test wants to, right or wrong."""
        self.writer.write(text.encode() if isinstance(text, str) else text)

    async def rest(self) -> str:
        """Returns all that comes until the server closes the connection."""
        async with asyncio.timeout(BOUND):
            found = bytearray()
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    found += piece
            self.writer.close()
            return found.decode("latin-1")

    async def head(self) -> str:
        """Returns the head of one answer."""
        async with asyncio.timeout(BOUND):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def gone(self) -> None:
        """Returns when the server has closed the connection."""
        await self.rest()


async def until(holds: Callable[[], bool]) -> None:
    """Returns when something holds, of which nobody tells; fails when it never does."""
    async with asyncio.timeout(BOUND):
        while not holds():  # noqa: ASYNC110 - a transport tells nobody
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def listening(
    routes: Sequence[Route] = ROUTES,
    *,
    caps: Caps | None = None,
    bounds: Bounds | None = None,
    place: Place | None = None,
    origins: Collection[str] = (),
    observer: Observer | None = None,
    proxies: Sequence[str] = (),
    guarded: bool = False,
) -> AsyncGenerator[Listening]:
    """Listens on a free port, over a runtime in memory."""
    place = place or Place(port=0)
    async with Runtime.open("memory:") as runtime:
        figures = Figures(runtime)
        service = Service(
            runtime=runtime,
            agents={},
            access=LocalAccess(),
            clock=SystemClock(),
            bounds=bounds or Bounds(grace=5),
            observer=observer or figures,
            proxies=Proxies(proxies, unix=place.unix is not None),
            parts={Figures: figures},
        )
        app = make_app(service, routes, origins=origins)
        async with Listener(service, app, place, caps or Caps(looks=0.02), guarded=guarded) as listener:
            port = 0 if place.unix is not None else int(listener.url.rpartition(":")[2])
            figures.connections = lambda: len(listener.keeper.connections)
            clients: list[Client] = []
            try:
                yield Listening(listener, service, port, clients)
            finally:
                for client in clients:
                    client.writer.close()


def certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """Returns a certificate for localhost that it signed itself, and its key, as files."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return files
