"""Tools that are modules: what goes in, what may come out, and the limits that hold whatever a module does."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.peers.wasm import assembled, printing

from holdfast.errors import SandboxError, UsageError
from holdfast.sandbox.modules.port import ModuleLimits
from holdfast.sandbox.modules.running import INSTALL, ModuleRunner
from holdfast.testing.conformance.transports.calling import context
from holdfast.tools.contract.messages import Asked, AuthNote, Request
from holdfast.tools.transports.port import Errand, Unsent
from holdfast.tools.transports.wasm import Wasm
from holdfast.tools.transports.wasm_modules.envelopes import said_by
from holdfast.tools.transports.wasm_modules.library import ModuleLibrary
from holdfast.types import ToolResult

ECHO = """
(func (export "_start") (loop $more
  (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 60000))
  (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
  (if (i32.load (i32.const 8)) (then
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br $more)))) {then})
"""


def echo(fd: int = 1, then: str = "") -> bytes:
    """Returns a module that prints what it reads."""
    return assembled(ECHO.format(fd=fd, then=then))


def request() -> Request:
    return Request(
        request_id="r",
        namespace="acme",
        tool=Asked(name="weather", capabilities=("weather.read",), risk_level="high"),
        input={"city": "Rome"},
        input_raw='{"city":"Rome"}',
        auth=AuthNote(profile="bearer"),
    )


@pytest.fixture
async def library(tmp_path: Path) -> AsyncGenerator[ModuleLibrary]:
    pytest.importorskip("wasmtime")
    opened = ModuleLibrary(tmp_path, tmp_path / "cache")
    yield opened
    await opened.close()


async def called(
    library: ModuleLibrary, tmp_path: Path, module: bytes, limits: ModuleLimits | None = None, most: int = 1 << 20
) -> ToolResult:
    (tmp_path / "m.wasm").write_bytes(module)
    transport = Wasm("m.wasm", library, limits=limits or ModuleLimits())
    return await transport.send(Errand(request=request(), headers={"X-Key": "k"}, context=context(), most=most))


@pytest.mark.requirement("calls:wasm-contract")
async def test_a_module_reads_its_request_and_nothing_else_of_us(library: ModuleLibrary, tmp_path: Path) -> None:
    limits = ModuleLimits(fuel=123_456_789, memory=1 << 20)
    result = await called(library, tmp_path, echo(fd=2, then="unreachable"), limits)
    given = json.loads(result.content.partition("it printed: ")[2])
    assert given == {
        "contract_version": "v1",
        "namespace": "acme",
        "tool": "weather",
        "input": '{"city":"Rome"}',
        "capabilities": ["weather.read"],
        "risk_level": "high",
        "runtime": {
            "entrypoint": "_start",
            "max_memory_bytes": 1 << 20,
            "fuel": 123_456_789,
            "enable_wasi": True,
        },
        "auth": {"profile": "bearer", "headers": {"X-Key": "k"}},
    }


BEGIN = b'{"contract_version":"v1","status":"ok","output":'


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.to_thread(time.sleep, 0.001)


OK = {"contract_version": "v1", "status": "ok", "output": "sunny"}
ALMOST = st.from_regex(r'\{"contract_version":"v1","status":"(ok|error)","(output|error)":.*', fullmatch=True).map(
    str.encode
)
ANSWERS = {
    "sunny": (OK, "sunny", None),
    "an object": ({**OK, "output": {"a": [1, 10**30]}}, '{"a": [1, 1000000000000000000000000000000]}', None),
    "nothing more": ({**OK, "output": ""}, "", None),
    "error": ({**OK, "status": "error", "error": {"code": "timeout", "message": "late"}}, "message=late", "timeout"),
    "unknown code": ({**OK, "status": "error", "error": {"code": "x"}}, "=execution_failed", "execution_failed"),
    "denied": ({**OK, "status": "denied", "error": {"code": "permission_denied"}}, "=denied", "permission_denied"),
    "another version": ({**OK, "contract_version": "v2"}, "'v2'", "runtime_policy_invalid"),
    "no version": ({"status": "ok", "output": "x"}, "contract_version", "runtime_policy_invalid"),
    "bad status": ({**OK, "status": "success"}, "success", "runtime_policy_invalid"),
    "no output": ({**OK, "output": None}, "no output", "runtime_policy_invalid"),
    "no code": ({**OK, "status": "error", "error": {"message": "x"}}, "code", "runtime_policy_invalid"),
    "an array": ([OK], "not one answer", "runtime_policy_invalid"),
}  # fmt: skip


@pytest.mark.requirement("calls:wasm-contract", "calls:wasm-broken-contract")
@pytest.mark.parametrize("which", ANSWERS)
def test_an_answer_of_a_module_is_a_result_or_breaks_the_contract(which: str) -> None:
    answer, shown, code = ANSWERS[which]
    result = said_by("weather", json.dumps(answer).encode() + b"\n")
    assert shown in result.content
    assert (result.error.code if result.error else None) == code
    if code == "runtime_policy_invalid":
        assert result.error is not None
        assert not result.error.retryable


@pytest.mark.requirement("calls:wasm-broken-contract")
@pytest.mark.parametrize(
    "output",
    [b"", b" \n", b"sunny", b'{"a":', json.dumps(OK).encode() * 2, b"\xff", BEGIN + b'"\xff"}', BEGIN + b"[" * 100_000,
     b"[" * 100_000, b"\xef\xbb\xbf{}"],
)  # fmt: skip
async def test_what_is_not_exactly_one_answer_breaks_the_contract(
    library: ModuleLibrary, tmp_path: Path, output: bytes
) -> None:
    result = await called(library, tmp_path, printing(output))
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("runtime_policy_invalid", False)
    assert len(result.content) < 1000


@pytest.mark.requirement("calls:wasm-fuzz")
@given(st.binary(max_size=200) | ALMOST)
def test_whatever_is_printed_is_one_result(output: bytes) -> None:
    result = said_by("weather", output)
    assert isinstance(result.content, str)
    msgspec.json.encode(result)


@pytest.mark.requirement("calls:wasm-fuzz")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(output=st.binary(max_size=100_000) | st.just(json.dumps(OK).encode()))
def test_whatever_comes_out_of_a_real_module_is_one_result(tmp_path: Path, output: bytes) -> None:
    async def through() -> ToolResult:
        runner = ModuleRunner(tmp_path / "code")
        end = await runner.run(echo(), output, ModuleLimits())
        runner.close()
        assert (end.ended, end.output) == ("ok", output)
        return said_by("weather", end.output)

    assert isinstance(asyncio.run(through()), ToolResult)


GROW = '(func (export "_start") (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable)'
ENDS = {
    "an endless loop": (assembled('(func (export "_start") (loop (br 0)))'), "fuel"),
    "a loop before the start": (assembled('(func $f (loop (br 0))) (start $f) (func (export "_start"))'), "fuel"),
    "a flood of calls": (
        assembled(
            '(func (export "_start") (loop (drop (call $fd_write '
            "(i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8))) (br 0)))"
        ),
        "fuel",
    ),
    "endless recursion": (assembled('(func $f (export "_start") (call $f))'), None),
    "growing memory": (assembled(GROW), "memory"),
    "a trap": (assembled('(func (export "_start") unreachable)'), None),
    "an exit code": (assembled('(func (export "_start") (call $proc_exit (i32.const 3)))'), None),
}  # fmt: skip


@pytest.mark.requirement("calls:wasm-limits", "sandbox:wasm-limits")
@pytest.mark.parametrize("which", ENDS)
async def test_a_module_that_does_not_end_well_is_an_error(library: ModuleLibrary, tmp_path: Path, which: str) -> None:
    module, limit = ENDS[which]
    result = await called(library, tmp_path, module, ModuleLimits(fuel=20_000_000, memory=4 << 20))
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("execution_failed", limit is None)
    assert result.metadata == ({"limit": limit} if limit else {})


@pytest.mark.requirement("calls:wasm-limits")
async def test_exit_with_zero_is_success_and_what_comes_after_it_is_not_run(
    library: ModuleLibrary, tmp_path: Path
) -> None:
    module = printing(json.dumps(OK).encode(), "(call $proc_exit (i32.const 0)) (unreachable)")
    assert (await called(library, tmp_path, module)).content == "sunny"


REFUSED = {
    "text": b"(module)",
    "nothing": b"",
    "a broken module": b"\0asm\1\0\0\0" + b"\xff" * 50,
    "a foreign import": assembled('(func (export "_start"))', imports='(import "env" "system" (func))'),
    "an import of another form": assembled(
        '(func (export "_start"))', imports='(import "wasi_snapshot_preview1" "fd_write" (func (param f64)))'
    ),
    "no entry point": assembled("(func)"),
    "an entry point with parameters": assembled('(func (export "_start") (param i32))'),
    "too much memory at its start": assembled('(memory 2000) (func (export "_start"))', imports=""),
    "a large table": assembled('(table 1000000 funcref) (func (export "_start"))'),
    "memory of threads": assembled('(memory 1 60000 shared) (func (export "_start"))', imports=""),
    "two memories": assembled('(memory 1) (func (export "_start"))'),
}


@pytest.mark.requirement("calls:wasm-limits")
@pytest.mark.parametrize("which", REFUSED)
async def test_what_cannot_be_run_within_limits_is_refused(library: ModuleLibrary, tmp_path: Path, which: str) -> None:
    (tmp_path / "m.wasm").write_bytes(REFUSED[which])
    transport = Wasm("m.wasm", library)
    try:
        result = await transport.send(Errand(request=request(), context=context()))
    except Unsent as unsent:
        result = unsent.result
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("runtime_policy_invalid", False)


@pytest.mark.requirement("calls:wasm-limits")
async def test_without_wasi_a_module_has_its_streams_and_no_clock(library: ModuleLibrary, tmp_path: Path) -> None:
    module = printing(json.dumps(OK).encode())
    assert (await called(library, tmp_path, module, ModuleLimits(wasi=False))).content == "sunny"
    clock = '(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))'
    asking = assembled('(func (export "_start"))', imports=clock)
    assert "printed nothing" in (await called(library, tmp_path, asking)).content
    refused = await called(library, tmp_path, asking, ModuleLimits(wasi=False))
    assert "clock_time_get" in refused.content


@pytest.mark.requirement("calls:wasm-limits")
async def test_a_cancelled_module_ends_at_once_and_the_loop_never_waits(library: ModuleLibrary, tmp_path: Path) -> None:
    (tmp_path / "m.wasm").write_bytes(ENDS["an endless loop"][0])
    transport = Wasm("m.wasm", library, limits=ModuleLimits(fuel=1 << 50))
    errand = Errand(request=request(), context=context())
    tasks = [asyncio.ensure_future(transport.send(errand)) for _ in range(12)]  # more than there are threads
    await until(lambda: library.running == 12)
    began = time.monotonic()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await until(lambda: not library.running)
    assert time.monotonic() - began < 5
    assert all(task.cancelled() for task in tasks)
    assert (await called(library, tmp_path, printing(json.dumps(OK).encode()))).content == "sunny"


@pytest.mark.requirement("calls:wasm-limits")
async def test_modules_that_end_in_every_way_at_once_do_not_end_each_other(tmp_path: Path) -> None:
    runner, limits = ModuleRunner(tmp_path / "code"), ModuleLimits(fuel=3_000_000, output=100_000)
    modules = {
        "ok": printing(b"one", "(call $proc_exit (i32.const 0))"),
        "exit": printing(b"one", "(call $proc_exit (i32.const 7))"),
        "trap": printing(b"one", "(unreachable)"),
        "fuel": ENDS["a loop before the start"][0],
        "output": printing(b"x" * 50_000, "(loop (call $print (i32.const 4096) (i32.const 50000)) (br 0))"),
        "refused": REFUSED["a foreign import"],
    }
    wanted = list(modules) * 40
    ends = await asyncio.gather(*(runner.run(modules[each], b"", limits) for each in wanted))
    assert [each.ended for each in ends] == wanted
    runner.close()


@pytest.mark.requirement("calls:wasm-missing")
async def test_without_wasmtime_a_call_says_what_to_install(
    library: ModuleLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(Unsent) as refused:
        await called(library, tmp_path, b"\0asm\1\0\0\0")
    assert refused.value.result.error is not None
    assert refused.value.result.error.code == "isolation_unavailable"
    assert INSTALL in refused.value.result.content


@pytest.mark.requirement("calls:wasm-compiled-once")
async def test_a_module_is_compiled_once_and_anew_where_its_code_is_damaged_or_foreign(tmp_path: Path) -> None:
    module, limits = printing(json.dumps(OK).encode()), ModuleLimits()
    runner = ModuleRunner(tmp_path / "code")
    ends = await asyncio.gather(*(runner.run(module, b"", limits) for _ in range(20)))
    assert [each.ended for each in ends] == ["ok"] * 20
    [code] = (tmp_path / "code").glob("*.cwasm")
    was = code.stat().st_mtime_ns
    runner.close()
    other = ModuleRunner(tmp_path / "code")  # another process would find it, too
    await other.run(module, b"", limits)
    assert code.stat().st_mtime_ns == was
    code.unlink()
    assert (await other.run(module, b"", limits)).ended == "ok"
    other.close()
    code.write_bytes(b"damaged")
    last = ModuleRunner(tmp_path / "code")
    assert (await last.run(module, b"", limits)).ended == "ok"
    (tmp_path / "code").chmod(0o777)
    with pytest.raises(SandboxError, match="written by others"):
        await last.run(echo(), b"", limits)
    last.close()


@pytest.mark.requirement("calls:wasm-limits")
@pytest.mark.parametrize("wrong", [{"fuel": 0}, {"memory": 1 << 40}, {"output": 0}, {"entrypoint": ""}])
def test_limits_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        ModuleLimits(**wrong)  # type: ignore[arg-type]
