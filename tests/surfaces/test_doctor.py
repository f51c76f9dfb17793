"""`holdfast doctor`: what it finds, and what it never shows."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell


@pytest.mark.requirement("cli:doctor")
def test_it_says_what_there_is_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("doctor")
    assert done.returncode == 0, done.stdout
    assert "RUN UNISOLATED" in done.stdout
    assert "✓ SQLite" in done.stdout
    assert sqlite3.sqlite_version in done.stdout
    lines = done.stdout.splitlines()
    missing = next(at for at, line in enumerate(lines) if "no key      OpenAI (OPENAI_API_KEY), " in line)
    assert "→ export OPENAI_API_KEY=" in lines[missing + 1]


@pytest.mark.requirement("cli:doctor")
def test_as_data_every_finding_has_a_level_and_what_is_wrong_a_next_step(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("doctor", "-o", "json", PATH=str(tmp_path))
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (0, True)
    by_name = {each["name"]: each for each in found["findings"]}
    assert {each["level"] for each in found["findings"]} <= {"ok", "warning", "missing", "broken"}
    for name in ("bash", "git", "rg"):
        assert by_name[name]["level"] in ("missing", "warning")
        assert "install" in by_name[name]["next"]
    assert {"commands"} <= set(by_name)
    if sys.platform.startswith("linux"):
        assert {"namespaces", "Landlock", "seccomp", "cgroup", "overlay", "btrfs"} <= set(by_name)


@pytest.mark.requirement("cli:doctor-no-secrets")
def test_keys_and_what_stands_in_addresses_are_never_shown(tmp_path: Path) -> None:
    secret = {
        "OPENAI_API_KEY": "sk-very-secret",
        "ANTHROPIC_API_KEY": "sk-other-secret",
        "OPENAI_BASE_URL": "https://me:pass-secret@models.example.org/v1?key=query-secret",
    }
    for output in ("text", "json"):
        done = Shell(tmp_path).run("doctor", "-o", output, **secret)
        assert "secret" not in done.stdout + done.stderr
        assert "https://models.example.org/v1" in done.stdout


@pytest.mark.requirement("cli:doctor")
def test_a_store_or_a_setting_that_is_broken_ends_it_with_one(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "no.db").write_text("this is no database, only some words in a file" * 100)
    broken = sh.run("doctor", HOLDFAST_STORE=f"sqlite:///{tmp_path}/no.db")
    assert (broken.returncode, "✗ store" in broken.stdout) == (1, True)
    broken = sh.run("doctor", "-o", "json", HOLDFAST_MODE="loose")
    assert (broken.returncode, json.loads(broken.stdout)["ok"]) == (1, False)
    assert not (tmp_path / "data").exists()


@pytest.mark.requirement("cli:doctor")
def test_of_storage_it_looks_only_at_what_a_store_has_on_a_disk_here(tmp_path: Path) -> None:
    for store, kept in (
        ("memory:", {"sandboxes"}),
        ("postgres://host/db", {"snapshots", "sandboxes"}),
        (f"sqlite:///{tmp_path}/a.db", {"log", "snapshots", "sandboxes"}),
    ):
        done = Shell(tmp_path).run("doctor", "-o", "json", HOLDFAST_STORE=store)
        findings = json.loads(done.stdout)["findings"]
        assert {each["name"] for each in findings if each["group"] == "storage"} == kept, store


@pytest.mark.requirement("cli:doctor")
def test_a_token_is_as_good_as_a_key(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("doctor", ANTHROPIC_AUTH_TOKEN="very-secret")
    assert "ANTHROPIC_AUTH_TOKEN is set" in done.stdout
    assert "no model can be asked" not in done.stdout
    assert "secret" not in done.stdout


@pytest.mark.requirement("cli:doctor")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sandboxes are Linux's")
def test_it_says_what_commands_run_in_and_what_is_wrong_with_that_setting(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert "✓ commands    run in native: " in sh.run("doctor", HOLDFAST_SANDBOX="native").stdout
    wrong = sh.run("doctor", HOLDFAST_SANDBOX="paper")
    assert (wrong.returncode, "there is no sandbox 'paper'" in wrong.stdout) == (1, True)
