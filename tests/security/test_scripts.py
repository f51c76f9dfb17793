"""Code mode: what scripts of a model do, and at which limit each of them ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.running import scene
from tests.security.scripting import DONE, RAN, scripted, told

from holdfast.sandbox.snippets.wasm import WasmInterpreter
from holdfast.tools.builtin.scripting import bounds, script


@pytest.fixture(autouse=True)
def interpreters(python: WasmInterpreter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    RAN.clear()
    monkeypatch.setattr("holdfast.sandbox.snippets.shared.shared_interpreter", lambda _: python)
    yield


async def run_of(code: str, **more: Any) -> dict[str, Any]:
    async with scene([scripted(code, **more), DONE], seconds=60) as s:
        return await told(s)


@pytest.mark.requirement("scripting:calls-tools")
async def test_a_script_calls_tools_in_a_loop_and_comes_to_its_last_expression() -> None:
    said = await run_of("total = 0\nfor n in args['numbers']:\n    total += int(call('double', number=n))\ntotal",
                        args={"numbers": [1, 2, 3]})  # fmt: skip
    assert (said["result"], said["error"], said["tier"], said["truncated"]) == (12, None, "light", False)
    assert RAN == ["double 1", "double 2", "double 3"]
    assert said["stats"] == {
        "steps": 3, "duration_ms": said["stats"]["duration_ms"], "tool_calls": 3, "discover_calls": 0,
        "describe_calls": 0, "llm_calls": 0, "llm_tokens_used": 0, "llm_cost_usd": 0.0, "store_ops": 0,
    }  # fmt: skip
    first = said["trace"][0]
    assert (first["kind"], first["name"], first["input"], first["output"], first["error"]) == (
        "tool", "double", '{"number":1}', "2", "",
    )  # fmt: skip


@pytest.mark.requirement("scripting:calls-tools")
async def test_a_script_finds_tools_and_reads_how_they_are_called() -> None:
    said = await run_of(
        "log('looking')\n[discover('pays'), describe('pay')['parameters']['required'], discover('zzz')]"
    )
    assert said["result"] == [[{"name": "pay", "description": "Pays a sum."}], ["sum"], []]
    assert [each["kind"] for each in said["trace"]] == ["log", "discover", "describe", "discover"]


@pytest.mark.requirement("scripting:failure-is-data")
@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("1 / 0", "script_error", 'File "<script>", line 1'),
        ("def f(:", "script_error", "SyntaxError"),
        ("call('no_such')", "script_error", "discover() says which there are"),
        ("call('script', code='1')", "script_error", "there is no tool 'script' for a script"),
        ("call('script_llm', prompt='x', tokens=1)", "script_error", "there is no tool 'script_llm'"),
        ("call('double', number='x')", "script_error", "ToolError: Arguments of 'double' do not fit"),
        ("describe('script')", "script_error", "there is no tool"),
        ("_host('store_burn', {})", "script_error", "NameError"),
        ("store_write('k', 1)", "script_error", "json.dumps"),
        ("{1, 2}", "script_error", "not JSON serializable"),
        ("float('inf')", "script_error", "Out of range"),
        ("import sys; sys.exit(3)", "script_error", "SystemExit: 3"),
        ("open('/etc/passwd').read()", "script_error", "Error"),
        ("import os; os.listdir('/')", "script_error", "Error"),
        ("import _holdfast", "script_error", "ModuleNotFoundError"),
        ("import socket; socket.create_connection(('127.0.0.1', 80))", "error", "no operating system"),
    ],
)
async def test_what_a_script_does_wrong_is_said_in_its_result(code: str, error: str, message: str) -> None:
    said = await run_of(code)
    assert said["result"] is None
    assert said["error"]["code"] in (error, "script_error"), said
    assert message in said["error"]["message"] or "Error" in said["error"]["message"], said


@pytest.mark.requirement("scripting:failure-is-data")
async def test_a_tool_that_fails_can_be_handled_in_the_script() -> None:
    code = "try:\n    call('double', number='x')\nexcept ToolError as e:\n    result = e.code"
    assert (await run_of(code))["result"] == "invalid_input"


@pytest.mark.requirement("scripting:failure-is-data")
async def test_a_tool_that_is_not_there_can_be_handled_as_one_that_failed() -> None:
    code = "try:\n    call('no_such')\nexcept ToolError as e:\n    first = [e.code, 'discover()' in str(e)]\n"
    code += "try:\n    store_read_range('no such', 0, 1)\nexcept ToolError as e:\n    result = [*first, e.code]"
    said = await run_of(code)
    assert said["result"] == ["unsupported_tool", True, "invalid_input"]
    assert [(each["output"], bool(each["error"])) for each in said["trace"]] == [("", True), ("", True)]


@pytest.mark.requirement("scripting:failure-is-data")
@pytest.mark.parametrize("code", ["call('no_such')", "store_read_range('k', 0, 1)", "import json; json.loads('{')"])
async def test_a_traceback_shows_the_lines_of_the_script_and_no_others(code: str) -> None:
    code = f"def do():\n    {code}\ntry:\n    do()\nexcept Exception as e:\n    raise ValueError('outer') from e"
    told = (await run_of(code))["error"]["message"]
    assert [line.strip() for line in told.splitlines() if line.strip().startswith("File ")] == [
        'File "<script>", line 4, in <module>', 'File "<script>", line 2, in do', 'File "<script>", line 6, in <module>'
    ]  # fmt: skip
    assert told.endswith("ValueError: outer\n")


@pytest.mark.requirement("tools:script-tool-limits")
@pytest.mark.parametrize(
    ("code", "limit", "more"),
    [
        ("for n in range(60):\n    try:\n        call('double', number=n)\n    except BaseException:\n        pass",
         "steps", {}),
        ("for n in range(9):\n    call('double', number=n)", "steps", {"max_steps": 5}),
        ("while True: pass", "seconds", {}),
        ("'x' * (257 * 1024)", "result", {}),
        ("b'x' * (1 << 30)", "memory", {}),
        ("while True: print('x' * 100000)", "printed", {}),
        ("store_write('k' * 513, 'v')", "store_key", {}),
        ("store_write('k', 'v' * (4 * 1024 * 1024 + 1))", "store_value", {}),
        ("v = 'v' * (4 * 1024 * 1024 - 9)\nfor n in range(5):\n    store_write(str(n), v)", "store_bytes", {}),
        ("globals()['llm' + '_call']('hello')", "llm", {}),
        ("llm_batch(['x'] * 51)", "llm_calls", {}),
    ],
)  # fmt: skip
async def test_each_limit_ends_a_script_by_its_own_name(
    code: str, limit: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "seconds":
        import msgspec

        monkeypatch.setattr(bounds, "LIGHT", msgspec.structs.replace(bounds.LIGHT, seconds=0.3))
    said = await run_of(code, **more)
    assert said["result"] is None
    assert said["error"]["code"] == limit, said["error"]
    if limit == "steps":
        assert len(RAN) == more.get("max_steps", 50)


@pytest.mark.requirement("tools:script-tool-limits")
async def test_a_trace_that_is_too_long_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = await run_of("for n in range(400):\n    log('x' * 1500)\n'ok'")
    assert (said["result"], said["truncated"]) == ("ok", True)


@pytest.mark.requirement("tools:script-tool-limits")
@pytest.mark.parametrize(
    ("code", "steps", "tier", "most"),
    [
        ("call('x')", None, "light", 50),
        ("call('x')", 20, "light", 20),
        ("call('x')", 51, "full", 51),
        ("call('x')", 9_999, "full", 500),
        ("llm_call('x')", None, "full", 500),
        ("ask = llm_batch", 10, "full", 10),
        ("'llm_call'", None, "light", 50),
        ("# llm_call", None, "light", 50),
        ("llm_call(" * 9_000, None, "light", 50),
        ("llm_call(\0)", None, "light", 50),
    ],
)
def test_the_tier_follows_from_the_program_and_the_calls_it_wants(
    code: str, steps: int | None, tier: str, most: int
) -> None:
    found = bounds.bounds_for(code, steps)
    assert (found.tier, found.steps) == (tier, most)


@pytest.mark.requirement("tools:script-tool-limits")
def test_the_tiers_are_as_promised() -> None:
    light, full = bounds.LIGHT, bounds.FULL
    assert (light.steps, light.seconds, light.trace, light.result) == (50, 10, 256 << 10, 256 << 10)
    assert (light.llm_calls, light.store, light.value) == (0, 16 << 20, 4 << 20)
    assert (full.steps, full.seconds, full.trace, full.result) == (500, 300, 4 << 20, 1 << 20)
    assert (full.llm_calls, full.llm_tokens, full.llm_dollars) == (50, 200_000, 20)
    assert (full.store, full.value, bounds.AT_ONCE, bounds.LONGEST_KEY) == (512 << 20, 64 << 20, 5, 512)


@pytest.mark.requirement("tools:script-tool-stores")
async def test_a_store_keeps_finds_lists_and_deletes() -> None:
    code = """
