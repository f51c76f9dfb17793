"""The repository's files, as the architecture tests read them."""

from __future__ import annotations

import ast
import functools
import gc
import subprocess
from pathlib import Path
from typing import TypeVar, cast

Node = TypeVar("Node", bound=ast.AST)

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "holdfast"


def tracked() -> list[Path]:
    """Returns the files of the repository: what git knows and does not ignore, or everything where there is no git."""
    asked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if asked.returncode == 0 and asked.stdout:
        return [path for name in sorted(set(asked.stdout.split("\0")) - {""}) if (path := ROOT / name).is_file()]
    return sorted(p for p in ROOT.rglob("*") if p.is_file() and not set(p.parts) & {".git", ".venv", "__pycache__"})


def modules(folder: Path = PACKAGE) -> list[Path]:
    """Returns the Python files of a folder and those below it."""
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


@functools.cache
def parse(path: Path) -> ast.Module:
    """Returns a file's syntax tree, which is not to be changed."""
    gc.disable()  # a tree is thousands of nodes that all stay: looking through them again and again finds nothing
    try:
        return ast.parse(path.read_text("utf-8"), str(path))
    finally:
        gc.freeze()
        gc.enable()


@functools.cache
def _by_kind(path: Path) -> dict[type[ast.AST], list[ast.AST]]:
    """Returns a file's nodes by their kind; walking a tree takes longer than most of what is asked of its nodes."""
    found: dict[type[ast.AST], list[ast.AST]] = {}
    waiting: list[ast.AST] = [parse(path)]
    for node in waiting:
        found.setdefault(type(node), []).append(node)
        for value in vars(node).values():
            if isinstance(value, list):
                waiting += [each for each in cast("list[object]", value) if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                waiting.append(value)
    return found


def nodes(path: Path, *kinds: type[Node]) -> list[Node]:
    """Returns the nodes of these kinds in a file, each kind in the order of `ast.walk`."""
    return [cast("Node", node) for kind in kinds for node in _by_kind(path).get(kind, ())]


def name_of(path: Path) -> str:
    """Returns the name a module is imported by."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def shown(path: Path) -> str:
    """Returns a path as people write it."""
    return path.relative_to(ROOT).as_posix()
