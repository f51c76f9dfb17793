"""Chat Completions, by the unmodified client of OpenAI against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from tests.model_doors import MODEL, PIXEL, doors, offered
from tests.running import asked, soon

from holdfast.testing import Turn
from holdfast.testing.faults import Drip
from holdfast.testing.scripts import Call, Tokens

HI: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.mark.requirement("server_models:chat")
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_turn_with_parallel_tools_is_one_run_of_a_model(streamed: bool) -> None:
    script = [
        Turn("Adding.", calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})], usage=Tokens(10, 5)),
        Turn("3 and 7", usage=Tokens(20, 6)),
    ]
    async with doors(script) as here:
        messages = [{"role": "system", "content": "You add."}, {"role": "user", "content": "1+2, 3+4"}]
        first, used = await answer(here.openai, streamed, messages=messages, tools=[offered()])
        assert (first["content"], used) == ("Adding.", (10, 5))
        calls = first["tool_calls"]
        assert [json.loads(each["function"]["arguments"]) for each in calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
        messages.append(first)
        for each in calls:
            told = sum(json.loads(each["function"]["arguments"]).values())
            messages.append({"role": "tool", "tool_call_id": each["id"], "content": str(told)})
        second, used = await answer(here.openai, streamed, messages=messages, tools=[offered()])
        assert (second["content"], used) == ("3 and 7", (20, 6))
        (session,) = await here.sessions()
        kinds = await here.log(session)
        assert (kinds.count("run.started"), kinds.count("tool.waiting"), kinds[-1]) == (1, 2, "run.finished")
        sent = asked(here.scene.server)[-1]
        assert [each["role"] for each in sent] == ["system", "user", "assistant", "tool", "tool"]
        assert [each["content"] for each in sent[-2:]] == ["3", "7"]


async def answer(client: openai.AsyncOpenAI, streamed: bool, **more: Any) -> tuple[dict[str, Any], tuple[int, int]]:
    """Returns an answer as it goes into the next request, and what it used."""
    if not streamed:
        whole = await client.chat.completions.create(model=MODEL, **more)
    else:
        async with client.chat.completions.stream(
            model=MODEL, stream_options={"include_usage": True}, **more
        ) as events:
            async for _ in events:
                pass
            whole = await events.get_final_completion()
    message, usage = whole.choices[0].message, whole.usage
    assert usage is not None
    assert whole.choices[0].finish_reason == ("tool_calls" if message.tool_calls else "stop")
    told: dict[str, Any] = {"role": "assistant", "content": message.content}
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": each.id,
                "type": "function",
                "function": {"name": each.function.name, "arguments": each.function.arguments},
            }
            for each in message.tool_calls
            if each.type == "function"
        ]
    return told, (usage.prompt_tokens, usage.completion_tokens)


@pytest.mark.requirement("server_models:deltas-first", "server_models:facade", "server:chat-facade")
async def test_deltas_arrive_before_the_model_is_done_and_are_the_whole_answer_together() -> None:
    words = "Word after word, and none of them early. " * 4
    async with doors([Turn(words, chunk=16, fault=Drip(seconds=0.01))]) as here:
        stream = await here.openai.chat.completions.create(model=MODEL, messages=HI, stream=True)
        pieces: list[str] = []
        over: list[bool] = []
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                pieces.append(chunk.choices[0].delta.content)
                (session,) = await here.sessions()
                over.append("model.finished" in await here.log(session))
        assert "".join(pieces) == words
        assert over[0] is False
        assert len(pieces) > 5


@pytest.mark.requirement("server_models:continued")
async def test_a_conversation_that_is_sent_again_goes_on_in_its_session_and_is_written_once() -> None:
    async with doors([Turn("one"), Turn("two"), Turn("three")]) as here:
        messages = list(HI)
        for expected in ("one", "two", "three"):
            told, _ = await answer(here.openai, False, messages=messages)
            assert told["content"] == expected
            messages += [told, {"role": "user", "content": f"after {expected}"}]
        (session,) = await here.sessions()
        assert (await here.log(session)).count("input.received") == 3
        assert [each["content"] for each in asked(here.scene.server)[-1]] == [
            "hi",
            "one",
            "after one",
            "two",
            "after two",
        ]


@pytest.mark.requirement("server_models:continued")
async def test_a_conversation_that_was_changed_or_went_on_before_begins_a_session_of_its_own() -> None:
    async with doors([Turn("one"), Turn("two")]) as here:
        told, _ = await answer(here.openai, False, messages=HI)
        on: list[Any] = [*HI, told, {"role": "user", "content": "on"}]
        for messages in (on, on, [*HI, {"role": "assistant", "content": "won"}, {"role": "user", "content": "on"}]):
            assert (await answer(here.openai, False, messages=messages))[0]["content"] == "two"
        assert len(await here.sessions()) == 3
        said = [[each["content"] for each in messages] for messages in asked(here.scene.server)]
        assert said[1:] == [["hi", "one", "on"], ["hi", "one", "on"], ["hi", "won", "on"]]


@pytest.mark.requirement("server_models:continued")
async def test_results_that_come_twice_at_once_go_on_with_the_run_once() -> None:
    async with doors([Turn(calls=[Call("add", {"a": 1, "b": 1})]), Turn("2")]) as here:
        told, _ = await answer(here.openai, False, messages=HI, tools=[offered()])
        result = {"role": "tool", "tool_call_id": told["tool_calls"][0]["id"], "content": "2"}
        again = [answer(here.openai, False, messages=[*HI, told, result], tools=[offered()]) for _ in range(4)]
        both = await asyncio.gather(*again)
        assert {each["content"] for each, _ in both} == {"2"}
        logs = [await here.log(session) for session in await here.sessions()]
        assert len(logs) == 4
        assert sum(log.count("wait.resolved") for log in logs) == 1


@pytest.mark.requirement("server_models:passes-through")
async def test_what_is_said_of_how_to_answer_reaches_the_model() -> None:
    async with doors([Turn("yes")]) as here:
        await here.openai.chat.completions.create(
            model=MODEL,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    ],
                }
            ],
            tools=[offered()],
            tool_choice="required",
            max_completion_tokens=77,
            temperature=0.25,
            top_p=0.5,
            stop=["END"],
            reasoning_effort="low",
        )
        body: Any = here.scene.server.requests[-1].json()
        assert (body["tool_choice"], body["max_completion_tokens"], body["temperature"]) == ("required", 77, 0.25)
        assert (body["top_p"], body["stop"], body["reasoning_effort"]) == (0.5, ["END"], "low")
        assert body["messages"][0]["content"][1]["image_url"]["url"].endswith(PIXEL)
        assert body["tools"][0]["function"]["name"] == "add"


class Sum(BaseModel):
    """A sum."""

    total: int


@pytest.mark.requirement("server_models:structured")
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_has_the_form_that_the_client_asks_for(streamed: bool) -> None:
    async with doors([Turn('{"total": 7}')]) as here:
        if streamed:
            async with here.openai.chat.completions.stream(model=MODEL, messages=HI, response_format=Sum) as events:
                whole = await events.get_final_completion()
        else:
            whole = await here.openai.chat.completions.parse(model=MODEL, messages=HI, response_format=Sum)
        assert whole.choices[0].message.parsed == Sum(total=7)
        body: Any = here.scene.server.requests[-1].json()
        assert body["response_format"]["json_schema"]["schema"]["properties"]["total"]["type"] == "integer"


@pytest.mark.requirement("server_models:structured")
async def test_json_that_is_none_is_asked_for_once_more() -> None:
    async with doors([Turn("no json"), Turn('{"total": 7}')]) as here:
        whole = await here.openai.chat.completions.create(
            model=MODEL, messages=HI, response_format={"type": "json_object"}
        )
        assert json.loads(whole.choices[0].message.content or "") == {"total": 7}
        assert len(here.scene.server.requests) == 2


@pytest.mark.requirement("server_models:lengths")
async def test_an_answer_that_met_its_longest_says_so() -> None:
    async with doors([Turn("half of it", stop="length")]) as here:
        whole = await here.openai.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=3)
        choice = whole.choices[0]
        assert (choice.message.content, choice.finish_reason) == ("half of it", "length")


@pytest.mark.requirement("server_models:disconnected")
async def test_a_run_ends_when_its_client_is_gone() -> None:
    async with doors([Turn("late", delay=3600)]) as here:
        with pytest.raises(openai.APITimeoutError):
            await here.openai.chat.completions.create(model=MODEL, messages=HI, timeout=0.3)
        (session,) = await here.sessions()
        key = (await here.scene.log(session))[0].cause
        result = await soon(here.served.runtime.run(session, key).result())
        assert (result.status, result.reason) == ("aborted", "whoever asked is gone")


@pytest.mark.requirement("server_models:disconnected")
async def test_a_run_ends_when_whoever_reads_its_stream_is_gone() -> None:
    async with doors([Turn("Word after word. " * 50, chunk=4, fault=Drip(seconds=0.02))]) as here:
        stream = await here.openai.chat.completions.create(model=MODEL, messages=HI, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        (session,) = await here.sessions()
        key = (await here.scene.log(session))[0].cause
        result = await soon(here.served.runtime.run(session, key).result())
        assert (result.status, result.reason) == ("aborted", "whoever asked is gone")


@pytest.mark.requirement("server_models:continued")
async def test_a_conversation_goes_on_in_its_session_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with doors([Turn("one"), Turn("two")], url=url) as here:
        told, _ = await answer(here.openai, False, messages=HI)
    async with doors([Turn("one"), Turn("two")], url=url) as here:
        again, _ = await answer(here.openai, True, messages=[*HI, told, {"role": "user", "content": "on"}])
        assert again["content"] == "two"
        assert len(await here.sessions()) == 1
