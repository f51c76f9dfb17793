"""Agents that give jobs to other agents: sessions of their own, started once, waited for, bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, Wrapped, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Effect, Limits, ToolContext, tool
from holdfast.engine.events import CODEC, ModelFinished, RunClosed, RunFinished, RunStarted, ToolWaiting
from holdfast.errors import StorageError, UsageError
from holdfast.journal.port import Letter
from holdfast.journal.reading import read_events
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.types import Event, Mode, stream_id

GATE: list[asyncio.Event] = []
STREAM = stream_id("local", "s")


@tool(effect=Effect(workspace=True, outside="none"), touches=lambda arguments: (arguments.name,))
async def note(name: str, text: str, context: ToolContext) -> str:
    """Writes a note."""
    assert context.workspace is not None
    context.workspace.replace(name, text.encode())
    return "noted"


@tool(effect="none")
async def think() -> str:
    """Takes its time."""
    if GATE:
        await GATE[0].wait()
    return "thought"


@pytest.fixture(autouse=True)
def fresh() -> None:
    GATE.clear()


HELPER = Agent("openai/helper", instructions="You help.", tools=[note, think], name="helper")


def leader(**options: object) -> Agent:
    return Agent("openai/leader", tools=[HELPER.as_tool("help", **options)], name="leader")  # type: ignore[arg-type]


def jobs(*prompts: str) -> Turn:
    return Turn(calls=[Call("help", {"prompt": prompt}) for prompt in prompts])


async def child_of(runtime: Runtime, log: list[Event], number: int = 0) -> str:
    return of(ToolWaiting, log)[number].wait.subject


async def how_its_child_was_left(store: str) -> tuple[str, bool]:
    """Returns how whoever opens the store next finds a leader's child: its state, and whether it has unread mail."""
    async with Runtime.open(store) as later:
        name = await child_of(later, [event async for event in read_events(later.journal, STREAM, CODEC)])
        head = await later.journal.head(stream_id("local", name))
        assert head is not None
        return head.state, head.unread


@pytest.mark.requirement("engine:children-answer")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_what_a_child_says_is_the_result_of_the_call_that_started_it(tmp_path: Path, store: str) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    scripts = {"leader": [jobs("find it"), "They found it."], "helper": ["Here it is."]}
    async with scene(scripts, url=url) as s:
        run = await s.runtime.start(leader(), "go", session="s")
        result = await soon(run.result())
        log = await s.log()
        child = await s.log(await child_of(s.runtime, log))
    assert (result.status, result.output) == ("completed", "They found it.")
    said = asked(s.server)[-1]
    assert said[-1] == {"role": "tool", "tool_call_id": said[-1]["tool_call_id"], "content": "Here it is."}
    own = sum([each.message.usage.total_tokens for each in of(ModelFinished, log)])
    assert result.usage.total_tokens == own + of(RunFinished, child)[0].usage.total_tokens
    lineage = of(RunStarted, child)[0].setup.lineage
    assert lineage is not None
    assert lineage.parent == "local/s"
    assert len(of(RunClosed, child)) == 1
    assert all_answered(log)


