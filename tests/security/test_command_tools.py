"""Tools that are programs, in real processes: what they are given, what they see, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import IsolationMissing
from holdfast.safety.redacting import MARK, Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.environment import EnvironmentSecrets
from holdfast.sandbox.backends.choosing import LazyBackend, open_named
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.policy.profile import BackendName, Ceiling, Profile
from holdfast.sandbox.port import Backend
from holdfast.sandbox.workspace import Workspace
from holdfast.testing.conformance.backends.running import alive, until
from holdfast.tools.binding import ToolContext
from holdfast.tools.contract.messages import Asked, Limits, Request
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.rooms import HostRoom, Room, RunRoom
from holdfast.tools.transports.commands.running import Command, EnvFrom
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.port import Errand, Unsent
from holdfast.types import CallId, StreamId, ToolResult, ToolSpec

BACKENDS: tuple[BackendName, ...] = ("native", "bubblewrap", "container", "gvisor")
LISTED = ("printf", "env", "cat", "bash", "pwd")
CANARY = "canary-8151-of-commands"


async def opened(name: BackendName) -> Backend:
    try:
        return await open_named(Profile(backend=name))
    except IsolationMissing as error:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"this machine is to run every backend: {error}")
        pytest.skip(str(error))


@pytest.fixture(params=["host", *BACKENDS])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Room, ToolContext]]:
    if request.param == "host":
        yield HostRoom(), context(tmp_path)
        return
    backend = await opened(request.param)
    yield RunRoom(), context(tmp_path, backend)
    await backend.close()


def context(folder: Path | None = None, backend: Backend | None = None, **environ: str) -> ToolContext:
    return ToolContext(
        call_id=CallId("c"),
        stream=StreamId("local/s"),
        key="k",
        workspace=None if folder is None else Workspace(folder),
        backend=backend,
        secrets=Secrets([EnvironmentSecrets(environ)], Redactor()),
        ceiling=Ceiling(programs=LISTED),
    )


async def sent(tool: Cli | Container, given: ToolContext, most: int = 1 << 20, **arguments: Any) -> ToolResult:
    request = Request(
        request_id="k",
        tool=Asked(name="t"),
        input=arguments,
        input_raw=json.dumps(arguments),
        runtime=Limits(timeout_ms=30_000),
    )
    return await tool.send(Errand(request=request, context=given, most=most))


async def refused(tool: Cli | Container, given: ToolContext, **arguments: Any) -> ToolResult:
    with pytest.raises(Unsent) as error:
        await sent(tool, given, **arguments)
    return error.value.result


def code_of(result: ToolResult) -> str:
    return "" if result.error is None else result.error.code


@pytest.mark.requirement("tools:cli-transport-argv")
async def test_metacharacters_stay_one_argument(place: tuple[Room, ToolContext]) -> None:
    room, given = place
    values = ["$(id >ran)", "`id >ran`", "; id >ran", "a b", "*", "|| id", "\n", "'\"", ">ran", "$HOME", "&", "é👋"]
    args = ("%s\\0", *(f"{{v[{at}]}}" for at in range(len(values))))
    result = await sent(Cli(Command(program="printf", args=args)).within(room), given, v=values)
    assert (result.error, result.content.split("\0")) == (None, [*values, ""])
    assert given.workspace is not None
    assert not list(given.workspace.root.iterdir())


@pytest.mark.requirement("tools:cli-transport-argv")
async def test_no_variable_of_ours_is_there(place: tuple[Room, ToolContext], monkeypatch: pytest.MonkeyPatch) -> None:
    room, given = place
    monkeypatch.setenv("HOLDFAST_CHECK_KEY", CANARY)
    monkeypatch.setenv("BASH_ENV", "/nowhere")
    result = await sent(Cli(Command(program="env", env={"MODE": "x y"})).within(room), given)
    names = {line.partition("=")[0] for line in result.content.splitlines()}
    ours = {"PATH", "LANG", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_", "HOLDFAST_CALL", "MODE"}
    assert CANARY not in result.content
    assert names <= ours, names - ours
    assert "MODE=x y" in result.content


@pytest.mark.requirement("commands:secrets-by-reference")
async def test_a_secret_is_the_programs_alone(place: tuple[Room, ToolContext]) -> None:
    room, given = place
    script = 'echo "$KEY"; echo "$KEY" >&2; exit {code}'
    key = EnvFrom(name="KEY", secret="my-key")
    command = Command(program="bash", args=("-c", script), env_from=(key,))
    holding = context(given.workspace.root if given.workspace else None, given.backend, MY_KEY=CANARY)
    good = await sent(Cli(command, output="both").within(room), holding, code=0)
    assert json.loads(good.content) == {"stdout": f"{MARK}\n", "stderr": f"{MARK}\n"}
    bad = await sent(Cli(command).within(room), holding, code=3)
    assert (code_of(bad), MARK in bad.content, CANARY in str(bad)) == ("execution_failed", True, False)
    assert code_of(await refused(Cli(command).within(room), given, code=0)) == "secret_resolution_failed"


@pytest.mark.requirement("commands:outputs")
async def test_it_reads_its_input_and_its_outputs_are_apart(place: tuple[Room, ToolContext]) -> None:
    room, given = place
    command = Command(program="bash", args=("-c", "cat; echo said >&2"))
    wanted = json.dumps({"text": "é\n"})
    for output, content in (
        ("stdout", wanted),
        ("stderr", "said\n"),
        ("both", json.dumps({"stdout": wanted, "stderr": "said\n"}, separators=(",", ":"))),
    ):
        tool = Cli(command, stdin_from_input=True, output=output).within(room)  # type: ignore[arg-type]
        assert (await sent(tool, given, text="é\n")).content == content
    assert (await sent(Cli(command).within(room), given, text="x")).content == ""


@pytest.mark.requirement("commands:exit-codes")
async def test_an_exit_code_is_a_failure_with_the_end_of_its_errors(place: tuple[Room, ToolContext]) -> None:
    room, given = place
    script = "for i in $(seq 500); do echo line $i; done >&2; echo 'token=hunter2hunter2' >&2; exit {{code}}"
    command = Command(program="bash", args=("-c", script.replace("{{code}}", "{code}")))
    for code, again in ((1, True), (3, True), (127, False)):
        result = await sent(Cli(command).within(room), given, code=code)
        assert result.error is not None
        assert (result.error.code, result.error.retryable) == ("execution_failed", again)
        assert result.metadata["exit_code"] == code
        assert f"exit code {code}: " in result.content
        assert ("line 500" in result.content, "hunter2" in result.content) == (True, False)
        assert len(result.content) < 500


@pytest.mark.requirement("commands:outputs")
@pytest.mark.parametrize("output", ["stdout", "stderr", "both"])
async def test_more_than_is_read_ends_it(place: tuple[Room, ToolContext], output: Any) -> None:
    room, given = place
    mark = f"flood-{secrets.token_hex(6)}"
    way = "" if output == "stdout" else ">&2"
    command = Command(program="bash", args=("-c", f"while :; do echo xxxxxxxxxxxxxxxxxxxxxxxx {way}; done", mark))
    result = await sent(Cli(command, output=output).within(room), given, most=10_000)
    assert (code_of(result), "10,000 bytes" in result.content) == ("execution_failed", True)
    await until(lambda: not alive(mark), "no process of it is left")


@pytest.mark.requirement("commands:working-dir")
async def test_it_begins_in_a_folder_of_the_workspace(place: tuple[Room, ToolContext], tmp_path: Path) -> None:
    room, given = place
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "in").symlink_to("a")
    (tmp_path / "file").write_text("")
    for folder in ("a/b", "in/b"):
        result = await sent(Cli(Command(program="bash", args=("-c", "pwd -P"), working_dir=folder)).within(room), given)
        assert result.content == f"{tmp_path}/a/b\n"
    for folder in ("out", "nowhere", "file"):
        tool = Cli(Command(program="bash", args=("-c", "touch reached"), working_dir=folder)).within(room)
        assert code_of(await refused(tool, given)) in ("permission_denied", "runtime_policy_invalid")
    assert not [each for each in os.walk(tmp_path) if "reached" in each[2]]


@pytest.mark.requirement("tools:cli-transport-argv")
async def test_without_a_sandbox_only_what_is_listed_starts(tmp_path: Path) -> None:
    (tmp_path / "cat").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "cat").chmod(0o755)
    given = context(tmp_path)
    for program, listed in (("cat", ()), ("/usr/bin/cat", ("cat",)), ("./cat", ("cat",)), ("cat ", ("cat",))):
        known = msgspec.structs.replace(given, ceiling=Ceiling(programs=listed))
        assert code_of(await refused(Cli(Command(program=program)).within(HostRoom()), known)) == "permission_denied"
    for name in ("PATH", "LD_PRELOAD", "BASH_ENV", "BASH_FUNC_read", "ENV"):
        tool = Cli(Command(program="cat", env={name: str(tmp_path)})).within(HostRoom())
        assert code_of(await refused(tool, given)) == "permission_denied"
    known = msgspec.structs.replace(given, ceiling=Ceiling(programs=("no-such",)))
    missing = await refused(Cli(Command(program="no-such")).within(HostRoom()), known)
    assert (code_of(missing), "install it" in missing.content) == ("isolation_unavailable", True)
    assert not (tmp_path / "ran").exists()
    assert (await sent(Cli(Command(program="pwd")).within(HostRoom()), context())).error is None


@pytest.mark.requirement("commands:isolation-fails-closed")
async def test_where_no_sandbox_is_nothing_starts(tmp_path: Path) -> None:
    tool = Cli(Command(program="bash", args=("-c", "touch reached")))
    process = await opened("process")
    nowhere = LazyBackend(Profile(backend="native", require=("disk-quota", "own-kernel")))
    given = [context(), context(tmp_path), context(tmp_path, NoIsolation()), context(tmp_path, process)]
    for each in (*given, context(tmp_path, nowhere)):
        result = await refused(tool, each)
        assert code_of(result) == "isolation_unavailable"
        assert "take native" in result.content or "folder" in result.content or "doctor" in result.content
    await process.close()
    await nowhere.close()
    assert not (tmp_path / "reached").exists()


@pytest.mark.requirement("commands:calls-end-whole")
async def test_a_call_that_ends_early_leaves_no_process(place: tuple[Room, ToolContext]) -> None:
    room, given = place
    mark = f"lasting-{secrets.token_hex(6)}"
    script = "(setsid bash -c 'while :; do sleep 0.1; done' $0 &) ; touch begun; while :; do sleep 0.1; done"
    tool = Cli(Command(program="bash", args=("-c", script, mark))).within(room)
    spec = ToolSpec(name="t", description="", parameters={})
    outcome = await Elsewhere(spec, tool, Attempts(timeout=1.5)).run({}, given)
    assert isinstance(outcome, ToolResult)
    assert code_of(outcome) == "timeout"
    assert given.workspace is not None
    (given.workspace.root / "begun").unlink()
    assert not alive(mark)
    task = asyncio.ensure_future(sent(tool, given))
    begun = given.workspace.root / "begun"
    await until(begun.exists, "it begins")
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert not alive(mark)


@pytest.mark.requirement("tools:cli-transport-argv")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=40).filter(lambda text: "\0" not in text and text), max_size=12))
def test_whatever_is_given_arrives_as_it_is(values: list[str]) -> None:
    async def go() -> None:
        inside = Cli(Command(program="printf", args=("%s\\0", *(f"{{v[{n}]!}}" for n in range(12)))))
        with_values = inside.within(HostRoom())
        backend = await NativeSandboxes.open(Profile())
        try:
            for tool, given in ((with_values, context()), (inside, context(Path(FOLDER[0]), backend))):
                result = await sent(tool, given, v=values)
                assert result.content == "".join(f"{each}\0" for each in values) or (
                    not values and result.content == "\0"
                )
        finally:
            await backend.close()

    asyncio.run(go())


FOLDER: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    FOLDER[:] = [str(tmp_path_factory.mktemp("empty"))]


@pytest.mark.requirement("sandbox:default-container-posture")
@pytest.mark.parametrize("name", BACKENDS)
async def test_a_container_has_no_network_no_root_and_limits(name: BackendName, tmp_path: Path) -> None:
    await (await opened(name)).close()
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    script = f"""
import json, os, socket, sys
asked = json.loads(sys.stdin.read())
def tries(act):
    try:
        act()
        return "done"
    except (OSError, MemoryError) as error:
        return type(error).__name__
