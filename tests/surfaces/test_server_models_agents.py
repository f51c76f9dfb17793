"""An agent of the server behind the doors for models: its own tools run inside, the client's are handed out."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from tests.model_doors import MODEL, Doors, doors, offered
from tests.running import asked

from holdfast import Agent, Phase, Pipeline, tool
from holdfast.testing import Turn
from holdfast.testing.faults import Drip
from holdfast.testing.scripts import Call, Tokens
from holdfast.types import Question, Wait

HI: list[Any] = [{"role": "user", "content": "hi"}]


@tool(effect="none")
def look() -> str:
    "Looks."
    return "seen inside"


@tool(effect="none")
def wonder(topic: str) -> Wait:
    "Asks a person."
    return Wait(f"wonder-{topic}", "question", prompt=topic, questions=(Question(topic),))


def helper(**more: Any) -> dict[str, Agent[Any]]:
    return {"helper": Agent(MODEL, instructions="You help.", tools=[look, wonder], name="helper", **more)}


async def told(here: Doors, streamed: bool, **more: Any) -> Any:
    """Returns an answer of the agent, which is the same streamed and not."""
    more = {"messages": HI, **more}
    if not streamed:
        return await here.openai.chat.completions.create(model="helper", **more)
    async with here.openai.chat.completions.stream(
        model="helper", stream_options={"include_usage": True}, **more
    ) as it:
        async for _ in it:
            pass
        return await it.get_final_completion()


@pytest.mark.requirement("server_models:agents", "server_models:facade", "server:chat-facade")
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_agent_works_inside_and_says_all_its_words_and_what_all_of_it_used(streamed: bool) -> None:
    script = [
        Turn("I look.", calls=[Call("look")], usage=Tokens(10, 5), chunk=2),
        Turn("I saw it.", usage=Tokens(20, 6), chunk=2),
    ]
    async with doors(script, helper()) as here:
        whole = await told(here, streamed)
        choice = whole.choices[0]
        assert (choice.message.content, choice.finish_reason) == ("I look.\n\nI saw it.", "stop")
        assert choice.message.tool_calls is None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (30, 11)
        assert asked(here.scene.server)[-1][0]["content"] == "You help."


@pytest.mark.requirement("server_models:agents")
@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_of_the_client_are_handed_out_and_their_results_go_on_with_the_agents_run(streamed: bool) -> None:
    script = [
        Turn("Both.", calls=[Call("look"), Call("add", {"a": 1, "b": 2})]),
        Turn("It is 3.", calls=[Call("look")]),
        Turn("Really 3."),
        Turn("Still 3."),
    ]
    async with doors(script, helper()) as here:
        first = await told(here, streamed, tools=[offered()])
        message = first.choices[0].message
        (call,) = message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1, "b": 2})
        assert first.choices[0].finish_reason == "tool_calls"
        say = {
            "role": "assistant",
            "content": message.content,
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": "add", "arguments": call.function.arguments}}
            ],
        }
        messages: list[Any] = [*HI, say, {"role": "tool", "tool_call_id": call.id, "content": "3"}]
        second = await told(here, streamed, tools=[offered()], messages=messages)
        assert second.choices[0].message.content == "It is 3.\n\nReally 3."
        messages += [
            {"role": "assistant", "content": second.choices[0].message.content},
            {"role": "user", "content": "sure?"},
        ]
        third = await told(here, streamed, tools=[offered()], messages=messages)
        assert third.choices[0].message.content == "Still 3."
        (session,) = await here.sessions()
        assert (await here.log(session)).count("run.started") == 2
        sent = asked(here.scene.server)[-1]
        assert [each["content"] for each in sent if each["role"] == "tool"] == ["seen inside", "3", "seen inside"]


@pytest.mark.requirement("server_models:approval", "server:chat-facade")
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_person_has_to_say_first_is_a_conflict_and_the_same_request_has_the_answer_then(
    streamed: bool,
) -> None:
    script = [Turn("Well.", calls=[Call("wonder", {"topic": "why"})]), Turn("Because.")]
    async with doors(script, helper(), retries=2) as here:
        with pytest.raises((openai.ConflictError, openai.APIError)) as found:
            await told(here, streamed)
        if not streamed:
            assert isinstance(found.value, openai.ConflictError)
            assert found.value.code == "approval_required"
        with pytest.raises(anthropic.ConflictError):
            await here.anthropic.messages.create(
                model="helper", max_tokens=9, messages=[{"role": "user", "content": "yo"}]
            )
        session = next(each.session for each in await here.served.runtime.waiting())
        waits = await here.served.runtime.waiting()
        assert {each.kind for each in waits} == {"question"}
        first = min(waits, key=lambda each: each.since)
        await here.served.runtime.session(first.session).reply(first.token, ["so it is"])
        await here.served.runtime.wake(first.session)
        whole = await told(here, streamed)
        assert whole.choices[0].message.content == "Well.\n\nBecause."
        assert session in await here.sessions()
        assert len(await here.sessions()) == 2
        assert len(here.scene.server.requests) == 3


@pytest.mark.requirement("server_models:agents")
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_agent_that_answers_with_data_says_nothing_but_that(streamed: bool) -> None:
    schema = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    agents = {"helper": Agent(MODEL, tools=[look], output=schema, output_mode="tool")}
    script = [
        Turn("Hm, I look.", calls=[Call("look")]),
        Turn("Then", calls=[Call("final_answer", {"total": "x"})]),
        Turn(calls=[Call("final_answer", {"total": 7})]),
    ]
    async with doors(script, agents) as here:
        whole = await told(here, streamed)
        assert json.loads(whole.choices[0].message.content) == {"total": 7}
        assert whole.choices[0].finish_reason == "stop"


@pytest.mark.requirement("server_models:agents", "server_models:overruling-named")
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tool_choice": "required", "tools": [offered()]}, "tool_choice"),
        ({"tools": [offered("look")]}, "'look'"),
        ({"top_p": 0.1}, "top_p"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
async def test_what_would_overrule_an_agent_is_refused_by_its_name_and_nothing_else_is_named(
    more: dict[str, Any], named: str
) -> None:
    async with doors([Turn("never")], helper()) as here:
        with pytest.raises(openai.BadRequestError) as refused:
            await told(here, False, **more)
        suspects = ("tool_choice", "'look'", "top_p", "response_format")
        assert [each for each in suspects if each in str(refused.value)] == [named]
        with pytest.raises(openai.NotFoundError):
            await here.openai.chat.completions.create(model="agent/nobody", messages=HI)
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:deltas-first")
async def test_words_of_an_agents_first_step_arrive_while_it_works() -> None:
    script = [Turn("I look and look.", calls=[Call("look")], chunk=4, fault=Drip(seconds=0.01)), Turn("Done.")]
    async with doors(script, helper()) as here:
        seen: list[bool] = []
        stream = await here.anthropic.messages.create(
            model="agent/helper", max_tokens=99, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        text = ""
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                text += event.delta.text
                (session,) = await here.sessions()
                seen.append("run.finished" in await here.log(session))
        assert text == "I look and look.\n\nDone."
        assert seen[0] is False


@pytest.mark.requirement("server_models:agents")
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_pipeline_answers_with_what_its_last_phase_came_to(streamed: bool) -> None:
    agents: Any = {"helper": Pipeline([Phase("one", Agent(MODEL)), Phase("two", Agent(MODEL), prompt="{one} again")])}
    async with doors(lambda asked: Turn(asked.last_user_text.upper()), agents) as here:
        whole = await told(here, streamed)
        assert whole.choices[0].message.content == "HI AGAIN"
        assert whole.usage.total_tokens == 240
        with pytest.raises(openai.BadRequestError, match="pipeline"):
            await told(here, streamed, temperature=0.1)


@pytest.mark.requirement("server_models:agents")
async def test_an_agent_that_gives_jobs_to_others_counts_what_they_used() -> None:
    other = Agent("openai/other").as_tool("other", description="Helps.")
    agents = {"helper": Agent(MODEL, tools=[other])}
    scripts = {
        "scripted": [
            Turn(calls=[Call("other", {"prompt": "help"})], usage=Tokens(1, 1)),
            Turn("ok", usage=Tokens(1, 1)),
        ],
        "other": [Turn("helped", usage=Tokens(5, 5))],
    }
    async with doors(scripts, agents) as here:
        whole = await told(here, False)
        assert (whole.choices[0].message.content, whole.usage.total_tokens) == ("ok", 14)
