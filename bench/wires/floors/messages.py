"""The floor of Messages."""

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

URL = base("messages") + "/v1/messages"
HEADERS = {"content-type": "application/json", "x-api-key": KEY, "anthropic-version": "2023-06-01"}
CACHE = {"type": "ephemeral"}


def body() -> dict[str, Any]:
    """What is asked."""
    msgs: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    asked: dict[str, Any] = {
        "model": MODEL,
        "stream": True,
        "max_tokens": 4096,
        "system": [{"type": "text", "text": INSTRUCTIONS, "cache_control": CACHE}],
        "messages": msgs,
    }
    if with_tools():
        call = {"type": "tool_use", "id": EARLIER.id, "name": TOOL, "input": msgspec.json.decode(EARLIER.arguments)}
        msgs.append({"role": "assistant", "content": [call]})
        msgs.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": EARLIER.id, "content": RESULT}]}
        )
        asked["tools"] = [{"name": TOOL, "description": ABOUT, "input_schema": SCHEMA, "cache_control": CACHE}]
    msgs[-1]["content"][-1]["cache_control"] = CACHE
    return asked


async def ask(session: aiohttp.ClientSession) -> AsyncGenerator[Deltas | Answer]:  # noqa: C901 - inline
    """One answer."""
    text: list[str] = []
    calls: dict[int, dict[str, str]] = {}
    given = made = 0
    async with session.post(URL, data=msgspec.json.encode(body()), headers=HEADERS) as r:
        buf = b""
        async for data in r.content.iter_any():
            buf += data
            *events, buf = buf.split(b"\n\n")
            out: Deltas = []
            for ev in events:
                d = msgspec.json.decode(ev.partition(b"\ndata: ")[2])
                kind = d["type"]
                if kind == "content_block_delta":
                    delta = d["delta"]
                    if delta["type"] == "text_delta":
                        text.append(delta["text"])
                        out.append(delta["text"])
                    elif delta["type"] == "input_json_delta":
                        cur = calls[d["index"]]
                        cur["args"] += delta["partial_json"]
                        out.append(Call(cur["id"], "", delta["partial_json"]))
                elif kind == "content_block_start":
                    block = d["content_block"]
                    if block["type"] == "tool_use":
                        calls[d["index"]] = {"id": block["id"], "name": block["name"], "args": ""}
                        out.append(Call(block["id"], block["name"], ""))
                elif kind == "message_delta":
                    made = d["usage"]["output_tokens"]
                elif kind == "message_start":
                    u = d["message"]["usage"]
                    given = u["input_tokens"] + u["cache_read_input_tokens"] + u["cache_creation_input_tokens"]
            if out:
                yield out
    yield Answer("".join(text), [Call(c["id"], c["name"], c["args"]) for c in calls.values()], (given, made))


if __name__ == "__main__":
    run_floor("messages", ask)
