"""`holdfast secrets`: values come in and are used; no command ever shows one."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell
from tests.surfaces.test_screen import on_terminal, plain

VALUE = "sesame-open-1"


def place(sh: Shell) -> Path:
    return sh.home / "data" / "holdfast" / "secrets.json"


@pytest.mark.requirement("toolscli:secrets")
def test_a_value_is_kept_from_standard_input_or_a_file_and_never_shown(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    first = sh.run("secrets", "set", "door", given=f"{VALUE}\n")
    assert (first.returncode, "a new key was made" in first.stdout) == (0, True)
    assert f"{place(sh)}.key" in first.stdout.replace("\n", "")
    assert "loses every value" in first.stdout
    (tmp_path / "v").write_text(VALUE)
    second = sh.run("secrets", "set", "team/door:client_id", "--from-file", "v")
    assert "loses every value" not in second.stdout
    third = sh.run("secrets", "set", "door", given=VALUE)
    assert "replaced" in third.stdout
    listed = sh.run("secrets", "list", HOLDFAST_SECRET_OTHER_ONE=VALUE)
    names = {line.split()[0] for line in listed.stdout.splitlines()[:3]}
    assert names == {"door", "team/door:client_id", "other-one"}
    data = json.loads(sh.run("secrets", "list", "-o", "json").stdout)
    assert {each["from"] for each in data["secrets"]} == {"store"}
    for done in (first, second, third, listed):
        assert VALUE not in done.stdout + done.stderr
    assert VALUE.encode() not in place(sh).read_bytes()
    for file in (place(sh), Path(f"{place(sh)}.key")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.requirement("toolscli:secrets")
@pytest.mark.parametrize("words", [("door", VALUE), (f"door={VALUE}",), ("door", f"--value={VALUE}")])
def test_a_value_that_stands_on_the_command_line_all_the_same_is_neither_kept_nor_repeated(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    sh = Shell(tmp_path)
    done = sh.run("secrets", "set", *words)
    assert done.returncode == 2
    assert VALUE not in done.stdout + done.stderr
    assert not place(sh).exists()


@pytest.mark.requirement("toolscli:secrets")
def test_a_value_is_typed_without_being_seen(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    with on_terminal(sh, "secrets", "set", "door") as (terminal, process):
        terminal.until(r"not shown")
        terminal.press(f"{VALUE}\n")
        screen = plain(terminal.rest())
        assert process.wait(BOUND) == 0
    assert VALUE not in screen
    assert "door" in sh.run("secrets", "list").stdout


@pytest.mark.requirement("toolscli:secrets")
def test_a_value_is_used_by_its_name_and_gone_when_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / "using.py").write_text(
        'from holdfast import ToolContext, tool\n\n\n@tool(effect="none")\n'
        'async def use(context: ToolContext) -> str:\n    """Uses it."""\n'
        '    value = await context.secrets.value("door")\n    return f"{len(value)} {value}"\n'
    )
    sh = Shell(tmp_path)
    sh.run("secrets", "set", "door", given=VALUE)
    assert sh.run("tools", "call", "using:use").stdout == f"{len(VALUE)} [REDACTED]\n"
    removed = sh.run("secrets", "remove", "door")
    assert (removed.returncode, "door" in removed.stdout) == (0, True)
    gone = sh.run("tools", "call", "using:use")
    assert (gone.returncode, "holdfast secrets set door" in gone.stderr) == (1, True)
    assert sh.run("secrets", "remove", "door").returncode == 1


@pytest.mark.requirement("toolscli:secrets")
def test_a_value_too_short_to_be_hidden_is_kept_with_a_warning_and_a_name_that_is_not_there_is_guessed(
    tmp_path: Path,
) -> None:
    sh = Shell(tmp_path)
    assert "taken out of no text" in sh.run("secrets", "set", "door", given="abcde").stdout
    assert "taken out of no text" not in sh.run("secrets", "set", "door", given="abcdef").stdout
    wrong = sh.run("secrets", "remove", "dor")
    assert (wrong.returncode, "did you mean 'door'?" in wrong.stderr) == (1, True), wrong.stderr
    other = sh.run("secrets", "remove", "entirely-different")
    assert (other.returncode, "holdfast secrets list" in other.stderr) == (1, True), other.stderr


@pytest.mark.requirement("toolscli:secrets")
def test_what_cannot_be_kept_says_why(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    for arguments, given, said in (
        (("a b",), "x", "no name of a secret"),
        (("door",), "", "give 'door' one"),
        (("door", "--from-file", "none"), "", "No such file"),
        (("door", "--from-file", "raw"), "", "no text"),
        (("door", "--from-file", "large"), "", "bytes at most"),
        (("door", VALUE), "", "only the name"),
    ):
        done = sh.run("secrets", "set", *arguments, given=given)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not place(sh).exists()
    hidden = {"PYTHONPATH": str(tmp_path / "without")}
    (tmp_path / "without" / "cryptography").mkdir(parents=True)
    (tmp_path / "without" / "cryptography" / "__init__.py").write_text("raise ImportError\n")
    missing = sh.run("secrets", "set", "door", given=VALUE, **hidden)
    assert (missing.returncode, "holdfast[secrets]" in missing.stderr) == (2, True), missing.stderr
    sh.run("secrets", "set", "door", given=VALUE)
    Path(f"{place(sh)}.key").unlink()
    lost = sh.run("secrets", "set", "other", given=VALUE)
    assert (lost.returncode, "there is no key" in lost.stderr) == (2, True), lost.stderr
