"""Every way to use the command line wrongly ends in one line that says what to do, never in a traceback."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest
from tests.durability.journal_files import made, remount, small_disk
from tests.surfaces.commands import Shell

TABLE = {
    "no job": (("run",), 2, "usage", 'write it behind the command, as in holdfast run "'),
    "blank job": (("run", "  "), 2, "usage", "write it behind the command"),
    "no folder": (("run", "x", "-w", "nowhere"), 2, "usage", "make it first, or name another with --workspace"),
    "no provider": (("run", "x", "-m", "nosuch/x"), 2, "unknown_model", "'openai', 'openai-responses', 'anthropic', "),
    "no slash": (("run", "x", "-m", "gpt"), 2, "unknown_model", "did you mean 'openai/gpt-5', "),
    "no price": (
        ("run", "x", "-m", "openai/strange", "--max-dollars", "1"),
        2,
        "unknown_price",
        "limit tokens instead, or give the price",
    ),
    "no such store": (("run", "x", "--store", "foo://x"), 2, "usage", "use 'memory:' or 'sqlite:///path/to/file.db'"),
    "a file as a store": (("run", "x", "--store", "shop.db"), 2, "usage", "did you mean 'sqlite:///shop.db'?"),
    "a word as a store": (("runs", "list", "--store", "memory"), 2, "usage", "'memory' names no store"),
    "half a store": (("runs", "list", "--store", "sqlite://x"), 2, "usage", "write 'sqlite:///relative/path.db'"),
    "store is a folder": (("runs", "list", "--store", "sqlite:///."), 1, "storage", "name a file for the database"),
    "store in no place": (
        ("run", "x", "--store", "sqlite:////nowhere/x/y.db"),
        2,
        "usage",
        "make it first, or name another",
    ),
    "bad session": (("run", "x", "-s", "a b"), 2, "usage", "use 1 to 128 letters"),
    "unknown session": (("runs", "show", "nope"), 2, "unknown_session", "`holdfast runs list` shows what there is"),
    "nothing to resume": (("runs", "resume", "nope"), 2, "unknown_session", "`holdfast runs list` shows"),
    "misspelt": (("rnus",), 2, "usage", "did you mean 'runs'?"),
    "no command": (("fly",), 2, "usage", "`holdfast --help` lists what there is"),
    "bad option": (("run", "x", "--fast"), 2, "`holdfast run --help` shows how it is used", "--fast"),
    "bad subcommand": (("runs", "fly"), 2, "`holdfast runs --help` shows how it is used", "fly"),
    "bad number": (("run", "x", "--max-steps", "0"), 2, "`holdfast run --help` shows how it is used", "--max-steps"),
    "bad script": (("stub", "none.yaml"), 2, "`holdfast stub --help` shows how it is used", "check the path"),
}


@pytest.mark.requirement("cli:command-errors-short", "cli:run-failure-exit")
@pytest.mark.parametrize(("arguments", "code", "note", "words"), TABLE.values(), ids=TABLE)
def test_a_wrong_use_is_one_line_that_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], code: int, note: str, words: str
) -> None:
    done = Shell(tmp_path).run(*arguments, OPENAI_API_KEY="k")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error ")
    assert done.stderr.endswith(f" [{note}]\n")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.requirement("cli:command-errors-short")
def test_no_key_is_said_at_once_and_by_the_name_of_its_variable(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("run", "x", "-o", "json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs a key and there is none; set OPENAI_API_KEY" in done.stderr
    assert "[auth]" in done.stderr
    assert "No runs yet" in Shell(tmp_path).run("runs", "list").stdout


@pytest.mark.requirement("cli:connection-refused-in-words")
def test_a_refused_connection_is_said_in_words_with_the_address_once(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: it refuses, and nobody else can get the port
        taken.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = Shell(tmp_path).run("run", "x", OPENAI_BASE_URL=f"{origin}/v1")
    assert (done.returncode, done.stderr) == (1, "")
    said = [line for line in done.stdout.splitlines() if "Connection refused" in line]
    assert said, done.stdout
    for line in said:
        assert line.count(origin.removeprefix("http://")) == 1
        assert "ssl:" not in line
        assert "Errno" not in line
    assert "Connection refused" in done.stdout.partition("✗ failed")[2]


@pytest.mark.requirement("cli:command-errors-short")
def test_a_prompt_that_is_too_long_is_refused_after_that_many_bytes(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("run", given=b"x" * 5_000_000, OPENAI_API_KEY="k")
    assert done.returncode == 2
    assert "put it into a file in the workspace" in done.stderr


@pytest.mark.requirement("cli:store-errors")
async def test_a_file_that_is_no_store_damaged_locked_or_read_only_is_named(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "notes.db").write_text("my notes, which are no database " * 10)
    await made(tmp_path / "torn.db", count=400)
    data = bytearray((tmp_path / "torn.db").read_bytes())
    data[200:-200] = b"\xa5" * (len(data) - 400)
    (tmp_path / "torn.db").write_bytes(data)
    await made(tmp_path / "held.db")
    holder = sqlite3.connect(tmp_path / "held.db", isolation_level=None)
    holder.execute("pragma locking_mode = exclusive")
    holder.execute("begin exclusive")
    for name, code, words in (
        ("notes.db", "storage_damaged", "name another file, or move it away"),
        ("torn.db", "storage_damaged", "torn.db"),
        ("held.db", "storage_locked", "held.db"),
    ):
        done = sh.run("runs", "list", "--store", f"sqlite:///{name}")
        assert done.returncode == 1
        assert done.stderr.endswith(f"[{code}]\n"), done.stderr
        assert words in done.stderr
    holder.close()


@pytest.mark.requirement("cli:store-errors")
async def test_a_read_only_store_is_named(tmp_path: Path) -> None:
    with small_disk("4m") as disk:
        await made(disk / "j.db")
        remount(disk, "ro")
        done = Shell(tmp_path).run("run", "x", "--store", f"sqlite:////{disk / 'j.db'}", OPENAI_API_KEY="k")
        remount(disk, "rw")
    assert done.returncode == 1
    assert done.stderr.endswith("[storage_read_only]\n")
    assert str(disk / "j.db") in done.stderr


def test_help_and_version_need_nothing_and_no_command_is_a_wrong_use(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    for arguments in (("--help",), ("-h",), ("run", "--help"), ("runs", "-h"), ("runs", "show", "-h"), ("demo", "-h")):
        done = sh.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert max(map(len, done.stdout.splitlines())) <= 80
    assert sh.run("--version").stdout.startswith("holdfast ")
    for arguments in ((), ("runs",)):
        assert sh.run(*arguments).returncode == 2
