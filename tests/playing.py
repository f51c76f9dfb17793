"""A server on loopback that plays the same pieces of an answer to whoever asks, for two clients to compare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ("cut_bytes", "playing")


def cut_bytes(data: bytes, places: list[int]) -> list[bytes]:
    """Returns bytes in pieces that end at the places, as far as they are in them."""
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@asynccontextmanager
async def playing(pieces: list[bytes], kind: str, seen: list[bytes] | None = None) -> AsyncGenerator[str]:
    """Yields the address of a server that answers every request with what `pieces` holds by then.

    The bodies of the requests go into `seen`.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body = await reader.readexactly(int(length[15:]))
                if seen is not None:
                    seen.append(body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind.encode()
                )
                for piece in pieces:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                    await writer.drain()
                    await asyncio.sleep(0)  # the clients, in the same loop, get to read in between
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await asyncio.sleep(0)
