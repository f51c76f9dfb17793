"""Calls out of a snippet: what the host offers is answered, and nothing that a snippet does with it reaches further."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import PathEscape, SandboxError, UsageError
from holdfast.sandbox.snippets.port import SnippetLimits
from holdfast.sandbox.snippets.wasm import WasmInterpreter


async def echo(name: str, arguments: Any) -> Any:
    await asyncio.sleep(0)
    return [name, arguments]


@pytest.mark.requirement("sandbox:snippets-call-out")
async def test_a_call_is_answered_by_the_host(python: WasmInterpreter) -> None:
    value = {"text": "ü\n\0", "list": [1, None, 2.5, True], "deep": {"a": {"b": []}}}
    done = await python.run("[call('echo', inputs), call('none')]", inputs=value, calls=echo)
    assert (done.ended, done.answer) == ("ok", [["echo", value], ["none", None]])


@pytest.mark.requirement("sandbox:snippets-call-out")
async def test_an_error_of_ours_is_an_exception_inside(python: WasmInterpreter) -> None:
    async def refuse(name: str, arguments: Any) -> Any:
        raise PathEscape("no way out")

    code = "try:\n    call('x')\nexcept RuntimeError as error:\n    result = str(error)"
    assert (await python.run(code, calls=refuse)).answer == "no way out"
    done = await python.run("call('x')", calls=refuse)
    assert done.ended == "error"
    assert done.error.endswith("RuntimeError: no way out\n")


@pytest.mark.requirement("sandbox:snippets-call-out")
async def test_any_other_error_of_the_host_ends_the_snippet_and_is_the_hosts(python: WasmInterpreter) -> None:
    reached: list[str] = []

    async def broken(name: str, arguments: Any) -> Any:
        reached.append(name)
        raise LookupError("our bug")

    code = "try:\n    call('a')\nexcept BaseException:\n    call('b')"
    for _ in range(3):
        with pytest.raises(LookupError, match="our bug"):
            await python.run(code, calls=broken)
    assert reached == ["a"] * 3
    assert (await python.run("1", calls=broken)).answer == 1


@pytest.mark.requirement("sandbox:snippets-call-out")
async def test_errors_of_snippets_that_run_at_once_stay_with_their_own(python: WasmInterpreter) -> None:
    async def fail(name: str, arguments: Any) -> Any:
        await asyncio.sleep(0)
        raise LookupError(name)

    async def one(number: int) -> str:
        try:
            done = await python.run(f"call('{number}')" if number % 2 else str(number), calls=fail)
        except LookupError as error:
            return str(error.args[0])
        return str(done.answer)

    async with asyncio.timeout(60):
        assert await asyncio.gather(*(one(n) for n in range(100))) == [str(n) for n in range(100)]


@pytest.mark.requirement("sandbox:snippets-call-out")
async def test_a_call_that_waits_is_cancelled_with_its_snippet(python: WasmInterpreter) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(name: str, arguments: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(20):
        task = asyncio.create_task(python.run("call('x')", calls=wait))
        await begun.wait()
        task.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.requirement("sandbox:snippets-call-out")
@pytest.mark.parametrize(
    "code",
    [
        "import wit_world; wit_world.call('x', 'no JSON')",
        "import wit_world; wit_world.call('x', '[' * 10**5)",
        "import wit_world; wit_world.call('x', '1' * 10**5)",
        "call('x', {1, 2})",
        "call('x', object())",
        "call('x', float('nan'))",
    ],
)
async def test_arguments_that_are_no_json_harm_nobody(python: WasmInterpreter, code: str) -> None:
    done = await python.run(code, calls=echo, limits=SnippetLimits(wall=20))
    assert done.ended in ("ok", "error"), done
    assert (await python.run("1")).answer == 1


@pytest.mark.requirement("sandbox:snippets-answer")
async def test_inputs_that_are_no_json_are_the_callers_mistake(python: WasmInterpreter) -> None:
    with pytest.raises(UsageError, match="must be JSON values"):
        await python.run("1", inputs=object())


@pytest.mark.requirement("sandbox:snippets-built-once")
async def test_code_of_another_processor_is_made_anew_and_another_component_refused(tmp_path: Path) -> None:
    from wasmtime import wat2wasm

    component, told = tmp_path / "component.wasm", list[str]()
    component.write_bytes(bytes(wat2wasm("(component)")))
    for _ in range(2):
        python = WasmInterpreter(tmp_path / "kept", component=component, progress=told.append)
        with pytest.raises(SandboxError, match="is no interpreter for snippets"):
            await python.run("1")
        python.close()
        (code,) = (tmp_path / "kept").glob("*.cwasm")
        whole = code.read_bytes()
        assert whole != b"other machine"
        code.write_bytes(b"other machine")
        code.with_suffix(".sha256").write_text(hashlib.sha256(b"other machine").hexdigest())
    assert len(told) == 2


@pytest.mark.requirement("sandbox:snippets-built-once")
async def test_what_is_no_component_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    component = tmp_path / "component.wasm"
    component.write_bytes(b"no component")
    python = WasmInterpreter(tmp_path / "kept", component=component)
    with pytest.raises(SandboxError, match="cannot be compiled"):
        await python.run("1")
    python.close()
    assert [file.suffix for file in (tmp_path / "kept").iterdir()] == [".lock"]
