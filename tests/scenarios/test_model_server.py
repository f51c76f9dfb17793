"""The scripted model server as the official client and its own account see it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from holdfast.errors import UsageError
from holdfast.testing import Bounds, Call, Canned, ScriptedModelServer, ScriptRequest, Tokens, Turn, When, scripts
from holdfast.testing.fixtures import parse_scripts
from holdfast.testing.scripts import Script


@asynccontextmanager
async def client_of(server: ScriptedModelServer) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="anything", max_retries=0, timeout=5) as client:
        yield client


def conversation(prompt: str, answers: int = 0) -> list[Any]:
    messages: list[Any] = [{"role": "system", "content": "You add."}, {"role": "user", "content": prompt}]
    for number in range(answers):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"result {number}"})
    return messages


async def say(client: openai.AsyncOpenAI, messages: Any, model: Any = "m", **options: Any) -> str | None:
    answer = await client.chat.completions.create(model=model, messages=messages, **options)
    return answer.choices[0].message.content


TURN = Turn(
    "Two sums at once, in several pieces.",
    calls=[Call("add", {"a": 1, "b": 2}), Call("sub", '{"a": 1', id="mine")],
    thinking="They do not depend on each other.",
    usage=Tokens(input_tokens=7, output_tokens=5, cache_read_tokens=3),
    chunk=5,
)


@pytest.mark.requirement("testing:server-official-client", "testing:doubles-behave")
async def test_the_official_client_reads_a_whole_answer_with_parallel_calls() -> None:
    async with ScriptedModelServer([TURN]) as server, client_of(server) as client:
        answer = await client.chat.completions.create(model="m", messages=conversation("hi"))
        assert [model.id async for model in client.models.list()] == ["scripted"]
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == TURN.text
    calls = [
        (c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or () if c.type == "function"
    ]
    assert calls == [("call_0_0", "add", '{"a":1,"b":2}'), ("mine", "sub", '{"a": 1')]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 5, 12)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    server.verify()


@pytest.mark.requirement("testing:server-official-client", "testing:doubles-behave")
async def test_the_official_client_puts_a_streamed_answer_together_again() -> None:
    turn = Turn(TURN.text, calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3})], thinking="Hm.", chunk=5)
    tools: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    async with (
        ScriptedModelServer([turn]) as server,
        client_of(server) as client,
        client.chat.completions.stream(
            model="m", messages=conversation("hi"), tools=tools, stream_options={"include_usage": True}
        ) as stream,
    ):
        kinds = {event.type async for event in stream}
        answer = await stream.get_final_completion()
    assert {"content.delta", "tool_calls.function.arguments.delta", "content.done"} <= kinds
    assert answer.choices[0].message.content == turn.text
    calls = answer.choices[0].message.tool_calls or []
    assert [(c.id, c.function.arguments) for c in calls] == [("call_0_0", '{"a":1,"b":2}'), ("call_0_1", '{"a":3}')]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 120
    server.verify()


async def test_a_stream_ends_with_usage_only_when_it_was_asked_for() -> None:
    async with ScriptedModelServer(["hi"]) as server, client_of(server) as client:
        stream = await client.chat.completions.create(model="m", messages=conversation("x"), stream=True)
        assert [chunk.usage async for chunk in stream if chunk.usage] == []


@pytest.mark.requirement("testing:server-script-list", "testing:server-answers-by-content")
async def test_the_conversation_says_which_turn_it_gets_however_often_and_in_whatever_order_it_asks() -> None:
    async with ScriptedModelServer(["one", "two", "three"]) as server, client_of(server) as client:
        said = [await say(client, conversation("go", answers)) for answers in (2, 0, 0, 1)]
        assert said == ["three", "one", "one", "two"]
    server.verify()


@pytest.mark.requirement("testing:server-concurrent-runs")
async def test_hundreds_of_conversations_at_once_each_get_their_own_turns() -> None:
    script = [Turn(f"turn {number}") for number in range(4)]

    async def converse(client: openai.AsyncOpenAI, prompt: str) -> list[str | None]:
        return [await say(client, conversation(prompt, answers)) for answers in range(len(script))]

    async with ScriptedModelServer(script) as server, client_of(server) as client:
        said = await asyncio.gather(*(converse(client, f"prompt {number}") for number in range(100)))
    assert said == [[turn.text for turn in script]] * 100
    server.verify()
    assert server.report().runs == 100


@pytest.mark.requirement("testing:server-conditions")
@pytest.mark.parametrize(
    ("when", "fits", "fails"),
    [
        (When(model="m"), {}, {"model": "other"}),
        (When(answers=1, tool_results=1), {"messages": conversation("p", 1)}, {"messages": conversation("p", 2)}),
        (When(user_contains="ros"), {"messages": conversation("a rose")}, {"messages": conversation("a tulip")}),
        (When(user_matches="^a r.se$"), {"messages": conversation("a rise")}, {"messages": conversation("a rise!")}),
        (When(result_contains="t 1"), {"messages": conversation("p", 2)}, {"messages": conversation("p", 1)}),
        (When(result_matches=r"\d$"), {"messages": conversation("p", 1)}, {"messages": conversation("p")}),
        (When(instructions_contain="add"), {}, {"messages": [{"role": "user", "content": "add"}]}),
        (When(offers="add"), {"tools": [{"type": "function", "function": {"name": "add"}}]}, {}),
    ],
)
async def test_a_turn_with_conditions_is_given_when_all_of_them_hold(
    when: When, fits: dict[str, Any], fails: dict[str, Any]
) -> None:
    script = [Turn("plain"), Turn("plain"), Turn("plain"), Turn("ruled", when=when)]
    async with ScriptedModelServer(script) as server, client_of(server) as client:
        assert await say(client, **{"messages": conversation("p"), **fits}) == "ruled"
        assert await say(client, **{"messages": conversation("p"), **fails}) == "plain"


@pytest.mark.requirement("testing:server-script-function")
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_function_of_the_request_may_give_the_turn(asynchronous: bool) -> None:
    def script(request: ScriptRequest) -> Turn | str | None:
        if request.last_user_text == "break":
            raise ZeroDivisionError("on purpose")
        if request.last_user_text == "none":
            return None
        turn = Turn(f"{request.model} {request.answers}", calls=[Call("add")])
        return turn if request.last_result is None else f"the tool said {request.last_result}"

    async def later(request: ScriptRequest) -> Turn | str | None:
        await asyncio.sleep(0)
        return script(request)

    chosen: Script = later if asynchronous else script
    async with ScriptedModelServer(chosen) as server, client_of(server) as client:
        assert await say(client, conversation("go")) == "m 0"
        assert await say(client, conversation("go", 1)) == "the tool said result 0"
        server.verify()
        with pytest.raises(openai.InternalServerError, match="raised ZeroDivisionError: on purpose"):
            await say(client, conversation("break"))
        with pytest.raises(openai.InternalServerError, match="the function gave none"):
            await say(client, conversation("none"))
    assert [one.run for one in server.report().unexpected] == ["break", "none"]


async def test_a_client_that_leaves_while_a_function_thinks_is_recorded_and_ends_the_function() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def script(request: ScriptRequest) -> str:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return "never"

    async with ScriptedModelServer(script) as server, client_of(server) as client:
        asking = asyncio.create_task(say(client, conversation("go")))
        await asyncio.wait_for(begun.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        await asyncio.wait_for(server.arrived(1), 5)
    assert [one.label for one in server.requests] == ["the client went away"]


@pytest.mark.requirement("testing:server-named-scripts")
async def test_the_models_name_chooses_the_script_and_an_unknown_name_is_refused() -> None:
    async with ScriptedModelServer({"a": ["I am a"], "b": ["I am b"]}) as server, client_of(server) as client:
        assert [await say(client, conversation("x"), model) for model in ("b", "a")] == ["I am b", "I am a"]
        server.verify()
        with pytest.raises(openai.NotFoundError, match="no script is called 'c'") as caught:
            await say(client, conversation("x"), "c")
        assert caught.value.code == "model_not_found"
        assert [model.id async for model in client.models.list()] == ["a", "b"]
    with pytest.raises(AssertionError, match="no script is called 'c'"):
        server.verify(complete=False)


@pytest.mark.requirement("testing:server-canned-bytes")
async def test_canned_bytes_go_out_as_they_are() -> None:
    raw = Canned(418, {"Content-Type": "text/plain", "x-tea": "green"}, data=b"\xff\x00short and stout")
    async with ScriptedModelServer([Turn(raw=raw)]) as server, client_of(server) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await say(client, conversation("x"))
    assert caught.value.status_code == 418
    assert caught.value.response.content == raw.data
    assert caught.value.response.headers["content-type"] == "text/plain"
    assert caught.value.response.headers["x-tea"] == "green"
    server.verify()


@pytest.mark.requirement("testing:server-records-requests")
async def test_every_request_can_be_read_back_in_order_with_headers_and_body() -> None:
    async with ScriptedModelServer(["one", "two"]) as server, client_of(server) as client:
        await say(client, conversation("go"), extra_headers={"x-trace": "t1"})
        await say(client, conversation("go", 1), temperature=0.5)
        await client.models.list()
    first, second, third = server.requests
    assert (first.headers["authorization"], first.headers["x-trace"]) == ("Bearer anything", "t1")
    assert first.json() == {"model": "m", "messages": conversation("go")}
    assert json.loads(second.body)["temperature"] == 0.5
    assert [(one.number, one.run, one.turn) for one in server.requests] == [(1, "go", 0), (2, "go", 1), (3, "", None)]
    assert third.target == "/v1/models"
    assert first.at <= second.at <= third.at


@pytest.mark.requirement("testing:server-memory-bound")
async def test_what_is_remembered_keeps_within_its_bounds_and_says_what_it_forgot() -> None:
    bounds = Bounds(requests=50, bytes=100_000, runs=10)
    async with ScriptedModelServer(["one", "two"], bounds=bounds) as server, client_of(server) as client:
        for number in range(60):
            await say(client, conversation(f"{number}"))
        assert [one.number for one in server.requests] == list(range(11, 61))
        await say(client, conversation("x" * 90_000))
        assert sum(len(one.body) for one in server.requests) <= 100_000
        assert server.requests[-1].number == 61
    report = server.report()
    assert report.requests == 61
    assert report.runs == 10
    assert report.forgotten > 50
    assert "met the bound of memory" in str(report)


@pytest.mark.requirement("testing:server-unexpected-turn")
async def test_a_request_beyond_the_script_is_refused_and_reported_for_its_run() -> None:
    async with (
        ScriptedModelServer(["one"]) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=2) as client,
    ):
        header = {"X-Holdfast-Run": "run-7"}
        await say(client, conversation("go"), extra_headers=header)
        with pytest.raises(openai.InternalServerError, match=r"all it has is 1 turn.*holds 1 answers") as caught:
            await say(client, conversation("go", 1), extra_headers=header)
        assert caught.value.code == "unexpected_request"
    (unexpected,) = server.report().unexpected  # one: the client was told not to try again
    assert (unexpected.number, unexpected.run) == (2, "run-7")
    with pytest.raises(AssertionError, match="unexpected: request 2 of run 'run-7'"):
        server.verify()


@pytest.mark.requirement("testing:server-unconsumed-turn")
async def test_turns_nobody_asked_for_are_reported_for_their_run() -> None:
    script = [Turn("one"), Turn("two"), Turn(calls=[Call("add")]), Turn("rule", when=When(user_contains="magic"))]
    async with ScriptedModelServer({"s": script, "idle": ["never"]}) as server, client_of(server) as client:
        for prompt, answers in (("first", 0), ("first", 1), ("second", 0), ("second", 1), ("second", 2)):
            await say(client, conversation(prompt, answers), "s")
    report = server.report()
    assert {(left.run, left.script, left.turns) for left in report.unconsumed} == {
        ("first", "s", (2,)),
        ("", "s", (3,)),
        ("", "idle", (0,)),
    }
    server.verify(complete=False)
    with pytest.raises(AssertionError, match=r"run 'first' never got of script 's' turn 3 \(add\)"):
        server.verify()


@pytest.mark.requirement("testing:server-script-fixture")
async def test_a_file_may_give_the_turns(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(
        "scripts:\n"
        "  hello: [{text: Hello.}]\n"
        "  work:\n"
        "    - {text: First, calls: [{name: add, arguments: {a: 1}}, {name: add, arguments: '{\"a\": '}]}\n"
        "    - {text: Second, when: {result_matches: '^result'}, fault: [{kind: status, status: 503, times: 1}]}\n"
    )
    async with ScriptedModelServer(path) as server, client_of(server) as client:
        assert await say(client, conversation("x"), "hello") == "Hello."
        answer = await client.chat.completions.create(model="work", messages=conversation("x"))
        calls = [c.function.arguments for c in answer.choices[0].message.tool_calls or () if c.type == "function"]
        assert calls == ['{"a":1}', '{"a": ']
        with pytest.raises(openai.InternalServerError):
            await say(client, conversation("x", 1), "work")
        assert await say(client, conversation("x", 1), "work") == "Second"
    server.verify()


@pytest.mark.requirement("testing:server-script-fixture")
def test_the_example_of_the_format_is_a_fixture() -> None:
    fences = (scripts.__doc__ or "").split("```yaml\n")[1:]
    assert [bool(parse_scripts(fence.split("```")[0].encode(), "docs")) for fence in fences] == [True, True]


@pytest.mark.requirement("testing:server-script-fixture")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turns: [{txt: hi}]", r"unknown field `txt` - at `\$.turns\[0\]`"),
        ("turns: [{text: 5}]", r"Expected `str`, got `int` - at `\$.turns\[0\].text`"),
        ("turns: [{usage: {tokens: 1}}]", r"unknown field `tokens` - at `\$.turns\[0\].usage`"),
        ("scripts: {a: [{when: {usr: x}}]}", r"unknown field `usr` - at `\$.scripts\[...\]\[0\].when`"),
        ("turns: [{when: {user_matches: '('}}]", r"'\(' is not a regular expression.*\$.turns\[0\].when"),
        ("turns: [{fault: {kind: quake}}]", r"Invalid value 'quake' - at `\$.turns\[0\].fault.kind`"),
        ("turns: [{fault: {kind: reset, after_events: 1, after_bytes: 1}}]", "exclude each other"),
        ("turns: [{fault: {kind: reset, status: 1}}]", r"unknown field `status` - at `\$.turns\[0\].fault`"),
        ("turns: [{text: a, raw: {body: b}}]", "raw excludes text"),
        ('turns: [{raw: {headers: {x: "a\\nb: c"}}}]', "header 'x'"),
        ("turns: []\nscripts: {}", "either `turns` or `scripts`"),
        ("", "Expected `object`, got `null`"),
        ("turns: [", "is not YAML"),
        ("- \x00", "is not YAML"),
    ],
)
def test_a_mistake_in_a_fixture_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_scripts(text.encode(), "s.yaml")
    assert "script 's.yaml'" in str(caught.value)


def test_a_missing_fixture_and_a_string_in_place_of_a_script_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the script .*No such file"):
        ScriptedModelServer(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="is a string"):
        ScriptedModelServer("hello")


@pytest.mark.requirement("testing:server-in-thread")
def test_a_program_without_an_event_loop_can_use_a_server_in_a_thread() -> None:
    with ScriptedModelServer.in_thread(["one"]) as server:
        with openai.OpenAI(base_url=server.base_url, api_key="x") as client:
            answer = client.chat.completions.create(model="m", messages=conversation("x"))
        assert answer.choices[0].message.content == "one"
        assert server.wait_arrived(1)
        assert not server.wait_arrived(2, timeout=0)
        with pytest.raises(OSError, match="in use"), ScriptedModelServer.in_thread(["two"], port=server.port):
            pass
    server.verify()


async def test_a_server_that_stops_and_starts_again_keeps_its_address_and_its_memory() -> None:
    server = ScriptedModelServer(["one", "two"])
    async with client_of_started(server) as client:
        await say(client, conversation("x"))
        await server.stop()
        with pytest.raises(openai.APIConnectionError):
            await say(client, conversation("x", 1))
        await server.start()
        assert await say(client, conversation("x", 1)) == "two"
    await server.stop()
    server.verify()


@asynccontextmanager
async def client_of_started(server: ScriptedModelServer) -> AsyncGenerator[openai.AsyncOpenAI]:
    await server.start()
    async with client_of(server) as client:
        yield client


@pytest.mark.requirement("testing:no-pytest-import")
def test_the_kit_works_without_pytest() -> None:
    program = (
        "import importlib, pkgutil, sys; sys.modules['pytest'] = None\n"
        "import holdfast.testing as kit\n"
        "for module in pkgutil.walk_packages(kit.__path__, 'holdfast.testing.'): importlib.import_module(module.name)\n"
        "with kit.ScriptedModelServer.in_thread(['x']) as server: print(server.base_url)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("http://127.0.0.1:")