@pytest.mark.requirement("engine:children-answer")
async def test_children_of_one_turn_work_at_once_and_the_turn_waits_for_all() -> None:
    scripts = {"leader": [jobs("a", "b", "c"), "All three."], "helper": ["one"]}
    async with scene(scripts) as s:
        result = await soon((await s.runtime.start(leader(), "go", session="s")).result())
        log = await s.log()
        results = [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"]
    assert result.output == "All three."
    assert results == ["one", "one", "one"]
    assert len({each.wait.subject for each in of(ToolWaiting, log)}) == 3


@pytest.mark.requirement("engine:children-workspaces")
@pytest.mark.parametrize("kind", ["forked", "shared"])
async def test_a_child_works_on_the_files_of_its_parent_or_on_a_copy_of_them(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "kept").write_text("old")
    writes = Turn(calls=[Call("note", {"name": "kept", "text": "new"})])
    scripts = {"leader": [jobs("write"), "Done."], "helper": [writes, "Written."]}
    async with scene(scripts, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(leader(workspace=kind), "go", session="s", workspace=folder)
        assert (await soon(run.result())).status == "completed"
        child = await child_of(s.runtime, await s.log())
        there = await s.runtime.workspace(child)
        assert there is not None
        assert (Path(there) / "kept").read_text() == "new"
        assert (folder / "kept").read_text() == ("new" if kind == "shared" else "old")
        if kind == "forked":
            assert [each.path for each in await s.runtime.commit(child)] == ["kept"]
            assert (folder / "kept").read_text() == "new"


@pytest.mark.requirement("engine:children-end-with-their-parent", "engine:abort-reaches-children")
async def test_an_abort_of_the_parent_ends_its_children() -> None:
    GATE.append(asyncio.Event())
    scripts = {"leader": [jobs("wait")], "helper": [Turn(calls=[Call("think", {})])]}
    async with scene(scripts) as s:
        run = await s.runtime.start(leader(), "go", session="s")
        await until(lambda: len(s.server.requests) == 2)
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        name = await child_of(s.runtime, await s.log())

        await soon(s.runtime.run(name, f"start:child:{name}").result())
        child = await s.log(name)
    assert of(RunFinished, child)[0].status == "aborted"


@pytest.mark.requirement("engine:children-end-with-their-parent", "engine:abort-reaches-children")
async def test_children_that_were_told_to_end_have_ended_when_their_process_does(tmp_path: Path) -> None:
    GATE.append(asyncio.Event())
    store = f"sqlite:///{tmp_path / 's.db'}"
    async with scene({"leader": [jobs("wait")], "helper": [Turn(calls=[Call("think", {})])]}, url=store) as s:
        run = await s.runtime.start(leader(), "go", session="s")
        await until(lambda: len(s.server.requests) == 2)
        await run.abort("enough")
        await soon(run.result())
        await soon(s.runtime.close())
        assert await how_its_child_was_left(store) == ("idle", False)


@pytest.mark.requirement("engine:children-end-with-their-parent", "engine:abort-reaches-children")
async def test_a_child_that_is_telling_its_parent_how_it_ended_is_given_time_for_it(tmp_path: Path) -> None:
    telling, told = asyncio.Event(), asyncio.Event()

    class Slow(Wrapped):
        async def post(self, stream: str, letter: Letter, **more: object) -> object:
            if stream == STREAM and letter.kind not in ("prompt", "abort"):
                telling.set()
                await told.wait()
            return await self.inner.post(stream, letter, **more)  # type: ignore[arg-type]

    GATE.append(asyncio.Event())
    store = f"sqlite:///{tmp_path / 's.db'}"
    scripts = {"leader": [jobs("wait")], "helper": [Turn(calls=[Call("think", {})])]}
    async with scene(scripts, url=store, wrap=Slow) as s:
        run = await s.runtime.start(leader(), "go", session="s")
        await until(lambda: len(s.server.requests) == 2)
        await run.abort("enough")
        await soon(telling.wait())
        asyncio.get_running_loop().call_later(0.1, told.set)
        await soon(s.runtime.close())
        assert await how_its_child_was_left(store) == ("idle", False)


@pytest.mark.requirement("engine:dispatch-guard", "engine:composition-guard")
async def test_an_agent_cannot_start_itself_or_whoever_stands_above_it_nor_too_many_nor_too_deep() -> None:
    inner = Agent("openai/inner", tools=[think], name="inner")
    outer = Agent("openai/outer", tools=[inner.as_tool("in_")], name="outer")
    top = Agent("openai/top", tools=[outer.as_tool("out"), inner.as_tool("in_")], name="top")
    scripts = {
        "top": [
            Turn(calls=[Call("out", {"prompt": "x"}), *[Call("in_", {"prompt": str(n)}) for n in range(3)]]),
            "end",
        ],
        "outer": [Turn(calls=[Call("in_", {"prompt": "deeper"})]), "outer done"],
        "inner": ["inner done"] * 3,
    }
    async with scene(scripts) as s:
        run = await s.runtime.start(top, "go", session="s", limits=Limits(depth=1, children=2))
        assert (await soon(run.result())).output == "end"
        log = await s.log()
        results = [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"]
    assert results[0] == "outer done"
    assert sum("as many as it may" in each for each in results) == 2
    assert len(of(ToolWaiting, log)) == 2


@pytest.mark.requirement("engine:children-survive")
async def test_whoever_goes_on_with_a_run_goes_on_with_what_it_waits_for(tmp_path: Path) -> None:
    GATE.append(asyncio.Event())
    inner = Agent("openai/inner", tools=[HELPER.as_tool("help")], name="inner")
    outer = Agent("openai/outer", tools=[inner.as_tool("deeper")], name="outer")
    scripts = {
        "outer": [Turn(calls=[Call("deeper", {"prompt": "go"})]), "At last."],
        "inner": [jobs("wait"), "Deep."],
        "helper": [Turn(calls=[Call("think", {})]), "Thought."],
    }
    async with scene(scripts, url=f"sqlite:///{tmp_path}/s.db") as s:
        async with s.other() as gone:
            await gone.start(outer, "go", session="s")
            await until(lambda: len(s.server.requests) == 3)
        GATE.clear()
        result = await soon((await s.runtime.resume("s")).result())  # and nobody sweeps
    assert result.output == "At last."


@pytest.mark.requirement("engine:children-survive")
async def test_a_child_goes_on_in_another_process_and_its_parent_hears_of_it(tmp_path: Path) -> None:
    GATE.append(asyncio.Event())
    url = f"sqlite:///{tmp_path}/s.db"
    scripts = {"leader": [jobs("wait"), "At last."], "helper": [Turn(calls=[Call("think", {})]), "Thought."]}
    async with scene(scripts, url=url) as s:
        async with s.other() as gone:
            run = await gone.start(leader(), "go", session="s")
            await until(lambda: len(s.server.requests) == 2)
        GATE.clear()
        assert await s.runtime.sweep() >= 1
        again = s.runtime.run("s", run.key)
        result = await soon(again.result())
    assert result.output == "At last."


@pytest.mark.requirement("engine:composition-guard")
async def test_a_child_may_do_no_more_than_its_parent_and_giving_it_a_job_needs_no_word(tmp_path: Path) -> None:
    writes = Turn(calls=[Call("note", {"name": "n", "text": "x"})])
    scripts = {"leader": [jobs("write"), "Done."], "helper": [writes, "I may not."]}
    async with scene(scripts, url=f"sqlite:///{tmp_path}/s.db") as s:
        folder = tmp_path / "w"
        folder.mkdir()
        run = await s.runtime.start(
            leader(workspace="shared"), "go", session="s", workspace=folder, mode="read-only", unattended=True
        )
        assert (await soon(run.result())).status == "completed"
        child = await s.log(await child_of(s.runtime, await s.log()))
    setup = of(RunStarted, child)[0].setup
    assert (setup.mode, setup.unattended, setup.limits.depth) == ("read-only", True, 4)
    assert of(RunFinished, child)[0].denied == 1
    assert list(folder.iterdir()) == []


@tool(name="unsafe")
async def unsafe() -> str:
    """Does something out there."""
    return "done"


@tool(name="named")
async def other() -> str:
    """The leader's tool of this name."""
    return "done"


@tool(name="named")
async def theirs() -> str:
    """The helper's tool of this name."""
    return "done"


def refusals(s: Scene) -> list[str]:
    said = [each["content"] for request in asked(s.server) for each in request if each["role"] == "tool"]
    return [each for each in said if "was not started" in each]


@pytest.mark.requirement("engine:descendants-counted", "engine:child-tasks-limits")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
@pytest.mark.parametrize("most", [0, 7])
async def test_all_that_a_root_and_those_below_it_start_are_counted_together(
    tmp_path: Path, store: str, most: int
) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    leaf = Agent("openai/leaf", name="leaf")
    middle = Agent("openai/middle", tools=[leaf.as_tool("down")], name="middle")
    top = Agent("openai/top", tools=[middle.as_tool("down")], name="top")
    jobs = Turn(calls=[Call("down", {"prompt": str(n)}) for n in range(3)])
    async with scene({"top": [jobs, "end"], "middle": [jobs, "half"], "leaf": ["ok"]}, url=url) as s:
        run = await s.runtime.start(top, "go", session="s", limits=Limits(descendants=most))
        assert (await soon(run.result())).output == "end"
        heads = await s.runtime.journal.heads("local")
        assert len(heads) == 1 + most
        told = {each for each in refusals(s) if "as many as they may" in each}
        assert all(f"have started {most} others" in each for each in told)
        assert told
        balance = await s.runtime.ledger.balance(("~descendants", "local", "s"))
        assert (balance.settled.tokens, balance.open.tokens) == (most, 0)


@pytest.mark.requirement("engine:descendants-counted")
async def test_a_child_that_was_counted_before_its_process_died_is_not_counted_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    scripts = {"leader": [jobs("a", "b"), "Both."], "helper": ["one"]}
    async with scene(scripts, url=url) as s:
        async with s.other() as gone:
            posting = gone._bindings.dispatcher._start
            begun: list[str] = []

            async def stuck(agent: object, stream: str, letter: object) -> object:
                begun.append(stream)
                if len(begun) == 2:
                    await asyncio.Event().wait()  # as far as it ever comes
                return await posting(agent, stream, letter)  # type: ignore[arg-type]

            gone._bindings.dispatcher._start = stuck  # type: ignore[assignment]
            run = await gone.start(leader(), "go", session="s", limits=Limits(descendants=2))
            await until(lambda: len(begun) == 2 and len(s.server.requests) == 2)  # one child is stuck, one works
        await s.runtime.resume("s")
        assert (await soon(s.runtime.run("s", run.key).result())).output == "Both."
        balance = await s.runtime.ledger.balance(("~descendants",))
        assert (balance.settled.tokens, balance.open.tokens) == (2, 0)


@pytest.mark.requirement("engine:descendants-counted")
async def test_a_child_that_could_not_be_started_gives_its_number_back() -> None:
    scripts = {"leader": [jobs("a"), "No."], "helper": ["one"]}
    async with scene(scripts) as s:
        run = await s.runtime.start(leader(workspace="shared"), "go", session="s")  # which has no files to share
        assert (await soon(run.result())).output == "No."
        assert "this run has none" in refusals(s)[0]
        balance = await s.runtime.ledger.balance(("~descendants",))
        assert (balance.settled.tokens, balance.open.tokens) == (0, 0)


@pytest.mark.requirement("engine:descendants-counted")
async def test_a_ledger_that_cannot_count_starts_nothing() -> None:
    scripts = {"leader": [jobs("a"), "No."], "helper": ["one"]}

    async def refuses(*_: object, **__: object) -> object:
        raise StorageError("the disk is full")

    async with scene(scripts) as s:
        s.runtime.ledger.grant = refuses  # type: ignore[method-assign,assignment]
        run = await s.runtime.start(leader(), "go", session="s")
        assert (await soon(run.result())).output == "No."
        assert "the disk is full" in asked(s.server)[-1][-1]["content"]
        assert len(await s.runtime.journal.heads("local")) == 1


@pytest.mark.requirement("engine:child-no-more-than-its-parent", "engine:composition-guard")
async def test_a_child_may_do_no_more_than_its_parent() -> None:
    helper = Agent("openai/helper", tools=[unsafe, theirs], name="helper", limits=Limits(depth=9, descendants=9))
    boss = Agent("openai/leader", tools=[helper.as_tool("help"), unsafe, other], name="leader")
    scripts = {"leader": [jobs("a"), "end"], "helper": ["one"]}
    async with scene(scripts) as s:
        run = await s.runtime.start(
            boss,
            "go",
            session="s",
            mode="ask",
            unattended=True,
            limits=Limits(depth=3, descendants=4, tokens=90_000, seconds=50),
            effects={"unsafe": "none", "named": "none"},
        )
        assert (await soon(run.result())).output == "end"
        setup = of(RunStarted, await s.log(await child_of(s.runtime, await s.log())))[0].setup
    assert (setup.mode, setup.unattended) == ("ask", True)
    assert (setup.limits.depth, setup.limits.descendants, setup.limits.tokens) == (2, 4, 90_000)
    assert setup.limits.seconds is not None
    assert setup.limits.seconds <= 50
    assert setup.effects == {"unsafe": "none"}, "what was said of a tool is not said of another one of that name"


@pytest.mark.requirement("engine:child-no-more-than-its-parent")
@pytest.mark.parametrize("mode", ["read-only", "ask"])
async def test_a_child_is_denied_what_its_parent_would_be_denied(tmp_path: Path, mode: Mode) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    writes = Turn(calls=[Call("note", {"name": "kept", "text": "new"})])
    scripts = {"leader": [jobs("write"), "Done."], "helper": [writes, "Not written."]}
    async with scene(scripts) as s:
        run = await s.runtime.start(
            leader(workspace="shared"), "go", session="s", workspace=folder, mode=mode, unattended=True
        )
        assert (await soon(run.result())).status == "completed"
        child = await s.log(await child_of(s.runtime, await s.log()))
    assert of(RunFinished, child)[0].denied == 1
    assert not list(folder.iterdir())


@pytest.mark.requirement("engine:children-end-with-their-parent")
async def test_a_child_is_told_to_end_also_when_its_parent_is_stopped_in_another_call_of_the_turn() -> None:
    GATE.append(asyncio.Event())
    slow = Turn(calls=[Call("help", {"prompt": "wait"}), Call("think", {})])
    agent = Agent("openai/leader", tools=[HELPER.as_tool("help"), think], name="leader")
    async with scene({"leader": [slow], "helper": [Turn(calls=[Call("think", {})])]}) as s:
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: len(s.server.requests) == 2)
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        name = await child_of(s.runtime, await s.log())
        child = await soon(s.runtime.run(name, f"start:child:{name}").result())
    assert (child.status, child.reason) == ("aborted", "enough")


@pytest.mark.requirement("engine:composition-guard")
async def test_a_tool_whose_module_is_called_agent_is_asked_about_like_any_other() -> None:
    @tool(name="wipe", reference="agent:wipe")
    async def wipe() -> str:
        """Wipes."""
        raise AssertionError("it must not run")

    async with scene([Turn(calls=[Call("wipe", {})]), "done"]) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[wipe]), "go", session="s", mode="read-only")
        assert (await soon(run.result())).denied == 1


