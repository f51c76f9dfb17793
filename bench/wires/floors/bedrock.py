"""The floor of Bedrock's Converse: binary frames with checksums, and, in the case `signed`, a signature."""

import struct
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp
import msgspec

from ..script import (
    ABOUT,
    EARLIER,
    INSTRUCTIONS,
    KEY,
    MODEL,
    PROMPT,
    RESULT,
    SCHEMA,
    TOOL,
    Answer,
    Call,
    base,
    signs,
    with_tools,
)
from .session import Deltas, run_floor

URL = base("bedrock") + f"/model/{MODEL}/converse-stream"
HEADERS = {"content-type": "application/json"}


def signing() -> Callable[[bytes], dict[str, str]]:
    """What makes the headers of a request."""
    if not signs():
        headers = {**HEADERS, "authorization": f"Bearer {KEY}"}
        return lambda sent: headers
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer: Any = SigV4Auth(Credentials(KEY, KEY), "bedrock", "us-east-1")

    def signed(sent: bytes) -> dict[str, str]:
        request: Any = AWSRequest("POST", URL, dict(HEADERS), sent)
        signer.add_auth(request)
        return dict(request.headers.items())

    return signed


headers_of = signing()


def body() -> dict[str, Any]:
    """What is asked."""
    msgs: list[dict[str, Any]] = [{"role": "user", "content": [{"text": PROMPT}]}]
    asked: dict[str, Any] = {
        "system": [{"text": INSTRUCTIONS}],
        "inferenceConfig": {"maxTokens": 4096},
        "messages": msgs,
    }
    if with_tools():
        call = {"toolUseId": EARLIER.id, "name": TOOL, "input": msgspec.json.decode(EARLIER.arguments)}
        result = {"toolUseId": EARLIER.id, "content": [{"text": RESULT}]}
        msgs.append({"role": "assistant", "content": [{"toolUse": call}]})
        msgs.append({"role": "user", "content": [{"toolResult": result}]})
        spec = {"name": TOOL, "description": ABOUT, "inputSchema": {"json": SCHEMA}}
        asked["toolConfig"] = {"tools": [{"toolSpec": spec}]}
    return asked


async def ask(session: aiohttp.ClientSession) -> AsyncGenerator[Deltas | Answer]:  # noqa: C901, PLR0912, PLR0915 - inline
    """One answer."""
    sent = msgspec.json.encode(body())
    text: list[str] = []
    calls: dict[int, dict[str, str]] = {}
    usage = (0, 0)
    async with session.post(URL, data=sent, headers=headers_of(sent)) as r:
        buf = b""
        async for data in r.content.iter_any():
            buf += data
            out: Deltas = []
            at = 0
            while len(buf) - at >= 16:
                length, size, checked = struct.unpack_from("!III", buf, at)
                if len(buf) - at < length:
                    break
                end = at + length - 4
                if zlib.crc32(buf[at : at + 8]) != checked or zlib.crc32(buf[at:end]).to_bytes(4) != buf[end : end + 4]:
                    raise ValueError("a frame was changed on the way")
                name, pos, payload = b"", at + 12, at + 12 + size
                while pos < payload:  # all headers are text
                    key = pos + 1 + buf[pos]
                    value = key + 3 + int.from_bytes(buf[key + 1 : key + 3])
                    if buf[pos + 1 : key] == b":event-type":
                        name = buf[key + 3 : value]
                        break
                    pos = value
                d = msgspec.json.decode(buf[payload:end])
                at += length
                if name == b"contentBlockDelta":
                    delta = d["delta"]
                    if "text" in delta:
                        text.append(delta["text"])
                        out.append(delta["text"])
                    elif "toolUse" in delta:
                        cur = calls[d["contentBlockIndex"]]
                        cur["args"] += delta["toolUse"]["input"]
                        out.append(Call(cur["id"], "", delta["toolUse"]["input"]))
                elif name == b"contentBlockStart":
                    if "toolUse" in d["start"]:
                        u = d["start"]["toolUse"]
                        calls[d["contentBlockIndex"]] = {"id": u["toolUseId"], "name": u["name"], "args": ""}
                        out.append(Call(u["toolUseId"], u["name"], ""))
                elif name == b"metadata":
                    u = d["usage"]
                    usage = (u["inputTokens"], u["outputTokens"])
            buf = buf[at:]
            if out:
                yield out
    yield Answer("".join(text), [Call(c["id"], c["name"], c["args"]) for c in calls.values()], usage)


if __name__ == "__main__":
    run_floor("bedrock", ask)
