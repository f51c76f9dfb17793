"""The floor of generateContent, whose lines end as those of HTTP do."""

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

URL = base("gemini") + f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
HEADERS = {"content-type": "application/json", "x-goog-api-key": KEY}


def body() -> dict[str, Any]:
    """What is asked."""
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": PROMPT}]}]
    asked: dict[str, Any] = {"systemInstruction": {"parts": [{"text": INSTRUCTIONS}]}, "contents": contents}
    if with_tools():
        call = {"name": TOOL, "args": msgspec.json.decode(EARLIER.arguments), "id": EARLIER.id}
        result = {"id": EARLIER.id, "name": TOOL, "response": {"output": RESULT}}
        contents.append({"role": "model", "parts": [{"functionCall": call}]})
        contents.append({"role": "user", "parts": [{"functionResponse": result}]})
        declared = {"name": TOOL, "description": ABOUT, "parametersJsonSchema": SCHEMA}
        asked["tools"] = [{"functionDeclarations": [declared]}]
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
            *events, buf = buf.split(b"\r\n\r\n")
            out: Deltas = []
            for ev in events:
                d = msgspec.json.decode(ev[6:])
                for c in d["candidates"]:
                    for part in c["content"]["parts"]:
                        if part.get("text"):
                            text.append(part["text"])
                            out.append(part["text"])
                        elif "functionCall" in part:
                            f = part["functionCall"]
                            made = Call(f.get("id", ""), f["name"], msgspec.json.encode(f["args"]).decode())
                            calls.append(made)
                            out.append(made)
                if "usageMetadata" in d:
                    u = d["usageMetadata"]
                    usage = (u["promptTokenCount"], u["candidatesTokenCount"] + u.get("thoughtsTokenCount", 0))
            if out:
                yield out
    yield Answer("".join(text), calls, usage)


if __name__ == "__main__":
    run_floor("gemini", ask)
