"""Whole runs with a model of Anthropic, and prompts that are more than words."""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64encode
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.pictures import raw
from tests.running import HastyClock, all_answered, asked, of, scene, soon, text_of

from holdfast import Agent, tool
from holdfast.engine.events import InputReceived, ModelFailed, ModelFinished
from holdfast.errors import AuthFailed, InputTooLarge, UsageError
from holdfast.testing import Call, Tokens, Turn
from holdfast.testing.faults import Hang, StreamError
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import IMAGE_BYTES, Document, Image, Text, TextDelta, Thinking, UserMessage, UserPart

MODEL = "anthropic/claude-opus-4-5"
STORES = ["memory:", "sqlite"]


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool(effect="none")
async def read() -> str:
    """Reads."""
    return "words"


AGENT = Agent(MODEL, instructions="You add.", tools=[add, read])
PNG = raw("image/png", 2, 2)


def store(kind: str, folder: Path) -> str:
    return kind if kind == "memory:" else f"sqlite:///{folder}/log.db"


def blocks(server: Any, request: int, message: int = -1) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", asked(server)[request][message]["content"])


@pytest.mark.requirement("models:messages-run", "models:messages-thinking-given-back")
async def test_thinking_and_parallel_calls_survive_into_the_next_request() -> None:
    first = Turn(
        "I look.",
        thinking="Two sums.",
        signature="c2ln",
        redacted="c2VjcmV0",
        calls=[Call("add", {"a": 1, "b": 2}), Call("read"), Call("add", {"a": 3, "b": 4})],
        usage=Tokens(1000, 50, 0, 900),
    )
    last = Turn("Both are done.", chunk=3, usage=Tokens(1100, 20, 900, 100))
    async with scene([first, last]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        text, result = await soon(text_of(run))
        log = await s.log()
        s.server.verify()
        answer, results = blocks(s.server, 1, 1), blocks(s.server, 1, 2)
    assert (text, result.output, result.status) == ("", "Both are done.", "completed")
    assert all_answered(log)
    assert of(ModelFinished, log)[0].message.parts[:2] == (
        Thinking("Two sums.", "c2ln"),
        Thinking("", redacted="c2VjcmV0"),
    )
    assert answer[:2] == [
        {"type": "thinking", "thinking": "Two sums.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
    ]
    assert [block.get("name") for block in answer[3:]] == ["add", "read", "add"]
    assert [block["content"] for block in results] == ["3", "words", "7"]
    assert [block["tool_use_id"] for block in results] == [block["id"] for block in answer[3:]]
    assert result.cost is not None, "cache reads and writes have their own prices"
    assert round(result.cost * 1e6) == round(
        100 * 5 + 900 * 6.25 + 50 * 25 + 100 * 5 + 900 * 0.5 + 100 * 6.25 + 20 * 25
    )


@pytest.mark.requirement("models:messages-run")
async def test_an_overloaded_server_is_asked_again_and_half_an_answer_is_taken_back() -> None:
    turn = Turn("Hello there", chunk=3, fault=StreamError(after_events=4, times=2))
    async with scene([turn], clock=HastyClock()) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        text, result = await soon(text_of(run))
        log = await s.log()
    assert (text, result.output) == ("", "Hello there")
    assert [failed.code for failed in of(ModelFailed, log)] == ["overloaded"] * 2


@pytest.mark.requirement("models:messages-run")
async def test_an_abort_ends_an_answer_under_way() -> None:
    async with scene([Turn("Hello there", chunk=3, fault=Hang(after_events=4))]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        async with contextlib.aclosing(cast("AsyncGenerator[Any, None]", run.events())) as events:
            async for item in events:
                if isinstance(item, TextDelta):
                    break
        await run.abort("enough")
        result = await soon(run.result())
    assert (result.status, result.reason) == ("aborted", "enough")


@pytest.mark.requirement("models:key-missing")
async def test_without_a_key_nothing_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(["hi"]) as s:
        monkeypatch.delenv("ANTHROPIC_BASE_URL")
        with pytest.raises(AuthFailed, match="ANTHROPIC_API_KEY"):
            await s.runtime.start(AGENT, "go", session="s")
        assert await s.log() == []


@pytest.mark.requirement("types:prompts-of-parts", "models:messages-images-and-documents")
@pytest.mark.parametrize("kind", STORES)
async def test_images_and_documents_reach_the_model_and_stay_in_the_log(kind: str, tmp_path: Path) -> None:
    parts: list[UserPart] = [
        Image("image/png", PNG, "a.png"),
        Document("application/pdf", b"%PDF-1.7\n", "b.pdf"),
        Text("look"),
    ]
    url = store(kind, tmp_path)
    async with scene(["A picture.", "Still there."], url=url) as s:
        await soon((await s.runtime.start(AGENT, parts, session="s")).result())
        if kind == "sqlite":
            async with s.other() as other:  # who reads it from the store sees it, too
                await soon((await other.start(AGENT, "and now?", session="s")).result())
        else:
            await soon((await s.runtime.start(AGENT, "and now?", session="s")).result())
        log = await s.log()
        sent = [blocks(s.server, request, 0) for request in (0, 1)]
        s.server.verify()
    assert of(InputReceived, log)[0].message == UserMessage(tuple(parts))
    assert [block["type"] for block in sent[0]] == ["image", "document", "text"]
    assert [block.get("source") for block in sent[1]] == [block.get("source") for block in sent[0]]


@pytest.mark.requirement("types:prompts-of-parts", "models:chat-images-and-documents")
async def test_the_other_wire_carries_them_as_data_urls() -> None:
    parts = [
        Image("image/png", PNG),
        Document("application/pdf", b"%PDF-1.7\n", "b.pdf"),
        Document("text/plain", b"hi", "n"),
    ]
    async with scene(["Seen."]) as s:
        run = await s.runtime.start(Agent("openai/scripted"), [*parts, "look"], session="s")
        await soon(run.result())
        content = asked(s.server)[0][0]["content"]
    assert content == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PNG).decode()}"}},
        {"type": "file", "file": {"filename": "b.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjcK"}},
        {"type": "text", "text": '<document name="n">\nhi\n</document>'},
        {"type": "text", "text": "look"},
    ]


