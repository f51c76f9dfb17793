"""Nothing is sent anywhere but where a person said: every connection that a command makes is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import ALLOWED, BOUND, Shell, bash

from holdfast.testing import ScriptedModelServer

WATCHED = """
import json, os, sys

places = os.open(os.environ["PLACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        os.write(places, json.dumps(["asks for", str(arguments[0])]).encode() + b"\\n")
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        os.write(places, json.dumps(["goes to", ":".join(map(str, arguments[1][:2]))]).encode() + b"\\n")

sys.addaudithook(watch)
from holdfast.cli.main import main
sys.argv[0] = "holdfast"
sys.exit(main())
"""
"""The command line in an interpreter that writes down each address it turns to, and each name it looks up."""

QUIET = {
    "help": ("--help",),
    "version": ("--version",),
    "runs": ("runs", "list"),
    "models": ("models", "list"),
    "settings": ("config", "show"),
    "doctor": ("doctor",),
    "budget": ("budget", "show"),
    "a job without a key": ("run", "x"),
}


def places(sh: Shell, *arguments: str) -> tuple[int, list[list[str]]]:
    """Runs a command; returns its exit code and where it turned to."""
    file = sh.home / "places"
    environment = sh.environment | ALLOWED | {"PLACES": str(file)}
    command = [sys.executable, "-c", WATCHED, *arguments]
    done = subprocess.run(command, cwd=sh.home, env=environment, capture_output=True, timeout=BOUND, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.requirement("repo:no-telemetry")
@pytest.mark.parametrize("arguments", QUIET.values(), ids=QUIET)
def test_a_command_that_needs_nobody_turns_to_nobody(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, turned = places(Shell(tmp_path), *arguments)
    assert code in (0, 1), "it is known"
    assert turned == []


@pytest.mark.requirement("repo:no-telemetry")
def test_a_run_turns_to_the_server_of_its_model_and_to_nobody_else(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([bash("echo hi > file"), "done"]) as server:
        code, turned = places(Shell(tmp_path, server), "run", "go", "-m", "openai/gpt-5-mini")
        port = server.port
    assert code == 0
    assert (tmp_path / "file").read_text() == "hi\n"
    assert {place for what, place in turned if what == "goes to"} == {f"127.0.0.1:{port}"}
    assert {name for what, name in turned if what == "asks for"} <= {"127.0.0.1"}
