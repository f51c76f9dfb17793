"""The tool for git, on real repositories."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import ACTIONS, Place

from holdfast.sandbox.backends.none import NoIsolation
from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.git import git as tool
from holdfast.tools.builtin.git import git_tool
from holdfast.types import Effect


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.requirement("tools:git-tools")
async def test_a_change_goes_from_the_file_to_the_remote_and_back(place: Place, tmp_path: Path) -> None:
    assert await place.says("status") == "## main\nworking tree clean\n"
    (place.root / "a.txt").write_text("one\n2\n")
    (place.root / "ü b.txt").write_text("new\n")
    assert await place.says("status") == '## main\n M a.txt\n?? "ü b.txt"\n'
    change = "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert (await place.says("diff")).partition("\n---")[2] == change.removeprefix("---")
    assert await place.says("diff", staged=True) == "no changes"
    assert await place.says("add", paths=["a.txt", "ü b.txt"]) == "staged:\nM\ta.txt\nA\tü b.txt\n"
    assert await place.says("diff") == "no changes"
    assert "+2\n" in await place.says("diff", staged=True)
    first = place.plain("rev-parse", "--short=7", "HEAD")
    text = await place.says("commit", message="# second: änder\n\nmore", author="Eve Example <eve@example.invalid>")
    second = place.plain("rev-parse", "--short=7", "HEAD")
    assert text == f"committed {second}: # second: änder\n"
    assert place.plain("log", "-1", "--format=%an %ae %cn") == "Eve Example eve@example.invalid Ada"
    assert await place.says("log", oneline=True) == f"{second} # second: änder\n{first} first\n"
    date = place.plain("log", "-1", "--format=%ad", "--date=short")
    assert await place.says("log", count=1) == f"{second} {date} Eve Example: # second: änder\n"
    assert await place.says("log", oneline=True, paths=["ü b.txt"]) == f"{second} # second: änder\n"
    assert await place.says("push") == "pushed main to origin"
    assert await place.says("push") == "already up to date"
    assert place.plain("rev-parse", "--short=7", "main", where=place.remote) == second
    other = tmp_path / "other"
    place.plain("clone", "-q", str(place.remote), str(other), where=tmp_path)
    (other / "c").write_text("c\n")
    place.plain("add", ".", where=other)
    place.plain("-c", "user.name=O", "-c", "user.email=o@o", "commit", "-qm", "third", where=other)
    place.plain("push", "-q", where=other)
    assert (await place.says("pull")).startswith("pulled from origin\n c | 1 +\n")
    assert (place.root / "c").read_text() == "c\n"
    assert await place.says("pull") == "already up to date"


@pytest.mark.requirement("tools:git-tools", "tools:git-diff-honours-ref")
async def test_a_diff_is_against_the_reference_that_was_asked_for(place: Place) -> None:
    for text in ("two", "three"):
        (place.root / "a.txt").write_text(f"{text}\n")
        place.plain("commit", "-qam", text)
    assert "-one\n-two\n+three\n" in await place.says("diff", ref="HEAD~2")
    assert "-two\n+three\n" in await place.says("diff", ref="HEAD~1..HEAD")
    assert await place.says("diff", ref="HEAD") == "no changes"
    (place.root / "a.txt").write_text("four\n")
    assert "-three\n+four\n" in await place.says("diff", ref="HEAD")
    assert await place.says("diff", ref="HEAD", paths=["other"]) == "no changes"
    assert "-one\n-two\n+three\n" in await place.says("diff", ref="HEAD~2", staged=True)
    shown = await place.use("show", ref="HEAD~1")
    assert "    two\n" in shown.content
    assert " 1 file changed, 1 deletion(-)\n" in shown.content
    assert "-one\n" in shown.content
    assert await place.says("show", ref="HEAD~2:a.txt") == "one\ntwo\n"
    assert "bad revision 'nowhere'" in str(await place.fails("diff", ref="nowhere"))


@pytest.mark.requirement("tools:git-tools")
async def test_branches_are_made_listed_and_switched(place: Place) -> None:
    head = place.plain("rev-parse", "--short=7", "HEAD")
    assert await place.says("branch", branch="feature/x") == "made branch feature/x and switched to it"
    (place.root / "b").write_text("b\n")
    await place.use("add", paths=["b"])
    await place.use("commit", message="b")
    new = place.plain("rev-parse", "--short=7", "HEAD")
    listed = f"* {new} feature/x\n  {head} main\n  {head} origin/main\n"
    assert await place.says("branch_list") == listed
    assert await place.says("checkout", ref="main") == "checked out main"
    assert not (place.root / "b").exists()
    assert await place.says("checkout", ref="feature/x", paths=["b"]) == "restored b from feature/x"
    assert (place.root / "b").read_text() == "b\n"
    (place.root / "a.txt").write_text("lost\n")
    assert await place.says("checkout", paths=["a.txt"]) == "restored a.txt from what is staged"
    assert (place.root / "a.txt").read_text() == "one\ntwo\n"
    assert await place.says("branch", branch="y", ref="feature/x") == "made branch y and switched to it"
    await place.use("checkout", ref="HEAD~1")
    assert "say which one" in str(await place.fails("push"))


async def test_an_empty_repository_and_one_below_the_workspace_work_too(place: Place) -> None:
    sub = place.root / "sub/deep"
    sub.mkdir(parents=True)
    place.plain("init", "-q", "-b", "trunk", where=place.root / "sub")
    assert await place.says("log", folder="sub") == "no commits yet"
    assert (await place.says("status", folder="sub/deep")).startswith("## No commits yet on trunk")
    (sub / "f").write_text("f\n")
    await place.use("add", paths=["f"], folder="sub/deep")
    assert "Nothing is staged" in str(await place.fails("commit", message="x"))
    await place.use("commit", message="one", folder="sub")
    assert place.plain("log", "-1", "--format=%an <%ae> %cn", where=sub) == (
        "Holdfast Agent <agent@holdfast.invalid> Holdfast Agent"
    )
    assert place.plain("ls-tree", "-r", "--name-only", "HEAD", where=place.root / "sub") == "deep/f"


async def test_results_carry_what_a_screen_shows(place: Place) -> None:
    (place.root / "a.txt").write_text("1\n")
    shown = await place.use("diff")
    assert isinstance(shown.metadata.pop("duration"), int)
    assert shown.metadata == {
        "ui": "diff",
        "command": "git diff",
        "action": "diff",
        "cwd": str(place.root),
        "exitCode": 0,
        "diff": shown.content,
    }
    assert (await place.use("status")).metadata["ui"] == "terminal"
    assert (await place.fails("checkout", ref="gone")).metadata["exitCode"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"action": "diff", "ref": "--output=/tmp/x"}, "no commit"),
        ({"action": "log", "ref": "-O/etc/passwd"}, "no commit"),
        ({"action": "show", "ref": "a\nb"}, "no commit"),
        ({"action": "checkout", "ref": "--orphan"}, "no commit"),
        ({"action": "branch", "branch": "--force"}, "no name of a branch"),
        ({"action": "push", "branch": "a:refs/heads/b"}, "no name of a branch"),
        ({"action": "push", "branch": "+main"}, "refspec"),
        ({"action": "push", "remote": "--receive-pack=x"}, "no remote"),
        ({"action": "pull", "remote": "ext::sh -c true"}, "no remote"),
        ({"action": "pull", "remote": "/etc"}, "no remote"),
        ({"action": "add"}, "needs 'paths'"),
        ({"action": "add", "paths": [""]}, "path is empty"),
        ({"action": "add", "paths": ["--force"]}, "did not match any files"),
        ({"action": "add", "paths": ["../.."]}, "leads out"),
        ({"action": "add", "paths": ["/etc/passwd"]}, "leads out"),
        ({"action": "add", "paths": ["*.txt"]}, "did not match any files"),
        ({"action": "commit"}, "needs 'message'"),
        ({"action": "commit", "message": "x", "author": "--amend"}, "not written as"),
        ({"action": "status", "message": "x"}, "does not take 'message'"),
        ({"action": "checkout"}, "needs `ref`, `paths` or both"),
        ({"action": "status", "folder": ".."}, "leads out"),
        ({"action": "status", "folder": "nowhere"}, "no folder"),
    ],
)
async def test_arguments_that_could_be_options_or_lead_elsewhere_are_refused(
    place: Place, arguments: dict[str, Any], words: str
) -> None:
    before = sorted(place.base.rglob("*"))
    assert words in str(await place.fails(**arguments))
    assert sorted(place.base.rglob("*")) == before


@pytest.mark.requirement("tools:effect-by-arguments")
def test_the_effect_of_a_call_is_that_of_its_action() -> None:
    assert tool.effect is not None
    effects: dict[str, Effect] = {}
    for arguments in ACTIONS:
        parsed = tool.parse(json.dumps(arguments).encode())
        effects[arguments["action"]] = tool.effect(parsed, NoIsolation().posture)
    look, change = Effect(False, "none"), Effect(True, "none")
    assert effects == {
        **dict.fromkeys(("status", "diff", "log", "show", "branch_list"), look),
        **dict.fromkeys(("add", "commit", "branch", "checkout"), change),
        "pull": Effect(True, "none", sends=True),
        "push": Effect(True, "checkable"),
    }


@pytest.mark.requirement("tools:effect-by-arguments")
async def test_looking_writes_nothing_at_all(place: Place) -> None:
    os.utime(place.root / "a.txt", (1, 1))  # git would like to note that it is unchanged

    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in place.root.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    for action in ("status", "diff", "log", "show", "branch_list"):
        await place.use(action)
    assert state() == before


@pytest.mark.requirement("tools:git-push-checkable")
async def test_after_a_crash_the_remote_is_asked_whether_a_push_arrived(place: Place, tmp_path: Path) -> None:
    assert (await place.check()).content == "pushed main to origin"  # everything is there
    (place.root / "a.txt").write_text("1\n")
    place.plain("commit", "-qam", "second")
    assert await place.check() is None
    await place.use("push")
    assert (await place.check()).content == "pushed main to origin"
    place.plain("checkout", "-qb", "fresh")
    assert await place.check() is None
    assert await place.check(branch="--all") is None
    assert await place.check(remote="nowhere") is None
    # Somebody went on from ours: it arrived. Somebody went another way: nobody can tell.
    other = tmp_path / "other"
    place.plain("clone", "-q", str(place.remote), str(other), where=tmp_path)
    author = ("-c", "user.name=O", "-c", "user.email=o@o")
    place.plain(*author, "commit", "-qm", "theirs", "--allow-empty", where=other)
    place.plain("push", "-q", where=other)
    with pytest.raises(ToolFailure, match="not known here"):
        await place.check(branch="main")
    place.plain("fetch", "-q")
    assert (await place.check(branch="main")).content == "pushed main to origin"
    place.remote.rename(tmp_path / "gone")
    with pytest.raises(ToolFailure):
        await place.check(branch="main")


@pytest.mark.requirement("tools:git-tools")
async def test_a_branch_is_replaced_only_as_it_was_last_seen(place: Place, tmp_path: Path) -> None:
    place.plain("commit", "-q", "--amend", "-m", "other first")
    assert "rejected" in str(await place.fails("push"))
    assert "bash" in str(await place.fails("pull"))
    other = tmp_path / "other"
    place.plain("clone", "-q", str(place.remote), str(other), where=tmp_path)
    place.plain("-c", "user.name=O", "-c", "user.email=o@o", "commit", "-qm", "theirs", "--allow-empty", where=other)
    place.plain("push", "-q", where=other)
    assert "stale info" in str(await place.fails("push", force_with_lease=True))
    place.plain("fetch", "-q")
    assert await place.says("push", force_with_lease=True) == "pushed main to origin"


async def test_two_work_trees_and_a_repository_inside_the_workspace_work(place: Place) -> None:
    place.plain("worktree", "add", "-q", "-b", "second", "beside")
    assert await place.says("status", folder="beside") == "## second\nworking tree clean\n"
    (place.root / "beside/new").write_text("new\n")
    await place.use("add", paths=["new"], folder="beside")
    assert "committed" in await place.says("commit", message="beside", folder="beside")


async def test_a_git_that_would_not_heed_its_settings_is_not_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.tools.builtin.repository import running

    monkeypatch.setattr(running, "_known", {})
    (place.base / "bin").mkdir()
    (place.base / "bin/git").write_text("#!/bin/sh\necho git version 2.25.1\n")
    (place.base / "bin/git").chmod(0o755)
    place.space.env["PATH"] = f"{place.base / 'bin'}:{os.environ['PATH']}"
    assert "(2.25): update it" in str(await place.fails("status"))
    place.space.env["PATH"] = "/nowhere"
    assert "no git on the PATH" in str(await place.fails("status"))


@pytest.mark.requirement("tools:git-tools")
async def test_a_first_pull_fills_a_repository_without_commits(place: Place) -> None:
    (place.root / "new").mkdir()
    place.plain("init", "-q", "-b", "main", where=place.root / "new")
    place.plain("remote", "add", "origin", str(place.remote), where=place.root / "new")
    assert await place.says("pull", folder="new") == "pulled from origin"
    assert (place.root / "new/a.txt").read_text() == "one\ntwo\n"


@pytest.mark.requirement("tools:git-remotes-as-allowed")
async def test_a_folder_is_a_remote_only_when_the_program_allows_it(place: Place, tmp_path: Path) -> None:
    place.tool = tool
    for action in ("pull", "push"):
        error = await place.fails(action)
        assert (error.code, "does not allow" in str(error)) == ("permission_denied", True)
    assert await place.check() is None
    assert await place.says("log", oneline=True)  # nothing else needs the remote
    place.tool = git_tool([tmp_path / "elsewhere"])
    assert "does not allow" in str(await place.fails("pull"))
    place.tool = git_tool([str(tmp_path)])  # the folder it is in
    assert await place.says("pull") == "already up to date"


@pytest.mark.requirement("tools:git-remotes-as-allowed")
async def test_settings_of_a_usual_repository_are_in_nobodys_way(place: Place) -> None:
    place.plain("checkout", "-qb", "topic/x.y")
    place.plain("push", "-qu", "origin", "topic/x.y")
    place.plain("worktree", "add", "-q", "-b", "second", "beside")
    place.plain("config", "extensions.worktreeConfig", "true")
    place.plain("config", "--worktree", "core.sparseCheckout", "false")
    place.config(
        core__autocrlf="input",
        core__hooksPath=".husky",
        core__fsmonitor="true",
        core__excludesFile="~/.ignore",
        pull__rebase="true",
        fetch__prune="true",
        merge__conflictStyle="zdiff3",
        rerere__enabled="true",
        alias__st="status",
        commit__gpgSign="false",
        diff__algorithm="histogram",
        lfs__repositoryformatversion="0",
    )
    place.plain("config", "branch.topic/x.y.vscode-merge-base", "origin/main")
    place.plain("config", "remote.origin.gh-resolved", "base")
    place.plain("config", "submodule.sub.active", "true")
    (place.root / "a.txt").write_text("new\n")
    for arguments in ACTIONS:
        narrowed: dict[str, Any] = {"paths": ["a.txt"]} if arguments["action"] == "add" else {}
        await place.use(**{**arguments, **narrowed})


async def test_a_submodule_is_a_repository_like_another(place: Place) -> None:
    file = ("-c", "protocol.file.allow=always")
    place.plain(*file, "submodule", "--quiet", "add", str(place.remote), "sub")
    assert await place.says("status", folder="sub") == "## main...origin/main\nworking tree clean\n"
    (place.root / "sub/b").write_text("b\n")
    await place.use("add", paths=["b"], folder="sub")
    assert "committed" in await place.says("commit", message="b", folder="sub")
    assert await place.says("push", folder="sub") == "pushed main to origin"
