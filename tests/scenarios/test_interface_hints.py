"""The hint in each tool's result by which a screen picks its card."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.running import MODEL, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import ToolFinished
from holdfast.testing import Call, Turn
from holdfast.tools.builtin.table import BUILTIN

CALLS = {
    "read": ({"path": "a.py"}, {"ui": "code", "filePath": "a.py", "offset": 1, "limit": 2000, "language": "python"}),
    "write": (
        {"path": "b.md", "content": "é"},
        {"ui": "file-created", "filePath": "b.md", "size": 2, "language": "markdown"},
    ),
    "edit": (
        {"path": "a.py", "edits": [{"oldText": "1", "newText": "2"}]},
        {"ui": "diff", "filePath": "a.py", "editCount": 1},
    ),
    "grep": ({"pattern": "x"}, {"ui": "search-results", "pattern": "x", "path": ".", "matchCount": 1}),
    "glob": ({"pattern": "*.py"}, {"ui": "file-tree", "pattern": "*.py", "path": ".", "count": 1}),
    "ls": ({}, {"ui": "file-tree", "path": ".", "entryCount": 3}),
    "bash": ({"command": "true"}, {"ui": "terminal", "command": "true", "exitCode": 0}),
    "process": ({"action": "list"}, {"ui": "terminal", "command": "process list", "action": "list"}),
    "fetch": ({"url": "http://127.0.0.1:9/"}, {"ui": "web-fetch", "url": "http://127.0.0.1:9/"}),
    "git": ({"action": "diff"}, {"ui": "diff"}),
    "calculator": ({"expression": "6 * 7"}, {"ui": "calculation", "expression": "6 * 7", "value": "42"}),
    "think": ({"thought": "so"}, {"ui": "thought", "length": 2}),
    "now": ({}, {"ui": "clock", "timezone": "UTC"}),
    "cite": ({"url": "https://a.example/"}, {"ui": "citation", "url": "https://a.example/", "ok": False}),
    "web_search": ({"query": " "}, {"ui": "web-search", "query": " "}),
    "python": ({"code": " "}, {"ui": "terminal", "command": "python"}),
    "script": ({"code": "1", "max_steps": 0}, {"ui": "code", "language": "python"}),
    "kv_set": ({"key": "k", "value": "v"}, {"ui": "key-value", "key": "k"}),
    "kv_get": ({"key": "k"}, {"ui": "key-value", "key": "k"}),
    "kv_list": ({}, {"ui": "key-value", "prefix": "", "count": 1}),
    "kv_delete": ({"key": "k"}, {"ui": "key-value", "key": "k"}),
    "file_save": ({"name": "f", "text": "x"}, {"ui": "kept-file", "name": "f", "size": 1}),
    "file_get": ({"name": "f"}, {"ui": "kept-file", "name": "f", "size": 1}),
    "file_get_text": ({"name": "f"}, {"ui": "kept-file", "name": "f", "size": 1}),
    "file_get_metadata": ({"name": "f"}, {"ui": "kept-file", "name": "f", "size": 1}),
    "file_list": ({}, {"ui": "kept-file", "prefix": "", "count": 1}),
    "file_search": ({"text": "f"}, {"ui": "kept-file", "pattern": "f", "count": 1}),
    "file_delete": ({"name": "f"}, {"ui": "kept-file", "name": "f"}),
    "find_tools": ({"query": "files"}, {"ui": "search-results", "pattern": "files", "path": "tools", "matchCount": 5}),
}

WAITING = ("question", "classify", "extract_entities", "summarize")


def repository(folder: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


@pytest.mark.requirement("tools:interface-hints")
async def test_every_built_in_tool_says_which_card_shows_it(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    repository(tmp_path)
    turns = [Turn(calls=[Call(name, arguments)]) for name, (arguments, _) in CALLS.items()]
    async with scene([*turns, Turn(text="done")]) as s:
        agent = Agent(MODEL, tools=list(CALLS))
        await soon((await s.runtime.start(agent, "go", session="s", workspace=tmp_path)).result(), 15)
        results = of(ToolFinished, await s.log())
    assert {*CALLS, *WAITING} == set(BUILTIN)  # these show as what they wait for
    for (name, (_, wanted)), finished in zip(CALLS.items(), results, strict=True):
        said = {key: finished.result.metadata.get(key) for key in wanted}
        assert said == wanted, name
