"""An agent with more tools than a request shows: which ones it carries, how others are found, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.many_tools import CALLED, TOOLS
from tests.running import MODEL, Scene, asked, of, scene, soon
from tests.wires import WIRES

from holdfast import Agent, Runtime, tool
from holdfast.context.showing import Showing
from holdfast.engine.events import ModelFinished, ToolFinished
from holdfast.errors import UsageError
from holdfast.runtime.bound import BoundAgent, showing_of
from holdfast.testing import Call, ScriptedModelServer, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.tools.binding import Registry, ToolContext
from holdfast.tools.builtin.finding.find_tools import find_tools
from holdfast.types import CallId, StreamId, ToolResult, ToolSpec

AGENT = Agent(MODEL, tools=TOOLS)
ORDER = [each.name for each in AGENT.spec.tools]
JOB = "Please create an issue about the login page."
FOUND = "certificate"


@pytest.fixture(autouse=True)
def fresh() -> None:
    CALLED.clear()


def offered(s: Scene) -> list[list[str]]:
    """Returns the names of the tools of each request."""
    bodies: list[Any] = [each.json() for each in s.server.requests]
    return [[each["function"]["name"] for each in body.get("tools", ())] for body in bodies]


def find(query: str, limit: int = 5) -> Turn:
    return Turn(calls=[Call("find_tools", {"query": query, "limit": limit})])


def call(*names: str) -> Turn:
    return Turn(calls=[Call(name, {"identifier": "7"}) for name in names])


def in_order(names: list[str]) -> bool:
    return names == sorted(names, key=ORDER.index)


@pytest.mark.requirement("finding:many-tools-few-shown", "finding:found-tools-are-shown")
async def test_of_500_tools_a_request_carries_what_fits_and_the_rest_is_found() -> None:
    turns = [find(f"renew a {FOUND}"), call(f"update_{FOUND}"), "done"]
    async with scene(turns) as s:
        result = await soon((await s.runtime.start(AGENT, JOB, session="s")).result())
        assert result.output == "done"
        first, second, third = offered(s)
        conversation = asked(s.server)[-1]
        sizes = [len(each.body) for each in s.server.requests]
        s.server.verify()
    assert len(TOOLS) == 500
    assert len(first) <= 40
    assert {"create_issue", "update_issue", "find_tools"} <= set(first)
    assert not [name for name in first if FOUND in name]
    assert {*first, f"update_{FOUND}", f"create_{FOUND}"} <= set(second)
    assert len(second) == len(first) + 5
    assert third == second
    assert all(in_order(names) for names in (first, second))
    assert [f"update_{FOUND} 7"] == CALLED
    lines = [msgspec.json.decode(line) for line in conversation[2]["content"].split("\n")]
    by_name = {each.spec.name: each.spec for each in TOOLS}
    assert [each["parameters"] for each in lines] == [by_name[each["name"]].parameters for each in lines]
    assert [each["description"] for each in lines] == [by_name[each["name"]].description for each in lines]
    whole = len(msgspec.json.encode([each.spec for each in TOOLS]))
    assert max(sizes) < whole / 5


@pytest.mark.requirement("finding:follows-from-the-log")
@pytest.mark.parametrize("at", range(1, 40))
async def test_a_fork_from_any_event_asks_with_the_tools_of_that_moment(at: int) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        steps = [find(f"renew a {FOUND}"), call(f"update_{FOUND}"), find("export a dashboard"), call("read_topic")]
        return steps[done] if (done := request.tool_results) < len(steps) else "done"

    async with scene(model) as s:
        await soon((await s.runtime.start(AGENT, JOB, session="s")).result())
        log, before = await s.log(), offered(s)
        if at > len(log):
            assert at > 10
            return
        made = len(of(ModelFinished, log[:at]))
        child = await s.runtime.fork("s", at=at, name="child")
        await soon((await s.runtime.start(AGENT, "Go on.", session=child)).result())
        after = offered(s)[len(before)]
    results = of(ToolFinished, log[:at])
    searched = sum(each.result.content.startswith("{") for each in results)
    wanted = before[0 if not searched else 1 if searched == 1 else 3]
    if made or at > 1:  # a queue stays with the parent: where the job was not heard yet, only `Go on.` was
        assert after == wanted


@pytest.mark.requirement("finding:stable-for-caches")
async def test_the_tools_change_only_where_words_want_one_that_is_not_shown() -> None:
    turns = ["Which page?", call("create_issue"), "Created.", "Welcome.", "Fine.", "Exported.", "Back."]
    said = [JOB, "The login page, thank you.", "Ok", "Close the issue now", "Export the dashboard", "Close the issue"]
    async with scene(turns) as s:
        for words in said:
            await soon((await s.runtime.start(AGENT, words, session="s")).result())
        shown = offered(s)
        bodies: list[Any] = [each.json() for each in s.server.requests]
    assert len(shown) == 7
    assert shown[0] == shown[1] == shown[2] == shown[3] == shown[4]
    assert "export_dashboard" not in shown[4]
    assert {"export_dashboard", "create_issue", "close_issue", "find_tools"} <= set(shown[5])
    assert shown[6] == shown[5]
    assert all(len(names) <= 40 and in_order(names) for names in shown)
    assert msgspec.json.encode(bodies[0]["tools"]) == msgspec.json.encode(bodies[4]["tools"])


@pytest.mark.requirement("finding:found-tools-are-shown")
async def test_nothing_that_is_shown_goes_within_a_run_until_as_much_again_was_found() -> None:
    nouns = ("topic", "queue", "domain", "zone", "webhook", "token", "role", "policy", "secret", "runbook", "incident")
    async with scene([*(find(noun, 10) for noun in nouns), "done", "again"]) as s:
        await soon((await s.runtime.start(AGENT, JOB, session="s")).result())
        await soon((await s.runtime.start(AGENT, "Go on.", session="s")).result())
        shown = offered(s)
    grown = [set(names) for names in shown[:5]]
    assert all(one < other for one, other in pairwise(grown))
    assert max(len(names) for names in shown) == 80
    assert [len(names) for names in shown] == [*range(40, 90, 10), *range(40, 90, 10), 40, 50, 50]
    for names, noun in zip(shown[1:], nouns, strict=False):
        assert {f"create_{noun}", f"export_{noun}", "find_tools"} <= set(names)
    assert all(in_order(names) for names in shown)


@pytest.mark.requirement("finding:hidden-tools-may-be-called")
async def test_a_tool_that_was_not_shown_is_called_all_the_same_and_is_shown_when_the_tools_change() -> None:
    async with scene([call("export_topic"), "done", "done"]) as s:
        await soon((await s.runtime.start(AGENT, JOB, session="s")).result())
        await soon((await s.runtime.start(AGENT, "Assign the calendar.", session="s")).result())
        first, second, third = offered(s)
    assert CALLED[:] == ["export_topic 7"]
    assert first == second
    assert "export_topic" not in first
    assert {"export_topic", "assign_calendar"} <= set(third)


@pytest.mark.requirement("finding:few-tools-pay-nothing")
async def test_with_as_many_tools_as_are_shown_there_is_no_search_and_with_one_more_there_is() -> None:
    few, more = Agent(MODEL, tools=TOOLS[:40]), Agent(MODEL, tools=TOOLS[:41])
    assert len(few.spec.tools) == 40
    assert showing_of(few) is None
    assert [each.name for each in more.spec.tools][40:] == [TOOLS[40].spec.name, "find_tools"]
    assert showing_of(Agent(MODEL, tools=TOOLS[:41], tools_shown=41)) is None
    assert len(Agent(MODEL, tools=TOOLS[:3], tools_shown=2).spec.tools) == 4
    old = msgspec.structs.replace(more.spec, tools=more.spec.tools[:-1])
    assert showing_of(BoundAgent.again(old, more.tools[:-1])) is None, "without a way to the others all are shown"
    async with scene(["done"]) as s:
        await soon((await s.runtime.start(few, JOB, session="s")).result())
        assert offered(s) == [[each.spec.name for each in TOOLS[:40]]]


@pytest.mark.requirement("finding:few-tools-pay-nothing")
def test_an_agent_with_few_tools_loads_nothing_of_the_search() -> None:
    code = (
        "import asyncio, sys; from holdfast import Agent, Runtime, tool\n"
        "@tool\ndef add(a: int, b: int) -> int: return a + b\n"
        "async def main():\n"
        "    async with Runtime.open('memory:') as runtime:\n"
        "        await (await runtime.start(Agent('openai/m', tools=[add]), 'go')).result()\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith(('holdfast.tools.finding', 'holdfast.context.showing',"
        "'holdfast.tools.builtin.finding'))])"
    )
    with ScriptedModelServer.in_thread([Turn(calls=[Call("add", {"a": 1, "b": 2})]), "3"]) as server:
        environment = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "k"}
        said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


@pytest.mark.requirement("finding:many-tools-few-shown")
async def test_what_ends_a_run_and_what_comes_along_is_always_shown(tmp_path: Path) -> None:
    @tool(terminal=True)
    async def hand_in(words: str) -> str:
        """Takes something."""
        return words

    agent: Any = Agent(MODEL, tools=[*TOOLS, hand_in, "read", "bash"], output=int, output_mode="tool", tools_shown=3)
    always = {"hand_in", "read", "bash", "find_tools", "final_answer"}
    async with scene([Turn(calls=[Call("final_answer", {"answer": 5})])]) as s:
        result = await soon((await s.runtime.start(agent, JOB, session="s", workspace=tmp_path)).result())
        assert result.status == "completed", result
        (shown,) = offered(s)
        count = await s.runtime.count_tokens(agent, JOB)
        whole = await s.runtime.count_tokens(Agent(MODEL, tools=TOOLS, tools_shown=1000), JOB)
    assert set(shown) == always
    assert count.tokens * 10 < whole.tokens


def test_what_would_mislead_is_refused_when_the_agent_is_made() -> None:
    @tool(name="find_tools")
    async def mine(query: str) -> str:
        """Finds other things."""
        return query

    assert Agent(MODEL, tools=[mine]).spec.tools[0].description == "Finds other things."
    with pytest.raises(UsageError, match="'find_tools' is what finds tools among many"):
        Agent(MODEL, tools=[*TOOLS, mine])
    with pytest.raises(UsageError, match="tools_shown is 0"):
        Agent(MODEL, tools=TOOLS, tools_shown=0)
    assert Agent(MODEL, tools=[*TOOLS, "find_tools"]).spec.tools == AGENT.spec.tools


@pytest.mark.requirement("finding:found-tools-are-shown")
@pytest.mark.parametrize("query", ["", "qqqq zzzz", "\ud800\U0001f600", "x" * 100_000])
async def test_a_search_without_a_match_names_tools_and_shows_none(query: str) -> None:
    arguments = '{"query": "\\ud800"}' if "\ud800" in query else {"query": query}
    async with scene([Turn(calls=[Call("find_tools", arguments)]), "done"]) as s:
        await soon((await s.runtime.start(AGENT, "qqqq zzzz", session="s")).result())
        first, second = offered(s)
        told = asked(s.server)[-1][-1]["content"]
    assert second == first
    assert set(first) == {*ORDER[:39], "find_tools"}, "where no words fit any, the first ones are shown"
    if query != "\ud800\U0001f600":
        assert "Some of the 500 tools: create_issue, update_issue" in told
        assert len(told) < 3_000


@pytest.mark.requirement("finding:found-tools-are-shown")
async def test_large_schemas_are_never_cut_in_the_middle_and_what_has_no_room_is_left_out() -> None:
    def made(number: int, size: int) -> Any:
        async def run(word: str) -> str:
            return word

        return tool(name=f"widget_{number}", description="Widget. " + "x" * size, effect="none")(run)

    wide = [made(number, 15_000) for number in range(4)] + [made(9, 100_000)]
    agent = Agent(MODEL, tools=[*TOOLS[:3], *wide], tools_shown=2)
    async with scene([find("widget", 20), find("widget_9", 1), "done"]) as s:
        await soon((await s.runtime.start(agent, "issue", session="s")).result())
        shown, conversation = offered(s), asked(s.server)[-1]
    first, second = [each["content"] for each in conversation if each["role"] == "tool"]
    names = [msgspec.json.decode(line)["name"] for line in first.split("\n")]
    assert len(names) == 2
    assert set(shown[1]) == {*shown[0], *names}
    assert msgspec.json.decode(second).keys() == {"name", "description"}
    assert set(shown[2]) == {*shown[1], "widget_9"}


@pytest.mark.requirement("finding:many-tools-few-shown")
@pytest.mark.parametrize("name", list(WIRES))
async def test_every_protocol_takes_tools_that_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = WIRES[name]
    seen: list[tuple[str, ...]] = []

    def model(request: ScriptRequest) -> Turn | str:
        seen.append(request.tools)
        steps = [call("export_topic"), find(f"renew a {FOUND}"), call(f"update_{FOUND}")]
        return steps[done] if (done := request.tool_results) < len(steps) else "done"

    async with ScriptedModelServer(model) as server, Runtime.open("memory:") as runtime:
        for variable, value in wire.env(server.origin).items():
            monkeypatch.setenv(variable, value)
        run = await runtime.start(Agent(wire.model, tools=TOOLS), JOB)
        assert (await soon(run.result())).output == "done"
    first, second, third, fourth = [set(each) for each in seen]
    assert first == second < third == fourth
    assert len(first) <= 40
    assert f"update_{FOUND}" in third - first
    assert ["export_topic 7", f"update_{FOUND} 7"] == CALLED


@pytest.mark.requirement("finding:each-message-once")
def test_a_step_costs_the_messages_it_adds_however_many_there_were() -> None:
    from holdfast.types import AssistantMessage, CallId, Message, Text, ToolCall, ToolMessage, UserMessage

    class Counted(list[Message]):
        looked = 0

        def __getitem__(self, at: Any) -> Any:
            self.looked += 1
            return super().__getitem__(at)

    messages = Counted([UserMessage((Text(JOB),))])
    showing = Showing(AGENT.named, 40)
    first = showing.tools(messages, {0: True})
    for number in range(10_000):
        id = CallId(f"c{number}")
        messages.append(AssistantMessage((ToolCall(id, "create_issue", "{}"),), MODEL, "tool_calls"))
        messages.append(ToolMessage(id, "create_issue", '{"name":"export_topic"}'))
        assert showing.tools(messages, {0: True}) is first
    assert messages.looked == len(messages)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "you have no other than this one."),
        (["a"], "The one tool there is: a."),
        (["a", "b"], "All 2 tools: a, b."),
    ],
)
async def test_a_search_that_finds_nothing_says_how_many_there_are(names: list[str], said: str) -> None:
    others = [
        msgspec.structs.replace(TOOLS[0], spec=ToolSpec(name=each, description="", parameters={})) for each in names
    ]
    tools = Registry((find_tools, *others))
    given = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", tools=tools)
    found = await find_tools.run(find_tools.parse(b'{"query": "qqqq"}'), given)
    assert isinstance(found, ToolResult)
    assert found.content.endswith(said)
