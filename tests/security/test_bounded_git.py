"""The kernel keeps the git of the tool among what it needs, whatever was put into the repository after the look.

Each way is tried without the kernel's rules, too, where it has to be one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import ACTIONS, Place, unbounded

from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.policy.profile import Profile
from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.repository import running

pytestmark = pytest.mark.skipif(landlock.abi() < 2, reason="the kernel has no Landlock")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    (made.base / "outside").write_text("kept\n")
    return made


@pytest.fixture(params=[True, False], ids=["bounded", "unbounded"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        unbounded(monkeypatch)
    return bool(request.param)


def meanwhile(place: Place, patch: pytest.MonkeyPatch, then: str) -> None:
    """Does what a process that goes on in the sandbox could do: between the look at a repository and the command."""
    tame = running.tame

    def after_the_look(*given: Any) -> Any:
        subprocess.run(["/bin/sh", "-ec", then.replace("BASE", str(place.base))], cwd=place.root, check=True)
        return tame(*given)

    patch.setattr(running, "tame", after_the_look)


async def tried(place: Place, action: str, **arguments: Any) -> str:
    try:
        return await place.says(action, **arguments)
    except ToolFailure as error:
        return str(error)


@pytest.mark.requirement("tools:git-opens-what-it-needs")
@pytest.mark.parametrize(
    "then",
    [
        "ln -sf BASE/outside .git/logs/HEAD",
        "ln -sf BASE/outside .git/COMMIT_EDITMSG",
        "mv .git/logs side; ln -s ../side .git/logs; ln -sf BASE/outside side/HEAD",
        "mv .git moved; ln -s moved .git; ln -sf BASE/outside moved/logs/HEAD",
    ],
)
async def test_a_link_after_the_look_leads_no_commit_out(
    place: Place, monkeypatch: pytest.MonkeyPatch, then: str, bounds: bool
) -> None:
    (place.root / "a.txt").write_text("changed\n")
    await place.use("add", paths=["a.txt"])
    meanwhile(place, monkeypatch, then)
    await tried(place, "commit", message="$(touch owned)")
    assert ((place.base / "outside").read_text() == "kept\n") is bounds


@pytest.mark.requirement("tools:git-opens-what-it-needs")
async def test_a_folder_that_becomes_a_link_takes_in_nothing_that_is_checked_out(
    place: Place, monkeypatch: pytest.MonkeyPatch, bounds: bool
) -> None:
    (place.base / "victim").mkdir()
    place.plain("worktree", "add", "-q", "-b", "second", "beside")
    place.plain("checkout", "-qb", "third")
    (place.root / "b.txt").write_text("b\n")
    place.plain("add", "b.txt")
    place.plain("commit", "-qm", "third")
    place.plain("checkout", "-q", "main")
    meanwhile(place, monkeypatch, "mv beside moved; ln -s BASE/victim beside")
    await tried(place, "checkout", folder="beside", ref="third")
    assert (place.base / "victim/b.txt").exists() is not bounds


@pytest.mark.requirement("tools:git-opens-what-it-needs")
@pytest.mark.parametrize(
    "then",
    [
        "mv .git/objects side; ln -s BASE/private/.git/objects .git/objects",
        "echo BASE/private/.git/objects >.git/objects/info/alternates",
    ],
)
async def test_objects_of_a_repository_elsewhere_are_not_read(
    place: Place, monkeypatch: pytest.MonkeyPatch, then: str, bounds: bool
) -> None:
    private = place.base / "private"
    place.plain("init", "-q", str(private), where=place.base)
    (private / "b.txt").write_text("private\n")
    place.plain("add", ".", where=private)
    place.plain("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "secret", where=private)
    meanwhile(place, monkeypatch, then)
    said = await tried(place, "show", ref=place.plain("rev-parse", "HEAD", where=private))
    assert ("+private" in said) is not bounds


@pytest.mark.requirement("tools:git-opens-what-it-needs")
async def test_a_look_writes_nothing_even_where_git_would(place: Place, bounds: bool) -> None:
    """A program in git's place tries it."""
    (place.base / "bin").mkdir()
    git = place.base / "bin/git"
    git.write_text(f'#!/bin/sh\ntouch "$GIT_DIR/written" 2>/dev/null\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    place.space.env["PATH"] = f"{git.parent}:{os.environ['PATH']}"
    for action in ("status", "diff", "log", "show", "branch_list"):
        await place.use(action)
    assert (place.root / ".git/written").exists() is not bounds


@pytest.mark.requirement("tools:git-opens-what-it-needs")
@pytest.mark.parametrize(("writes", "taken"), [('"$PWD"/told', True), ("$TMPDIR/told", True), ("BASE/told", False)])
async def test_hooks_of_a_folder_that_is_the_remote_write_there_and_nowhere_else(
    place: Place, writes: str, taken: bool
) -> None:
    hook = place.remote / "hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\necho x >{writes.replace('BASE', str(place.base))}\n")
    hook.chmod(0o755)
    place.plain("commit", "--allow-empty", "-qm", "more")
    said = await tried(place, "push", branch="main")
    assert (said == "pushed main to origin", "hook declined" in said) == (taken, not taken)
    assert not (place.base / "told").exists()


