"""The example of a small service: the table of its routes, and their refusals."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from tests.running import until

from holdfast.testing import Call, ScriptedModelServer, Turn


@asynccontextmanager
async def example(monkeypatch: pytest.MonkeyPatch, script: object) -> AsyncGenerator[aiohttp.ClientSession]:
    """Serves the example on a free port, with a scripted model; without a script its model has no key."""
    async with ScriptedModelServer(script or ["unused"]) as models:  # type: ignore[arg-type]
        monkeypatch.setenv("MODEL", "openai/scripted" if script else "anthropic/claude-sonnet-4-6")
        monkeypatch.setenv("HOLDFAST_STORE", "memory:")
        monkeypatch.setenv("OPENAI_BASE_URL", models.base_url)
        for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
            monkeypatch.delenv(variable, raising=False)
        from examples.rest_api import app

        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        serving = asyncio.create_task(server._serve([listener]))
        await until(lambda: server.started)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await serving


@pytest.mark.requirement("server:rest-table")
async def test_the_table_of_the_small_service_holds_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Turn(calls=[Call("metrics", {"cluster": "north"})])
    async with example(monkeypatch, [calls, "All pods are ready.", "As before.", "Still."]) as client:
        async with client.get("/health") as answer:
            assert await answer.json() == {"status": "ok"}
        async with client.post("/ask", json={"question": "How is north?"}) as answer:
            assert await answer.json() == {"question": "How is north?", "answer": "All pods are ready."}
        async with client.post("/chat", json={"message": "And north?"}) as answer:
            first = await answer.json()
            assert set(first) == {"session_id", "answer"}
        async with client.post("/chat", json={"message": "Now?", "session_id": first["session_id"]}) as answer:
            assert await answer.json() == {"session_id": first["session_id"], "answer": "As before."}
        async with client.post("/stream", json={"message": "Now?", "session_id": first["session_id"]}) as answer:
            assert await answer.text() == "Still."
        async with client.get("/metrics/north") as answer:
            found = await answer.json()
            assert found["cluster"] == "north"
            assert "41 %" in found["metrics"]
        async with client.get("/calc", params={"expr": "2+2"}) as answer:
            assert await answer.json() == {"expression": "2+2", "result": "4"}
        async with client.get("/calc", params={"expr": "2+"}) as answer:
            assert answer.status == 200
            assert (await answer.json())["result"].startswith("Error")


@pytest.mark.requirement("server:rest-table")
async def test_what_is_missing_is_422_and_a_model_without_a_key_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async with example(monkeypatch, None) as client:
        for path, body in (("/ask", {}), ("/chat", {"session_id": "s"}), ("/ask", None)):
            async with client.post(path, json=body) as answer:
                assert answer.status == 422
                assert "detail" in await answer.json()
        async with client.get("/calc") as answer:
            assert answer.status == 422
        async with client.post("/ask", json={"question": "hello"}) as answer:
            assert answer.status == 503
            assert "ANTHROPIC_API_KEY" in (await answer.json())["detail"]
