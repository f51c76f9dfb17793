"""A server of vectors on loopback that speaks the protocols of four providers, and says what it was asked.

The vector of a text is made from its words, so that the same text has the same one everywhere, and every number of it
is exact as a 32-bit float.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.loopback import Request, Server, answer, serving

DIMENSIONS = 64
Spoil = Callable[[int, Request, dict[str, Any]], bytes | None]
"""From a request's number from 0, the request and its JSON to the bytes of another answer; None for the right one."""


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Returns numbers from -1 to 1 in steps of 1/128, none of them 0."""
    data = b"".join(hashlib.sha256(f"{part} {text}".encode()).digest() for part in range(-(-dimensions // 32)))
    return [(byte - 127.5) / 128 for byte in data[:dimensions]]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def bits(vector: list[float]) -> list[int]:
    text = "".join("1" if value > 0 else "0" for value in vector)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def _openai(asked: dict[str, Any]) -> dict[str, Any]:
    vectors = [vector_of(text, asked.get("dimensions", DIMENSIONS)) for text in asked["input"]]
    form: Callable[[list[float]], Any] = packed if asked.get("encoding_format") == "base64" else list
    data = [{"object": "embedding", "index": at, "embedding": form(vector)} for at, vector in enumerate(vectors)]
    tokens = sum(len(text.split()) for text in asked["input"])
    return {
        "object": "list",
        "data": data[::-1],  # the index says which is which, not the place
        "model": asked["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _google(asked: dict[str, Any]) -> dict[str, Any]:
    texts = [(each["content"]["parts"][0]["text"], each.get("outputDimensionality")) for each in asked["requests"]]
    tokens = sum(len(text.split()) for text, _ in texts)
    return {
        "embeddings": [{"values": vector_of(text, dimensions or DIMENSIONS)} for text, dimensions in texts],
        "usageMetadata": {"promptTokenCount": tokens},
    }


_FORMS: dict[str, Callable[[list[float]], Any]] = {
    "float": list,
    "base64": packed,
    "int8": lambda vector: [int(value * 127) for value in vector],
    "uint8": lambda vector: [int(value * 127) + 128 for value in vector],
    "ubinary": bits,
    "binary": lambda vector: [byte - 128 for byte in bits(vector)],
}


def _cohere(asked: dict[str, Any]) -> dict[str, Any]:
    vectors = [vector_of(text, asked.get("output_dimension", DIMENSIONS)) for text in asked["texts"]]
    return {
        "id": "e1",
        "response_type": "embeddings_by_type",
        "embeddings": {name: [_FORMS[name](vector) for vector in vectors] for name in asked["embedding_types"]},
        "texts": asked["texts"],
        "meta": {"billed_units": {"input_tokens": float(sum(len(text.split()) for text in asked["texts"]))}},
    }


def _ollama(asked: dict[str, Any]) -> dict[str, Any]:
    vectors = [vector_of(text, asked.get("dimensions", DIMENSIONS)) for text in asked["input"]]
    tokens = sum(len(text.split()) for text in asked["input"])
    return {"model": asked["model"], "embeddings": vectors, "total_duration": 1, "prompt_eval_count": tokens}


_PATHS = {"/embeddings": _openai, ":batchEmbedContents": _google, "/v2/embed": _cohere, "/api/embed": _ollama}


class Vectors:
    """What a running server was asked, and how to reach it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.asked: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.at_once = 0
        self.env = {
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OPENAI_API_KEY": "sk-openai",
            "GOOGLE_GEMINI_BASE_URL": server.url,
            "GOOGLE_API_KEY": "g-key",
            "CO_API_URL": server.url,
            "CO_API_KEY": "co-key",
            "OLLAMA_HOST": server.url,
        }

    @property
    def requests(self) -> list[Request]:
        return self.server.requests


@asynccontextmanager
async def vector_server(spoil: Spoil | None = None, *, pause: asyncio.Event | None = None) -> AsyncGenerator[Vectors]:
    """Runs a server; `spoil` may give another answer, and no answer is given before `pause` is set."""
    held: list[Vectors] = []

    async def handle(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        vectors = held[0]
        number = len(vectors.asked)
        asked = json.loads(request.body)
        vectors.asked.append(asked)
        vectors.at_once += 1
        vectors.most_at_once = max(vectors.most_at_once, vectors.at_once)
        if pause is not None:
            await pause.wait()
        vectors.at_once -= 1
        other = spoil(number, request, asked) if spoil is not None else None
        if other is not None:
            writer.write(other)
            return
        path = request.line.split(" ")[1]
        reply = next(reply for end, reply in _PATHS.items() if path.endswith(end))
        writer.write(answer(json.dumps(reply(asked)).encode(), headers="Content-Type: application/json\r\n"))

    async with serving(handle) as server:
        held.append(Vectors(server))
        yield held[0]
