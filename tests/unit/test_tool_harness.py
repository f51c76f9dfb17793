"""The harness for people's tools: against a project as it is scaffolded, and against tools with one thing wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import tool
from holdfast.errors import UsageError
from holdfast.safety.addresses import TRUSTED
from holdfast.tools.contract.fixtures import Fixture, load_fixtures
from holdfast.tools.contract.harness import CHECKS, Report, Target, Unanswered, try_tool
from holdfast.tools.contract.scaffold import scaffold
from holdfast.tools.elsewhere.targets import Endpoint, Served

FIXTURES = (
    Fixture(name="adds", input={"a": 1, "b": 2}, expected_output="3"),
    Fixture(name="wants numbers", input={"a": "x", "b": 2}, expected_status="error", expected_code="invalid_input"),
)


@tool(effect="none")
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool(effect="none")
async def slow() -> str:
    """Takes its time."""
    await asyncio.Event().wait()
    return "never"


def outcomes(report: Report) -> dict[str, str]:
    return {f"{each.group}: {each.check} [{each.fixture}]": each.outcome for each in report.found}


@pytest.mark.requirement("contract:harness")
async def test_a_tool_of_this_program_keeps_every_promise() -> None:
    report = await try_tool(Served(add), FIXTURES)
    assert report.ok, report.failed
    seen = outcomes(report)
    assert seen["contract: refuses a request with a wrong tool.name []"] == "ok"
    assert seen["contract: comes to what is expected [adds]"] == "ok"
    assert seen["isolation: calls at once do not mix []"] == "ok"
    assert seen["auth: lets nobody in without credentials []"] == "not applicable"
    assert {each.group for each in report.found} == {
        "contract", "timeout", "retry", "auth", "policy", "isolation", "observability", "determinism"
    }  # fmt: skip
    assert all(each.why for each in report.found if each.outcome != "ok")


@pytest.mark.requirement("contract:harness")
async def test_a_call_that_takes_too_long_is_left_and_one_that_is_cancelled_is_over() -> None:
    fixtures = [
        Fixture(name="waits", expected_status="error", expected_code="timeout", timeout=0.05),
        Fixture(name="is cancelled", expected_status="error", expected_code="timeout", timeout=0.4, cancel=True),
    ]
    report = await try_tool(Served(slow), fixtures)
    assert report.ok, report.failed
    assert outcomes(report)["timeout: is left when its time is over [waits]"] == "ok"
    assert outcomes(report)["timeout: a cancelled call is over at once [is cancelled]"] == "ok"


Change = Callable[[dict[str, Any], dict[str, Any]], None]


class Wrong(Target):
    """A tool that answers with one thing changed."""

    name = "add"

    def __init__(self, change: Change, *, authenticated: bool = False) -> None:
        self._right = Served(add)
        self._change = change
        self.authenticated = authenticated

    async def ask(self, request: bytes, *, credentials: bool = True) -> bytes:
        said = json.loads(await self._right.ask(request))
        self._change(json.loads(request), said)
        return json.dumps(said).encode()


def field(*path: str, value: Any) -> Change:
    def change(_: dict[str, Any], said: dict[str, Any]) -> None:
        for name in path[:-1]:
            said = said.get(name) or {}
        if said:
            said[path[-1]] = value

    return change


CALLS: list[int] = []


def grows(_: dict[str, Any], said: dict[str, Any]) -> None:
    CALLS.append(1)
    if said["status"] == "ok":
        said["output"] = {"result": str(len(CALLS))}


def takes_anything(_: dict[str, Any], said: dict[str, Any]) -> None:
    said |= {"status": "ok", "error": None}


@pytest.mark.requirement("contract:harness")
@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (field("tool_contract_version", value="v2"), "contract: answers by the contract"),
        (field("request_id", value="another"), "contract: answers by the contract"),
        (field("status", value="success"), "contract: answers by the contract"),
        (field("output", "result", value="4"), "contract: comes to what is expected"),
        (field("error", "code", value="timeout"), "contract: comes to what is expected"),
        (field("error", "reason", value=""), "contract: an error says all of itself"),
        (field("error", "retryable", value=None), "contract: an error says all of itself"),
        (field("error", "details", value={}), "contract: refuses a request with a wrong request_id"),
        (field("usage", "attempt", value=0), "observability: says which attempt it was"),
        (field("usage", "duration_ms", value=99_999), "observability: says how long it took"),
        (field("trace", value={}), "observability: gives the trace back"),
        (grows, "determinism: the same call comes to the same"),
        (takes_anything, "contract: comes to what is expected"),
    ],
)
async def test_what_a_tool_does_wrong_is_found(change: Change, failed: str) -> None:
    report = await try_tool(Wrong(change), FIXTURES)
    assert not report.ok
    assert failed in {f"{each.group}: {each.check}" for each in report.failed}


@pytest.mark.requirement("contract:harness")
async def test_a_tool_that_lets_anybody_in_is_found() -> None:
    report = await try_tool(Wrong(lambda _, said: None, authenticated=True), FIXTURES)
    assert [each.check for each in report.failed] == ["lets nobody in without credentials"]


@pytest.mark.requirement("contract:harness")
async def test_answers_that_are_mixed_up_are_found() -> None:
    last: list[bytes] = []

    class Mixed(Served):  # pyright: ignore[reportGeneralTypeIssues] - a tool with one memory for all calls
        async def ask(self, request: bytes, *, credentials: bool = True) -> bytes:
            last[:] = [request]
            await asyncio.sleep(0)
            said = json.loads(await super().ask(last[0]))
            return json.dumps(said | {"request_id": json.loads(request).get("request_id", "")}).encode()

    report = await try_tool(Mixed(add), FIXTURES)
    assert [each.check for each in report.failed] == ["calls at once do not mix"]


@pytest.mark.requirement("contract:harness")
async def test_a_service_that_is_not_there_fails_and_is_no_error_of_the_harness() -> None:
    target = Endpoint("add", "http://127.0.0.1:1/", TRUSTED)
    report = await try_tool(target, FIXTURES)
    await target.close()
    assert not report.ok
    assert [(each.check, "was not reached" in each.why) for each in report.failed] == [("can be reached", True)]
    assert {each.outcome for each in report.found[1:]} == {"not run"}
    assert isinstance(await target.ask(b"{}"), Unanswered)


class Dies(Served):  # pyright: ignore[reportGeneralTypeIssues] - a service that is gone after some calls
    left = 3

    async def ask(self, request: bytes, *, credentials: bool = True) -> Any:
        self.left -= 1
        return await super().ask(request) if self.left >= 0 else Unanswered("execution_failed", "gone", unreached=True)


@pytest.mark.requirement("contract:harness")
async def test_a_service_that_dies_on_the_way_is_told_of_once_and_what_was_found_before_stays() -> None:
    target = Dies(add)
    report = await try_tool(target, FIXTURES)
    assert target.left == -1, "nothing is asked of it any more"
    assert [each.why for each in report.failed] == ["gone"]
    assert outcomes(report)["contract: comes to what is expected [adds]"] == "ok"
    assert outcomes(report)["isolation: calls at once do not mix []"] == "not run"


class Shut(Served):  # pyright: ignore[reportGeneralTypeIssues] - a service that refuses some calls
    asked = 0

    async def ask(self, request: bytes, *, credentials: bool = True) -> Any:
        self.asked += 1
        shut = json.loads(request).get("input", {}).get("a") != "x"
        return Unanswered("auth_invalid", "who are you?") if shut else await super().ask(request)


@pytest.mark.requirement("contract:harness")
async def test_only_a_service_that_lets_nobody_in_at_first_is_not_tried_any_further() -> None:
    shut = Shut(add)
    report = await try_tool(shut, FIXTURES)
    assert ([each.check for each in report.failed], shut.asked) == (["lets the calls in"], 1)
    later = await try_tool(Shut(add), FIXTURES[::-1])
    assert "not run" not in {each.outcome for each in later.found}
    wanted = [Fixture(name="is shut", expected_status="error", expected_code="auth_invalid"), *FIXTURES[1:]]
    assert "lets the calls in" not in {each.check for each in (await try_tool(Shut(add), wanted)).found}


@pytest.mark.requirement("contract:harness")
async def test_each_check_there_is_can_be_said_not_to_have_been_run() -> None:
    fixtures = [
        *FIXTURES,
        Fixture(name="left", expected_status="error", expected_code="timeout", timeout=0.05, cancel=True),
    ]
    for target in (Served(add), Served(slow), Endpoint("add", "http://127.0.0.1:1/", TRUSTED)):
        report = await try_tool(target, fixtures)
        assert {(each.group, each.check) for each in report.found} <= set(CHECKS)


Start = Callable[..., Awaitable[str]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    running: list[asyncio.subprocess.Process] = []

    async def start(**environ: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "tool.py", "--port", "0", cwd=tmp_path / "shout", stdout=-1, env={**os.environ, **environ}
        )
        running.append(process)
        assert process.stdout is not None
        return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()

    yield start
    for process in running:
        process.kill()
        await process.communicate()


@pytest.mark.requirement("contract:scaffold")
@pytest.mark.parametrize("token", ["", "the-token-of-this-test"])
async def test_what_is_scaffolded_passes_the_harness_as_it_is(tmp_path: Path, start: Start, token: str) -> None:
    files = scaffold(tmp_path / "shout", "shout")
    fixtures = load_fixtures((tmp_path / "shout/fixtures.yaml").read_bytes())
    assert {each.name for each in files} == {"tool.py", "fixtures.yaml", "test_tool.py", "README.md"}
    url = await start(TOOL_TOKEN=token)
    target = Endpoint("shout", url, TRUSTED, {"Authorization": f"Bearer {token}"} if token else None)
    report = await try_tool(target, fixtures)
    await target.close()
    assert report.ok, report.failed
    auth = [each.outcome for each in report.found if each.group == "auth"]
    assert auth == ["ok" if token else "not applicable"]


@pytest.mark.requirement("contract:scaffold")
def test_what_is_scaffolded_passes_its_own_tests_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    scaffold(tmp_path, "shout")
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import sys; sys.path[:0] = ['.']; import unittest; unittest.main('test_tool')",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.requirement("contract:scaffold")
def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=r"README\.md.*nothing was written"):
        scaffold(tmp_path, "shout")
    assert [each.name for each in tmp_path.iterdir()] == ["README.md"]
    for name in ("", "Shout", "a b", "x" * 65, "../up", '"'):
        with pytest.raises(UsageError, match="no name of a tool"):
            scaffold(tmp_path / "other", name)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        scaffold(tmp_path / "file", "shout")


@pytest.mark.requirement("contract:fixtures")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no list"),
        (b"[]", "no fixture"),
        (b"{}", "no list"),
        (b"- nme: x", "unknown field"),
        (b"- name: x\n- name: x", "two fixtures"),
        (b"- name: x\n  timeout: 0", "over 0"),
        (b"- name: x\n  expected_code: timeout", "expects a code"),
        (b"- name: ' '", "no name"),
        (b"- &a {name: x}\n- *a", "aliases"),
        (b"- !!python/object/apply:os.system ['true']", "no list"),
        (b"\xff", "no list"),
        (b"[" * 50_000, "no list"),
        (b"#" * (4 * 1024 * 1024 + 1), "too many"),
    ],
)
def test_fixtures_that_are_none_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        load_fixtures(data)


@pytest.mark.requirement("contract:fixtures")
def test_fixtures_are_read_from_yaml_and_json() -> None:
    yaml = b"- name: adds\n  input: {a: 1, b: 2}\n  expected_output: '3'\n"
    assert load_fixtures(yaml) == load_fixtures(
        json.dumps([{"name": "adds", "input": {"a": 1, "b": 2}, "expected_output": "3"}]).encode()
    )
