"""The floor of Responses."""

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

URL = base("responses") + "/responses"
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}


def body() -> dict[str, Any]:
    """What is asked."""
    items: list[dict[str, Any]] = [{"role": "user", "content": PROMPT}]
    asked: dict[str, Any] = {
        "model": MODEL,
        "stream": True,
        "store": False,
        "instructions": INSTRUCTIONS,
        "input": items,
    }
    if with_tools():
        items.append({"type": "function_call", "call_id": EARLIER.id, "name": TOOL, "arguments": EARLIER.arguments})
        items.append({"type": "function_call_output", "call_id": EARLIER.id, "output": RESULT})
        asked["tools"] = [
            {"type": "function", "name": TOOL, "description": ABOUT, "parameters": SCHEMA, "strict": False}
        ]
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
                if kind == "response.output_text.delta":
                    text.append(d["delta"])
                    out.append(d["delta"])
                elif kind == "response.function_call_arguments.delta":
                    cur = calls[d["output_index"]]
                    cur["args"] += d["delta"]
                    out.append(Call(cur["id"], "", d["delta"]))
                elif kind == "response.output_item.added":
                    item = d["item"]
                    if item["type"] == "function_call":
                        calls[d["output_index"]] = {"id": item["call_id"], "name": item["name"], "args": ""}
                        out.append(Call(item["call_id"], item["name"], ""))
                elif kind == "response.completed":
                    u = d["response"]["usage"]
                    usage = (u["input_tokens"], u["output_tokens"])
            if out:
                yield out
    yield Answer("".join(text), [Call(c["id"], c["name"], c["args"]) for c in calls.values()], usage)


if __name__ == "__main__":
    run_floor("responses", ask)