def much():
    held = [os.fork() for _ in range(200)]
def dial():
    socket.create_connection(("10.0.0.1", 80), 2)
caps = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
found = dict(uid=os.getuid(), caps=caps, dial=tries(dial), ways=sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else [],
    etc=tries(lambda: open("/etc/new", "w")), here=tries(lambda: open("new", "w")), tmp=tries(lambda: open("/tmp/new", "w")),
    file=tries(lambda: open({str(secret)!r})), env=sorted(os.environ))
print(json.dumps(dict(tool_contract_version="v1", request_id=asked["request_id"], status="ok", output=dict(result=found))))
"""  # noqa: E501 - a program
    script = script.replace("{", "{{").replace("}", "}}")
    tool = Container(Command(program="/usr/bin/python3", args=("-I", "-c", script)), backend=name)
    try:
        result = await sent(tool, context())
        assert result.error is None, result.content
        seen = json.loads(result.content)
    finally:
        await tool.close()
    assert seen["uid"] != 0
    assert int(seen["caps"][0], 16) == 0
    assert (seen["dial"], set(seen["ways"]) <= {"lo"}) == ("OSError", True)
    assert seen["etc"] in ("PermissionError", "OSError")
    assert seen["here"] in ("PermissionError", "OSError")
    assert (seen["tmp"], seen["file"]) == ("done", "FileNotFoundError")
    assert not {each for each in seen["env"] if each.startswith(("HOLDFAST_CHECK", "PYTEST"))}


@pytest.mark.requirement("sandbox:default-container-posture")
@pytest.mark.parametrize("name", BACKENDS)
async def test_a_container_is_kept_to_its_limits(name: BackendName) -> None:
    await (await opened(name)).close()
    eats = "x = b'x' * (256 << 20); print(len(x))"
    forks = "for i in $(seq 100); do sleep 5 & done; echo all of them"
    limits = Resources(memory=64 * 1024**2, pids=32)
    for program, args in (("/usr/bin/python3", ("-I", "-c", eats)), ("bash", ("-c", forks))):
        tool = Container(Command(program=program, args=args), resources=limits, backend=name)
        try:
            result = await sent(tool, context())
        finally:
            await tool.close()
        assert code_of(result) == "execution_failed", result.content
