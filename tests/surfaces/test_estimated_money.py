"""What a run cost whose provider did not say what it used: every command shows it as the most that it can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell

from holdfast.testing import ScriptedModelServer

pytestmark = pytest.mark.requirement("models:chat-usage-missing")

MISTRAL = "mistral/mistral-large-latest"
"""It says what it used without being asked; the scripted server, which has to be asked, does not."""


def test_every_command_that_shows_money_says_that_it_is_the_most_it_can_be(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread(["hello"]) as server:
        sh = Shell(tmp_path, server)
        sh.environment |= {"MISTRAL_BASE_URL": server.base_url, "MISTRAL_API_KEY": "k"}
        done = sh.run("run", "go", "-m", MISTRAL, "-s", "one", "-o", "json")
        assert json.loads(done.stdout)["usage"]["estimated"] is True
        said = sh.run("run", "go", "-m", MISTRAL, "-s", "two")
        assert "· at most " in said.stdout + said.stderr
        assert "tokens · at most $" in said.stdout + said.stderr
        shown = sh.run("runs", "show", "one").stdout
        assert shown.count("at most $") == 2, "the answer and the run"
        events = [json.loads(line) for line in sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()]
        ends = [event["data"]["usage"] for event in events if event["type"] == "run.finished"]
        assert [each["estimated"] for each in ends] == [True]
        rows = json.loads(sh.run("runs", "list", "-o", "json").stdout)
        assert [row["estimated"] for row in rows] == [True, True]
        assert sh.run("runs", "list").stdout.count("≤$") == 2
        counted = sh.run("run", "go", "-m", "openai/gpt-4o", "-s", "three", "-o", "json")
        assert json.loads(counted.stdout)["usage"]["estimated"] is False
        assert "at most" not in sh.run("runs", "show", "three").stdout
