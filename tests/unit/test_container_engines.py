"""Images as podman and docker run them. Neither works on every machine, so a program in docker's place is looked at:
what it is told, in which order, and with what it can read.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.environment import EnvironmentSecrets
from holdfast.sandbox.policy.profile import Ceiling
from holdfast.testing.conformance.backends.running import until
from holdfast.tools.binding import ToolContext
from holdfast.tools.contract.messages import Asked, Limits, Request
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.running import Command, EnvFrom
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.port import Errand, Unsent
from holdfast.types import CallId, StreamId, ToolResult

pytestmark = pytest.mark.requirement("commands:images-by-an-engine")
DOCKER = """#!/usr/bin/python3
import json, os, sys, time
with open({log!r}, "a") as log:
    log.write(json.dumps(dict(argv=sys.argv[1:], env=dict(os.environ))) + "\\n")
if sys.argv[1] == "create" and os.path.exists({log!r} + ".none"):
    sys.exit("Error: No such image")
if sys.argv[1] == "start":
    if os.path.exists({log!r} + ".hangs"):
        open({log!r} + ".begun", "w").close()
        time.sleep(600)
    asked = json.loads(sys.stdin.read())
    said = dict(tool_contract_version="v1", request_id=asked["request_id"], status="ok")
    print(json.dumps(said | dict(output=dict(result=asked["input"]))))
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = tmp_path / "log"
    (tmp_path / "docker").write_text(DOCKER.format(log=str(log)))
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return log


def told(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


async def sent(tool: Container, ceiling: Ceiling | None = None, **environ: str) -> ToolResult:
    secrets = Secrets([EnvironmentSecrets(environ)], Redactor())
    context = ToolContext(
        call_id=CallId("c"), stream=StreamId("local/s"), key="k", secrets=secrets, ceiling=ceiling or Ceiling()
    )
    request = Request(request_id="k", tool=Asked(name="t"), input={"n": 1}, runtime=Limits(timeout_ms=30_000))
    return await tool.send(Errand(request=request, context=context))


async def test_an_image_is_made_started_and_removed_with_nothing_it_did_not_ask_for(log: Path) -> None:
    command = Command(
        program="tool",
        args=("--n={n}", "{none}"),
        env={"MODE": "fast"},
        env_from=(EnvFrom(name="KEY", secret="my-key"),),
    )
    tool = Container(command, image="registry.example/tool:1.2@sha256:aa")
    result = await sent(tool, MY_KEY="canary-9313-value")
    assert (result.error, json.loads(result.content)) == (None, {"n": 1})
    create, start, remove = told(log)
    name = create["argv"][2]
    assert create["argv"] == [
        *("create", "--name", name, "--label", "holdfast=call", "--interactive", "--pull", "never"),
        *("--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65532:65532"),
        *("--security-opt", "no-new-privileges", "--memory", "134217728", "--memory-swap", "134217728"),
        *("--cpus", "0.5", "--pids-limit", "64", "--tmpfs", "/tmp:rw,nosuid,nodev,noexec,size=67108864"),
        *("--env", "MODE=fast", "--env", "KEY", "--entrypoint", "tool"),
        *("registry.example/tool:1.2@sha256:aa", "--n=1"),
    ]
    assert start["argv"] == ["start", "--attach", "--interactive", name]
    assert remove["argv"] == ["rm", "--force", name]
    assert create["env"]["KEY"] == "canary-9313-value"
    assert "canary-9313-value" not in json.dumps([create["argv"], start, remove])


async def test_limits_and_a_network_are_those_that_were_asked_for_and_allowed(log: Path) -> None:
    wanted = Resources(memory=1 << 30, cpus=2, pids=9, network="bridge")
    tool = Container(Command(), image="tool", resources=wanted)
    with pytest.raises(Unsent, match="network 'bridge'"):
        await sent(tool)
    assert not told(log)
    assert (await sent(tool, ceiling=Ceiling(networks=("none", "bridge")))).error is None
    argv = told(log)[0]["argv"]
    for option, value in (("--network", "bridge"), ("--memory", "1073741824"), ("--cpus", "2"), ("--pids-limit", "9")):
        assert argv[argv.index(option) + 1] == value
    assert argv[-1] == "tool"
    assert "--entrypoint" not in argv


async def test_an_image_that_is_not_here_is_not_started_and_the_answer_says_what_to_do(log: Path) -> None:
    Path(f"{log}.none").touch()  # noqa: ASYNC240 - a moment
    with pytest.raises(Unsent, match=r"No such image; check .*`docker pull tool`") as refused:
        await sent(Container(Command(), image="tool"))
    assert refused.value.result.error is not None
    assert refused.value.result.error.code == "isolation_unavailable"
    assert [each["argv"][0] for each in told(log)] == ["create", "rm"]


async def test_a_call_that_is_cancelled_removes_its_container(log: Path) -> None:
    Path(f"{log}.hangs").touch()  # noqa: ASYNC240 - a moment
    task = asyncio.ensure_future(sent(Container(Command(), image="tool")))
    await until(Path(f"{log}.begun").exists, "it is started")
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    first, *_, last = told(log)
    assert last["argv"] == ["rm", "--force", first["argv"][2]]


async def test_without_an_engine_the_answer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsent, match="install podman, or docker"):
        await sent(Container(Command(), image="tool"))


@pytest.mark.parametrize("name", ["PATH", "DOCKER_HOST", "LD_PRELOAD", "HOME"])
async def test_no_secret_steers_the_engine(log: Path, name: str) -> None:
    tool = Container(Command(env_from=(EnvFrom(name=name, secret="my-key"),)), image="tool")
    with pytest.raises(Unsent, match="choose another"):
        await sent(tool, MY_KEY="canary-9313-value")
    assert not told(log)


async def test_nothing_of_our_environment_reaches_the_engine_but_where_it_is(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_OTHER_KEY", "canary-9313-value")
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert (await sent(Container(Command(), image="tool"))).error is None
    assert "canary-9313-value" not in json.dumps(told(log))
    assert told(log)[0]["env"]["DOCKER_CONTEXT"] == os.environ["DOCKER_CONTEXT"]
