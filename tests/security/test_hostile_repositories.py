"""A repository that names programs or leads elsewhere: the git tool runs none of them and stays where it is."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import ACTIONS, Place, promised, unbounded

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolFailure


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    unbounded(monkeypatch)  # `test_bounded_git.py` is about the other half
    return Place(tmp_path)


# A hostile repository. Each trap is one place that names a program, and a plain command that runs it.


def hooks(place: Place) -> None:
    for name in ("pre-commit", "post-checkout", "post-merge", "pre-push", "reference-transaction", "post-index-change"):
        (place.root / ".git/hooks").mkdir(exist_ok=True)
        (place.base / name).symlink_to(place.script("hook", "exit 0"))
        hook = place.root / ".git/hooks" / name
        hook.write_text((place.base / "hook").read_text())
        hook.chmod(0o755)


def attributed(setting: str, attribute: str, then: str = "cat") -> Callable[[Place], None]:
    def lay(place: Place) -> None:
        (place.root / ".gitattributes").write_text(f"*.txt {attribute}\n")
        place.plain("config", setting, place.script("driver", then))
        place.ran.unlink(missing_ok=True)

    return lay


def configured(*settings: tuple[str, str], then: str = "cat") -> Callable[[Place], None]:
    def lay(place: Place) -> None:
        for name, value in settings:
            script = place.script("program", then)
            place.plain("config", name.replace("SCRIPT", script), value.replace("SCRIPT", script))
        place.ran.unlink(missing_ok=True)

    return lay


SSH = ("remote.origin.url", "ssh://127.0.0.1:1/x")
EXT = ("remote.origin.url", "ext::SCRIPT")
TRAPS: dict[str, tuple[Callable[[Place], None], str]] = {
    "hooks": (hooks, "commit -qm x"),
    "hooks elsewhere": (
        lambda place: (hooks(place), place.plain("config", "core.hooksPath", str(place.base)), None)[-1],
        "commit -qm x",
    ),
    "fsmonitor": (configured(("core.fsmonitor", "SCRIPT")), "status"),
    "clean": (attributed("filter.x.clean", "filter=x"), "add ."),
    "clean with an equals sign": (attributed("filter.a=b.clean", "filter=a=b"), "add ."),
    "smudge": (attributed("filter.x.smudge", "filter=x"), "checkout HEAD -- a.txt"),
    "process": (attributed("filter.x.process", "filter=x"), "add ."),
    "external diff": (configured(("diff.external", "SCRIPT")), "diff"),
    "diff driver": (attributed("diff.x.command", "diff=x"), "diff"),
    "textconv": (attributed("diff.x.textconv", "diff=x", 'cat "$1"'), "show"),
    "editor": (configured(("core.editor", "SCRIPT")), "commit"),
    "signing": (configured(("commit.gpgSign", "true"), ("gpg.program", "SCRIPT")), "commit -qm x"),
    "signing with ssh": (
        configured(("commit.gpgSign", "true"), ("gpg.format", "ssh"), ("gpg.ssh.defaultKeyCommand", "SCRIPT")),
        "commit -qm x",
    ),
    "ssh": (configured(SSH, ("core.sshCommand", "SCRIPT"), then="exit 1"), "fetch"),
    "ext": (configured(EXT, ("protocol.ext.allow", "always"), then="exit 1"), "fetch"),
    "ext instead of": (
        configured(("protocol.ext.allow", "always"), ("url.ext::SCRIPT .insteadOf", "/"), then="exit 1"),
        "fetch",
    ),
    "upload pack": (configured(("remote.origin.uploadpack", "SCRIPT"), then="exit 1"), "fetch"),
    "receive pack": (configured(("remote.origin.receivepack", "SCRIPT"), then="exit 1"), "push origin main"),
    "an included file": (
        lambda place: (
            (place.root / ".git/more").write_text(f"[core]\n\tfsmonitor = {place.script('program')}\n"),
            place.plain("config", "include.path", "more"),
            place.ran.unlink(missing_ok=True),
        )[-1],
        "status",
    ),
    "missing objects": (promised, "show"),
    "settings of one work tree": (
        lambda place: (
            place.plain("config", "extensions.worktreeConfig", "true"),
            place.plain("config", "--worktree", "core.hooksPath", str(place.base)),
            place.plain("config", "--worktree", "core.fsmonitor", place.script("program")),
            place.ran.unlink(missing_ok=True),
        )[-1],
        "status",
    ),
}


@pytest.mark.requirement("tools:git-runs-nothing-of-the-repository")
@pytest.mark.parametrize("trap", TRAPS)
async def test_no_action_runs_a_program_that_the_repository_names(place: Place, trap: str) -> None:
    lay, command = TRAPS[trap]
    (place.root / "a.txt").write_text("changed\n")
    place.plain("add", ".")
    (place.root / "a.txt").write_text("changed again\n")
    lay(place)
    for arguments in ACTIONS:
        with contextlib.suppress(ToolFailure):
            await place.use(**arguments)
        assert not place.ran.exists(), arguments
    with contextlib.suppress(ToolFailure):
        await place.check(branch="main")
    assert not place.ran.exists()
    # The trap is one: plain git falls into it.
    (place.root / "a.txt").write_text("changed at last\n")
    if "commit" in command:
        place.plain("add", ".")
        place.ran.unlink(missing_ok=True)
    place.plain(*command.split(), check=False)
    assert place.ran.exists()


@pytest.mark.requirement("tools:git-runs-nothing-of-the-repository")
async def test_what_a_filter_would_change_is_refused_and_not_stored_unfiltered(place: Place) -> None:
    attributed("filter.x.clean", "filter=x")(place)
    refused: list[dict[str, Any]] = [{"action": "add", "paths": ["."]}, {"action": "checkout", "ref": "main"}]
    for arguments in [*refused, {"action": "pull"}]:
        error = await place.fails(**arguments)
        assert (error.code, "'filter.x.clean'" in str(error), "bash" in str(error)) == ("permission_denied", True, True)
    assert (await place.says("status")).startswith("## main")


async def test_a_configuration_that_names_programs_without_end_is_refused(place: Place) -> None:
    with (place.root / ".git/config").open("a") as file:
        file.writelines(f'[filter "f{number}"]\n\tclean = x\n' for number in range(5000))
    assert "in 5000 places" in str(await place.fails("status"))


def linked(path: str) -> Callable[[Place], None]:
    def lay(place: Place) -> None:
        link = place.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(place.base / "outside")

    return lay


def linked_within(path: str, to: str) -> Callable[[Place], None]:
    """What git would write lies in the workspace, among what programs outside obey."""

    def lay(place: Place) -> None:
        (place.root / to).parent.mkdir(exist_ok=True)
        (place.root / to).touch()
        (place.root / path).unlink(missing_ok=True)
        (place.root / path).symlink_to(place.root / to)

    return lay


def linked_behind_a_link(folder: str, name: str) -> Callable[[Place], None]:
    """A folder of `.git` is a link to one among the files, and a link in there leads out."""

    def lay(place: Place) -> None:
        (place.root / ".git" / folder).mkdir(parents=True, exist_ok=True)
        (place.root / ".git" / folder).rename(place.root / "side")
        (place.root / ".git" / folder).symlink_to(place.root / "side")
        (place.root / "side" / name).unlink(missing_ok=True)
        (place.root / "side" / name).symlink_to(place.base / "outside")

    return lay


def moved(place: Place) -> None:
    (place.root / ".git").rename(place.base / "moved")


def pointing(place: Place) -> None:
    moved(place)
    (place.root / ".git").write_text(f"gitdir: {place.base / 'moved'}\n")


def linking(place: Place) -> None:
    moved(place)
    (place.root / ".git").symlink_to(place.base / "moved")


def sharing(place: Place) -> None:
    (place.root / ".git/commondir").write_text("../../moved\n")


def borrowing(line: str) -> Callable[[Place], None]:
    def lay(place: Place) -> None:
        # A folder of the workspace that borrows in turn.
        (place.root / "lender/info").mkdir(parents=True)
        (place.root / "lender/info/alternates").write_text(f"{place.remote / 'objects'}\n")
        lent = line.replace("REMOTE", str(place.remote / "objects"))
        (place.root / ".git/objects/info/alternates").write_text(f"{lent}\n")

    return lay


@pytest.mark.requirement("tools:git-stays-in-workspace")
@pytest.mark.parametrize(
    "lay",
    [
        pointing,
        linking,
        sharing,
        borrowing("REMOTE"),
        borrowing('"REMOTE"'),
        borrowing("../../lender"),
        linked(".git/COMMIT_EDITMSG"),
        linked(".git/logs/HEAD"),
        linked(".git/refs/heads/evil"),
        linked(".git/index"),
        linked(".git/objects/pack/x.pack"),
        linked(".git/objects/00"),
        linked(".git/objects/00/11111111111111111111111111111111111111"),
        linked(".git/logs/refs/heads/objects/ab/x"),
        linked(".git/refs/objects/ab"),
        linked(".git/hooks/pre-commit"),
        linked_within(".git/COMMIT_EDITMSG", ".git/config"),
        linked_within(".git/COMMIT_EDITMSG", ".vscode/tasks.json"),
        linked_within(".git/HEAD", "HEAD"),
        linked_behind_a_link("logs", "HEAD"),
        linked_behind_a_link("logs/refs/heads", "main"),
        linked_behind_a_link("objects/pack", "x.pack"),
        linked_behind_a_link("modules/sub", "COMMIT_EDITMSG"),
    ],
)
async def test_a_repository_that_leads_out_of_the_workspace_is_not_used(
    place: Place, lay: Callable[[Place], None]
) -> None:
    outside = place.base / "outside"
    outside.write_text("kept\n")
    lay(place)
    before = {path: path.read_bytes() for path in place.base.rglob("*") if path.is_file()}
    for arguments in ACTIONS:
        assert (await place.fails(**arguments)).code == "permission_denied"
    assert {path: path.read_bytes() for path in place.base.rglob("*") if path.is_file()} == before


@pytest.mark.requirement("tools:git-tools")
async def test_links_that_git_makes_itself_or_never_follows_here_are_no_hindrance(place: Place) -> None:
    (place.root / ".git/HEAD").unlink()
    (place.root / ".git/HEAD").symlink_to("refs/heads/main")
    (place.root / ".git/hooks").rename(place.root / "githooks")
    (place.root / ".git/hooks").symlink_to("../githooks")
    (place.root / "a.txt").write_text("changed\n")
    await place.use("add", paths=["a.txt"])
    assert (
        await place.says("commit", message="more")
        == f"committed {place.plain('rev-parse', '--short=7', 'HEAD')}: more\n"
    )
    await place.use("branch", branch="other")
    assert place.plain("rev-parse", "--abbrev-ref", "HEAD") == "other"


@pytest.mark.requirement("tools:git-stays-in-workspace")
async def test_a_repository_above_the_workspace_is_not_used(place: Place) -> None:
    (place.root / "inner").mkdir()
    place.space = Workspace(place.root / "inner")
    for arguments in ACTIONS:
        assert "in no git repository of the workspace" in str(await place.fails(**arguments))


@pytest.mark.requirement("tools:git-stays-in-workspace")
async def test_files_of_a_repository_elsewhere_are_neither_read_nor_written(place: Place) -> None:
    (place.base / "victim").mkdir()
    (place.base / "victim/a.txt").write_text("private\n")
    place.plain("config", "core.worktree", str(place.base / "victim"))
    assert "private" not in await place.says("diff")
    await place.use("checkout", ref="HEAD", paths=["a.txt"])
    assert (place.base / "victim/a.txt").read_text() == "private\n"


@pytest.mark.requirement("tools:git-stays-among-its-files")
@pytest.mark.parametrize("action", ["status", "diff", "log", "show", "add", "checkout"])
@pytest.mark.parametrize("path", ["../secret", "BASE/secret", "link/secret", "a/../../secret", "near/../../secret"])
async def test_no_path_of_a_call_leads_to_another_file(place: Place, action: str, path: str) -> None:
    (place.base / "secret").write_text("private\n")
    (place.root / "link").symlink_to(place.base)
    (place.root / "near").mkdir()
    outside = path.replace("BASE", str(place.base))
    for paths in ([outside, "/dev/null"], ["a.txt", outside], [outside], [outside, outside]):
        error = await place.fails(action, paths=paths)
        assert (error.code, "private" in str(error)) == ("permission_denied", False)
    assert "private" in place.plain("diff", "--", str(place.base / "secret"), "/dev/null", check=False)


@pytest.mark.requirement("tools:git-stays-among-its-files")
async def test_git_is_never_given_two_paths_to_compare_as_if_there_were_no_repository(place: Place) -> None:
    (place.base / "bin").mkdir()
    git = place.base / "bin/git"
    git.write_text(f'#!/bin/sh\necho "$@" >> {place.base}/told\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    place.space.env["PATH"] = f"{git.parent}:{os.environ['PATH']}"
    (place.root / "b.txt").write_text("b\n")
    (place.root / "a.txt").write_text("changed\n")
    assert "+changed" in await place.says("diff", paths=["a.txt", "b.txt"])
    assert "A\tb.txt" in await place.says("add", paths=["a.txt", "b.txt"])
    told = [line for line in (place.base / "told").read_text().splitlines() if " diff " in line]
    assert [len(line.partition(" -- ")[2].split()) for line in told] == [3, 3]


@pytest.mark.requirement("tools:git-stays-in-workspace")
@pytest.mark.parametrize("pointer", ["../.. ", " ../..", "../..\0/near", "./" * 3000 + "../.."])
async def test_a_shared_folder_that_git_would_find_elsewhere_is_not_used(place: Place, pointer: str) -> None:
    place.plain("worktree", "add", "-q", "-b", "second", "beside")
    (place.root / ".git/worktrees/beside/commondir").write_text(pointer)
    assert "`commondir` is no plain path" in str(await place.fails("status", folder="beside"))


@pytest.mark.requirement("tools:git-stays-among-its-files")
async def test_a_link_is_shown_and_stored_as_one_and_never_followed(place: Place) -> None:
    (place.base / "secret").write_text("private\n")
    (place.root / "b.txt").symlink_to(place.base / "secret")
    (place.root / "c.txt").symlink_to(place.base / "secret")
    assert await place.says("add", paths=["b.txt", "c.txt"]) == "staged:\nA\tb.txt\nA\tc.txt\n"
    (place.root / "b.txt").unlink()
    (place.root / "b.txt").symlink_to(place.base / "remote.git")
    shown = await place.says("diff", paths=["b.txt", "c.txt"])
    assert f"+{place.base / 'remote.git'}\n" in shown
    assert "private" not in shown + await place.says("diff", staged=True, paths=["b.txt", "c.txt"])


@pytest.mark.requirement("tools:git-stays-among-its-files")
async def test_what_git_takes_for_no_repository_is_none(place: Place) -> None:
    (place.root / ".git/HEAD").unlink()
    (place.root / "b.txt").write_text("b\n")
    two: dict[str, Any] = {"action": "diff", "paths": ["a.txt", "b.txt"]}
    for arguments in [*ACTIONS, two]:
        assert "does not take its .git for one" in str(await place.fails(**arguments))


@pytest.mark.requirement("tools:git-stays-among-its-files")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("include.path", "OUTSIDE"),
        ("includeIf.gitdir:/.path", "OUTSIDE"),
        ("extensions.refStorage", "reftable"),
    ],
)
async def test_settings_kept_elsewhere_are_not_used(place: Place, name: str, value: str) -> None:
    (place.base / "outside").write_text("[user]\n\tname = private\n")
    with (place.root / ".git/config").open("a") as file:
        section, _, rest = name.partition(".")
        part, _, key = rest.rpartition(".")
        quoted = f' "{part}"' if part else ""
        file.write(f"[{section}{quoted}]\n\t{key} = {value.replace('OUTSIDE', str(place.base / 'outside'))}\n")
    for arguments in ACTIONS:
        assert "is not used" in str(await place.fails(**arguments))


@pytest.mark.requirement("tools:git-runs-nothing-of-the-repository", "tools:git-stays-among-its-files")
async def test_a_bare_repository_among_the_files_is_only_files(place: Place) -> None:
    place.plain("clone", "-q", "--bare", str(place.remote), str(place.root / "evil"))
    place.plain("config", "core.worktree", str(place.root), where=place.root / "evil")
    place.plain("config", "core.bare", "false", where=place.root / "evil")
    place.plain("config", "core.fsmonitor", place.script("program"), where=place.root / "evil")
    for arguments in ACTIONS:
        with contextlib.suppress(ToolFailure):
            await place.use(**arguments, folder="evil")
    assert not place.ran.exists()
    place.plain("status", where=place.root / "evil")
    assert place.ran.exists()  # the trap is one


@pytest.mark.requirement("tools:git-runs-nothing-of-the-repository", "tools:git-stays-among-its-files")
async def test_variables_that_are_meant_for_git_in_bash_lead_this_one_nowhere(place: Place) -> None:
    (place.root / "a.txt").write_text("changed\n")
    program = place.script("program")
    traced = place.base / "traced"
    place.space.env.update(
        GIT_CONFIG_PARAMETERS=f"'core.fsmonitor={program}'",
        GIT_EXTERNAL_DIFF=program,
        GIT_TRACE=str(traced),
        GIT_TRACE2=str(traced),
        GIT_INDEX_FILE=str(place.base / "index"),
        GIT_OBJECT_DIRECTORY=str(place.base / "objects"),
        GIT_ALTERNATE_OBJECT_DIRECTORIES=str(place.remote / "objects"),
        GIT_COMMON_DIR=str(place.remote),
        GIT_NAMESPACE="other",
        GIT_PROXY_COMMAND=program,
        XDG_CONFIG_HOME=str(place.base),
    )
    before = sorted(path.name for path in place.base.iterdir())
    for arguments in ACTIONS:
        await place.use(**arguments)
    assert sorted(path.name for path in place.base.iterdir()) == before
    assert place.plain("log", "-1", "--format=%s", "main", where=place.remote) == "more"
