"""The model server of the yardstick: scripted Chat Completions, fast, deterministic, never the bottleneck.

The model name says the script: `hello` answers at once; `tools-N` asks for the tool `add` until N tool
results are in the request; `stream-N` streams N one-word deltas. Each answer is built once and then written
whole. It checks nothing it is sent and is no test double: `holdfast.testing` has the one with faults.

Run as `python -m bench.floor.model_server [PORT]`; port 0 takes a free one. The first line it prints is
`{"port": N}`, when it listens. Needs uvloop.
"""

import asyncio
import json
import re
import sys
from typing import Any, cast

import uvloop

USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
TOOL_ROLE = re.compile(rb'"role":\s*"tool"')
MODEL = re.compile(rb'"model":\s*"([^"]+)"')
STREAM = re.compile(rb'"stream":\s*true')
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One server-sent event of a streamed answer."""
    d: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "stub",
        "choices": [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage:
        d["usage"] = usage
    return b"data: " + json.dumps(d, separators=(",", ":")).encode() + b"\n\n"


def text_stream(words: list[str]) -> bytes:
    """A streamed text answer, one delta a word."""
    out = [chunk({"role": "assistant", "content": ""})]
    out += [chunk({"content": w}) for w in words]
    out += [chunk({}, "stop"), chunk({}, usage=USAGE), DONE]
    return b"".join(out)


def tool_stream(i: int) -> bytes:
    """A streamed call of `add(i, 1)`, its arguments in fragments."""
    call = {"index": 0, "id": f"call_{i}", "type": "function", "function": {"name": "add", "arguments": ""}}
    out = [chunk({"role": "assistant", "content": None, "tool_calls": [call]})]
    frags = ('{"a":', f"{i}", ',"b":1', "}")
    out += [chunk({"tool_calls": [{"index": 0, "function": {"arguments": f}}]}) for f in frags]
    out += [chunk({}, "tool_calls"), chunk({}, usage=USAGE), DONE]
    return b"".join(out)


def whole(message: dict[str, Any], finish: str) -> bytes:
    """An answer that is not streamed."""
    return json.dumps(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "stub",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": USAGE,
        },
        separators=(",", ":"),
    ).encode()


def tool_whole(i: int) -> bytes:
    """A call of `add(i, 1)` that is not streamed."""
    function = {"name": "add", "arguments": json.dumps({"a": i, "b": 1})}
    calls = [{"id": f"call_{i}", "type": "function", "function": function}]
    return whole({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls")


def payload(model: str, stream: bool, results: int) -> bytes:
    """The body of the answer when the request holds so many tool results."""
    kind, _, n = model.partition("-")
    if kind == "tools" and results < int(n):
        return tool_stream(results) if stream else tool_whole(results)
    words = [f"word{i} " for i in range(int(n))] if kind == "stream" else ["Hello", " ", "world"]
    return text_stream(words) if stream else whole({"role": "assistant", "content": "".join(words)}, "stop")


cache: dict[tuple[str, bool, int], bytes] = {}


def answer(body: bytes) -> bytes:
    """The whole HTTP response to a request body."""
    found = MODEL.search(body)
    model = found.group(1).decode() if found else "hello"
    stream = bool(STREAM.search(body))
    results = len(TOOL_ROLE.findall(body)) if model.startswith("tools-") else 0
    key = (model, stream, results)
    got = cache.get(key)
    if got is None:
        data = payload(model, stream, results)
        ctype = b"text/event-stream" if stream else b"application/json"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: " + ctype + b"\r\ncontent-length: " + str(len(data)).encode()
        got = cache[key] = head + b"\r\n\r\n" + data
    return got


def request_end(buf: bytearray) -> tuple[bytes, int] | None:
    """The body of the first request in the buffer and where it ends; None while it is not all there."""
    head = buf.find(b"\r\n\r\n")
    if head < 0:
        return None
    h = bytes(buf[:head]).lower()
    at = h.find(b"content-length:")
    if at >= 0:
        e = h.find(b"\r\n", at)
        used = head + 4 + int(h[at + 15 : e if e > 0 else None])
        return (bytes(buf[head + 4 : used]), used) if len(buf) >= used else None
    if b"chunked" not in h:
        return b"", head + 4
    end = buf.find(b"\r\n0\r\n\r\n", head)
    return None if end < 0 else (bytes(buf[head:end]), end + 7)


class Connection(asyncio.Protocol):
    """One keep-alive connection: an answer for each request, in order."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport, self.buf = cast("asyncio.Transport", transport), bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is now complete."""
        buf = self.buf
        buf += data
        while (request := request_end(buf)) is not None:
            body, used = request
            del buf[:used]
            self.transport.write(answer(body))


async def main(port: int) -> None:
    """Serve on the loopback until ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
