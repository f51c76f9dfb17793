"""What git and Holdfast act on later is not written by a file tool, by whatever path it is reached."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.repositories import Place

from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import ToolResult

pytestmark = pytest.mark.requirement("tools:no-writes-where-git-acts")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    (made.root / ".holdfast").mkdir()
    (made.root / ".holdfast" / "config.yaml").write_text("mode: ask\n")
    (made.root / "store").mkdir()
    for name, target in {
        "git-link": ".git",
        "config-link": ".git/config",
        "new-link": ".git/hooks/post-commit",
        "store/up": "../.git",
        "settings": ".holdfast",
        "settings.yaml": ".holdfast/config.yaml",
        "whole": str(made.root / ".git"),
    }.items():
        (made.root / name).symlink_to(target)
    return made


async def use(place: Place, name: str, path: str, content: str) -> ToolResult:
    made = BUILTIN[name]
    more: dict[str, Any] = (
        {"content": content} if name == "write" else {"edits": [{"oldText": "o", "newText": content}]}
    )
    result = await made.run(made.parse(json.dumps({"path": path, **more}).encode()), place.context())
    assert isinstance(result, ToolResult)
    return result


def held(root: Path) -> dict[str, bytes]:
    """All that is in the folder, but for what a link shows a second time."""
    found: dict[str, bytes] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            found[str(path)] = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    return found


PATHS = [
    ".git/config",
    "./.git//config",
    ".GIT/config",
    ".git",
    ".g\u200cit/config",
    ".git/hooks/pre-commit",
    "sub/.git/config",
    "sub/.Git",
    "git-link/config",
    "git-link/hooks/deep/er",
    "config-link",
    "new-link",
    "store/up/info/attributes",
    "store/../.git/config",
    "whole/config",
    ".holdfast/config.yaml",
    ".holdfast/other",
    ".HoldFast/config.yaml",
    "sub/.holdfast/config.yaml",
    "settings/config.yaml",
    "settings.yaml",
]


@pytest.mark.parametrize("name", ["write", "edit"])
@pytest.mark.parametrize("path", PATHS)
async def test_no_path_leads_a_write_or_an_edit_into_git_or_holdfast(place: Place, name: str, path: str) -> None:
    before = held(place.root)
    with pytest.raises(ToolFailure, match=r"is not written: .*(bash|holdfast config)") as caught:
        await use(place, name, path, f"[core]\n\tfsmonitor = {place.script('program')}\n")
    assert caught.value.code == "permission_denied"
    assert caught.value.metadata["filePath"] == path
    assert held(place.root) == before
    place.plain("status")
    assert not place.ran.exists()


@pytest.mark.parametrize("path", [".git/config", "git-link/config", "settings.yaml"])
async def test_reading_there_stays_allowed(place: Place, path: str) -> None:
    made = BUILTIN["read"]
    result = await made.run(made.parse(json.dumps({"path": path}).encode()), place.context())
    assert isinstance(result, ToolResult)
    assert result.content == (place.root / path).read_text()


async def test_names_that_only_resemble_them_are_written(place: Place) -> None:
    for path in (
        ".gitignore",
        ".github/config",
        "git/config",
        ".git.txt",
        "objects/refs",
        "HEAD",
        "holdfast/x",
        ".gitx",
    ):
        await use(place, "write", path, "text o\n")
        await use(place, "edit", path, "!")
        assert (place.root / path).read_text() == "text !\n", path


async def test_a_repository_under_another_name_is_not_written(place: Place) -> None:
    (place.root / ".git").rename(place.root / "store" / "kept")
    (place.root / ".git").symlink_to("store/kept")
    place.plain("init", "-q", "--bare", str(place.root / "near"))
    for path in ("store/kept/config", "store/kept/hooks/x", "near/config", ".git/config"):
        with pytest.raises(ToolFailure, match="git") as caught:
            await use(place, "write", path, "x")
        assert caught.value.code == "permission_denied"


@settings(max_examples=24, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.permutations(["config", "HEAD", "objects/x", "refs/x"]))
async def test_no_order_of_writes_makes_a_folder_git_takes_for_a_repository(place: Place, order: list[str]) -> None:
    folder = "-".join(name[0] for name in order)
    script = place.script("program")
    texts = {
        "config": f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = {script}\n"
    }
    refused = 0
    for path in order:
        try:
            await use(place, "write", f"{folder}/{path}", texts.get(path, "ref: refs/heads/main\n"))
        except ToolFailure as error:
            assert error.code == "permission_denied"
            refused += 1
    (place.root / folder).mkdir(exist_ok=True)
    place.plain("status", where=place.root / folder, check=False)
    assert not place.ran.exists()
    assert refused >= 1
