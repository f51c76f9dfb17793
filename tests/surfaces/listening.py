"""A client of the sessions API that reads server-sent events as the standard says."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.serving import Serving

__all__ = ("Heard", "Listener", "asked", "drain", "get", "listening", "post", "said")


@dataclass
class Heard:
    """One event of a stream."""

    event: str
    data: Any
    id: int | None


@dataclass
class Listener:
    """One stream, read event by event."""

    answer: aiohttp.ClientResponse
    comments: int = 0

    async def __aiter__(self) -> AsyncGenerator[Heard]:
        kind, data, number = "", "", None
        async for line in self._read():
            if line.startswith(":"):
                self.comments += 1
            elif not line and data:
                yield Heard(kind, json.loads(data), number)
                kind, data, number = "", "", None
            elif line:
                name, _, value = line.partition(": ")
                match name:
                    case "id":
                        number = int(value)
                    case "event":
                        kind = value
                    case "data":
                        assert not data, "a frame has one line of data"
                        data = value
                    case _:
                        assert name == "retry", line

    async def _read(self) -> AsyncGenerator[str]:
        held = bytearray()
        async for piece in self.answer.content.iter_any():
            held += piece
            *lines, rest = held.split(b"\n") if b"\n" in piece else (held,)
            held = rest
            for line in lines:
                yield line.decode()


@asynccontextmanager
async def listening(
    served: Serving, session: str, *, after: int | None = None, last: int | None = None, until: str = "idle"
) -> AsyncGenerator[Listener]:
    """Follows a session; `last` is what a browser sends by itself when it comes back."""
    headers = {"accept": "text/event-stream"} | ({} if last is None else {"last-event-id": str(last)})
    query = {"until": until} | ({} if after is None else {"after": str(after)})
    async with served.client.get(f"/v1/sessions/{session}/events", params=query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        yield Listener(answer)


async def drain(served: Serving, session: str, **how: Any) -> list[Heard]:
    """Returns all that a stream tells until it ends."""
    async with listening(served, session, **how) as listener:
        return [each async for each in listener]


async def post(served: Serving, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    """Returns the status and the body of the answer to a POST."""
    data = io.BytesIO(json.dumps({} if body is None else body).encode())
    headers = {"content-type": "application/json", **more.pop("headers", {})}
    async with served.client.post(f"/v1{path}", data=data, headers=headers, **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def get(served: Serving, path: str, **more: Any) -> tuple[int, Any]:
    """Returns the status and the body of the answer to a GET."""
    async with served.client.get(f"/v1{path}", **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def asked(served: Serving, text: str, *, name: str = "s", **more: Any) -> Any:
    """Makes a session with a first prompt."""
    status, made = await post(served, "/sessions", {"name": name, "prompt": {"text": text, **more}})
    assert status == 201, made
    return made


def said(heard: list[Heard]) -> str:
    """Returns the text that a reader of deltas has since the last reset or answer."""
    text = ""
    for each in heard:
        if each.event == "text.delta":
            text += each.data["text"]
        elif each.event in ("reset", "model.finished"):
            text = ""
    return text
