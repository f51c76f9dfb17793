"""The floor of Cohere's Chat, version 2."""

from collections.abc import AsyncGenerator
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
    with_tools,
)
from .session import Deltas, run_floor

URL = base("cohere") + "/v2/chat"
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}


def body() -> dict[str, Any]:
    """What is asked."""
    msgs: list[dict[str, Any]] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": PROMPT},
    ]
    asked: dict[str, Any] = {"model": MODEL, "stream": True, "messages": msgs}
    if with_tools():
        function = {"name": EARLIER.name, "arguments": EARLIER.arguments}
        msgs.append({"role": "assistant", "tool_calls": [{"id": EARLIER.id, "type": "function", "function": function}]})
        msgs.append({"role": "tool", "tool_call_id": EARLIER.id, "content": RESULT})
        asked["tools"] = [{"type": "function", "function": {"name": TOOL, "description": ABOUT, "parameters": SCHEMA}}]
    return asked


async def ask(session: aiohttp.ClientSession) -> AsyncGenerator[Deltas | Answer]:
    """One answer."""
    text: list[str] = []
    calls: dict[int, dict[str, str]] = {}
    usage = (0, 0)
    async with session.post(URL, data=msgspec.json.encode(body()), headers=HEADERS) as r:
        buf = b""
        async for data in r.content.iter_any():
            buf += data
            *events, buf = buf.split(b"\n\n")
            out: Deltas = []
            for ev in events:
                d = msgspec.json.decode(ev.partition(b"\ndata: ")[2])
                kind = d["type"]
                if kind == "content-delta":
                    content = d["delta"]["message"]["content"]
                    if "text" in content:
                        text.append(content["text"])
                        out.append(content["text"])
                elif kind == "tool-call-delta":
                    more = d["delta"]["message"]["tool_calls"]["function"]["arguments"]
                    cur = calls[d["index"]]
                    cur["args"] += more
                    out.append(Call(cur["id"], "", more))
                elif kind == "tool-call-start":
                    call = d["delta"]["message"]["tool_calls"]
                    f = call["function"]
                    calls[d["index"]] = {"id": call["id"], "name": f["name"], "args": f["arguments"]}
                    out.append(Call(call["id"], f["name"], f["arguments"]))
                elif kind == "message-end":
                    u = d["delta"]["usage"]["tokens"]
                    usage = (u["input_tokens"], u["output_tokens"])
            if out:
                yield out
    yield Answer("".join(text), [Call(c["id"], c["name"], c["args"]) for c in calls.values()], usage)


if __name__ == "__main__":
    run_floor("cohere", ask)