store_write("a/1", "The quick brown fox")
store_write("a/2", "jumps")
store_write("b", "über die Brücke")
store_write("b", "über die BRÜCKE")
found = store_search("brücke")
result = [store_read("a/1"), store_read("none"), store_read_range("a/1", 4, 5), store_list("a/"),
          store_delete("a/2"), store_delete("a/2"), sorted(store_list()), found, store_search("QUICK")[0]["offset"]]
"""
    said = await run_of(code)
    assert said["result"] == [
        "The quick brown fox", None, "quick", {"a/1": 19, "a/2": 5}, True, False, ["a/1", "b"],
        [{"key": "b", "offset": 9, "excerpt": "über die BRÜCKE"}], 4,
    ]  # fmt: skip
    assert said["stats"]["store_ops"] == 13


@pytest.mark.requirement("scripting:same-again")
async def test_nothing_in_a_script_differs_when_it_runs_again(python: WasmInterpreter) -> None:
    code = (
        "import random, os, time, uuid, secrets, datetime\n"
        "[random.random(), os.urandom(8).hex(), time.time(), time.monotonic(), str(uuid.uuid4()), secrets.token_hex(4),"
        " str(datetime.datetime.now()), hash('x'), list({'a', 'b', 'c'}), random.SystemRandom().random()]"
    )
    first, second, other = [(await python.run(code, seed=seed)).answer for seed in (1, 1, 2)]
    assert first == second
    assert first[2] < 10
    assert all(one != another for one, another in zip(first[:2], other[:2], strict=True))


@pytest.mark.requirement("scripting:isolation-missing")
async def test_without_an_interpreter_the_call_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.sandbox.snippets import wasm
    from holdfast.tools.binding import ToolContext, ToolFailure
    from holdfast.types import CallId, StreamId

    def missing(_: str) -> WasmInterpreter:
        return WasmInterpreter(Path("/nowhere"))

    monkeypatch.setattr(wasm, "find_spec", lambda _: None)
    monkeypatch.setattr("holdfast.sandbox.snippets.shared.shared_interpreter", missing)
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")
    with pytest.raises(ToolFailure, match="holdfast\\[wasm\\]") as failed:
        await script.script.run(script.script.parse(b'{"code": "1"}'), context)
    assert failed.value.code == "isolation_unavailable"
