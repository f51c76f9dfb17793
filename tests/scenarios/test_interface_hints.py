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
}


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
    assert {*CALLS, "question"} == set(BUILTIN)  # a question shows as what it waits for
    for (name, (_, wanted)), finished in zip(CALLS.items(), results, strict=True):
        said = {key: finished.result.metadata.get(key) for key in wanted}
        assert said == wanted, name