@pytest.mark.requirement("types:prompts-of-parts")
@pytest.mark.parametrize(
    ("prompt", "error", "said"),
    [
        ([], UsageError, "at least some text"),
        ([b"raw"], UsageError, "give text, an Image or a Document"),
        ([Image(cast("Any", "image/bmp"), b"x")], UsageError, "convert it to 'image/png'"),
        ([Image("image/png", b"")], UsageError, "no bytes"),
        ([Image("image/png", b"x" * (IMAGE_BYTES + 1))], InputTooLarge, "make it smaller"),
        ([Document("text/plain", b"\xff")], UsageError, "save it as UTF-8"),
        ([Document("application/pdf", b"x" * 16_000_000)] * 2, InputTooLarge, "put them into the workspace"),
        (["x" * 3_000_000] * 2, InputTooLarge, "put it into a file"),
    ],
    ids=["nothing", "bytes", "bmp", "empty", "large", "latin", "sum", "words"],
)
async def test_a_prompt_no_model_would_take_is_refused_with_what_to_do(
    prompt: Any, error: type[Exception], said: str
) -> None:
    async with scene(["hi"]) as s:
        with pytest.raises(error, match=said):
            await s.runtime.start(AGENT, prompt, session="s")
        assert await s.log() == []


@pytest.mark.requirement("types:prompts-of-parts")
async def test_a_steer_may_hold_a_picture() -> None:
    steered = asyncio.Event()

    async def script(request: ScriptRequest) -> Turn | str:
        await steered.wait()
        return "Done." if request.answers else Turn(calls=[Call("add", {"a": 1, "b": 2})])

    async with scene(script) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await run.steer([Image("image/png", PNG), "look here"])
        steered.set()
        await soon(run.result())
        kinds = [block["type"] for block in blocks(s.server, 1)]
    assert kinds == ["tool_result", "image", "text"]
