"""What every module and every room says about itself, and what importing the package costs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.tree import PACKAGE, modules, name_of, nodes, parse, shown

import holdfast

CARD = ("Purpose:", "Knows:", "Must not know:", "Start reading at:")
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists())


def without_exports(tree: ast.Module) -> bool:
    """Whether a module is only a docstring, or only starts the program."""
    return all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.If) for node in tree.body)


@pytest.mark.requirement("repo:docstrings")
def test_every_module_says_what_it_is() -> None:
    assert [shown(p) for p in modules() if not ast.get_docstring(parse(p))] == []


@pytest.mark.requirement("repo:docstrings")
@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_its_card_and_the_card_leads_to_files_that_exist(room: str) -> None:
    card = ast.get_docstring(parse(PACKAGE / room / "__init__.py")) or ""
    assert [line for line in CARD if line not in card] == []
    start = card[card.index("Start reading at:") :]
    named = [word for word in start.split("`")[1::2] if word.endswith(".py")]
    assert named
    assert [name for name in named if not (PACKAGE / room / name).exists()] == []


KINDS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def public(nodes: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Returns the definitions people may use; of an overloaded function the one that does something."""
    found = [node for node in nodes if isinstance(node, KINDS) and not node.name.startswith("_")]
    return [node for node in found if "overload" not in map(ast.unparse, node.decorator_list)]


@pytest.mark.requirement("repo:docstrings")
def test_every_public_name_has_a_docstring() -> None:
    bare: list[str] = []
    for path in modules():
        for node in public(parse(path).body):
            members = public(node.body) if isinstance(node, ast.ClassDef) else []
            bare += [f"{shown(path)}:{each.name}" for each in (node, *members) if not ast.get_docstring(each)]
    assert bare == []


@pytest.mark.requirement("repo:exports-are-tuples")
@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_exports_are_a_tuple_of_names_that_exist(path: Path) -> None:
    if without_exports(parse(path)):
        return
    module = importlib.import_module(name_of(path))
    assert isinstance(module.__all__, tuple), "`__all__` is a tuple"
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.requirement("repo:exports-are-tuples")
def test_rooms_take_from_each_other_only_what_is_exported() -> None:
    wrong: list[str] = []
    for path in modules():
        for node in nodes(path, ast.ImportFrom):
            if not (node.module or "").startswith("holdfast."):
                continue
            if name_of(path).split(".")[1:2] == (node.module or "").split(".")[1:2]:
                continue  # within a room, what is not promised may be used
            source = importlib.import_module(node.module or "")
            for name in (each.name for each in node.names):
                is_module = importlib.util.find_spec(f"{node.module}.{name}") if hasattr(source, "__path__") else None
                if is_module is None and name not in getattr(source, "__all__", ()):
                    wrong.append(f"{shown(path)}: {node.module}.{name}")
    assert wrong == []


ASK = """
import json, sys
before = set(sys.modules)
import holdfast
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.requirement("runtime:lazy-import")
def test_importing_the_package_loads_no_library_that_does_input_or_output() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=30)
    loaded = {name.partition(".")[0] for name in json.loads(asked.stdout)}
    heavy = {"aiohttp", "sqlite3", "starlette", "asyncio", "socket", "ssl", "click", "rich", "yaml", "pydantic"}
    heavy |= {"wasmtime"}
    assert loaded & heavy == set()
    assert [name for name in json.loads(asked.stdout) if name.startswith("holdfast.")] == []


@pytest.mark.requirement("runtime:facade-small")
def test_the_facade_has_at_most_forty_names_and_each_is_what_its_home_says() -> None:
    assert len(holdfast.__all__) <= 40
    for name in holdfast.__all__:
        value = getattr(holdfast, name)
        home = getattr(value, "__module__", "holdfast")
        assert home.startswith("holdfast"), name
    assert set(dir(holdfast)) >= set(holdfast.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = holdfast.nothing  # type: ignore[attr-defined]


def called(call: ast.Call) -> str:
    """Returns the last name of what is called, or nothing for what has none."""
    of = call.func
    return of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""


def callers(name: str) -> set[str]:
    """Returns the modules in which a function of that name is called."""
    found: set[str] = set()
    for path in modules():
        if name in map(called, nodes(path, ast.Call)):
            found.add(shown(path))
    return found


@pytest.mark.requirement("engine:one-loop")
def test_nothing_but_the_loop_asks_models_and_makes_calls_and_one_place_drives_it() -> None:
    for act in ("ask_model", "perform_calls", "intervene"):
        assert callers(act) == {"src/holdfast/engine/loop.py"}, act
    assert callers("drive") == {"src/holdfast/runtime/driving/working.py"}
