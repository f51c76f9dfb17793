"""The repository as a whole: what it says, what it depends on, and how it is checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import warnings
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.architecture.tree import ROOT, shown, tracked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TARGETS = ("demo", "test", "check", "bench", "docs", "setup", "campaign", "lock", "clean")

# Written in pieces, so that this file does not say them either.
UNWANTED = [
    "/work/" + "main",
    "/work/" + "shared",
    "/tmp/" + "hf",
    "/ro" + "ot/",
    "py" + "pi.org",
    "python" + "hosted.org",
    "registry." + "npmjs",
    "deb." + "debian.org",
    "proxy." + "golang",
    "co-authored" + "-by",
    "generated" + " with",
    "as an ai" + " ",
    "language model" + " assistant",
]
"""Places of one machine, names of registries, and words about how this was made."""

PERMISSIVE = re.compile(r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC", re.IGNORECASE)
REFUSED = re.compile(r"\bA?L?GPL|General Public|SSPL|BUSL", re.IGNORECASE)


@pytest.mark.requirement("repo:no-machine-words")
def test_no_file_names_a_machine_a_registry_or_how_it_was_made() -> None:
    found: list[str] = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace").lower()
        found += [f"{shown(path)}: {word!r}" for word in UNWANTED if word in text]
    assert found == []


def runtime_dependencies() -> set[str]:
    """Returns what an installation of the core brings along here, directly and indirectly."""
    waiting = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    found: set[str] = set()
    while waiting:
        name = waiting.pop().name.lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed)
    return found


@pytest.mark.requirement("repo:licence")
def test_what_the_core_depends_on_is_permissively_licensed() -> None:
    names = runtime_dependencies()
    assert {"aiohttp", "msgspec", "multidict"} <= names
    for name in names:
        about = metadata.metadata(name)
        said = [*(about.get_all("License-Expression") or []), *(about.get_all("License") or [])]
        said += [each for each in about.get_all("Classifier") or [] if "License" in each]
        words = " ".join(each[:200] for each in said)
        assert PERMISSIVE.search(words), f"{name}: {words!r}"
        assert not REFUSED.search(words), f"{name}: {words!r}"


@pytest.mark.requirement("repo:licence")
def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


@pytest.mark.requirement("repo:lock-matches")
def test_the_lock_pins_every_dependency_with_hashes_and_is_what_is_installed() -> None:
    blocks = re.split(r"^(?=\S)", (ROOT / "requirements.lock").read_text("utf-8"), flags=re.MULTILINE)
    pins = {m[1]: m[2] for block in blocks if (m := re.match(r"([A-Za-z0-9_.-]+)==([^ ;\\\n]+)", block))}
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    wanted = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    wanted += PROJECT["project"]["optional-dependencies"]["demo"] + PROJECT["build-system"]["requires"]
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        assert name in pins, f"{name} is not in requirements.lock: run `make lock`"
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is not {requirement.specifier}"
        if requirement.marker is None or requirement.marker.evaluate():
            assert metadata.version(name) == pins[name], f"{name} differs from the lock: run `make setup`"


@pytest.mark.requirement("repo:make-targets")
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists_is_listed_and_makes_its_own_environment(target: str) -> None:
    lines = (ROOT / "Makefile").read_text("utf-8").splitlines()
    (rule,) = [line for line in lines if line.startswith(f"{target}:")]
    assert "## " in rule
    if target not in ("lock", "clean"):
        assert rule.partition(":")[2].split()[0] == "$(READY)"
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.mark.requirement("repo:ci-runs-tests")
def test_the_continuous_run_is_the_test_target_and_nothing_else() -> None:
    path = ROOT / ".ci" / "run"
    code = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    assert code == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert os.access(path, os.X_OK)


def test_system_packages_are_installed_only_where_they_are_missing_and_we_may(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "system-packages.sh"
    assert os.access(script, os.X_OK)
    said = tmp_path / "said"
    for name, body in {
        "apt-get": f'echo "apt-get $@" >> {said}',
        "id": "echo ${FAKE_ID:-0}",
        "dirname": "true",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def run(**variables: str) -> list[str]:
        said.unlink(missing_ok=True)
        command = ["/bin/sh", str(script)]
        subprocess.run(command, env={"PATH": str(tmp_path), **variables}, check=True, timeout=30)
        return said.read_text().splitlines() if said.exists() else []

    table = script.read_text("utf-8").partition("NEEDED='")[2].partition("'")[0]
    needed = {package: command for _, command, package in map(str.split, table.strip().splitlines())}
    assert needed["strace"] == "strace"
    asked = run(CI="true")
    assert asked[0].startswith("apt-get")
    assert asked[0].endswith("update")
    assert asked[1].endswith(" --no-install-recommends " + " ".join(needed))
    assert run() == []  # a person's machine is a person's
    assert run(CI="true", FAKE_ID="1000") == []  # nor may we
    for name in needed.values():
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert run(CI="true") == []


@pytest.mark.requirement("repo:warnings-are-errors")
def test_a_warning_is_an_error_here() -> None:
    with pytest.raises(UserWarning, match="like this"):
        warnings.warn("like this", stacklevel=1)


@pytest.mark.requirement("repo:style-clean")
def test_formatter_and_linter_find_nothing() -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["format", "--check", "--quiet"], ["check", "--quiet", "--no-fix"]):
        done = subprocess.run([ruff, *command, "."], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.requirement("repo:types-strict")
@pytest.mark.skipif("CI" not in os.environ, reason="`make types` runs it")
def test_the_type_checker_finds_nothing() -> None:
    assert PROJECT["tool"]["pyright"]["typeCheckingMode"] == "strict"
    pyright = Path(sys.executable).with_name("pyright")
    env = {"NODE_OPTIONS": "--max-semi-space-size=64", **os.environ}  # it makes much that is short-lived
    done = subprocess.run([pyright], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout
