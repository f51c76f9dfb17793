"""`holdfast models check`, `models show` and `doctor`: what is said of models, keys and servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.running import soon, until
from tests.surfaces.commands import Shell

from holdfast.cli.doctor.looking import keys
from holdfast.cli.models.checking import _look_at_all
from holdfast.cli.terminal import open_console
from holdfast.models.providers.described.servers import SERVERS
from holdfast.models.providers.table import TABLE
from holdfast.runtime.settings import Settings, load_settings
from holdfast.testing import ScriptedModelServer
from holdfast.testing.faults import Hang, Status
from holdfast.testing.scripts import ScriptRequest, Turn

SECRET = "sk-secret-4711"
SERVER = "servers:\n  gate: {{wire: messages, url: '{url}', key_variables: [GATE_KEY]}}\n"


def by_model(request: ScriptRequest) -> Turn:
    """Plays what the name of the model says."""
    statuses = {"wrong-key": 401, "no-credit": 402, "unknown": 404, "limited": 429, "broken": 500, "odd": 400}
    if request.model in statuses:
        return Turn(fault=Status(status=statuses[request.model], message=f"no, {SECRET}"))
    return Turn("ok", fault=Hang() if request.model == "silent" else None)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    return load_settings(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path)})


async def looked_at(settings: Settings, *names: str, patience: float = 10) -> dict[str, Any]:
    found = await _look_at_all(list(names), settings, patience, open_console(stderr=True, plain=True))
    assert [each.model for each in found] == list(names), "in the order they were asked for"
    return {each.model.partition("/")[2]: each for each in found}


@pytest.mark.requirement("access:models-check")
async def test_each_way_a_model_can_be_is_told_with_what_its_key_may_do_and_the_next_step(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedModelServer(by_model) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        names = ("good", "wrong-key", "no-credit", "unknown", "limited", "broken", "odd")
        found = await looked_at(settings, *(f"openai/{each}" for each in names), "anthropic/m", "nobody/m")
        assert len(server.requests) == 7
    good = found["good"]
    assert (good.ok, good.key, good.key_from, good.error) == (True, "accepted", "OPENAI_API_KEY", "")
    assert 0 < good.first_token_seconds <= good.seconds
    told = {name: (each.error, each.key) for name, each in found.items() if not each.ok}
    assert told == {
        "wrong-key": ("auth", "refused"),
        "no-credit": ("no_credit", "limited"),
        "unknown": ("model_not_found", "refused"),
        "limited": ("rate_limit", "limited"),
        "broken": ("server_error", "unknown"),
        "odd": ("invalid_request", "accepted"),
        "m": ("unknown_model", "unknown"),
    }
    assert all(each.next for name, each in found.items() if name not in ("good", "m"))
    assert SECRET not in repr(found)


@pytest.mark.requirement("access:models-check")
async def test_a_key_that_is_missing_is_said_without_asking(settings: Settings) -> None:
    found = (await looked_at(settings, "anthropic/m"))["m"]
    assert (found.error, found.key, found.key_from) == ("auth", "missing", "")
    assert "set ANTHROPIC_API_KEY" in found.next


@pytest.mark.requirement("access:models-check")
async def test_models_are_asked_several_at_once_and_no_more_and_a_silent_one_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[str] = []

    def silent(request: ScriptRequest) -> Turn:
        came.append(request.model)
        return Turn("ok", fault=Hang())

    async with ScriptedModelServer(silent) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        names = [f"openai/{number}" for number in range(20)]
        asking = asyncio.create_task(looked_at(settings, *names, patience=600))
        await until(lambda: len(came) == 8)
        for _ in range(500):
            await asyncio.sleep(0)
        assert len(came) == 8
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(asking)
        found = (await soon(looked_at(settings, "openai/silent", patience=0.05)))["silent"]
    assert (found.error, found.next) == ("timeout", "give it more with --timeout")


@pytest.mark.requirement("access:models-check")
def test_the_command_says_it_in_words_and_as_data_with_its_exit_code(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread(by_model) as server:
        sh = Shell(tmp_path, server)
        (tmp_path / ".config" / "holdfast").mkdir(parents=True)
        own = SERVER.format(url=server.origin) + "model.alias.both: openai/wrong-key,gate/good\n"
        (tmp_path / ".config" / "holdfast" / "config.yaml").write_text(own + "model: openai/good\n")
        done = sh.run("models", "check", OPENAI_API_KEY=SECRET)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("✓ openai/good  first token after ")
        assert "the key in OPENAI_API_KEY may use this model" in done.stdout
        done = sh.run("models", "check", "both", "openai/good", "-o", "json", OPENAI_API_KEY=SECRET, GATE_KEY=SECRET)
        told = json.loads(done.stdout)
        assert (done.returncode, told["ok"]) == (1, False)
        assert [(each["model"], each["ok"]) for each in told["models"]] == [
            ("openai/wrong-key", False),
            ("gate/good", True),
            ("openai/good", True),
        ]
        assert SECRET not in done.stdout
        assert sh.run("models", "check", "nothing").returncode == 2


@pytest.mark.requirement("access:models-check")
def test_the_command_can_be_interrupted(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread(by_model) as server:
        sh = Shell(tmp_path, server)
        with subprocess.Popen(
            [sys.executable, "-m", "holdfast", "models", "check", "openai/silent", "--timeout", "600"],
            cwd=tmp_path,
            env=sh.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as asking:
            assert server.wait_arrived(1, 60)
            os.kill(asking.pid, signal.SIGINT)
            _, err = asking.communicate(timeout=60)
        assert asking.returncode == 130
        assert b"Traceback" not in err


@pytest.mark.requirement("access:settings-shown")
def test_what_settings_say_of_a_model_is_shown_with_its_place(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("config", "set", "models.openai/gpt-5-mini.input", "9")
    assert done.returncode == 0
    assert "models.openai/gpt-5-mini.output is missing beside input" in done.stderr
    assert sh.run("config", "set", "models.openai/gpt-5-mini.output", "90").stderr == ""
    assert sh.run("config", "set", "models.openai/own.context_window", "1000").returncode == 0
    refused = sh.run("config", "set", "--project", "models.openai/own.context_window", "1")
    assert (refused.returncode, "what models cost" in refused.stderr) == (2, True)
    path = tmp_path / ".config" / "holdfast" / "config.yaml"
    text = sh.run("models", "show", "openai/gpt-5-mini").stdout
    assert "$9 in, $90 out" in text
    assert f"priceofinput:{path}:1" in "".join(text.split()), "lines are broken where the terminal ends"
    card = json.loads(sh.run("models", "show", "openai/own", "-o", "json").stdout)
    assert (card["context_window"], card["price"]) == (1000, None)
    assert card["sources"]["context_window"] == f"{path}:3"
    listed = [each["name"] for each in json.loads(sh.run("models", "list", "openai", "-o", "json").stdout)["models"]]
    assert listed.count("openai/own") == listed.count("openai/gpt-5-mini") == 1


@pytest.mark.requirement("access:doctor-providers")
def test_the_doctor_names_who_has_a_key_and_who_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holdfast").mkdir()
    (tmp_path / "holdfast" / "config.yaml").write_text(SERVER.format(url="http://127.0.0.1:9"))
    env = {
        "GEMINI_API_KEY": SECRET,
        "AWS_PROFILE": "me",
        "OLLAMA_HOST": "box:11434",
        "XDG_CONFIG_HOME": str(tmp_path),
        "GROQ_API_KEY": SECRET,
        "GROQ_BASE_URL": f"https://u:{SECRET}@groq.example/v1",
    }
    found = {each.name: (each.level, each.found) for each in keys(env)}
    assert found["Google"] == ("ok", "GEMINI_API_KEY is set")
    assert found["Amazon Bedrock"] == ("ok", "AWS_PROFILE is set")
    assert found["Groq"][0] == "ok"
    assert found["Ollama"] == ("ok", "OLLAMA_HOST is http://box:11434")
    assert found["gate"] == ("missing", "GATE_KEY is not set")
    level, lacking = found["no key"]
    assert level == "missing"
    assert "OpenAI (OPENAI_API_KEY)" in lacking
    assert "Azure OpenAI (AZURE_OPENAI_API_KEY)" in lacking
    assert "Google" not in lacking
    assert SECRET not in repr(found)
    assert {each.level for each in keys({"XDG_CONFIG_HOME": str(tmp_path / "none")})} == {"missing", "warning"}


def test_the_table_names_every_server_and_every_server_is_in_the_table() -> None:
    assert {each.server for each in TABLE.values() if each.server} == set(SERVERS) - {"openai"}
    for name, row in TABLE.items():
        assert row.described().key_variables, name


@pytest.mark.requirement("access:one-provider-loaded")
def test_a_run_loads_the_one_wire_it_speaks(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from holdfast import Agent, Runtime
known = ("chat", "messages", "gemini", "cohere", "ollama", "responses", "bedrock")
wires = lambda: sorted(each for each in known if f"holdfast.models.wire.{each}.requests" in sys.modules)
import holdfast.runtime.runtime
assert wires() == [], wires()
async def main():
    async with Runtime.open("memory:", sandbox="none") as runtime:
        run = await runtime.start(Agent("anthropic/m"), "hi")
        print((await run.result()).output, wires())
asyncio.run(main())
"""
    with ScriptedModelServer.in_thread([Turn("hello")]) as server:
        env = Shell(tmp_path).environment | {"ANTHROPIC_BASE_URL": server.origin}
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=30, check=False
        )
    assert (done.stdout, done.stderr) == ("hello ['messages']\n", "")
