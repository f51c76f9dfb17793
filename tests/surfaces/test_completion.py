"""Shells complete our command lines: the scripts are run by the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell, shell

from holdfast.testing import Turn

BASH = """
eval "$(holdfast completion bash)"
COMP_WORDS=({words}); COMP_CWORD={at}; COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
_holdfast_completion holdfast "${{COMP_WORDS[$COMP_CWORD]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def in_bash(sh: Shell, *words: str) -> list[str]:
    script = BASH.format(words=" ".join(f"'{word}'" for word in ("holdfast", *words)), at=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=sh.home,
        env=sh.environment,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.requirement("cli:completion")
def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert in_bash(sh, "do") == ["doctor"]
    assert {"run", "runs"} == set(in_bash(sh, "ru"))
    assert {"rewind", "resume"} == set(in_bash(sh, "runs", "re"))
    assert "--max-dollars" in in_bash(sh, "run", "--max")
    assert {"json", "jsonl"} == set(in_bash(sh, "run", "x", "-o", "js"))
    assert {"max_steps", "max_seconds"} == set(in_bash(sh, "config", "set", "max_s"))


@pytest.mark.requirement("cli:completion-sessions")
def test_names_of_sessions_come_from_the_store_and_a_broken_one_gives_none_in_silence(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        for name in ("fix-tests", "fix-docs", "other"):
            sh.run("run", "x", "-s", name)
        assert set(in_bash(sh, "runs", "show", "fix-")) == {"fix-tests", "fix-docs"}
        assert set(in_bash(sh, "runs", "fork", "")) == {"fix-tests", "fix-docs", "other"}
        assert in_bash(sh, "run", "-s", "ot") == ["other"]
        Path(sh.store.removeprefix("sqlite:///")).write_text("broken" * 1000)
        assert in_bash(sh, "runs", "show", "fix-") == []
    (tmp_path / "new").mkdir()
    assert in_bash(Shell(tmp_path / "new"), "runs", "show", "") == []


@pytest.mark.requirement("cli:completion")
@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_other_shells_take_their_script(tmp_path: Path, name: str) -> None:
    sh = Shell(tmp_path)
    script = sh.run("completion", name)
    assert script.returncode == 0
    assert "_HOLDFAST_COMPLETE" in script.stdout
    path = shutil.which(name)
    if path is None:
        return  # what the shell makes of it can be seen only where there is one
    (tmp_path / "script").write_text(script.stdout)
    asked = {
        "zsh": ["-fc", "autoload -U compinit; compinit -u; source ./script; print -r -- $_comps[holdfast]"],
        "fish": ["--no-config", "-c", "source ./script; complete -C 'holdfast do'"],
    }[name]
    done = subprocess.run(
        [path, *asked], cwd=tmp_path, env=sh.environment, capture_output=True, text=True, timeout=BOUND, check=False
    )
    expected = {"zsh": "_holdfast_completion", "fish": "doctor"}[name]
    assert (done.returncode, expected in done.stdout) == (0, True), done


@pytest.mark.requirement("cli:completion")
def test_a_shell_without_a_script_is_refused(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("completion", "tcsh")
    assert (done.returncode, "tcsh" in done.stderr) == (2, True)
