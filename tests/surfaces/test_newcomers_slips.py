"""What a newcomer gets wrong at the command line, and what the answer is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, bash, shell

from holdfast.cli.doctor import isolation
from holdfast.testing import Turn


def own(home: Path, text: str = "") -> Path:
    path = home / ".config" / "holdfast" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if text:
        path.write_text(text, "utf-8")
    return path


@pytest.mark.requirement("newcomers:providers-checked")
@pytest.mark.parametrize("key", ["model", "model.alias.quick", "model.tier.fast"])
def test_a_model_of_a_provider_that_nobody_knows_is_not_set(tmp_path: Path, key: str) -> None:
    sh, path = Shell(tmp_path), own(tmp_path, "theme: dark\n")
    refused = sh.run("config", "set", key, "openai/gpt-5, opnai/gpt-5:high")
    assert (refused.returncode, path.read_text("utf-8")) == (2, "theme: dark\n")
    assert "no provider goes by the name 'opnai'" in refused.stderr
    assert "did you mean 'openai/gpt-5:high'?" in refused.stderr


@pytest.mark.requirement("newcomers:providers-checked")
def test_a_server_that_is_described_and_a_name_of_ones_own_can_be_set(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    own(tmp_path, 'servers:\n  mine: {wire: chat, url: "https://mine.example/v1", key_variables: [MINE_KEY]}\n')
    assert sh.run("config", "set", "model.alias.quick", "mine/small").returncode == 0
    assert sh.run("config", "set", "model", "quick,mine/large:high").returncode == 0
    assert sh.run("config", "show", "model").stdout == "quick,mine/large:high\n"


@pytest.mark.requirement("newcomers:plain-numbers")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "x", "--max-dollars", "abc"), "'abc' will not do: give a number over 0, as in 2.5"),
        (("run", "x", "--max-dollars", "nan"), "'nan' will not do: give a number over 0, as in 2.5"),
        (("chat", "--max-seconds", "0"), "'0' will not do: give a number over 0, as in 2.5"),
        (("run", "x", "--max-steps", "many"), "'many' will not do: give a whole number from 1"),
        (("runs", "list", "-n", "0"), "'0' will not do: give a whole number from 1"),
        (("models", "check", "--timeout", "601"), "'601' will not do: give a number over 0 and up to 600, as in 2.5"),
        (("stub", "x", "--port", "70000"), "'70000' will not do: give a whole number from 0 to 65,535"),
    ],
)
def test_a_number_that_an_option_does_not_take_is_answered_in_plain_words(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused = Shell(tmp_path).run(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{words} [" in refused.stderr
    assert f"'{arguments[-2].split()[0]}'" in refused.stderr or arguments[-2] in refused.stderr
    assert "range" not in refused.stderr


@pytest.mark.requirement("newcomers:broken-settings")
def test_settings_that_cannot_be_read_are_answered_with_the_line_and_what_to_do(tmp_path: Path) -> None:
    sh, path = Shell(tmp_path), own(tmp_path)
    for text, line in ((b"model: [a\nb: }\n", 2), (b"theme: dark\n# \xff\n", 2), (b"[" * 5000, 1)):
        path.write_bytes(text)
        refused = sh.run("config", "show")
        assert refused.returncode == 2
        assert f"{path}:{line}: it is " in refused.stderr
        assert "with an editor [usage]" in refused.stderr


@pytest.mark.requirement("newcomers:script-over")
def test_a_script_without_more_turns_is_named_as_what_ended_the_run(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("true")]) as sh:
        done = sh.run("run", "go", "-s", "one", "--max-steps", "3", OPENAI_API_KEY="no-such-words")
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "ran out: all it has is 1 turn; " in said
    assert "add a turn, or find out why the client asks again" in said
    assert "status page" not in said


@pytest.mark.requirement("newcomers:short-sessions")
def test_a_session_can_be_named_by_how_its_name_begins(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("echo x > new"), Turn(text="Over.")]) as sh:
        for name in ("alpha-one", "beta"):
            assert sh.run("run", "go", "-s", name).returncode == 0
        whole = sh.run("runs", "show", "alpha-one").stdout
        assert sh.run("runs", "show", "alp").stdout == whole
        assert "holdfast run --session alpha-one" in sh.run("runs", "rewind", "a", "--at", "2").stdout
        assert "  from alpha-one at its end" in sh.run("runs", "fork", "alpha", "--as", "alpha").stdout
        exported = sh.run("runs", "export", "b", "-o", str(tmp_path / "file")).stdout
        assert f"of session beta in {tmp_path / 'file'}" in exported
        assert "alpha-one" in sh.run("runs", "show", "alpha").stdout, "a name that is whole is meant before any other"


@pytest.mark.requirement("newcomers:short-sessions")
def test_a_beginning_of_several_names_is_refused_with_them(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Over.")]) as sh:
        assert sh.run("run", "go", "-s", "job").returncode == 0
        sh.run("runs", "fork", "job", "--as", "work", "--n", "8")
        some = sh.run("runs", "show", "wor")
        assert some.returncode == 2
        assert "'work-1', 'work-2', 'work-3', 'work-4', 'work-5', 'work-6' and 2 more begin so" in some.stderr
        assert "write more of the name [unknown_session]" in some.stderr


@pytest.mark.requirement("newcomers:short-sessions")
@pytest.mark.parametrize("gone", [("delete", "--yes"), ("scrub", "--match", "go", "--yes")])
def test_what_cannot_be_taken_back_takes_the_whole_name(tmp_path: Path, gone: tuple[str, ...]) -> None:
    with shell(tmp_path, [Turn(text="Over.")]) as sh:
        assert sh.run("run", "go", "-s", "job-1").returncode == 0
        before = sh.run("runs", "show", "job-1", "-o", "jsonl").stdout
        refused = sh.run("runs", gone[0], "job", *gone[1:])
        assert (refused.returncode, sh.run("runs", "show", "job-1", "-o", "jsonl").stdout) == (2, before)
        assert "'job-1' begins so: this takes the whole name" in refused.stderr


@pytest.mark.requirement("newcomers:cgroups-told")
def test_the_doctor_says_what_cannot_be_limited_and_what_to_do(tmp_path: Path) -> None:
    for kind in ("memory", "pids"):
        (tmp_path / "old" / kind).mkdir(parents=True)
    (tmp_path / "old" / "pids" / "holdfast").write_text("in the way")
    old = isolation._cgroup(str(tmp_path / "old"))
    assert (old.level, old.found.partition(":")[0]) == ("warning", "limits memory, cpu; not pids")
    place = f"{tmp_path}/old/pids/holdfast"
    assert f"run this as root: mkdir -p {place} && chown " in old.next
    assert "all of them together have none" in old.next

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "cgroup.controllers").write_text("cpu memory pids\n")
    new = isolation._cgroup(str(tmp_path / "new"))
    assert (new.level, new.found.partition(":")[0]) == ("warning", "limits nothing; not memory, cpu, pids")
    assert f"start holdfast as root, or in a container that may write to {tmp_path}/new; " in new.next

    (tmp_path / "none").write_text("no folder")
    assert "mount -t cgroup2" in isolation._cgroup(str(tmp_path / "none")).next


@pytest.mark.requirement("newcomers:embed-help")
def test_the_help_of_embed_shows_what_to_write_and_what_is_spent(tmp_path: Path) -> None:
    told = Shell(tmp_path).run("embed", "--help").stdout
    assert "  holdfast embed rank " in told
    assert "nobody is asked and nothing is spent" in " ".join(told.split())
