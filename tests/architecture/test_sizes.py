"""Nothing grows past what one person reads in one go, and no file has a name that would hold anything."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from tests.architecture.tree import PACKAGE, ROOT, modules, nodes, shown

FILE, FUNCTION, FOLDER, LOOP, CASE = 500, 60, 12, 200, 8
"""Lines, lines, modules, lines, lines: more than that fails."""

LARGER_FILES = {"tests/scenarios/test_http_client.py": 512}
"""Files over the bound and how long they were; these numbers only go down, and no name is added."""

BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager", "service", "services"}
PLACES = [ROOT / name for name in ("src", "tests", "bench", "examples")]


def length(node: ast.stmt | ast.match_case) -> int:
    first = node.lineno if isinstance(node, ast.stmt) else node.pattern.lineno
    last = node if isinstance(node, ast.stmt) else node.body[-1]
    return (last.end_lineno or last.lineno) - first + 1


@pytest.mark.requirement("repo:file-sizes")
def test_no_file_is_too_long_and_the_known_ones_only_shrink() -> None:
    lines = {shown(p): len(p.read_text("utf-8").splitlines()) for place in PLACES for p in modules(place)}
    too_long = {name: n for name, n in lines.items() if n > LARGER_FILES.get(name, FILE)}
    assert not too_long, f"split these by what they are about: {too_long}"
    done = [name for name in LARGER_FILES if lines.get(name, 0) <= FILE]
    assert not done, f"no longer too long, take them off the list: {done}"


@pytest.mark.requirement("repo:file-sizes")
def test_no_folder_holds_too_many_modules() -> None:
    counts = Counter(p.parent for p in modules() if p.name != "__init__.py")
    assert {shown(folder): n for folder, n in counts.items() if n > FOLDER} == {}


@pytest.mark.requirement("repo:file-sizes", "engine:one-loop")
def test_the_loop_stays_a_page_and_each_of_its_cases_a_few_lines() -> None:
    path = PACKAGE / "engine" / "loop.py"
    assert len(path.read_text("utf-8").splitlines()) <= LOOP
    cases = [case for node in nodes(path, ast.Match) for case in node.cases]
    assert cases
    assert [ast.unparse(case.pattern) for case in cases if length(case) > CASE] == []


@pytest.mark.requirement("repo:function-sizes")
def test_no_function_is_too_long_and_the_linter_bounds_their_complexity() -> None:
    long = {
        f"{shown(path)}:{node.name}": length(node)
        for place in PLACES
        for path in modules(place)
        for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
        if length(node) > FUNCTION
    }
    assert long == {}
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert lint["mccabe"]["max-complexity"] <= 10
    assert "C90" in lint["select"]


@pytest.mark.requirement("repo:names-not-vague")
def test_no_module_or_folder_has_a_name_that_would_hold_anything() -> None:
    names = {part for place in PLACES for p in modules(place) for part in Path(shown(p)).with_suffix("").parts}
    assert names & BANNED == set()