@pytest.mark.requirement("tools:git-opens-what-it-needs")
async def test_a_process_that_swaps_a_log_again_and_again_writes_nothing_outside(place: Place) -> None:
    """As it is done in earnest: from inside of a sandbox, while the tool commits."""
    (place.root / "swap.py").write_text(
        "import os\n"
        "while True:\n"
        f"    os.symlink({str(place.base / 'outside')!r}, '.git/link')\n"
        "    os.rename('.git/link', '.git/logs/HEAD')\n"
        "    open('.git/plain', 'w').close()\n"
        "    os.rename('.git/plain', '.git/logs/HEAD')\n"
    )
    backend = await NativeSandboxes.open(Profile(backend="native"))
    try:
        env = {"PATH": os.environ["PATH"], "HOLDFAST_OWNER": "s#1"}
        await backend.start("exec python3 -I swap.py", name="swap", folder=place.root, env=env)
        for number in range(12):
            (place.root / "a.txt").write_text(f"{number}\n")
            await tried(place, "add", paths=["a.txt"])
            await tried(place, "commit", message="more")
    finally:
        await backend.close()
    assert (place.base / "outside").read_text() == "kept\n"


@pytest.mark.requirement("tools:git-starts-no-git-of-the-workspace")
@pytest.mark.parametrize("folder", ["{root}/bin", "{root}/../space/bin", "bin", ".", "{base}/link", "{root}/near"])
async def test_a_git_that_lies_in_the_workspace_is_not_the_one_that_is_run(place: Place, folder: str) -> None:
    """A virtual environment in the workspace is on the PATH, and a command put programs into it."""
    (place.root / "bin").mkdir()
    (place.base / "link").symlink_to(place.root / "bin")
    (place.root / "near").symlink_to(place.root / "bin")
    for name in ("git", "bash", "sh"):
        (place.root / "bin" / name).symlink_to(place.script("program", f'exec /bin/{name} "$@"'))
    path = folder.format(root=place.root, base=place.base)
    place.space.env["PATH"] = f"{path}:{os.environ['PATH']}"
    for arguments in ACTIONS:
        await tried(place, **arguments, folder=".")
    assert not place.ran.exists()


@pytest.mark.requirement("tools:git-opens-what-it-needs")
async def test_commands_at_once_are_bounded_each_by_its_own_rules(place: Place) -> None:
    """The rules belong to a thread; nothing of them is left in this process or in the others."""
    (place.root / "a.txt").write_text("changed\n")
    actions = ({"action": "status"}, {"action": "add", "paths": ["a.txt"]}, {"action": "diff"}, {"action": "log"})
    await asyncio.gather(*(tried(place, **each) for each in actions for _ in range(3)))  # type: ignore[arg-type]
    (place.base / "after").write_text("we still write where we like\n")
    assert await place.says("status") == "## main\nM  a.txt\n"
