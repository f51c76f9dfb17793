"""A cap that leaves nothing for a model call says whose it is, and how large it would have to be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, shell

from holdfast.testing import Turn

ENOUGH = re.compile(
    r"a call may need ([\d,]+) tokens \(the request ([\d,]+), the answer at least (\d+)\), (\d+) are left"
)


def enough(words: str) -> tuple[int, ...]:
    """Returns what a call may need, its request, its answer, and what is left."""
    found = ENOUGH.search(" ".join(words.split()))
    assert found, words
    return tuple(int(each.replace(",", "")) for each in found.groups())


@pytest.mark.requirement("newcomers:enough-said")
@pytest.mark.parametrize("output", ["text", "quiet", "json"])
def test_a_limit_that_is_too_small_says_what_is_enough_and_that_is_enough(tmp_path: Path, output: str) -> None:
    more = {"text": (), "quiet": ("-q",), "json": ("-o", "json")}[output]
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        done = sh.run("run", "x", "--max-tokens", "600", *more)
        assert done.returncode == 3
        said = json.loads(done.stdout)["advice"] if output == "json" else done.stdout + done.stderr
        whole, request, answer, left = enough(said)
        assert (request + answer, left, answer) == (whole, 600, 16)
        assert "raise the limit" in said
        assert sh.run("run", "x", "--max-tokens", str(whole - 1)).returncode == 3
        assert sh.run("run", "x", "--max-tokens", str(whole)).returncode == 0


@pytest.mark.requirement("newcomers:enough-said")
def test_a_cap_of_an_account_says_what_is_enough(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("budget", "set", "user", "--tokens", "500")
        said = json.loads(sh.run("run", "x", "-o", "json").stdout)
        assert said["reason"] == "tokens of account local/user"
        whole, *_, left = enough(said["advice"])
        assert left == 500
        sh.run("budget", "set", "user", "--tokens", str(whole))
        assert sh.run("run", "x").returncode == 0


@pytest.mark.requirement("newcomers:enough-said")
def test_dollars_that_are_too_few_are_said_as_dollars(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        said = json.loads(sh.run("run", "x", "--max-dollars", "0.00001", "-o", "json").stdout)["advice"]
        found = re.fullmatch(
            r"a call may need up to \$(\S+) \(the request \$(\S+), the answer at least \$(\S+)\), \$0.000010 are left: "
            r"raise the limit",
            said,
        )
        assert found, said
        assert sh.run("run", "x", "--max-dollars", str(float(found[1]) + 0.000001)).returncode == 0


@pytest.mark.requirement("newcomers:whose-cap")
def test_a_run_between_two_caps_names_the_account_that_has_the_one_it_met(tmp_path: Path) -> None:
    sh: Shell
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("budget", "set", "user", "--dollars", "0.0001", "--per", "15s")
        sh.run("budget", "set", "user/s1", "--tokens", "5")
        said = json.loads(sh.run("run", "x", "-s", "s1", "-o", "json").stdout)
        assert said["reason"] == "tokens of account local/user/s1"
        assert enough(said["advice"])[-1] == 5
        assert said["again_at"] is None, "waiting does not help there"
        other = json.loads(sh.run("run", "x", "-s", "s2", "-o", "json").stdout)
        assert other["reason"] == "dollars of account local/user"
        assert "$0.000100 are left" in other["advice"]
