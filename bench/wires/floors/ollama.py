"""The floor of Ollama's chat."""

from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import msgspec

from ..script import (
    ABOUT,
    EARLIER,
    INSTRUCTIONS,
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

URL = base("ollama") + "/api/chat"
HEADERS = {"content-type": "application/json"}


def body() -> dict[str, Any]:
    """What is asked."""
    msgs: list[dict[str, Any]] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": PROMPT},
    ]
    asked: dict[str, Any] = {"model": MODEL, "stream": True, "messages": msgs}
    if with_tools():
        function = {"name": EARLIER.name, "arguments": msgspec.json.decode(EARLIER.arguments)}
        msgs.append({"role": "assistant", "content": "", "tool_calls": [{"function": function}]})
        msgs.append({"role": "tool", "tool_name": TOOL, "content": RESULT})
        asked["tools"] = [{"type": "function", "function": {"name": TOOL, "description": ABOUT, "parameters": SCHEMA}}]
    return asked


async def ask(session: aiohttp.ClientSession) -> AsyncGenerator[Deltas | Answer]:
    """One answer."""
    text: list[str] = []
    calls: list[Call] = []
    usage = (0, 0)
    async with session.post(URL, data=msgspec.json.encode(body()), headers=HEADERS) as r:
        buf = b""
        async for data in r.content.iter_any():
            buf += data
            *lines, buf = buf.split(b"\n")
            out: Deltas = []
            for line in lines:
                d = msgspec.json.decode(line)
                message = d["message"]
                if message["content"]:
                    text.append(message["content"])
                    out.append(message["content"])
                for call in message.get("tool_calls") or ():
                    f = call["function"]
                    made = Call(call.get("id", ""), f["name"], msgspec.json.encode(f["arguments"]).decode())
                    calls.append(made)
                    out.append(made)
                if d["done"]:
                    usage = (d["prompt_eval_count"], d["eval_count"])
            if out:
                yield out
    yield Answer("".join(text), calls, usage)


if __name__ == "__main__":
    run_floor("ollama", ask)
