"""The promises in `tests/requirements` and the tests that prove them name each other, in both directions."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.architecture.tree import nodes

TESTS = Path(__file__).resolve().parents[1]
FOLDER = TESTS / "requirements"
WORD = "[a-z0-9]+(?:-[a-z0-9]+)*"
KEYS = {"met": {"id", "source", "text", "status"}, "gap": {"id", "source", "text", "status", "reason"}}


@cache
def load() -> list[tuple[str, dict[str, str]]]:
    """Returns every entry with the room whose file it stands in."""
    files = sorted(FOLDER.glob("*.toml"))
    return [(f.stem, entry) for f in files for entry in tomllib.loads(f.read_text("utf-8"))["requirement"]]


def with_status(status: str) -> set[str]:
    return {entry["id"] for _, entry in load() if entry.get("status") == status}


def marks_in(calls: Iterable[ast.Call], where: str) -> Iterator[tuple[str, str]]:
    """Yields (id, place) for each id given to a requirement mark, on a test, a parameter or a whole module."""
    for node in calls:
        match node.func:
            case ast.Attribute(attr="requirement", value=ast.Attribute(attr="mark") | ast.Name(id="mark")):
                arguments = node.args
            case _:
                arguments = []
        for argument in arguments:
            known = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            yield ast.literal_eval(argument) if known else ast.unparse(argument), f"{where}:{node.lineno}"


@cache
def named() -> dict[str, str]:
    """Returns every id that a test names, with one place where it does."""
    files = sorted(TESTS.rglob("test_*.py"))
    return {i: p for f in files for i, p in marks_in(nodes(f, ast.Call), f.relative_to(TESTS).as_posix())}


def listed(problems: dict[str, str] | list[str] | set[str]) -> str:
    lines = [f"{i}  ({p})" for i, p in problems.items()] if isinstance(problems, dict) else list(problems)
    return "\n  " + "\n  ".join(sorted(lines))


def test_ids_are_unique_and_begin_with_the_room_of_their_file() -> None:
    ids = [entry["id"] for _, entry in load()]
    assert ids, f"no requirements found in {FOLDER}"
    repeated = [i for i, count in Counter(ids).items() if count > 1]
    assert not repeated, "ids that stand twice; merge the entries:" + listed(repeated)
    misnamed = [entry["id"] for room, entry in load() if not re.fullmatch(f"{room}:{WORD}", entry["id"])]
    assert not misnamed, "ids that are not <room>:<kebab-case-name> of their file:" + listed(misnamed)


def test_entries_are_complete_and_only_gaps_have_a_reason() -> None:
    wrong = {e["id"]: str(sorted(e)) for _, e in load() if set(e) != KEYS.get(e.get("status", ""))}
    assert not wrong, "`met` has id, source, text, status; `gap` has a reason as well:" + listed(wrong)
    empty = [e["id"] for _, e in load() if not all(v.strip() for v in e.values()) or not e["text"].endswith(".")]
    assert not empty, "every field is filled and every text is a sentence with its full stop:" + listed(empty)


@pytest.mark.requirement("repo:requirements-both-ways")
def test_every_id_that_a_test_names_exists() -> None:
    known = with_status("met") | with_status("gap")
    unknown = {i: place for i, place in named().items() if i not in known}
    assert not unknown, "ids without an entry (write them out as strings; add the promise):" + listed(unknown)


@pytest.mark.requirement("repo:requirements-both-ways")
def test_every_promise_that_is_met_is_named_by_a_test() -> None:
    unproven = with_status("met") - set(named())
    assert not unproven, "promises marked `met` that no test names; mark the test or set `gap`:" + listed(unproven)


@pytest.mark.requirement("repo:requirements-both-ways")
def test_no_promise_that_a_test_names_is_still_a_gap() -> None:
    gaps = with_status("gap")
    proven = {i: place for i, place in named().items() if i in gaps}
    assert not proven, "gaps that a test names; set them to `met` and drop the reason:" + listed(proven)


def test_marks_are_found_on_functions_parameters_and_modules() -> None:
    source = """pytestmark = [pytest.mark.requirement("a:module")]
@pytest.mark.requirement("a:one", "a:two")
@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.requirement("a:parameter"))])
def test_it(n): ...
"""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    assert {i for i, _ in marks_in(calls, "x.py")} == {"a:module", "a:one", "a:two", "a:parameter"}
