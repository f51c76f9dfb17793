"""A real server of NATS, as a process of its own, and what it was given."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ("Heard", "free_port", "heard_by", "nats_server", "way_to")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def nats_server(port: int, *options: str) -> Generator[subprocess.Popen[bytes]]:
    """Runs the server on a port of loopback."""
    program = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    assert program is not None, "nats-server is not installed: run `make setup`"
    process = subprocess.Popen(
        [program, "--addr", "127.0.0.1", "--port", str(port), *options], stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class Heard:
    """What came under each subject, in order."""

    messages: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.messages]

    async def until(self, kind: str, times: int = 1) -> list[dict[str, Any]]:
        """Returns all events once there are so many of a type."""
        async with self.came:
            await self.came.wait_for(lambda: [each["type"] for each in self.events()].count(kind) >= times)
        return self.events()


@asynccontextmanager
async def heard_by(port: int, subject: str = ">", login: str = "{}") -> AsyncGenerator[Heard]:
    """Subscribes as any client of the protocol does, once the server is there."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        break
    heard = Heard()
    await reader.readuntil(b"\r\n")
    writer.write(f"CONNECT {login}\r\nSUB {subject} 1\r\nPING\r\n".encode())
    while await reader.readuntil(b"\r\n") != b"PONG\r\n":
        pass
    task = asyncio.create_task(_read(reader, writer, heard))
    try:
        yield heard
    finally:
        task.cancel()
        writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
    while True:
        line = (await reader.readuntil(b"\r\n")).decode().split()
        if line[0] == "PING":
            writer.write(b"PONG\r\n")
        elif line[0] == "MSG":
            body = await reader.readexactly(int(line[-1]) + 2)
            async with heard.came:
                heard.messages.append((line[1], body[:-2]))
                heard.came.notify_all()


@asynccontextmanager
async def way_to(port: int, by: int) -> AsyncGenerator[None]:
    """Has a server be reached by another port, as long as this lasts; what is under way then is cut off."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    async def open_both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, far_writer))
        tasks.extend(asyncio.create_task(each) for each in (pass_on(reader, far_writer), pass_on(far_reader, writer)))

    listener = await asyncio.start_server(open_both, "127.0.0.1", by)
    try:
        yield
    finally:
        listener.close()
        for each in (*tasks, *writers):
            each.cancel() if isinstance(each, asyncio.Task) else each.close()
