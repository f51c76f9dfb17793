"""Protected paths stay as they are however a repository is laid out: links, a `.git` file, work trees elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.choosing import open_named
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.policy.profile import PROTECTED, BackendName, Profile, Tree
from holdfast.sandbox.processes import Ended
from holdfast.sandbox.protecting.layout import layout_of
from holdfast.sandbox.workspace import Workspace

BACKENDS: tuple[BackendName, ...] = ("native", "bubblewrap", "container", "gvisor")
HOOK = "printf '#!/bin/sh\\n: >ran\\n' >{0}/pre-commit; chmod +x {0}/pre-commit"
LAYOUTS: dict[str, tuple[str, str]] = {
    "plain": ("true", HOOK.format(".git/hooks")),
    "hooks are a link": (
        "mv .git/hooks kept; ln -s ../kept .git/hooks",
        "rm .git/hooks; mkdir .git/hooks; " + HOOK.format(".git/hooks"),
    ),
    "what hooks lead to": ("mv .git/hooks kept; ln -s ../kept .git/hooks", HOOK.format("kept")),
    "hooks are a link to a link": (
        "mv .git/hooks kept; ln -s kept near; ln -s $PWD/near .git/l; ln -s l .git/hooks",
        f"rm near; mkdir near; {HOOK.format('near')}; rm .git/l; mkdir .git/l; {HOOK.format('.git/l')}",
    ),
    "a link to nothing yet": ("rm -r .git/hooks; ln -s ../kept .git/hooks", "mkdir kept; " + HOOK.format("kept")),
    "a repository behind a link": ("mv .git repo; ln -s repo .git", HOOK.format("repo/hooks")),
    "the link itself": (
        "mv .git repo; ln -s repo .git",
        "cp -r repo mine; rm .git; ln -s mine .git; " + HOOK.format("mine/hooks"),
    ),
    "a file that names the repository": ("mv .git .bare; echo 'gitdir: ./.bare' >.git", HOOK.format(".bare/hooks")),
    "one that is named absolutely": ('mv .git .bare; echo "gitdir: $PWD/.bare" >.git', HOOK.format(".bare/hooks")),
    "that file": (
        "mv .git .bare; echo 'gitdir: ./.bare' >.git",
        "cp -r .bare mine; echo 'gitdir: ./mine' >.git; " + HOOK.format("mine/hooks"),
    ),
    "a shared folder": (
        "git worktree add -q ../tree; mv ../tree/.git pointer; mkdir own; mv .git own/shared; "
        "mv own/shared/worktrees/tree own/tree; echo ../shared >own/tree/commondir; mv pointer .git; "
        "echo 'gitdir: own/tree' >.git; rm -r ../tree own/shared/worktrees",
        HOOK.format("own/shared/hooks"),
    ),
    "hooks by the settings": ("mkdir kept; git config core.hooksPath kept", HOOK.format("kept")),
    "a folder above the repository": (
        "mkdir deep; mv .git deep/repo; ln -s deep/repo .git",
        "mv deep gone; cp -r gone deep; " + HOOK.format("deep/repo/hooks"),
    ),
}


def sh(command: str, where: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(where), "GIT_CONFIG_GLOBAL": "/dev/null"}
    return subprocess.run(command, shell=True, cwd=where, env=env, check=check, capture_output=True, text=True)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    space = tmp_path / "space"
    space.mkdir()
    sh("git init -q; git config user.name a; git config user.email a@b; mkdir -p .git/hooks", space)
    sh("echo 1 >f; git add f; git commit -qm 1", space)
    return space


async def run(command: str, space: Path, backend: BackendName = "native", tree: Tree | None = None) -> Ended:
    profile = Profile(backend=backend, require=("protected-paths",), workspace=tree or Tree())
    try:
        opened = await open_named(profile)
    except IsolationMissing as error:
        pytest.skip(str(error))
    try:
        return await opened.run(
            command, folder=space, env=clean_environment({"HOLDFAST_OWNER": "s#1"}), timeout=60, keep=1 << 16
        )
    finally:
        await opened.close()


@pytest.mark.requirement("sandbox:protected-however-laid-out")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_no_hook_gets_into_a_repository_however_it_is_laid_out(
    space: Path, backend: BackendName, layout: str
) -> None:
    lay, attack = LAYOUTS[layout]
    sh(f"set -e; {lay}", space)
    ended = await run(f"{attack}; echo 2 >>f", space, backend)
    sh("git commit -qam 2", space)
    assert not (space / "ran").exists(), ended.output.text()
    # Whoever works outside gets one in by the same words.
    sh(f"{attack}; echo 3 >>f; git commit -qam 3", space, check=False)
    assert (space / "ran").exists()


@pytest.mark.requirement("sandbox:protected-however-laid-out")
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_comes_in_after_a_command_brings_no_hook_either(space: Path, layout: str) -> None:
    lay, attack = LAYOUTS[layout]
    sh(f"set -e; {lay}", space)
    await run(f"{attack}; echo 2 >>f; true", space, tree=Tree(apply="when-ended"))
    assert (space / "f").read_text() == "1\n2\n"
    sh("git commit -qam 2", space)
    assert not (space / "ran").exists()


@pytest.mark.requirement("sandbox:protected-however-laid-out")
async def test_git_works_in_a_repository_behind_a_link(space: Path) -> None:
    sh("mv .git repo; ln -s repo .git; mv repo/hooks kept; ln -s ../kept repo/hooks", space)
    ended = await run("git config -l >/dev/null && echo 2 >>f && git commit -qam 2 && git log --oneline", space)
    assert (ended.code, ended.output.text().count("\n"), ended.taken) == (0, 2, ())


@pytest.mark.requirement("sandbox:work-trees-elsewhere-protected")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "attack",
    [
        "echo ../../../evil >.git/worktrees/tree/commondir",
        "mv .git/worktrees/tree .git/worktrees/gone; cp -r .git/worktrees/gone .git/worktrees/tree; "
        "echo ../../../evil >.git/worktrees/tree/commondir",
        "mv .git/worktrees gone; mkdir .git/worktrees; cp -r gone/tree .git/worktrees/tree; "
        "echo ../../../evil >.git/worktrees/tree/commondir",
    ],
)
async def test_a_work_tree_elsewhere_stays_one_of_this_repository(
    space: Path, backend: BackendName, attack: str
) -> None:
    sh("git worktree add -q ../tree", space)
    attack = f"cp -r .git evil; rm -rf evil/worktrees; git --git-dir=evil config core.fsmonitor ': >ran'; {attack}"
    await run(attack, space, backend)
    sh("git status", space.parent / "tree", check=False)
    assert not (space.parent / "tree/ran").exists()
    sh(attack, space, check=False)  # the trap is one
    sh("git status", space.parent / "tree", check=False)
    assert (space.parent / "tree/ran").exists()


@pytest.mark.requirement("sandbox:work-trees-elsewhere-protected")
async def test_work_trees_in_the_workspace_are_made_and_used_from_inside(space: Path) -> None:
    sh("git worktree add -q ../tree; git worktree add -q near", space)
    ended = await run(
        "git worktree add -q new && cd near && echo 2 >>f && git commit -qam 2 && git log --oneline", space
    )
    assert (ended.code, ended.taken) == (0, ()), ended.output.text()


@pytest.mark.requirement("sandbox:work-trees-elsewhere-protected")
async def test_more_work_trees_than_can_be_held_are_refused_by_name(space: Path) -> None:
    for number in range(1001):
        (space / ".git/worktrees" / str(number)).mkdir(parents=True)
    with pytest.raises(SandboxError, match=r"1001 work trees, which is too many: `git worktree prune`"):
        await run("true", space)


@pytest.mark.requirement("sandbox:protected-however-laid-out")
def test_a_list_is_what_it_says_where_nothing_leads_elsewhere(space: Path) -> None:
    assert set(layout_of(space, PROTECTED)) == set(PROTECTED) - {".git/worktrees"}
    assert set(layout_of(space, ["a/b", "c"])) == {"a/b", "c"}


@pytest.mark.requirement("sandbox:protected-however-laid-out")
@pytest.mark.parametrize(
    ("lay", "found"),
    [
        ("ln -s /etc a", {"a"}),
        ("ln -s ../../x a", {"a"}),
        ("ln -s .. a", {"a"}),
        ("ln -s . a", {"a", "b"}),
        ("ln -s a a", {"a"}),
        ("ln -s ../space/c a", {"a", "c/b"}),
        ("mkdir c; ln -s c/../d a; ln -s c d", {"a", "d", "c/b"}),
        ("mkdir c; ln -s /etc/passwd c/b; ln -s c a", {"a", "c/b"}),
        ("ln -s c a; ln -s d c; ln -s e d", {"a", "c", "d", "e/b"}),
    ],
)
def test_links_on_the_way_are_found_and_followed_as_far_as_the_workspace_goes(
    space: Path, lay: str, found: set[str]
) -> None:
    sh(lay, space)
    assert set(layout_of(space, ["a/b"])) == found


@pytest.mark.requirement("sandbox:protected-however-laid-out")
@pytest.mark.parametrize(
    "lay",
    [
        "rm -r .git; mkfifo .git",
        "rm -r .git; ln -s /dev/zero .git",
        "rm -r .git; head -c 100000 /dev/zero >.git",
        "rm .git/config; mkfifo .git/config",
        "mkfifo .git/commondir",
        "head -c 100000 /dev/zero >.git/commondir",
        "rm .git/config; head -c 1000000 /dev/zero | tr '\\0' = >.git/config",
        "printf 'hooksPath = \\0\\nhooksPath = .\\nhooksPath = ../..\\nhookspath=\\n' >>.git/config",
        "mkdir -p .git/worktrees/a; mkfifo .git/worktrees/a/gitdir; touch .git/worktrees/b",
        "rm -r .git; ln -s .git .git",
    ],
)
def test_what_is_no_repository_is_looked_at_all_the_same(space: Path, lay: str) -> None:
    sh(lay, space)
    assert ".envrc" in layout_of(space, PROTECTED)


@pytest.mark.requirement("sandbox:protected-from-file-tools")
@pytest.mark.parametrize("path", ["kept/pre-commit", "kept", ".git/hooks/x"])
def test_file_tools_write_nothing_that_a_protected_path_leads_to(space: Path, path: str) -> None:
    sh("mv .git/hooks kept; ln -s ../kept .git/hooks", space)
    workspace = Workspace(space, protected=PROTECTED)
    with pytest.raises(SandboxError, match="is not written"):
        workspace.refuse_protected(path)
    workspace.refuse_protected("kept-not/x")
