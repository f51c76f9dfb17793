"""What the agent does on a bus, by a real server of NATS: each event has its subject, and no run waits for it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.agentops import check_events, check_order
from tests.door import Door, door, events_of
from tests.nats import free_port, heard_by, nats_server, way_to
from tests.running import MODEL, soon, until
from tests.surfaces.commands import BOUND, bash, shell
from tests.surfaces.test_agentops_daemon import daemon
from tests.surfaces.test_agentops_routes import Gate, look
from tests.surfaces.test_agentops_task import write_config
from tests.surfaces.test_agentops_watching import GATED, LOOKS, words

from holdfast import Agent
from holdfast.errors import UsageError
from holdfast.net.nats import Nats, is_token
from holdfast.server.doors.agentops.publishing import Bus, on_bus
from holdfast.testing import Call, Turn
from holdfast.types import Control

PREFIX = "agents.prod.coder.fep."


@asynccontextmanager
async def telling(d: Door, port: int, **more: Any) -> AsyncGenerator[Bus]:
    """Has what the door's agent does told on the bus."""
    async with on_bus(f"nats://127.0.0.1:{port}", "coder", "prod", **more) as bus:
        d.served.service.parts[Bus] = bus
        yield bus


@pytest.mark.requirement("observe:bus-events")
async def test_each_event_is_on_the_bus_under_its_subject_whatever_door_the_prompt_came_by() -> None:
    calls = Turn("Let me look.", calls=[Call("look", {"what": "here"})])
    port = free_port()
    with nats_server(port):
        async with (
            heard_by(port, "agents.*.*.fep.>") as heard,
            door([calls, "All is well.", "Again."], Agent(MODEL, tools=[look])) as d,
            telling(d, port),
        ):
            assert (await d.prompt("go"))[0] == 200  # nobody streams this one
            plain = await soon(heard.until("session_idle"))
            check_events(plain)
            check_order(plain)
            assert plain[0]["prompt"] == "go" and len(plain[0]["context_budget"]) == 11
            assert words(plain) == "Let me look.|All is well.|"
            streamed = await events_of(d, "more")
            told = (await soon(heard.until("session_idle", 2)))[len(plain) :]
        assert [subject for subject, _ in heard.messages] == [PREFIX + each["type"] for each in heard.events()]
        same = {"type", "session_id", "prompt", "delta", "output", "total_usage", "usage", "model", "step_count"}
        assert [_part(each, same) for each in told if each["type"] != "text_delta"] == [
            _part(each, same) for each in streamed if each["type"] != "text_delta"
        ]
        assert words(told) == words(streamed)


def _part(event: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name in names}


@pytest.mark.requirement("observe:bus-events", "server:gate-events-everywhere")
async def test_what_is_asked_about_a_prompt_that_nobody_streams_is_on_the_bus() -> None:
    port = free_port()
    with nats_server(port):
        async with (
            heard_by(port, PREFIX + "permission_*") as none,
            heard_by(port, PREFIX + ">") as heard,
            door([LOOKS, "done"], Agent(MODEL, tools=[look]), policy=GATED, control=Control(patience=60)) as d,
            telling(d, port),
        ):
            asking = asyncio.create_task(d.prompt("go"))
            (*_, gate) = await soon(heard.until("permission_asked"))
            assert (await d.ask("POST", f"/permission/{gate['id']}/reply", json={"response": "once"}))[0] == 200
            assert (await soon(asking))[0] == 200
            events = await soon(heard.until("session_idle"))
            check_events(events)
            check_order(events)
            assert "permission_replied" in [each["type"] for each in events]
            assert none.messages == []  # a star is a whole part of a subject: types are parts of their own


@pytest.mark.requirement("observe:bus-events")
async def test_a_bus_that_is_down_holds_nothing_up_and_has_everything_once_it_is_back() -> None:
    port, by = free_port(), free_port()
    with nats_server(port):
        async with (
            heard_by(port) as heard,
            door(["one", "two", "three"]) as d,
            Nats(f"nats://127.0.0.1:{by}", "test", again=0.02) as nats,
        ):
            bus = d.served.service.parts[Bus] = Bus(nats, "coder", PREFIX)
            assert (await soon(d.prompt("a")))[0] == 200
            await until(lambda: not bus._watched)
            assert not heard.messages
            async with way_to(port, by):
                await soon(heard.until("session_idle"))
                assert (await d.prompt("b"))[0] == 200
                events = await soon(heard.until("session_idle", 2))
                assert _prompts(events) == ["a", "b"]
                check_events(events)
                assert await nats.flush(30)
            assert (await soon(d.prompt("c")))[0] == 200
            async with way_to(port, by):
                events = (await soon(heard.until("session_idle", 3)))[len(events) :]
            assert _prompts(events) == ["c"]
            check_order(events)
            await until(lambda: not bus._watched)


def _prompts(events: list[dict[str, Any]]) -> list[str]:
    return [each["prompt"] for each in events if each["type"] == "agent_start"]


