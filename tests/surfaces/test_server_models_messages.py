"""Messages, by the unmodified client of Anthropic against a real server."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from tests.model_doors import ADD, MODEL, PIXEL, Doors, doors
from tests.running import asked

from holdfast.testing import Turn
from holdfast.testing.scripts import Call, Tokens

HI: list[Any] = [{"role": "user", "content": "hi"}]
TOOL: Any = {"name": "add", "description": "Adds.", "input_schema": ADD}


async def answer(here: Doors, streamed: bool, model: str = MODEL, **more: Any) -> Any:
    if not streamed:
        return await here.anthropic.messages.create(model=model, max_tokens=100, **more)
    async with here.anthropic.messages.stream(model=model, max_tokens=100, **more) as events:
        async for _ in events:
            pass
        return await events.get_final_message()


@pytest.mark.requirement("server_models:messages")
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_turn_with_parallel_tools_and_what_a_person_adds_is_one_run(streamed: bool) -> None:
    script = [
        Turn("Adding.", calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})], usage=Tokens(10, 5, 2)),
        Turn("3 and 7", usage=Tokens(20, 6)),
    ]
    async with doors(script) as here:
        messages: list[Any] = [{"role": "user", "content": "1+2, 3+4"}]
        first = await answer(here, streamed, messages=messages, system="You add.", tools=[TOOL])
        assert [each.type for each in first.content] == ["text", "tool_use", "tool_use"]
        assert (first.content[1].input, first.stop_reason) == ({"a": 1, "b": 2}, "tool_use")
        usage = first.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (8, 2, 5)
        messages.append(
            {"role": "assistant", "content": [each.model_dump(exclude_none=True) for each in first.content]}
        )
        results: list[Any] = [
            {"type": "tool_result", "tool_use_id": each.id, "content": str(sum(each.input.values()))}
            for each in first.content[1:]
        ]
        messages.append({"role": "user", "content": [*results, {"type": "text", "text": "and be quick"}]})
        second = await answer(here, streamed, messages=messages, system="You add.", tools=[TOOL])
        assert (second.content[0].text, second.stop_reason, second.usage.output_tokens) == ("3 and 7", "end_turn", 6)
        (session,) = await here.sessions()
        assert (await here.log(session)).count("run.started") == 1
        sent = asked(here.scene.server)[-1]
        assert [(each["role"], each["content"]) for each in sent[-3:]] == [
            ("tool", "3"),
            ("tool", "7"),
            ("user", "and be quick"),
        ]


@pytest.mark.requirement("server_models:messages")
async def test_thinking_comes_with_its_signature_and_goes_back_to_a_model_that_speaks_the_same() -> None:
    script = [Turn("so", thinking="hm", signature="c2ln"), Turn("done")]
    async with doors(script) as here:
        first = await answer(
            here, True, model="anthropic/scripted", messages=HI, thinking={"type": "enabled", "budget_tokens": 2048}
        )
        assert [(each.type, getattr(each, "signature", None)) for each in first.content] == [
            ("thinking", "c2ln"),
            ("text", None),
        ]
        told = {"role": "assistant", "content": [each.model_dump(exclude_none=True) for each in first.content]}
        messages = [*HI, told, {"role": "user", "content": "on"}]
        await answer(here, False, model="anthropic/scripted", messages=messages)
        sent: Any = here.scene.server.requests[-1].json()
        assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
        assert len(await here.sessions()) == 1


@pytest.mark.requirement("server_models:passes-through")
async def test_images_choices_and_stop_sequences_reach_a_model_of_the_same_protocol() -> None:
    async with doors([Turn("a dot")]) as here:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        await answer(
            here,
            False,
            model="anthropic/scripted",
            messages=[
                {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "?"}]}
            ],
            tools=[TOOL],
            tool_choice={"type": "tool", "name": "add"},
            stop_sequences=["END"],
            extra_body={"temperature": 0.5},  # which this client has forgotten
        )
        sent: Any = here.scene.server.requests[-1].json()
        assert sent["messages"][0]["content"][0]["source"]["data"] == PIXEL
        assert sent["tool_choice"] == {"type": "tool", "name": "add"}
        assert (sent["max_tokens"], sent["temperature"], sent["stop_sequences"]) == (100, 0.5, ["END"])


@pytest.mark.requirement("server_models:passes-through")
async def test_what_a_model_of_another_protocol_has_no_word_for_is_refused_by_its_name() -> None:
    async with doors([Turn("never")]) as here:
        with pytest.raises(anthropic.BadRequestError, match="top_k"):
            await answer(here, False, messages=HI, extra_body={"top_k": 5})
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:counts")
async def test_tokens_are_counted_by_the_provider_where_it_can_and_otherwise_estimated() -> None:
    async with doors([Turn("never")]) as here:
        exact = await here.anthropic.messages.count_tokens(
            model="anthropic/scripted", messages=[*HI, {"role": "assistant", "content": "ho"}, *HI], tools=[TOOL]
        )
        guess = await here.anthropic.messages.count_tokens(model="openai/scripted", messages=HI)
        (asked_for,) = here.scene.server.requests
        assert asked_for.target.endswith("/count_tokens")
        assert exact.input_tokens > guess.input_tokens > 0
        assert await here.sessions() == []


@pytest.mark.requirement("server_models:models")
async def test_models_are_listed_in_the_shape_of_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast import Agent
    from holdfast.flow.clock import SystemClock
    from holdfast.models.routing.routes import Routes

    routes = Routes(SystemClock(), aliases={"quick": "openai/scripted"}, tiers={"smart": "anthropic/scripted"})
    async with doors([Turn("x")], {"helper": Agent(MODEL)}, routes=routes) as here:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
        first = [each.id async for each in here.openai.models.list()]
        assert first[:3] == ["helper", "quick", "smart"]
        assert any(each.startswith("anthropic/claude") for each in first)
        assert not any(each.startswith("mistral/") for each in first)
        second = [each.id async for each in here.anthropic.models.list(limit=2)]
        assert second == first
        assert (await here.openai.models.retrieve("helper")).owned_by == "holdfast"
        assert (await here.openai.models.retrieve(MODEL)).id == MODEL
        assert (await here.anthropic.models.retrieve("quick")).type == "model"
        with pytest.raises(anthropic.NotFoundError):
            await here.anthropic.models.retrieve("nobody/x")


@pytest.mark.requirement("server_models:embeddings")
async def test_texts_become_vectors_as_numbers_or_packed() -> None:
    async with doors([Turn("x")]) as here:
        one = await here.openai.embeddings.create(
            model="openai/text-embedding-3-small", input=["a cat", "a cat", "cars"]
        )
        vectors = [each.embedding for each in one.data]
        assert vectors[0] == vectors[1] != vectors[2]
        assert one.usage.total_tokens > 0
        plain = await here.openai.embeddings.create(model="hashing", input="a", dimensions=64, encoding_format="float")
        packed = await here.openai.embeddings.create(model="hashing", input="a", dimensions=64)
        assert plain.data[0].embedding == pytest.approx(packed.data[0].embedding)
        import openai

        with pytest.raises(openai.NotFoundError):
            await here.openai.embeddings.create(model="local//etc", input="a")
