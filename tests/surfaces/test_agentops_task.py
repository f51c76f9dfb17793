"""`holdfast task` as a process: its result, its events, its exit codes, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.agentops import check_events, check_order
from tests.surfaces.commands import BOUND, bash, deaf, shell
from tests.surfaces.forking import holdfast

from holdfast.testing import Call, Turn

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def write_config(home: Path, **fields: Any) -> Path:
    """Writes a file that asks the scripted server, and returns where it is."""
    path = home / "config.json"
    told = {"providers": [{"name": "openai", "type": "openai"}], "primaryModel": "openai/scripted", **fields}
    path.write_text(json.dumps(told))
    return path


def events_in(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"type"')]


@pytest.mark.requirement("server_agentops:task-result", "server:task-events", "server_agentops:outcomes")
def test_a_task_prints_its_result_and_tells_what_happens_in_the_same_events(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("echo hello"), Turn(text="\nDone it.\nReally.")]) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        done = sh.run("task", "--config", "config.json", AGENT_PROMPT="go", TRACEPARENT=TRACE, AGENT_NAME="smith")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {name: result[name] for name in ("output", "steps", "model", "success", "traceID")} == {
        "output": "\nDone it.\nReally.",
        "steps": 2,
        "model": "openai/scripted",
        "success": True,
        "traceID": TRACE.split("-")[1],
    }
    assert result["inputTokens"] > 0 and result["outputTokens"] > 0
    assert result["outcome"] == {"intent": "noop", "summary": "Done it."}
    events = events_in(done.stderr)
    check_events(events)
    check_order(events)
    assert (events[0]["session_id"], events[0]["prompt"]) == ("smith", "go")
    assert events[0]["trace_id"] == TRACE.split("-")[1]


@pytest.mark.requirement("server_agentops:task-result", "cli:task-mode-result")
def test_in_the_file_long_texts_are_cut_so_that_the_object_stays_whole(tmp_path: Path) -> None:
    long = 'a"\\\n😀' * 3_000
    with shell(tmp_path, [Turn(text=long)]) as sh:
        write_config(tmp_path)
        done = sh.run("task", "--config", "config.json", "--prompt", "go", "--result-file", "r.json", "--events", "e")
    assert json.loads(done.stdout)["output"] == long
    data = (tmp_path / "r.json").read_bytes()
    assert 3_900 < len(data) <= 4_096
    kept = json.loads(data)
    assert kept["success"] is True and kept["steps"] == 1
    assert long.startswith(kept["output"].removesuffix(" [truncated]"))
    check_order(events_in((tmp_path / "e").read_text()))


@pytest.mark.requirement("server_agentops:task-exit-codes", "cli:task-mode-result")
def test_what_fails_says_so_in_the_result_and_in_the_exit_code(tmp_path: Path) -> None:
    with shell(tmp_path, []) as sh:
        write_config(tmp_path)
        for given, code, said in (
            (("--config", "config.json"), 1, "no prompt"),
            (("--config", "none.json", "--prompt", "go"), 2, "cannot be read"),
            (("--config", "config.json", "--prompt", "go"), 1, "script"),
        ):
            done = sh.run("task", *given, "--result-file", "r.json")
            assert done.returncode == code, done.stderr
            result = json.loads(done.stdout)
            assert (result["success"], result["output"]) == (False, "")
            assert said in result["error"], result
            assert json.loads((tmp_path / "r.json").read_text())["error"] == result["error"]
            assert "outcome" not in result


@pytest.mark.requirement("server_agentops:task-exit-codes")
def test_a_task_that_is_told_to_end_says_so_and_goes_on_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    with shell(tmp_path, deaf()) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        sh.environment |= {"AGENT_PROMPT": "go", "AGENT_RUN_NAME": "job-1"}
        with sh.running("task", "--config", "config.json", "--events", "e") as process:
            sh.await_asked(1)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=BOUND)
        assert process.returncode == 143
        assert json.loads(out)["success"] is False
        events = events_in((tmp_path / "e").read_text())
        assert [each["type"] for each in events[-2:]] == ["agent_error", "session_idle"]
        done = sh.run("runs", "list", "-o", "json")
        assert "job-1" in done.stdout


@pytest.mark.requirement("server_agentops:outcomes", "work:outcome-inferred")
@pytest.mark.parametrize(
    ("turns", "more", "wanted"),
    [
        ([Turn(text="x")], {}, {"intent": "noop", "summary": "x"}),
        ([Turn(text="x")], {"GIT_REPO_URL": "u"}, {"intent": "discovery", "summary": "x"}),
        (
            [bash("echo '[main 1234567] one'; echo '[main 2345678] two'"), Turn(text="x")],
            {"GIT_REPO_URL": "u"},
            {"intent": "change", "summary": "x", "artifacts": [{"kind": "commit", "title": "2 commit(s)"}]},
        ),
        (
            [
                Turn(calls=[Call("run_finish", {"intent": "plan", "summary": "s" * 300, "artifacts": []})]),
                Turn(text="x"),
            ],
            {"GIT_REPO_URL": "u"},
            {"intent": "plan", "summary": "s" * 240},
        ),
    ],
)
def test_what_a_task_came_to_is_inferred_and_never_over_what_it_said(
    tmp_path: Path, turns: list[Turn], more: dict[str, str], wanted: dict[str, Any]
) -> None:
    with shell(tmp_path, turns) as sh:
        write_config(tmp_path, builtinTools=["bash", "run_finish"])
        done = sh.run("task", "--config", "config.json", "--prompt", "go", "--events", "e", **more)
    assert json.loads(done.stdout)["outcome"] == wanted, done.stdout


@pytest.mark.requirement("server_agentops:task-result")
def test_a_result_that_nobody_can_read_is_in_the_file_and_events_without_room_are_a_failure(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Done.")]) as sh:
        write_config(tmp_path)
        told = ("task", "--config", "config.json", "--result-file", str(tmp_path / "result"))
        variables = sh.environment | {"AGENT_PROMPT": "go"}
        with (
            Path("/dev/full").open("wb") as full,
            holdfast(told, cwd=tmp_path, env=variables, stdout=full, stderr=subprocess.PIPE) as run,
        ):
            _, complained = run.communicate(timeout=BOUND)
            assert (run.returncode, b"Traceback" in complained) == (0, False)
        assert json.loads((tmp_path / "result").read_text())["success"]
        done = sh.run(*told, "--events", "/dev/full", AGENT_PROMPT="go")
        assert done.returncode == 2
        assert "make room" in json.loads(done.stdout)["error"]
