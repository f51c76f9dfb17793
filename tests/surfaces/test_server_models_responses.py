"""Responses, by the unmodified client of OpenAI against a real server: kept, gone on with, told again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.model_doors import ADD, MODEL, PIXEL, Doors, doors
from tests.running import asked, soon
from tests.surfaces.test_server_models_agents import helper

from holdfast import Agent
from holdfast.runtime.history.waiting import Waiting
from holdfast.testing import Turn
from holdfast.testing.faults import Drip
from holdfast.testing.scripts import Call, Tokens

TOOL: Any = {"type": "function", "name": "add", "description": "Adds.", "parameters": ADD, "strict": False}


async def answer(here: Doors, streamed: bool, **more: Any) -> Any:
    more = {"model": MODEL, **more}
    if not streamed:
        return await here.openai.responses.create(**more)
    async with here.openai.responses.stream(**more) as events:
        async for _ in events:
            pass
        return await events.get_final_response()


@pytest.mark.requirement("server_models:responses")
@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_turn_with_parallel_tools_is_one_run_resent_or_by_its_id(streamed: bool, by_id: bool) -> None:
    script = [
        Turn("Adding.", calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})], usage=Tokens(10, 5)),
        Turn("3 and 7", usage=Tokens(20, 6)),
        Turn("bye"),
    ]
    async with doors(script) as here:
        first = await answer(here, streamed, input="1+2, 3+4", instructions="You add.", tools=[TOOL])
        assert [each.type for each in first.output] == ["message", "function_call", "function_call"]
        assert (first.output_text, first.usage.output_tokens, first.status) == ("Adding.", 5, "completed")
        results = [
            {
                "type": "function_call_output",
                "call_id": each.call_id,
                "output": str(sum(json.loads(each.arguments).values())),
            }
            for each in first.output[1:]
        ]
        more: dict[str, Any] = {"input": results, "previous_response_id": first.id}
        if not by_id:
            before = [
                each.model_dump(exclude_none=True, exclude={"parsed", "parsed_arguments"}) for each in first.output
            ]
            more = {"input": [{"role": "user", "content": "1+2, 3+4"}, *before, *results]}
        second = await answer(here, streamed, instructions="You add.", tools=[TOOL], **more)
        assert (second.output_text, second.usage.output_tokens) == ("3 and 7", 6)
        sent = asked(here.scene.server)[-1]
        assert [each["content"] for each in sent[-2:]] == ["3", "7"]
        assert len(await here.sessions()) == 1
        items = await here.openai.responses.input_items.list(second.id, order="asc")
        if by_id:
            assert [(each.type, getattr(each, "output", "")) for each in items.data] == [
                ("function_call_output", "3"),
                ("function_call_output", "7"),
            ]
            third = await answer(here, streamed, input="bye", previous_response_id=second.id)
            assert third.output_text == "bye"
            assert len(await here.sessions()) == 1


@pytest.mark.requirement("server_models:responses-continued")
async def test_any_number_of_responses_go_on_from_one_each_without_the_others() -> None:
    async with doors([Turn("one"), Turn("two"), Turn("three")]) as here:
        first = await answer(here, False, input="start")
        left, right = await asyncio.gather(
            answer(here, False, input="left", previous_response_id=first.id),
            answer(here, False, input="right", previous_response_id=first.id),
        )
        assert {left.output_text, right.output_text} == {"two"}
        third = await answer(here, False, input="on", previous_response_id=left.id)
        assert third.output_text == "three"
        said = [[each["content"] for each in messages] for messages in asked(here.scene.server)]
        assert sorted(said[1:3]) == [["start", "one", "left"], ["start", "one", "right"]]
        assert said[3] == ["start", "one", "left", "two", "on"]
        assert third.previous_response_id == left.id


@pytest.mark.requirement("server_models:responses-kept")
async def test_a_response_is_shown_with_what_was_said_of_it_and_its_input() -> None:
    async with doors([Turn("one")]) as here:
        made = await answer(
            here,
            False,
            instructions="Be brief.",
            metadata={"a": "b"},
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "look"},
                        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"},
                    ],
                }
            ],
        )
        shown = await here.openai.responses.retrieve(made.id)
        assert shown.model_dump(exclude={"completed_at"}) == made.model_dump(exclude={"completed_at"})
        assert (shown.output_text, shown.metadata, shown.instructions) == ("one", {"a": "b"}, "Be brief.")
        (item,) = (await here.openai.responses.input_items.list(made.id)).data
        assert item.content[0].text == "look"  # type: ignore[union-attr, index]
        assert item.content[1].image_url.endswith(PIXEL)  # type: ignore[union-attr, index]
        unkept = await answer(here, False, input="x", store=False)
        with pytest.raises(openai.NotFoundError):
            await here.openai.responses.retrieve(unkept.id)


@pytest.mark.requirement("server_models:responses-background")
async def test_a_response_in_the_background_goes_on_without_anybody_and_is_told_from_any_event() -> None:
    words = "Word after word, one after the other. " * 3
    async with doors([Turn(words, thinking="hm", chunk=8, fault=Drip(seconds=0.005))]) as here:
        stream = await here.openai.responses.create(model=MODEL, input="hi", background=True, stream=True)
        before: list[Any] = []
        async for event in stream:
            before.append(event)
            if sum(each.type == "response.output_text.delta" for each in before) == 3:
                break
        await stream.close()
        id, last = before[0].response.id, before[-1].sequence_number
        again = await here.openai.responses.retrieve(id, stream=True, starting_after=last)
        after = [event async for event in again]
        told = [each.delta for each in before + after if each.type == "response.output_text.delta"]
        assert "".join(told) == words
        numbers = [each.sequence_number for each in before + after]
        assert numbers == sorted(set(numbers))
        assert after[-1].type == "response.completed"
        late = [event async for event in await here.openai.responses.retrieve(id, stream=True, starting_after=last)]
        assert "".join(each.delta for each in late if each.type == "response.output_text.delta") == "".join(told[3:])
        assert late[-1].sequence_number == after[-1].sequence_number
        assert (await here.openai.responses.retrieve(id)).output_text == words


@pytest.mark.requirement("server_models:responses-background")
async def test_a_response_in_the_background_is_polled_and_cancelled() -> None:
    async with doors([Turn("late", delay=3600)]) as here:
        made = await here.openai.responses.create(model=MODEL, input="hi", background=True)
        assert made.status in ("queued", "in_progress")
        assert (await here.openai.responses.retrieve(made.id)).status in ("queued", "in_progress")
        with pytest.raises(openai.BadRequestError, match="under way"):
            await answer(here, False, input="on", previous_response_id=made.id)
        over = await soon(here.openai.responses.cancel(made.id))
        assert over.status == "cancelled"
        assert (await here.openai.responses.cancel(made.id)).status == "cancelled"
        assert (await here.openai.responses.retrieve(made.id)).status == "cancelled"


@pytest.mark.requirement("server_models:responses-deleted")
async def test_a_response_that_is_deleted_is_gone_with_its_words_and_the_others_stay() -> None:
    async with doors([Turn("one"), Turn("two")]) as here:
        first = await answer(here, False, input="a secret")
        second = await answer(here, False, input="on", previous_response_id=first.id)
        await here.openai.responses.delete(first.id)
        for ask in (here.openai.responses.retrieve(first.id), here.openai.responses.delete(first.id)):
            with pytest.raises(openai.NotFoundError):
                await ask
        (session,) = await here.sessions()
        assert "a secret" not in str(await here.scene.log(session))
        assert (await here.openai.responses.retrieve(second.id)).output_text == "two"
        alone = await answer(here, False, input="alone")
        await here.openai.responses.delete(alone.id)
        assert await here.sessions() == [session]


@pytest.mark.requirement("server_models:responses")
async def test_a_response_of_an_agent_waits_in_the_background_for_a_person() -> None:
    script = [Turn("Well.", calls=[Call("wonder", {"topic": "why"})]), Turn("Because.")]
    async with doors(script, helper()) as here:
        made = await here.openai.responses.create(model="helper", input="hi", background=True)
        stream = await here.openai.responses.retrieve(made.id, stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        waits = await asked_of_people(here)
        assert (await here.openai.responses.retrieve(made.id)).status == "in_progress"
        await here.served.runtime.session(waits[0].session).reply(waits[0].token, ["so it is"])
        await here.served.runtime.wake(waits[0].session)
        rest = [event async for event in stream]
        assert rest[-1].type == "response.completed"
        assert (await here.openai.responses.retrieve(made.id)).output_text == "Well.\n\nBecause."


async def asked_of_people(here: Doors) -> list[Waiting]:
    """Returns what people are asked, once they are."""
    async for batch in here.served.runtime.follow((await here.sessions())[0]):
        if any(item.type == "tool.waiting" for item in batch):
            break
    return await here.served.runtime.waiting()


@pytest.mark.requirement("server_models:survives")
async def test_after_a_restart_a_response_is_shown_and_calls_that_were_handed_out_go_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    script = [Turn("Hm.", calls=[Call("look"), Call("add", {"a": 1, "b": 2})]), Turn("It is 3.")]
    async with doors(script, helper(), url=url) as here:
        first = await here.openai.responses.create(model="helper", input="hi", tools=[TOOL])
    async with doors(script, helper(), url=url) as here:
        shown = await here.openai.responses.retrieve(first.id)
        assert shown.output_text == "Hm."
        (call,) = [each for each in shown.output if each.type == "function_call"]
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "3"}
        second = await soon(
            here.openai.responses.create(model="helper", input=[result], previous_response_id=first.id, tools=[TOOL])
        )
        assert second.output_text == "It is 3."
        assert len(await here.sessions()) == 1
        sent = asked(here.scene.server)[-1]
        assert [each["content"] for each in sent if each["role"] == "tool"] == ["seen inside", "3"]


@pytest.mark.requirement("server_models:counts")
async def test_input_tokens_are_counted_with_what_came_before() -> None:
    async with doors([Turn("one " * 50)], {"helper": Agent(MODEL)}) as here:
        first = await answer(here, False, input="hi")
        alone = await here.openai.responses.input_tokens.count(model=MODEL, input="hi")
        more = await here.openai.responses.input_tokens.count(model=MODEL, input="hi", previous_response_id=first.id)
        assert more.input_tokens > alone.input_tokens > 0
