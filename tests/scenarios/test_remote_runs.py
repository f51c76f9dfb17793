"""Runs with tools that stand elsewhere: everything that holds for a tool holds for them."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.archives import exported
from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Runtime
from holdfast.engine.events import ToolFinished, ToolWaiting, WaitResolved
from holdfast.errors import HoldfastError, UnknownSession, UnknownWait, UsageError
from holdfast.runtime.run import Run
from holdfast.safety.redacting import MARK
from holdfast.sandbox.policy.profile import Ceiling, Profile
from holdfast.testing import Call, Turn
from holdfast.tools.access.profiles import Bearer
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.elsewhere.manifests import loading
from holdfast.tools.transports.callback import Callback
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.running import Command
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Transport
from holdfast.types import Governance, ToolError, stream_id

ONCE = [Turn(calls=[Call("weather", {"city": "Rome"})]), "thanks"]
CANARY = "canary-4471-of-declaring"


def weather(city: str) -> str:
    """Tells the weather."""
    raise AssertionError("it stands elsewhere")


def agent(transport: Transport, **said: Any) -> Agent[Any]:
    return Agent(MODEL, tools=[remote(transport, **said)(weather)])


def read(s: Scene) -> list[str]:
    return [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"]


@pytest.mark.requirement("contract:at-once")
async def test_no_more_calls_run_at_once_than_the_tool_allows() -> None:
    going, most = 0, 0

    async def slow(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        for _ in range(20):
            await asyncio.sleep(0)
        going -= 1
        writer.write(answer(b"fine"))

    script = [Turn(calls=[Call("weather", {"city": str(n)}) for n in range(12)]), "thanks"]
    async with serving(slow) as server, scene(script) as s:
        await soon(
            (await s.runtime.start(agent(Http(server.url, private=True), effect="none", at_once=3), "go")).result()
        )
        assert read(s) == ["fine"] * 12
    assert (most, len(server.requests)) == (3, 12)


@pytest.mark.requirement("declaring:as-any-tool")
async def test_a_call_is_asked_about_authenticated_and_written_down_without_its_secret() -> None:
    async def echoes(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(f"you sent {request.headers['authorization']}".encode()))

    async with serving(echoes) as server, scene(ONCE, secrets={"WEATHER": CANARY}) as s:
        transport = Http(server.url, private=True)
        run = await s.runtime.start(agent(transport, auth=Bearer(secret="weather")), "go", session="s", mode="ask")
        waiting = (await soon(seen(run, "tool.waiting"))).data
        assert isinstance(waiting, ToolWaiting)
        assert (waiting.wait.kind, len(server.requests)) == ("approval", 0)
        await run.approve(waiting.wait.token)
        await soon(run.result())
        assert [each.headers["authorization"] for each in server.requests] == [f"Bearer {CANARY}"]
        assert read(s) == [f"you sent Bearer {MARK}"]
        assert CANARY not in repr(await s.log())


@pytest.mark.requirement("declaring:as-any-tool")
@pytest.mark.parametrize(("effect", "words"), [("none", "nobody can be asked"), ("unsafe", "read-only")])
async def test_a_run_that_only_looks_lets_no_words_out_unasked(effect: Any, words: str) -> None:
    async with serving() as server, scene(ONCE) as s:
        told = agent(Http(server.url, private=True), effect=effect)
        await soon((await s.runtime.start(told, "go", mode="read-only", unattended=True)).result())
        assert not server.requests
        assert words in read(s)[0]


@pytest.mark.requirement("declaring:closed-with-the-runtime")
async def test_connections_end_with_the_last_runtime_that_uses_them() -> None:
    async with serving() as server:
        told = agent(Http(server.url, private=True))
        async with scene([*ONCE, *ONCE]) as s:
            await soon((await s.runtime.start(told, "go")).result())
            async with s.other() as other:
                await soon((await other.start(told, "go")).result())
            assert not server.left.is_set()
        await soon(server.left.wait())
        assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.requirement("declaring:operator")
async def test_nothing_starts_on_the_machine_that_the_operator_did_not_list(tmp_path: Path) -> None:
    command = Command(program="bash", args=("-c", "touch reached; echo sunny"))
    told = agent(Cli(command), isolation="none")
    for programs, words in (((), "may not run without a sandbox"), (("bash",), "sunny")):
        folder = tmp_path / str(len(programs))
        folder.mkdir()
        async with scene(ONCE, sandbox=Profile(backend="none", tools=Ceiling(programs=programs))) as s:
            await soon((await s.runtime.start(told, "go", workspace=folder)).result())
            assert words in read(s)[0]
        assert (folder / "reached").exists() == bool(programs)


@pytest.mark.requirement("declaring:operator")
async def test_no_container_has_more_than_the_operator_allows() -> None:
    wanted = Resources(memory=2 * 1024**3)
    told = agent(Container(Command(program="true"), resources=wanted))
    async with scene(ONCE) as s:
        await soon((await s.runtime.start(told, "go", session="s")).result())
        (finished,) = of(ToolFinished, await s.log())
        assert finished.result.error is not None
        assert finished.result.error.code == "permission_denied"
        assert "memory 2.14748e+09 (at most 1.07374e+09)" in read(s)[0]


@pytest.mark.requirement("declaring:operator")
async def test_a_risky_call_over_the_network_is_not_made_unless_somebody_said_so() -> None:
    risky = Governance(risk="critical")
    for isolation, calls in ((None, 0), ("none", 1)):
        async with serving() as server, scene(ONCE) as s:
            told = agent(Http(server.url, private=True), governance=risky, isolation=isolation)
            await soon((await s.runtime.start(told, "go")).result())
            assert len(server.requests) == calls


async def pending(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer(b"", "202 Accepted"))


async def parked(s: Scene, tool: Tool) -> tuple[Run, str]:
    run = await s.runtime.start(Agent(MODEL, tools=[tool]), "go", session="s")
    waiting = (await soon(seen(run, "tool.waiting"))).data
    assert isinstance(waiting, ToolWaiting)
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    return run, waiting.wait.token


def said(request_id: str, **fields: Any) -> bytes:
    whole = {"tool_contract_version": "v1", "request_id": request_id, "status": "ok", **fields}
    return json.dumps(whole).encode()


FAULT = {"code": "auth_forbidden", "message": "not you"}
BROUGHT: list[tuple[dict[str, Any], ToolError | None, str]] = [
    ({"output": {"result": "sunny"}}, None, "sunny"),
    ({"output": {"result": f"my {CANARY}"}}, None, f"my {MARK}"),
    ({"output": {"result": "x" * 900}}, None, "characters left out"),
    ({"status": "error", "error": FAULT}, ToolError("auth_forbidden", "tool_auth_forbidden"), "not you"),
    (
        {"status": "denied", "error": {"code": "permission_denied", "message": "no"}},
        ToolError("permission_denied", "tool_permission_denied", "denied"),
        "no",
    ),
    ({"tool_contract_version": "v9"}, ToolError("runtime_policy_invalid", "tool_runtime_policy_invalid"), "contract"),
]


@pytest.mark.requirement("declaring:brought")
@pytest.mark.parametrize(("fields", "error", "words"), BROUGHT)
async def test_what_is_brought_counts_once_with_the_error_it_names(
    fields: dict[str, Any], error: ToolError | None, words: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with serving(pending) as server, scene(ONCE, url=url, secrets={"WEATHER": CANARY}) as s:
        transport = Callback(server.url, private=True, brought=True)
        run, token = await parked(s, remote(transport, auth=Bearer(secret="weather"), max_output=300)(weather))
        assert (await s.runtime.bring_answer(token, said(token, **fields))).status == "accepted"
        assert (await s.runtime.bring_answer(token, said(token, output={"result": "rain"}))).status == "duplicate"
        await soon(run.result())
        log = await s.log()
        (resolved,) = of(WaitResolved, log)
        assert (resolved.error, resolved.is_error) == (error, error is not None)
        assert words in read(s)[0]
        assert len(read(s)[0]) < 600
        assert all_answered(log)
        result = (await run.result()).output
    assert result == "thanks"


@pytest.mark.requirement("declaring:brought")
async def test_nothing_but_a_call_that_waits_for_its_tool_is_answered_so(tmp_path: Path) -> None:
    async with serving(pending) as server, scene(ONCE) as s:
        run = await s.runtime.start(agent(Http(server.url, private=True)), "go", session="s", mode="ask")
        waiting = (await soon(seen(run, "tool.waiting"))).data
        assert isinstance(waiting, ToolWaiting)
        for token, error in (
            (waiting.wait.token, UsageError),
            ("", UsageError),
            ("other/s/r/c", UsageError),
            ("local/nobody/r/c", UnknownSession),
            ("local/a b/r/c", UsageError),
            ("x" * 9000, UsageError),
        ):
            with pytest.raises(error):
                await s.runtime.bring_answer(token, said(token, output={"result": "once"}))
        assert [each.answered for each in await s.runtime.waiting("s")] == [False]
        await run.deny(waiting.wait.token)
        await soon(run.result())
        assert not server.requests


@pytest.mark.requirement("declaring:brought")
async def test_a_person_is_not_answered_for_by_a_tool() -> None:
    from holdfast.tools.binding import ToolContext
    from holdfast.tools.declaring import tool
    from holdfast.types import Wait

    @tool(effect="none")
    async def weather(city: str, context: ToolContext) -> Wait:
        return Wait(context.key, "question", prompt="Shall I?")

    async with scene(ONCE) as s:
        run, token = await parked(s, weather)
        with pytest.raises(UnknownWait, match="asked of a person"):
            await s.runtime.bring_answer(token, said(token, output={"result": "yes"}))
        await run.answer(token, "no")
        await soon(run.result())
        assert read(s) == ["no"]


@pytest.mark.requirement("declaring:no-file-of-a-stranger")
async def test_a_session_of_a_stranger_opens_no_file_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tools.yaml"
    spec = {"endpoint": "https://a.example", "input_schema": {}}
    file.write_text(json.dumps({"kind": "Tool", "metadata": {"name": "weather"}, "spec": spec}))
    tools = loading.load_tools(file)
    async with scene([*ONCE, ONCE[0]], url=f"sqlite:///{tmp_path}/one.db") as s:
        over = await s.runtime.start(Agent(MODEL, tools=tools), "go", session="over")
        await soon(over.result())
        run = await s.runtime.start(Agent(MODEL, tools=tools), "go", session="s", mode="ask")
        await soon(seen(run, "tool.waiting"))
        files = [await exported(s.runtime, each) for each in ("s", "over")]
        await run.abort()
        await soon(run.result())

    opened: list[object] = []

    def noted(path: object, _: str) -> bytes:
        opened.append(path)
        return file.read_bytes()

    monkeypatch.setattr(loading, "contents", noted)
    monkeypatch.setattr(loading, "_found", {})
    async with scene(["Hello."] * 4, url=f"sqlite:///{tmp_path}/two.db") as s:
        for n, each in enumerate(files):
            name = f"t{n}"
            await s.runtime.load(io.BytesIO(each), name=name)
            assert await s.runtime.sweep() == 0
            await tried(s.runtime, name)
            await forked(s.runtime, name)
            assert (await soon((await s.runtime.start(Agent(MODEL), "hi", session=name)).result())).output == "Hello."
    assert opened == []
    async with scene(["Hello."] * 9, url=f"sqlite:///{tmp_path}/one.db") as s:
        await forked(s.runtime, "over")  # one's own session does
    assert opened


async def forked(runtime: Runtime, session: str) -> None:
    """Goes on with a session from each of its events."""
    for at in range(1, 8):
        try:
            child = await runtime.fork(session, at=at)
        except HoldfastError:
            continue
        await tried(runtime, child)
        assert await runtime.sweep() == 0


async def tried(runtime: Runtime, session: str) -> None:
    """Has a session gone on with in each way there is without an agent of one's own."""
    for go_on in (runtime.resume, runtime.proceed):
        try:
            run = await go_on(session)
            await soon(run.result())
        except HoldfastError:
            continue


@pytest.mark.requirement("declaring:as-any-tool")
async def test_a_call_that_may_not_happen_twice_is_not_made_again_by_itself() -> None:
    async def fails(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(b"busy", "503 Service Unavailable"))

    for effect, calls in (("unsafe", 1), ("keyed", 3)):
        async with serving(fails) as server, scene(ONCE) as s:
            attempts = Attempts(most=3, backoff=0, max_backoff=0)
            told = agent(Http(server.url, private=True), effect=effect, attempts=attempts)
            await soon((await s.runtime.start(told, "go")).result())
            assert len(server.requests) == calls
            assert len({each.headers["idempotency-key"] for each in server.requests}) == 1
