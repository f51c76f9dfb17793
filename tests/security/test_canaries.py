"""A secret that a call is authenticated with is read nowhere but where it is sent: not in any spelling, not a part."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import secrets as randomness
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.archives import exported
from tests.running import MODEL, all_answered, of, scene, seen, soon
from tests.security.canaries.peers import Canaries, tools
from tests.surfaces.commands import environment

from holdfast import Agent, Hooks, ToolContext, ToolFailure, Wait, tool
from holdfast.engine.events import ToolFinished
from holdfast.errors import SecretMissing
from holdfast.runtime.configuring.equipment import STORE, secrets_of
from holdfast.runtime.opening import data_folder
from holdfast.safety.redacting import MARK, Redactor
from holdfast.safety.secrets.port import reference_of
from holdfast.safety.secrets.store import StoredSecrets
from holdfast.sandbox.longrunning.ring import Ring
from holdfast.sandbox.policy.profile import Ceiling, Profile
from holdfast.testing import Call, Turn
from holdfast.tools.hooks.guardrails import AuditTools
from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling, ToolHooks
from holdfast.tools.hooks.programs import ProgramAfter, ProgramBefore
from holdfast.types import ToolResult

PART = 9
"""Characters of a value that tell something."""
KEPT = "import sys; open({path!r}, 'ab').write(sys.stdin.buffer.read())"


def canary() -> str:
    """Returns a value with all that is written in several ways, and nothing that is found by chance."""
    return f'{randomness.token_hex(8)}/é+{randomness.token_hex(8)}"{randomness.token_hex(8)}'


def parts(value: str) -> Iterator[bytes]:
    """Yields what tells of a value: parts of it, in each spelling."""
    for at in range(len(value) - PART + 1):
        part = value[at : at + PART]
        if part.isascii() and part.isalnum():
            yield part.encode()
            yield part.encode().hex().encode()
            for shift in range(3):
                yield base64.b64encode(b"x" * shift + part.encode()).rstrip(b"=")[4 if shift else 0 : -1]


def told(canaries: Canaries, data: bytes) -> list[str]:
    """Returns the names of the secrets of which data tells something."""
    return [name for name, value in canaries.items() if any(part in data for part in parts(value))]


def made() -> Canaries:
    header = f"{randomness.token_hex(12)}/+{randomness.token_hex(12)}"  # what a header may hold
    return {
        "bearer": header,
        "api-key": header[::-1],
        "basic": f"someone:{canary()}",
        "oauth2:client_id": f"client{randomness.token_hex(8)}",
        "oauth2:client_secret": randomness.token_hex(16),
        "program": canary(),
        "module": randomness.token_hex(16),
    }


def hooks(heard: list[str], folder: Path) -> Hooks:
    def before(calling: Calling) -> Ruling:
        return Ruling(context=(f"calling {calling.tool}",))

    def after(calling: Calling, result: ToolResult) -> Finding:
        heard.append(repr(result))
        return Finding(notes=(Note("audit", f"seen/{result.content[:40]}", result.content, (result.content[:40],)),))

    program = [sys.executable, "-c", KEPT.format(path=str(folder / "hook"))]
    return Hooks(tools=ToolHooks(
        before=(before, ProgramBefore(program)), after=(after, AuditTools(), ProgramAfter(program)), seconds=60,
    ))  # fmt: skip


@tool(effect="none")
async def reads_the_environment() -> str:
    """Tells what is there."""
    return json.dumps(dict(os.environ)) + repr(os.environ)


def shown(home: Path, url: str, *words: str) -> bytes:
    """Returns what a command prints."""
    program = Path(sys.executable).parent / "holdfast"
    env = environment(home, HOLDFAST_STORE=url)
    ran = subprocess.run([program, *words], env=env, capture_output=True, check=True, timeout=60)
    assert ran.stdout
    return ran.stdout + ran.stderr


def printed(home: Path, url: str) -> bytes:
    ways = [(), ("-o", "jsonl")]
    return b"".join([shown(home, url, "runs", "show", "s", *way) for way in ways])


@pytest.mark.requirement("safety:secrets-never-shown", "safety:redaction-of-known-values")
async def test_no_secret_is_found_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    canaries, heard, space = made(), list[str](), tmp_path / "space"
    given_ = {name.replace(":", "_").replace("-", "_").upper(): value for name, value in canaries.items()}
    space.mkdir()
    (tmp_path / "kept").mkdir()
    canaries["the key of the model"] = key = f"sk-{randomness.token_hex(24)}"
    url = f"sqlite:///{tmp_path}/kept/s.db"
    own = Profile(backend="none", tools=Ceiling(programs=(sys.executable,)))
    turns: list[Any] = []
    async with (
        scene(
            lambda request: turns[request.answers],
            url=url,
            secrets=given_,
            hooks=hooks(heard, tmp_path),
            seconds=280,
            sandbox=own,
        ) as s,
        AsyncExitStack() as stack,
    ):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        afar = await tools(canaries, tmp_path, stack)
        looks = [
            Call("bash", {"command": "env; cat /proc/self/environ | tr '\\0' '\\n'"}),
            Call("reads_the_environment", {}),
        ]
        turns += [
            Turn(calls=[Call(each.spec.name, {"text": "hi"}) for each in afar]),
            Turn(calls=looks),
            Turn(text="done"),
        ]
        agent = Agent(MODEL, tools=[*afar, "bash", "read", reads_the_environment])
        run = await s.runtime.start(agent, "go", session="s", workspace=space)
        result = await soon(run.result(), 250)
        log = await s.log()
        carried = await exported(s.runtime)
        sent = b"".join(each.body for each in s.server.requests)
    assert (result.status, all_answered(log)) == ("completed", True), result
    finished = {each.call_id: each.result for each in of(ToolFinished, log)}
    wrong = [each.content[:200] for each in finished.values() if each.error and "not called" in each.content]
    assert not wrong, "each call reached the other side"
    assert sum("[RE" in each.content for each in finished.values()) >= len(afar) * 0.9, "and there it was repeated"
    stored = b"".join(each.read_bytes() for each in (tmp_path / "kept").rglob("*") if each.is_file())
    places = {
        "the log": repr(log).encode(),
        "the store": stored,
        "an export": carried,
        "requests to the model": sent,
        "hooks": repr(heard).encode(),
        "hooks' programs": (tmp_path / "hook").read_bytes(),
        "what was logged": repr([(each.getMessage(), each.args) for each in caplog.records]).encode(),
        "the result": repr(result).encode(),
        "the command line": await asyncio.to_thread(printed, tmp_path, url),
    }
    assert {place: names for place, data in places.items() if (names := told(canaries, data))} == {}


@tool(effect="none")
async def fails_with_it(context: ToolContext, how: str) -> str:
    """Fails, and says why."""
    assert context.secrets is not None
    value = await context.secrets.value("bearer")
    match how:
        case "raises":
            raise RuntimeError(f"wrong key {value}") from ValueError(value)
        case "group":
            raise ExceptionGroup(value, [KeyError(value)])
        case "asks":
            return Wait("t", "question", prompt=f"is {value} right?")  # type: ignore[return-value]
        case _:
            raise ToolFailure(value, metadata={value: [value, {"deep": value}]}, code="auth_invalid")


@pytest.mark.requirement("safety:secrets-never-shown")
@pytest.mark.parametrize("how", ["raises", "group", "asks", "fails"])
async def test_no_exception_tells_a_secret(how: str) -> None:
    canaries = {"bearer": canary()}
    turns = [Turn(calls=[Call("fails_with_it", {"how": how})]), Turn(text="done")]
    async with scene(turns, secrets={"BEARER": canaries["bearer"]}) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[fails_with_it]), "go", session="s")
        if how == "asks":
            await soon(seen(run, "tool.waiting"))
        else:
            await soon(run.result())
        log = await s.log()
    assert MARK in repr(log)
    assert told(canaries, repr(log).encode()) == []


@pytest.mark.requirement("safety:redaction-of-known-values")
async def test_a_key_of_a_model_is_a_secret_of_the_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = f"sk-{randomness.token_hex(24)}"
    (tmp_path / "settings").write_text(f"OPENAI={key}\n", "utf-8")
    turns = [Turn(calls=[Call("read", {"path": "settings"})]), Turn(text="done")]
    async with scene(turns) as s:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        run = await s.runtime.start(Agent(MODEL, tools=["read"]), "go", session="s", workspace=tmp_path)
        await soon(run.result())
        (finished,) = of(ToolFinished, await s.log())
    assert f"OPENAI={MARK}" in finished.result.content


@pytest.mark.requirement("safety:redaction-of-known-values")
@given(st.data())
def test_a_value_that_is_printed_in_pieces_is_not_read_in_pieces(data: st.DataObject) -> None:
    value = "opensesame/now"
    other = st.text(st.sampled_from("0123456789 \n"), max_size=12)
    pieces = data.draw(st.lists(st.one_of(other, st.just(value), st.just(value[:5])), max_size=8))
    output, redactor = "".join(pieces).encode(), Redactor([value])
    ring, since, said = Ring(data.draw(st.sampled_from((20, 4096)))), 0, list[str]()
    while output or not ring.closed:
        size = data.draw(st.integers(1, 9))
        ring.feed(output[:size])
        output = output[size:]
        if not output:
            ring.close()
        if ring.closed or data.draw(st.booleans()):
            piece = ring.read(since, data.draw(st.sampled_from((6, 4096))), redactor)
            assert piece.next >= since
            since = piece.next
            said.append(piece.text)
    assert value not in "".join(said)
    for each in said:
        text = each.replace(MARK, "")
        assert all(value[at : at + 6] not in text for at in range(len(value) - 5)), each


@pytest.mark.requirement("safety:redaction-of-known-values")
@given(st.text(st.sampled_from("0123456789 \n"), max_size=60), st.lists(st.integers(1, 9), min_size=1))
def test_what_is_no_secret_is_read_as_it_was_printed(text: str, sizes: list[int]) -> None:
    ring, since, said, left = Ring(), 0, "", text.encode()
    while not ring.closed:
        size = sizes[since % len(sizes)]
        ring.feed(left[:size])
        left = left[size:]
        if not left:
            ring.close()
        piece = ring.read(since, hides=Redactor(["opensesame/now", "123opensesame"]))
        since, said = piece.next, said + piece.text
    assert said == text


@pytest.mark.requirement("safety:redaction-of-known-values")
async def test_a_process_that_prints_a_secret_in_two_pieces_tells_it_to_nobody(tmp_path: Path) -> None:
    value = f"{randomness.token_hex(8)}{randomness.token_hex(8)}"
    command = f"printf before-{value[:20]}; until [ -e go ]; do sleep 0.02; done; printf '{value[20:]}-after'"
    turns = [
        Turn(calls=[Call("learns", {})]),
        Turn(calls=[Call("process", {"action": "start", "name": "p", "command": command})]),
        Turn(calls=[Call("bash", {"command": "touch go"})]),
        Turn(calls=[Call("process", {"action": "read", "name": "p", "since": 7, "wait": 10})]),
        Turn(calls=[Call("process", {"action": "read", "name": "p", "since": 17, "wait": 10})]),
        Turn(text="done"),
    ]

    @tool(effect="none")
    async def learns(context: ToolContext) -> str:
        """Has it looked up."""
        assert context.secrets is not None
        return await context.secrets.value("bearer")

    async with scene(turns, secrets={"BEARER": value}, seconds=30) as s:
        agent = Agent(MODEL, tools=[learns, "bash", "process"])
        await soon((await s.runtime.start(agent, "go", session="s", workspace=tmp_path)).result(), 25)
        first, started, _, whole, rest = [each.result.content for each in of(ToolFinished, await s.log())]
    assert first == MARK
    assert started.startswith("before-\n[running")
    assert whole.startswith(f"{MARK}-after\n")
    assert rest.startswith("-after\n")


@pytest.mark.requirement("safety:secrets-encrypted-at-rest")
def test_a_stored_secret_is_in_no_file_in_any_spelling(tmp_path: Path) -> None:
    canaries = {"bearer": canary(), "team/pair:client_id": canary()}
    store = StoredSecrets(tmp_path / "secrets.json")
    for name, value in canaries.items():
        store.set(reference_of(name), value)
    files = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"team/pair" in files
    assert told(canaries, files) == []


@pytest.mark.requirement("safety:secret-lookup-order")
async def test_the_store_goes_before_the_environment_and_its_names_have_an_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    reference = reference_of("weather-key")
    store = StoredSecrets(data_folder() / STORE)
    store.set(reference, "from the store")
    names = ["weather-key", "WEATHER_KEY", "HOLDFAST_SECRET_WEATHER_KEY"]
    for name in names:
        monkeypatch.setenv(name, f"from {name}")
    found = [await secrets_of(None, Redactor()).value(reference)]
    store.remove(reference)
    for name in names:
        found.append(await secrets_of(None, Redactor()).value(reference))
        monkeypatch.delenv(name)
    assert found == ["from the store", *(f"from {name}" for name in names)]
    with pytest.raises(SecretMissing):
        await secrets_of(None, Redactor()).value(reference)