@pytest.mark.requirement("engine:children-answer")
async def test_a_run_that_others_wait_for_is_not_rewound_before_it_is_over() -> None:
    GATE.append(asyncio.Event())
    async with scene({"leader": [jobs("wait")], "helper": [Turn(calls=[Call("think", {})])]}) as s:
        run = await s.runtime.start(leader(), "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
        with pytest.raises(UsageError, match="abort it first"):
            await s.runtime.rewind("s", to=2)
        await run.abort("enough")
        await soon(run.result())


@pytest.mark.requirement("engine:children-end-with-their-parent")
async def test_a_child_whose_start_was_under_way_when_its_parent_was_stopped_is_told_to_end() -> None:
    posted: list[str] = []

    class Slow(Wrapped):
        async def post(self, stream: str, letter: Letter, **more: object) -> object:
            answer = await self.inner.post(stream, letter, **more)  # type: ignore[arg-type]
            if letter.key.startswith("start:"):
                posted.append(stream)
                await until(lambda: len(posted) > 1)  # as long as it takes
            return answer

    GATE.append(asyncio.Event())
    async with scene({"leader": [jobs("a")], "helper": [Turn(calls=[Call("think", {})])]}, wrap=Slow) as s:
        run = await s.runtime.start(leader(), "go", session="s")
        await until(lambda: bool(posted))
        await run.abort("enough")
        await until(lambda: s.runtime._worker._live[stream_id("local", "s")].attempt.stopping)
        posted.append("on")
        assert (await soon(run.result())).status == "aborted"
        name = posted[0].partition("/")[2]
        child = await soon(s.runtime.run(name, f"start:child:{name}").result())
        assert child.status == "aborted"
        balance = await s.runtime.ledger.balance(("~descendants", "local"))
        assert balance.open.tokens == 0


@pytest.mark.requirement("engine:children-spending-known")
async def test_what_a_child_spent_that_nobody_waits_for_any_more_is_in_its_parents_figures() -> None:
    GATE.append(asyncio.Event())
    hangs = Turn(calls=[Call("think")])
    boss = Agent("openai/leader", tools=[HELPER.as_tool("help", seconds=0.1), think], name="leader")
    async with scene({"leader": [jobs("a"), hangs, "Without it."], "helper": [hangs]}) as s:
        run = await s.runtime.start(boss, "go", session="s")
        await soon(seen(run, "wait.resolved"))
        child = await child_of(s.runtime, await s.log())
        spent = (await soon(s.runtime.run(child, f"start:child:{child}").result())).usage.total_tokens
        live = s.runtime._worker._live
        await until(lambda: stream_id("local", "s") in live and live[stream_id("local", "s")].attempt.pen.has_mail)
        GATE[0].set()
        result = await soon(run.result())
        log = await s.log()
    own = sum(each.message.usage.total_tokens for each in of(ModelFinished, log))
    assert spent > 0
    assert result.usage.total_tokens == own + spent
    assert result.output == "Without it."
