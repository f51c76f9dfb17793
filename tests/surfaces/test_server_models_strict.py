"""The doors for models under requests that are odd, late, or of a model that goes astray: nothing is lost silently."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from tests.model_doors import ADD, MODEL, Doors, doors, offered
from tests.running import asked, until
from tests.surfaces.test_server_models_agents import helper

from holdfast.server.doors.models.turns import asking
from holdfast.testing import Turn
from holdfast.testing.faults import Reset, Status
from holdfast.testing.scripts import Call, ScriptRequest
from holdfast.tools.authorising.policy import Policy

HI: list[Any] = [{"role": "user", "content": "hi"}]
TOOL: Any = {"type": "function", "name": "add", "description": "Adds.", "parameters": ADD, "strict": False}


async def told(here: Doors, streamed: bool = False, **more: Any) -> Any:
    """Returns an answer, which is the same streamed and not."""
    more = {"model": MODEL, "messages": HI, **more}
    if not streamed:
        return await here.openai.chat.completions.create(**more)
    async with here.openai.chat.completions.stream(**more) as it:
        async for _ in it:
            pass
        return await it.get_final_completion()


def resent(message: Any, result: str) -> list[Any]:
    """Returns a conversation whose last answer called one tool, with what that came to."""
    (call,) = message.tool_calls
    function = {"name": call.function.name, "arguments": call.function.arguments}
    said = {
        "role": "assistant",
        "content": message.content,
        "tool_calls": [{"id": call.id, "type": "function", "function": function}],
    }
    return [*HI, said, {"role": "tool", "tool_call_id": call.id, "content": result}]


@pytest.mark.requirement("server_models:only-what-waits")
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_that_a_policy_refuses_is_not_the_clients_to_run(streamed: bool) -> None:
    script = [Turn("I add.", calls=[Call("add", {"a": 1, "b": 2})]), Turn("I may not.")]
    async with doors(script, policy=Policy(blocked_tools=("add",))) as here:
        choice = (await told(here, streamed, tools=[offered()])).choices[0]
        assert (choice.message.content, choice.message.tool_calls) == ("I add.\n\nI may not.", None)
        assert choice.finish_reason == "stop"


@pytest.mark.requirement("server_models:only-what-waits")
@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_that_a_policy_allows_are_handed_out_beside_those_it_refuses(streamed: bool) -> None:
    script = [Turn("Both.", calls=[Call("add", {"a": 1, "b": 2}), Call("rm", {"a": 1, "b": 2})]), Turn("3")]
    async with doors(script, policy=Policy(blocked_tools=("rm",))) as here:
        message = (await told(here, streamed, tools=[offered(), offered("rm")])).choices[0].message
        assert [each.function.name for each in message.tool_calls] == ["add"]
        again = await told(here, streamed, tools=[offered(), offered("rm")], messages=resent(message, "3"))
        assert again.choices[0].message.content == "3"
        assert len(await here.sessions()) == 1


@pytest.mark.requirement("server_models:never-endless")
async def test_a_model_that_calls_nothing_but_tools_that_there_are_not_is_asked_so_often_and_no_more() -> None:
    def script(request: ScriptRequest) -> Turn:
        return Turn(calls=[Call("dream", {"of": request.answers})])

    async with doors(script) as here:
        whole = await told(here, tools=[offered()])
        assert whole.choices[0].message.tool_calls is None
        assert len(here.scene.server.requests) == asking._BARE.consecutive_errors


@pytest.mark.requirement("server_models:never-cut-by-time")
async def test_results_that_come_late_are_answered_by_a_run_that_has_all_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = [Turn("Adding.", calls=[Call("add", {"a": 1, "b": 2})]), Turn("3")]
    async with doors(script) as here:
        first = (await told(here, tools=[offered()])).choices[0].message
        monkeypatch.setattr(asking, "_PATIENCE", 0.0)
        late = (await told(here, tools=[offered()], messages=resent(first, "3"))).choices[0]
        assert (late.message.content, late.finish_reason) == ("3", "stop")
        assert len(await here.sessions()) == 2
    assert asking._BARE.seconds is not None
    assert asking._BARE.seconds >= 3600


@pytest.mark.requirement("server_models:failure-forgotten")
async def test_what_failed_after_a_person_had_their_say_is_done_anew_when_it_is_sent_again() -> None:
    broken = Turn("never", fault=Status(status=400, times=1))
    script = [Turn("Well.", calls=[Call("wonder", {"topic": "why"})]), broken]
    async with doors(script, helper()) as here:
        with pytest.raises(openai.ConflictError):
            await told(here, model="helper")
        (wait,) = await here.served.runtime.waiting()
        await here.served.runtime.session(wait.session).reply(wait.token, ["so"])
        await here.served.runtime.wake(wait.session)
        with pytest.raises(openai.BadRequestError):
            await told(here, model="helper")
        with pytest.raises(openai.ConflictError):  # it is asked anew, and so is the person
            await told(here, model="helper")
        assert len(await here.sessions()) == 2


@pytest.mark.requirement("server_models:tells-no-internals")
async def test_words_of_a_broken_connection_name_no_address() -> None:
    async with doors([Turn("never", fault=Reset(after_events=0, times=9))]) as here:
        with pytest.raises(openai.InternalServerError) as found:
            await told(here)
        assert "127.0.0.1" not in str(found.value)
        assert "try again" in str(found.value)


@pytest.mark.requirement("server_models:responses-deleted")
@pytest.mark.parametrize("first", [True, False])
async def test_of_responses_that_one_run_gave_one_is_deleted_and_the_other_stays(first: bool) -> None:
    script = [Turn("First words.", calls=[Call("add", {"a": 1, "b": 2})]), Turn("Last words."), Turn("on")]
    async with doors(script) as here:
        one = await here.openai.responses.create(model=MODEL, input="1+2", tools=[TOOL])
        result: Any = {"type": "function_call_output", "call_id": one.output[-1].call_id, "output": "3"}  # type: ignore[union-attr]
        two = await here.openai.responses.create(model=MODEL, input=[result], tools=[TOOL], previous_response_id=one.id)
        gone, stays = (one, two) if first else (two, one)
        await here.openai.responses.delete(gone.id)
        assert (await here.openai.responses.retrieve(stays.id)).output_text == stays.output_text
        (session,) = await here.sessions()
        assert gone.output_text not in str(await here.scene.log(session))
        await here.openai.responses.delete(stays.id)
        with pytest.raises(openai.NotFoundError):
            await here.openai.responses.retrieve(stays.id)


@pytest.mark.requirement("server_models:responses-deleted")
async def test_a_response_that_could_not_be_deleted_can_be_once_more() -> None:
    def script(request: ScriptRequest) -> Turn:
        return Turn("a secret") if request.answers == 0 else Turn("slow", delay=30)

    async with doors(script) as here:
        one = await here.openai.responses.create(model=MODEL, input="hi")
        two = await here.openai.responses.create(model=MODEL, input="on", previous_response_id=one.id, background=True)
        await until(lambda: len(here.scene.server.requests) == 2)
        with pytest.raises(openai.ConflictError):
            await here.openai.responses.delete(one.id)
        await here.openai.responses.cancel(two.id)
        await here.openai.responses.delete(one.id)
        (session,) = await here.sessions()
        assert "a secret" not in str(await here.scene.log(session))


@pytest.mark.requirement("server_models:responses-resumed")
async def test_whoever_comes_back_to_a_response_that_failed_is_told_so() -> None:
    async with doors([Turn("abcdefgh", chunk=2, fault=Reset(after_events=4, times=9))]) as here:
        stream = await here.openai.responses.create(model=MODEL, input="hi", background=True, stream=True)
        seen = [event async for event in stream]
        assert seen[-1].type == "response.failed"
        (said, *_) = [each for each in seen if each.type == "response.output_text.delta"]
        again = await here.openai.responses.retrieve(
            seen[0].response.id,  # type: ignore[union-attr]
            stream=True,
            starting_after=said.sequence_number,
        )
        after = [(each.type, each.sequence_number) async for each in again]
        assert after == [("response.failed", said.sequence_number + 1)]


@pytest.mark.requirement("server_models:agents")
async def test_a_client_has_an_agent_answer_at_less_length_and_never_at_more() -> None:
    async with doors([Turn("ok")], helper(max_output_tokens=50)) as here:
        for wanted, sent in ((7, 7), (100_000, 50)):
            await told(here, model="helper", max_tokens=wanted, messages=[{"role": "user", "content": str(wanted)}])
            assert json.loads(here.scene.server.requests[-1].body)["max_completion_tokens"] == sent


@pytest.mark.requirement("server_models:refused-by-name")
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"store": True}, "store"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}, "tool_choice"),
        ({"tool_choice": "required", "tools": openai.omit}, "no"),
        ({"max_tokens": 0}, "0 tokens"),
        ({"tools": [offered("")]}, "called"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "r"}]}, "'x'"),
    ],
)
async def test_what_chat_completions_do_not_do_is_refused_by_its_name(more: dict[str, Any], named: str) -> None:
    async with doors([Turn("never")]) as here:
        with pytest.raises(openai.BadRequestError, match=named):
            ask: Any = {"tools": [offered()], **more}
            await told(here, **ask)
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:refused-by-name")
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"include": ["message.output_text.logprobs"]}, "logprobs"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "allowed_tools"),
        ({"tool_choice": "sometimes"}, "sometimes"),
        ({"input": [{"type": "function_call_output", "call_id": "zz", "output": "3"}]}, "'zz'"),
    ],
)
async def test_what_responses_do_not_do_is_refused_by_its_name(more: dict[str, Any], named: str) -> None:
    async with doors([Turn("never")]) as here:
        with pytest.raises(openai.BadRequestError, match=named):
            ask: Any = {"model": MODEL, "input": "hi", "tools": [TOOL], **more}
            await here.openai.responses.create(**ask)
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:refused-by-name")
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"extra_body": {"inference_geo": "us"}}, "inference_geo"),
        ({"thinking": {"type": "between_tools"}}, "between_tools"),
        ({"tool_choice": {"type": "sometimes"}}, "sometimes"),
        ({"tool_choice": {"type": "any"}}, "tools"),
        ({"max_tokens": -1}, "-1 tokens"),
    ],
)
async def test_what_messages_do_not_do_is_refused_by_its_name(more: dict[str, Any], named: str) -> None:
    async with doors([Turn("never")]) as here:
        with pytest.raises(anthropic.BadRequestError, match=named):
            ask: Any = {"model": "anthropic/scripted", "max_tokens": 9, "messages": HI, **more}
            await here.anthropic.messages.create(**ask)
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:errors")
@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages", "messages/count_tokens", "embeddings"])
@pytest.mark.parametrize("name", ["", "  "])
async def test_a_request_that_names_no_model_is_of_none(path: str, name: str) -> None:
    asks = {"input": "hi"} if path in ("responses", "embeddings") else {"messages": HI}
    async with (
        doors([Turn("never")]) as here,
        here.served.client.post(f"/v1/{path}", json={"model": name, **asks}) as answer,
    ):
        assert answer.status == 404


@pytest.mark.requirement("server_models:messages")
async def test_clients_of_the_beta_interface_are_served_and_adaptive_thinking_is_much() -> None:
    async with doors([Turn("ok")]) as here:
        body = {"model": "anthropic/scripted", "max_tokens": 9_000, "messages": HI, "thinking": {"type": "adaptive"}}
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            async with here.served.client.post(f"{path}?beta=true", json=body) as answer:
                assert answer.status == 200
        sent = next(json.loads(each.body) for each in here.scene.server.requests if each.target == "/v1/messages")
        assert sent["thinking"]["type"] in ("enabled", "adaptive")


@pytest.mark.requirement("server_models:provider-tools")
async def test_a_tool_that_a_provider_runs_keeps_the_bounds_that_the_client_gave_it() -> None:
    tool: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "allowed_domains": ["a.example"]}
    async with doors([Turn("found")], policy=Policy()) as here:
        ask: Any = {"model": "anthropic/scripted", "max_tokens": 9, "messages": HI, "tools": [tool]}
        await here.anthropic.messages.create(**ask)
        (sent,) = json.loads(here.scene.server.requests[-1].body)["tools"]
        assert tool.items() <= sent.items()


@pytest.mark.requirement("server_models:continued")
async def test_a_request_that_waits_for_a_person_is_another_one_with_other_instructions() -> None:
    async with doors([Turn("Well.", calls=[Call("wonder", {"topic": "why"})])], helper()) as here:
        for said in ("Be brief.", "Be long.", "Be brief."):
            with pytest.raises(openai.ConflictError):
                await told(here, model="helper", messages=[{"role": "system", "content": said}, *HI])
        assert len(await here.sessions()) >= 2
        assert {asked(here.scene.server)[n][0]["content"] for n in (0, 1)} == {
            "You help.\n\nBe brief.",
            "You help.\n\nBe long.",
        }


@pytest.mark.requirement("server_models:lengths")
async def test_a_whole_number_may_be_written_with_a_point_at_every_door() -> None:
    async with doors(["one", "two"]) as here:
        most: Any = 16.0
        assert (await here.openai.responses.create(model=MODEL, input=HI, max_output_tokens=most)).output_text == "one"
        assert (await here.anthropic.messages.create(model=MODEL, messages=HI, max_tokens=most)).content
