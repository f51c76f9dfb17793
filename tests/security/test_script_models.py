"""Scripts that ask models, wait for people, and go on in another process: nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, of, scene, seen, soon, until
from tests.security.script_agents import CODE
from tests.security.scripting import DONE, RAN, outer, pay, scripted, told

from holdfast import Agent, Limits
from holdfast.engine.events import RunFinished, RunStarted, ToolStarted, ToolWaiting
from holdfast.engine.letters import Setup
from holdfast.sandbox.snippets.wasm import WasmInterpreter
from holdfast.testing import Turn
from holdfast.testing.scripts import ScriptRequest, Tokens
from holdfast.types import Price, session_of


@pytest.fixture(autouse=True)
def interpreters(python: WasmInterpreter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    RAN.clear()
    monkeypatch.setattr("holdfast.sandbox.snippets.shared.shared_interpreter", lambda _: python)
    yield


def answering(first: Turn, said: list[str]) -> Any:
    """Returns a model that runs a script first, and answers each question of the script in capitals."""

    def answer(request: ScriptRequest) -> Turn:
        if request.tools:
            return DONE if request.answers else first
        said.append(request.last_user_text)
        return Turn(text=request.last_user_text.upper(), usage=Tokens(input_tokens=30, output_tokens=12))

    return answer


@pytest.mark.requirement("scripting:asks-models")
async def test_a_script_asks_models_through_runs_of_their_own_that_are_counted() -> None:
    said: list[str] = []
    code = "[llm_call('one', context='about'), [e['text'] for e in llm_batch(['a', {'prompt': 'b'}, 'c'])]]"
    async with scene(answering(scripted(code), said), seconds=60) as s:
        found = await told(s, limits=Limits(tokens=100_000))
        log = await s.log()
    assert found["result"] == ["ABOUT\n\nONE", ["A", "B", "C"]]
    assert (found["stats"]["llm_calls"], found["stats"]["llm_tokens_used"], found["tier"]) == (4, 4 * 42, "full")
    assert sorted(said) == ["a", "about\n\none", "b", "c"]
    end = of(RunFinished, log)[-1]
    assert end.usage.total_tokens == 4 * 42 + 2 * 120
    names = [each.nested.name for each in of(ToolStarted, log) if each.nested]
    assert set(names) == {"script_llm"}
    assert all_answered(log)


@pytest.mark.requirement("tools:script-tool-stores")
async def test_model_calls_of_a_script_are_at_most_five_at_a_time_and_answered_in_order() -> None:
    going, most = 0, 0
    five = asyncio.Event()

    async def answer(request: ScriptRequest) -> Turn:
        nonlocal going, most
        if request.tools:
            return DONE if request.answers else scripted("[e['text'] for e in llm_batch([str(n) for n in range(12)])]")
        going, most = going + 1, max(most, going + 1)
        if going == 5:
            five.set()
        await five.wait()
        going -= 1
        return Turn(text=f"<{request.last_user_text}>")

    async with scene(answer, seconds=60) as s:
        found = await told(s)
    assert most == 5
    assert found["result"] == [f"<{n}>" for n in range(12)]


@pytest.mark.requirement("tools:script-tool-limits")
@pytest.mark.parametrize(("limit", "usage"), [("llm_tokens", Tokens(input_tokens=90_000, output_tokens=60_000))])
async def test_what_models_used_ends_a_script(limit: str, usage: Tokens) -> None:
    def answer(request: ScriptRequest) -> Turn:
        if request.tools:
            return DONE if request.answers else scripted("for n in range(9):\n    llm_call(str(n))")
        RAN.append("asked")
        return Turn(text="x", usage=usage)

    async with scene(answer, seconds=60) as s:
        found = await told(s)
    assert found["error"]["code"] == limit, found
    assert len(RAN) == 2


@pytest.mark.requirement("results:batch-dollars")
@pytest.mark.parametrize("known", [True, False])
async def test_each_question_of_a_batch_may_cost_its_share_of_what_is_left(known: bool) -> None:
    prices = {MODEL: Price.per_million(1, 1000)} if known else {}
    code = "llm_call('first')\nlen(llm_batch([str(n) for n in range(4)]))"
    async with scene(answering(scripted(code), []), prices=prices, seconds=60) as s:
        found = await told(s)
        heads = await s.runtime.journal.heads("local")
        children = [session_of(each.stream) for each in heads if session_of(each.stream) != "s"]
        limits = [(await starts(s, each)).limits for each in children]
    assert found["result"] == 4, found
    spent = found["stats"]["llm_cost_usd"] / 5
    assert (spent > 0) is known
    wanted = sorted([20.0, *[(20.0 - spent) / 4] * 4])
    assert sorted(each.dollars or 0 for each in limits) == (pytest.approx(wanted) if known else [0] * 5)
    assert all(each.tokens for each in limits)


async def starts(s: Scene, session: str) -> Setup:
    """Returns how the run of a session was set up."""
    return of(RunStarted, await s.log(session))[0].setup


@pytest.mark.requirement("scripting:bounded-by-the-run")
async def test_a_run_that_may_start_no_more_agents_says_so_to_the_script() -> None:
    code = "[bool(e['error']) for e in llm_batch(['a', 'b', 'c'])]"
    async with scene(answering(scripted(code), []), seconds=60) as s:
        found = await told(s, limits=Limits(children=2))
    assert found["result"] == [False, False, True]


@pytest.mark.requirement("scripting:waits")
async def test_a_script_waits_for_a_persons_word_and_goes_on_without_repeating_what_it_did() -> None:
    code = "a = call('double', number=4)\nb = llm_call('hello')\nc = call('pay', sum=5)\n[a, b, c]"
    said: list[str] = []
    from tests.security.scripting import double

    async with scene(answering(scripted(code), said), seconds=60) as s:
        agent = Agent(MODEL, tools=["script", double, pay])
        run = await s.runtime.start(agent, "go", session="s", mode="ask")
        while True:
            waiting = (await soon(seen(run, "tool.waiting", len(said) + 1), 20)).data
            if waiting.wait.kind == "approval":  # type: ignore[union-attr]
                break
        await until(lambda: s.runtime._worker.tail("local/s") is None)  # type: ignore[arg-type]
        assert RAN == ["double 4"]
        await run.approve(waiting.wait.token)  # type: ignore[union-attr]
        assert (await soon(run.result(), 20)).status == "completed"
        log = await s.log()
    assert outer(log)["result"] == ["8", "HELLO", "paid 5"]
    assert RAN == ["double 4", "pay 5"]
    assert said == ["hello"]
    assert [each.wait.kind for each in of(ToolWaiting, log)] == ["child", "approval"]


@pytest.mark.requirement("scripting:crash")
async def test_a_script_whose_process_dies_goes_on_in_another_and_repeats_nothing(
    tmp_path: Path, snippets_folder: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "holdfast").symlink_to(snippets_folder.parent)
    stone, marks = tmp_path / "stone", tmp_path / "marks"
    stone.touch()
    said: list[str] = []
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene(answering(scripted(CODE), said), url=url, seconds=90) as s:
        env = {
            **os.environ, "STONE": str(stone), "MARKS": str(marks), "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        codes, out = list[int | None](), b""
        for _ in range(2):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.security.script_child", url, env=env, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await child.communicate()
            codes.append(child.returncode)
        log = await s.log()
    assert outer(log)["error"] is None, outer(log)
    assert (codes, out.strip()) == ([9, 0], b"completed")
    found = outer(log)
    assert found["result"][:-1] == ["marked a", "ONE", "TWO", "THREE", "FOUR", "marked b", "FIVE", "walked"], found
    assert marks.read_text() == "a\nb\n"
    assert sorted(said) == ["five", "four", "one", "three", "two"]
    assert all_answered(log)
