"""A tool is found again by its reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import UnknownTool
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.resolving import find_tool

MODULE = """
from holdfast.tools.declaring import tool

@tool(name="sum", timeout=3)
def add(a: int, b: int) -> int:
    return a + b

def plain(a: int) -> int:
    return a

def _hidden(a: int) -> int:
    return a

shown = tool(name="other")(_hidden)
value = 3

class Counter:
    @tool
    def step(self, n: int) -> int:
        return n

    @staticmethod
    def fixed(n: int) -> int:
        return n
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"tools_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_decorated_function_is_found_with_its_options(module: str) -> None:
    found = find_tool(f"{module}:add")
    assert (found.spec.name, found.spec.timeout, found.spec.reference) == ("sum", 3, f"{module}:add")


def test_a_plain_function_counts_as_a_tool(module: str) -> None:
    assert find_tool(f"{module}:plain").spec.name == "plain"
    assert find_tool(f"{module}:Counter.fixed").spec.name == "fixed"


def test_a_tool_kept_under_another_name_keeps_its_options(module: str) -> None:
    assert find_tool(f"{module}:_hidden").spec.name == "other"


def test_builtin_tools_are_found_by_name() -> None:
    assert set(BUILTIN) >= {"read", "write", "edit", "grep", "glob", "ls", "bash"}
    for name, builtin in BUILTIN.items():
        assert builtin.spec.reference == f"builtin:{name}"
        assert find_tool(f"builtin:{name}") is builtin


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "module:function"),
        ("no_colon", "module:function"),
        ("builtin:grop", "there are bash, calculator, "),
        ("no.such.module:f", "on the import path"),
        ("{module}:gone", "renamed or removed"),
        ("{module}:value", "no function 'value'"),
        ("{module}:Counter", "no function 'Counter'"),
        ("{module}:Counter.step", "is a method"),
        ("{module}:make.<locals>.f", "inside a function"),
        ("__main__:no_such_function_here", "a module that can be imported"),
    ],
)
def test_what_is_not_there_is_named_with_the_next_step(module: str, reference: str, words: str) -> None:
    with pytest.raises(UnknownTool) as caught:
        find_tool(reference.format(module=module))
    assert words in str(caught.value)
