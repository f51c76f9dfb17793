"""The floor of Chat Completions."""

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

URL = base("chat") + "/chat/completions"
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}


def body() -> dict[str, Any]:
    """What is asked."""
    msgs: list[dict[str, Any]] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": PROMPT},
    ]
    asked: dict[str, Any] = {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": msgs,
    }
    if with_tools():
        function = {"name": EARLIER.name, "arguments": EARLIER.arguments}
        msgs.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": EARLIER.id, "type": "function", "function": function}],
            }
        )
        msgs.append({"role": "tool", "tool_call_id": EARLIER.id, "content": RESULT})
        asked["tools"] = [{"type": "function", "function": {"name": TOOL, "description": ABOUT, "parameters": SCHEMA}}]
    return asked


async def ask(session: aiohttp.ClientSession) -> AsyncGenerator[Deltas | Answer]:
    """One answer."""
    # All inline on purpose, in every floor: a function call per streamed event would raise the floor by itself.
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
                if ev == b"data: [DONE]":
                    continue
                d = msgspec.json.decode(ev[6:])
                for c in d["choices"]:
                    delta = c["delta"]
                    if delta.get("content"):
                        text.append(delta["content"])
                        out.append(delta["content"])
                    for tc in delta.get("tool_calls") or ():
                        f = tc["function"]
                        cur = calls.setdefault(tc["index"], {"id": tc.get("id"), "name": f.get("name"), "args": ""})
                        cur["args"] += f.get("arguments") or ""
                        out.append(Call(cur["id"], f.get("name") or "", f.get("arguments") or ""))
                if d.get("usage"):
                    usage = (d["usage"]["prompt_tokens"], d["usage"]["completion_tokens"])
            if out:
                yield out
    yield Answer("".join(text), [Call(c["id"], c["name"], c["args"]) for c in calls.values()], usage)


if __name__ == "__main__":
    run_floor("chat", ask)