@pytest.mark.requirement("observe:bus-events")
async def test_what_memory_may_not_hold_is_left_out_the_oldest_first_and_counted() -> None:
    port = free_port()
    async with Nats(f"127.0.0.1:{port}", "test", again=0.02, most=2000) as nats:
        for number in range(100):
            nats.publish("a.b", b"%099d" % number)
        nats.publish("a.b", b"x" * 2000)
        assert nats.lost == 92 + 1
        assert not await nats.flush(0.01)
        with nats_server(port):
            async with heard_by(port) as heard:
                assert await nats.flush(30)
                nats.publish("a.b", b"9" * 99)
                assert await nats.flush(30)
                await until(lambda: bool(heard.messages) and heard.messages[-1][1] == b"9" * 99)
        # They were sent before or after the subscription; whatever came is what was newest, in order.
        assert [int(body) for _, body in heard.messages[:-1]] in ([], list(range(92, 100)))


@pytest.mark.requirement("observe:bus-events")
async def test_the_bus_is_logged_in_at_and_what_it_says_no_to_is_tried_again() -> None:
    port = free_port()
    login = ("--user", "ada", "--pass", "p@ss:word")
    with nats_server(port, *login):
        async with heard_by(port, "a", login='{"user":"ada","pass":"p@ss:word"}') as heard:
            async with Nats(f"nats://ada:wrong@127.0.0.1:{port}", "t", again=0.02) as wrong:
                wrong.publish("a", b"1")
                assert not await wrong.flush(0.3)
            urls = f"nats://127.0.0.1:{free_port()},nats://ada:p%40ss%3Aword@127.0.0.1:{port}"
            async with Nats(urls, "t", again=0.02) as right:  # the first of the two is nobody
                right.publish("a", b"2")
                assert await right.flush(30)
            await until(lambda: bool(heard.messages))
            assert heard.messages == [("a", b"2")]


@pytest.mark.requirement("observe:bus-events")
def test_what_names_no_server_or_is_no_part_of_a_subject_is_refused() -> None:
    for url in ("", ",", "http://x", "nats://", "nats://h:port"):
        with pytest.raises(UsageError, match="NATS_URL"):
            Nats(url, "t")
    assert is_token("ns-1") and not any(is_token(each) for each in ("", "a.b", "a b", "*", ">", "é", "a\r\nb"))


@pytest.mark.requirement("observe:bus-events", "server:task-events")
def test_a_task_tells_the_same_on_the_bus(tmp_path: Path) -> None:
    port = free_port()
    with nats_server(port), shell(tmp_path, [bash("echo hello"), Turn(text="done")]) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        sh.environment |= {"NATS_URL": f"nats://127.0.0.1:{port}", "AGENT_NAME": "smith", "AGENT_NAMESPACE": "ns"}

        async def run() -> list[dict[str, Any]]:
            async with heard_by(port, "agents.ns.smith.fep.*") as heard:
                done = await asyncio.to_thread(sh.run, "task", "--config", "config.json", "--prompt", "go")
                assert done.returncode == 0, done.stderr
                events = await soon(heard.until("session_idle"))
                assert [json.dumps(each) for each in events] == [
                    json.dumps(json.loads(line)) for line in done.stderr.splitlines() if line.startswith('{"type"')
                ]
                return events

        events = asyncio.run(run())
        check_events(events)
        check_order(events)
        sh.environment["AGENT_NAMESPACE"] = "a.b"
        done = sh.run("task", "--config", "config.json", "--prompt", "go")
        assert done.returncode == 2 and "AGENT_NAMESPACE" in json.loads(done.stdout)["error"]


@pytest.mark.requirement("observe:bus-events", "server_agentops:daemon-survives")
def test_a_daemon_that_is_killed_or_ended_tells_on_the_bus_how_its_run_goes_on(tmp_path: Path) -> None:
    port, gate = free_port(), "while [ ! -e open ]; do sleep 0.05; done; echo hello"
    with nats_server(port), shell(tmp_path, [bash(gate), Turn(text="done")]) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        sh.environment |= {"NATS_URL": f"nats://127.0.0.1:{port}", "WORKSPACE": str(tmp_path)}

        async def go() -> list[list[dict[str, Any]]]:
            told: list[list[dict[str, Any]]] = []
            for ending in ("kill", "end", "let"):
                async with heard_by(port, "agents.default.default.fep.>") as heard:
                    with daemon(sh) as up:
                        if ending == "kill":
                            connection, _ = await asyncio.to_thread(up.open, "POST", "/prompt/stream", {"prompt": "go"})
                            await soon(heard.until("tool_call"))
                            up.process.kill()  # first: a client that leaves has its run aborted
                            await asyncio.to_thread(up.process.wait, BOUND)
                            connection.close()
                        elif ending == "end":
                            up.process.send_signal(signal.SIGTERM)
                            await soon(heard.until("session_idle"))
                        else:
                            (tmp_path / "open").touch()
                            await soon(heard.until("session_idle"))
                        if ending != "let":
                            await asyncio.to_thread(up.process.wait, BOUND)
                    told.append(heard.events())
            return told

        first, second, third = asyncio.run(go())
    assert first[0]["type"] == "agent_start"
    assert [each["type"] for each in second] == ["agent_error", "session_idle"]
    assert [each["type"] for each in third][-2:] == ["agent_finish", "session_idle"], third
    assert [each["type"] for each in first + third].count("tool_result") == 1
    check_events(first + second + third)


async def test_others_than_the_agents_own_tenant_are_not_told_of() -> None:
    gate = Gate()
    port = free_port()
    async with door([Turn(calls=[Call("hold", {})]), "done"], gate.agent) as d, telling(d, port) as bus:
        other = d.s.runtime.acting_for(tenant="else")
        await other.create("coder")
        bus.watch(other, "else", "coder", 0)  # type: ignore[arg-type]
        assert not bus._watched
