"""A repository that names programs or leads elsewhere: the git tool runs none of them and stays where it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import ACTIONS, Place

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolFailure


@pytest.fixture
def place(tmp_path: Path) -> Place:
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


def promised(place: Place) -> None:
    place.plain("config", "remote.origin.promisor", "true")
    place.plain("config", "core.repositoryformatversion", "1")
    place.plain("config", "extensions.partialClone", "origin")
    place.plain("config", "remote.origin.uploadpack", place.script("program", 'exec git-upload-pack "$@"'))
    blob = place.plain("rev-parse", "HEAD:a.txt")
    (place.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    place.ran.unlink(missing_ok=True)


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


def borrowing(place: Place) -> None:
    (place.root / ".git/objects/info/alternates").write_text(f"{place.remote / 'objects'}\n")


@pytest.mark.requirement("tools:git-stays-in-workspace")
@pytest.mark.parametrize(
    "lay",
    [
        pointing,
        linking,
        sharing,
        borrowing,
        linked(".git/COMMIT_EDITMSG"),
        linked(".git/logs/HEAD"),
        linked(".git/refs/heads/evil"),
        linked(".git/index"),
        linked(".git/objects/pack/x.pack"),
        linked(".git/objects/00"),
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


@pytest.mark.requirement("tools:git-stays-in-workspace")
@pytest.mark.parametrize("url", ["./near.git", "file://SPACE/near.git", "SPACE/near.git", "../space/near.git"])
async def test_a_remote_in_the_workspace_is_refused_because_its_hooks_would_run(place: Place, url: str) -> None:
    near = place.root / "near.git"
    place.plain("init", "-q", "--bare", str(near))
    (near / "hooks/post-receive").write_text(f"#!/bin/sh\n: > {place.ran}\n")
    (near / "hooks/post-receive").chmod(0o755)
    place.plain("remote", "set-url", "origin", url.replace("SPACE", str(place.root)))
    for action in ("push", "pull"):
        assert (await place.fails(action)).code == "permission_denied"
    assert not place.ran.exists()
    place.plain("push", "-q", "origin", "main")
    assert place.ran.exists()
