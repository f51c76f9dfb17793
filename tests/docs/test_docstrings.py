"""Examples in docstrings run as well, with the same model behind them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.fences import Fence, fences
from tests.docs.playing import ROOT, Page

SOURCES = sorted((ROOT / "src" / "holdfast").rglob("*.py"))
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def examples(file: Path) -> Iterator[Fence]:
    name = file.relative_to(ROOT).as_posix()
    source = file.read_text("utf-8")
    for node in ast.walk(ast.parse(source)) if "```" in source else ():
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)) and "```" in text:
            yield from fences(text, f"{name}:{getattr(node, 'name', 'module')}")


FOUND = [fence for file in SOURCES for fence in examples(file)]


def test_there_are_examples() -> None:
    assert {fence.language for fence in FOUND} >= {"python", "yaml"}


@pytest.mark.requirement("repo:examples-in-documents-run")
@pytest.mark.parametrize("fence", FOUND, ids=[fence.where for fence in FOUND])
def test_an_example_in_a_docstring_runs(fence: Fence, page: Page) -> None:
    page.environment["OPENAI_API_KEY"] = "scripted"
    page.play(fence)
