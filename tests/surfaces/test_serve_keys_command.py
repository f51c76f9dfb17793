"""`holdfast serve keys` and `holdfast serve users`: the store is changed, and what is secret is shown once."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path

import pytest
from tests.governing import guarding
from tests.surfaces.commands import Shell

from holdfast.server.access.settings import AccessSettings

URL = "sqlite:///{}/served.db"


@pytest.mark.requirement("server_access:keys-command")
def test_keys_are_made_listed_rotated_and_revoked_from_the_command_line(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    store = ("--store", URL.format(tmp_path))
    none = sh.run("serve", "keys", "list", *store)
    assert (none.returncode, "No keys yet" in none.stdout) == (0, True) and not (tmp_path / "served.db").exists()
    made = sh.run("serve", "keys", "create", "ada", "--name", "ci", "--expires", "30d", *store)
    text = made.stdout.strip()
    assert made.returncode == 0 and text.startswith("hf_") and "shown this once" in made.stderr
    id_, secret = text.split("_", 2)[1:]
    listed = sh.run("serve", "keys", "list", *store)
    assert id_ in listed.stdout and "writer" in listed.stdout and secret not in listed.stdout
    data = json.loads(sh.run("serve", "keys", "list", "-o", "json", *store).stdout)["keys"]
    assert [(each["id"], each["user"], each["state"]) for each in data] == [(id_, "ada", "active")]
    new = json.loads(sh.run("serve", "keys", "rotate", id_, "-o", "json", *store).stdout)
    assert new["key"] != text and new["key"].startswith(f"hf_{id_}_")

    async def statuses() -> list[int]:
        async with guarding(AccessSettings(), url=URL.format(tmp_path)) as served:
            return [(await served.ask("GET", "/v1/auth/me", key=each))[0] for each in (text, new["key"], "")]

    assert asyncio.run(statuses()) == [200, 200, 401]
    assert sh.run("serve", "keys", "revoke", id_, *store).returncode == 0
    assert asyncio.run(statuses()) == [401, 401, 401]
    missing = sh.run("serve", "keys", "revoke", "0" * 16, *store)
    assert missing.returncode == 2 and "keys list" in missing.stderr
    nobody = sh.run("serve", "keys", "create", "a/b", *store)
    assert nobody.returncode == 2 and "hf_" not in nobody.stdout


@pytest.mark.requirement("server_access:users-command")
def test_users_are_made_listed_given_passwords_and_removed_from_the_command_line(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    store = ("--store", URL.format(tmp_path))
    made = sh.run("serve", "users", "add", "root", "--role", "admin", *store)
    drawn = made.stdout.strip()
    assert made.returncode == 0 and len(drawn) == 29 and "shown this once" in made.stderr
    given = sh.run("serve", "users", "add", "bob", "--password-stdin", *store, given="a long enough one\n")
    assert (given.returncode, given.stdout) == (0, "")
    short = sh.run("serve", "users", "add", "eve", "--password-stdin", *store, given="short\n")
    assert short.returncode == 2 and "12" in short.stderr
    again = sh.run("serve", "users", "add", "bob", *store)
    assert again.returncode == 2 and "Traceback" not in again.stderr
    listed = sh.run("serve", "users", "list", *store).stdout
    assert "root" in listed and "bob" in listed and "argon2" not in listed and drawn not in listed
    reset = json.loads(sh.run("serve", "users", "reset-password", "root", "-o", "json", *store).stdout)

    async def statuses() -> list[int]:
        async with guarding(AccessSettings(), url=URL.format(tmp_path)) as served:
            tried = (("root", drawn), ("root", reset["password"]), ("bob", "a long enough one"))
            bodies = [{"name": name, "password": password} for name, password in tried]
            return [(await served.ask("POST", "/v1/auth/login", body))[0] for body in bodies]

    assert asyncio.run(statuses()) == [401, 200, 200]
    last = sh.run("serve", "users", "remove", "root", *store)
    assert last.returncode == 2 and "last admin" in last.stderr
    assert sh.run("serve", "users", "remove", "bob", *store).returncode == 0
    assert sh.run("serve", "users", "remove", "bob", *store).returncode == 2


@pytest.mark.requirement("server_cli:keys-of-tenants")
def test_hints_name_the_tenant_lists_name_the_others_and_a_new_tenant_is_said_to_be_one(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    store = ("--store", URL.format(tmp_path))
    evil = sh.run("serve", "keys", "create", "eve", "--tenant", "evil", *store)
    assert "the tenant 'evil' is new" in evil.stderr
    hint = next(line.partition("made anew: holdfast ")[2] for line in evil.stderr.splitlines() if "made anew" in line)
    assert "--tenant evil" in hint
    assert sh.run(*shlex.split(hint)).stdout.startswith("hf_")  # as it is pasted
    again = sh.run("serve", "keys", "create", "bob", "--tenant", "evil", *store)
    assert "is new" not in again.stderr
    none = sh.run("serve", "keys", "list", *store).stdout
    assert "No keys yet" in none and "2 keys of others (evil 2): --tenant NAME" in none
    local = sh.run("serve", "keys", "create", "ada", *store)
    assert "is new" not in local.stderr and "--tenant" not in local.stderr
    listed = sh.run("serve", "keys", "list", "--tenant", "evil", *store).stdout
    assert "2 keys of evil" in listed and "1 key of others (local 1)" in listed
    slip = sh.run("serve", "keys", "create", "ada", "--tenant", "evli", *store)
    undo = next(line.partition("slip: holdfast ")[2] for line in slip.stderr.splitlines() if "slip" in line)
    assert sh.run(*shlex.split(undo)).returncode == 0
    assert "evli" not in sh.run("serve", "keys", "list", *store).stdout


@pytest.mark.requirement("server_cli:keys-of-tenants")
def test_a_user_that_is_made_is_said_to_be_what_they_are(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    made = sh.run("serve", "users", "add", "dave", "--role", "admin", "--store", URL.format(tmp_path))
    assert "dave of local is an admin" in made.stderr
    made = sh.run("serve", "users", "add", "erin", "--store", URL.format(tmp_path))
    assert "erin of local is a reader" in made.stderr
