"""What a person reads when a request is too large, and when they look at how models do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell

from holdfast import Agent, Runtime
from holdfast.errors import ContextOverflow, RateLimited
from holdfast.models.failures import Origin, failure_of
from holdfast.models.routing.chain import Failover
from holdfast.models.routing.health import Health
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Status
from holdfast.testing.scripts import Canned

PAGE = (
    "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
    "<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>"
)
TOO_LARGE = Turn(raw=Canned(status=413, headers={"content-type": "text/html"}, body=PAGE))


@pytest.mark.requirement("newcomers:too-large")
def test_a_proxys_page_for_a_request_that_is_too_large_says_so_and_what_helps(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([TOO_LARGE]) as server:
        sh = Shell(tmp_path, server)
        done = sh.run("run", "x", "-o", "json")
        told = json.loads(done.stdout)
        assert (done.returncode, told["status"]) == (1, "failed")
        assert len(server.requests) == 1, "it is not asked again"
        checked = json.loads(sh.run("models", "check", "openai/gpt-5", "-o", "json").stdout)["models"][0]
    assert told["reason"].startswith("context_overflow: 'openai/gpt-5-mini': the request is larger than the server, or")
    assert "413 Request Entity Too Large" in told["reason"]
    assert "send fewer or smaller pictures and documents, or raise the bound on requests at http://" in told["reason"]
    assert (checked["error"], checked["key"]) == ("context_overflow", "accepted")


@pytest.mark.requirement("newcomers:too-large")
async def test_a_chain_goes_past_it_to_a_model_with_a_larger_window_alone() -> None:
    turns = {"gpt-5": [TOO_LARGE], "gpt-5-mini": [Turn("no")], "gpt-4.1": [Turn("I take more.")]}
    async with ScriptedModelServer(turns) as server:
        access = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "k"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in access.items():
                patch.setenv(name, value)
            async with Runtime.open("memory:") as runtime:
                run = await runtime.start(Agent("openai/gpt-5,openai/gpt-5-mini,openai/gpt-4.1"), "hi")
                result = await run.result()
        assert result.output == "I take more."
        assert [each.model for each in server.requests] == ["gpt-5", "gpt-4.1"]


ORIGIN = Origin(provider="groq", model="m", url="http://host/v1", key_variable="K", url_variable="U")


@pytest.mark.requirement("newcomers:too-large")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PAGE.encode(), ContextOverflow),
        (b"", ContextOverflow),
        (b"\xff\xfe<h1>no", ContextOverflow),
        (b'{"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}', ContextOverflow),
        (b'{"error": {"code": "rate_limit_exceeded", "type": "tokens", "message": "tokens per minute"}}', RateLimited),
    ],
    ids=("page", "nothing", "no text", "messages", "groq"),
)  # fmt: skip
def test_413_is_an_overflow_whatever_says_it_unless_a_rate_is_what_is_limited(body: bytes, kind: type) -> None:
    assert type(failure_of(ORIGIN, 413, {}, body)) is kind


@pytest.mark.requirement("newcomers:health-shown")
async def test_a_program_that_prints_how_models_do_reads_who_is_benched_for_how_long_and_why() -> None:
    turns = {"a": [Turn("no", fault=Status(status=503, message="too busy"))] * 4, "b": [Turn("I am here.")] * 2}
    clock = FakeClock()
    async with ScriptedModelServer(turns) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_BASE_URL", server.base_url)
            async with Runtime.open("memory:", clock=clock, failover=Failover(tries=1)) as runtime:
                assert str(runtime.health) == repr(runtime.health) == "Health: nothing is known against any model"
                run = await runtime.start(Agent("openai/a,openai/b"), "hi")
                assert (await run.result()).output == "I am here."
                assert str(runtime.health).startswith("Health:\n  openai/a: 1 failure in a row (overloaded: 'openai/a'")
                assert "too busy" in str(runtime.health)
                again = await runtime.start(Agent("openai/a,openai/b"), "again")
                await again.result()
                assert "  openai/a: 2 failures in a row, benched for 30 s yet (overloaded:" in str(runtime.health)
                runtime.health.bench("openai/b")
                assert "\n  openai/b: benched until further notice (by hand)" in str(runtime.health)


@pytest.mark.requirement("newcomers:health-shown")
async def test_many_models_and_odd_words_stay_a_few_plain_lines() -> None:
    clock = FakeClock()
    health = Health(clock, after=2)
    for number in range(1000):
        health.failed(f"p/{number}", "broke\x1b[2J\noff")
    lines = str(health).split("\n")
    assert len(lines) == 22
    assert lines[-1] == "  and 980 more, see Health.snapshot()"
    assert all(line.isprintable() for line in lines)
    quiet = Health(clock, after=2)
    quiet.failed("p/a", wait=12)
    quiet.failed("p/a")
    await clock.advance(31)
    assert str(quiet) == "Health:\n  p/a: 2 failures in a row, its bench is over"
    quiet.failed("p/a", wait=12)
    assert "wants to be left alone for 12 s yet" in str(quiet)
