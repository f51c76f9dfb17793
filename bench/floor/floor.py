"""The floor: a hand-written agent loop over aiohttp and msgspec, with no framework, no log and no limits.

It is the yardstick, not an example: it trusts the model server, loses everything on a crash and handles no
error. Change it and every ratio ever printed means something else, so the runner prints its hash.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from .measure import BASE, MODEL, Run, measure

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
]


async def run(session: aiohttp.ClientSession) -> str:
    """One run: ask, carry out the calls, ask again, until the model answers in text."""
    # All inline on purpose: a function call per streamed event would raise the floor by itself.
    msgs: list[dict[str, Any]] = [{"role": "system", "content": "You add."}, {"role": "user", "content": "go"}]
    while True:
        body = {
            "model": MODEL,
            "messages": msgs,
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": TOOLS,
        }
        text: list[str] = []
        calls: dict[int, dict[str, Any]] = {}
        async with session.post(
            BASE + "/chat/completions",
            data=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
        ) as r:
            buf = b""
            async for data in r.content.iter_any():
                buf += data
                *events, buf = buf.split(b"\n\n")
                for ev in events:
                    if ev == b"data: [DONE]":
                        continue
                    d = msgspec.json.decode(ev[6:])
                    for c in d["choices"]:
                        delta = c["delta"]
                        if delta.get("content"):
                            text.append(delta["content"])
                        for tc in delta.get("tool_calls") or ():
                            cur = calls.setdefault(
                                tc["index"],
                                {"id": tc.get("id"), "name": tc["function"].get("name"), "args": ""},
                            )
                            cur["args"] += tc["function"].get("arguments") or ""
        if not calls:
            return "".join(text)
        msgs.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["args"]}}
                    for c in calls.values()
                ],
            }
        )
        for c in calls.values():
            a = json.loads(c["args"])
            msgs.append({"role": "tool", "tool_call_id": c["id"], "content": str(a["a"] + a["b"])})


@asynccontextmanager
async def open_client() -> AsyncGenerator[Run]:
    """One HTTP session shared by all runs."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:

        async def one() -> str:
            return await run(session)

        yield one


if __name__ == "__main__":
    measure("floor", open_client)
