"""What a command does in a layer over the workspace, and what it may use."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from tests.sandboxing import names, sandboxes

from holdfast.sandbox.policy.profile import Profile, Quotas, Tree

ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("sandbox:native-layer")
async def test_a_layer_brings_in_what_a_command_did_once_it_has_ended(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_text("old")
    (tmp_path / "gone").write_text("gone")
    (tmp_path / "file").write_text("file")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    async with sandboxes(tmp_path, Profile(workspace=Tree(apply="when-ended"))) as place:
        ended = await place.run(
            "rm gone; rm -r folder; mkdir folder; echo new > folder/new; echo more >> file; cp /bin/true tool;"
            f"ln -s {outside} link; mkfifo pipe; touch -d 2001-02-03T04:05:06Z dated; rm file; mkdir file; exit 4"
        )
    assert ended.code == 4
    assert names(tmp_path) == ["dated", "file", "folder", "link", "pipe", "tool"]
    assert names(tmp_path / "folder") == ["new"]
    assert (tmp_path / "file").is_dir()
    assert os.access(tmp_path / "tool", os.X_OK)
    assert (tmp_path / "link").readlink() == outside
    assert (tmp_path / "dated").stat().st_mtime == 981173106


@pytest.mark.requirement("sandbox:native-layer")
@pytest.mark.parametrize(
    ("command", "apply"),
    [
        ("echo x > new; sleep 60", "when-ended"),
        ("echo x > new; exit 1", "when-succeeded"),
        ("echo x > new; kill -9 $$", "when-ended"),
    ],
)
async def test_a_command_that_does_not_come_to_its_end_leaves_no_trace(
    tmp_path: Path, command: str, apply: str
) -> None:
    profile = Profile(workspace=Tree(apply=apply))  # pyright: ignore[reportArgumentType]
    async with sandboxes(tmp_path, profile) as place:
        await place.run(command, seconds=0.5)
        assert names(tmp_path) == []
        assert await place.says("ls -A; echo fine > new") == ""
    assert (tmp_path / "new").read_text() == "fine\n"


@pytest.mark.requirement("sandbox:native-layer")
async def test_a_layer_through_which_a_link_leads_out_changes_nothing_outside(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "work", tmp_path / "outside"
    workspace.mkdir()
    outside.mkdir()
    (outside / "file").write_text("safe")
    (workspace / "sub").symlink_to(outside)
    async with sandboxes(workspace, Profile(workspace=Tree(apply="when-ended"))) as place:
        await place.run("rm sub; mkdir sub; echo changed > sub/file")
    assert (outside / "file").read_text() == "safe"
    assert (workspace / "sub" / "file").read_text() == "changed\n"


@pytest.mark.requirement("sandbox:quota-inside-the-tool", "sandbox:native-quotas")
@pytest.mark.parametrize(
    ("quotas", "command", "breach"),
    [
        (Quotas(memory=64 << 20), "python3 -c 'bytearray(200 << 20)'", "memory"),
        (Quotas(wall=0.3), "sleep 60", "wall"),
        (Quotas(cpu=1), "while :; do :; done", "cpu"),
        (Quotas(file=1 << 20), "exec head -c 2000000 /dev/zero > big", "file"),
        (Quotas(pids=16), "python3 -c 'import os\nfor _ in range(40): os.fork() or os.pause()'", "pids"),
    ],
)
async def test_a_quota_that_is_met_has_a_name(tmp_path: Path, quotas: Quotas, command: str, breach: str) -> None:
    if breach in ("memory", "pids") and not ROOT:
        pytest.skip("takes control groups")
    async with sandboxes(tmp_path, Profile(limits=quotas)) as place:
        ended = await place.run(command)
        assert (ended.breach, ended.code != 0) == (breach, True), ended.output.text()
        assert await place.says("echo fine") == "fine"


@pytest.mark.requirement("sandbox:quota-inside-the-tool", "sandbox:native-quotas")
async def test_a_layer_is_full_at_its_quota_of_bytes_and_of_files(tmp_path: Path) -> None:
    profile = Profile(limits=Quotas(disk=8 << 20, inodes=200), workspace=Tree(apply="when-succeeded"))
    async with sandboxes(tmp_path, profile) as place:
        assert "disk-quota" in place.backend.posture.layers
        assert "No space left" in (await place.run("head -c 20000000 /dev/zero > big")).output.text()
        assert "No space left" in (await place.run("for i in $(seq 300); do : > f$i || exit 1; done")).output.text()
        assert await place.says("head -c 4000000 /dev/zero > small; echo fine") == "fine"
    assert names(tmp_path) == ["small"]


@pytest.mark.requirement("sandbox:full-layer-brings-nothing-in")
@pytest.mark.parametrize(
    ("command", "breach"),
    [("head -c 20000000 /dev/zero > big; true", "disk"), ("for i in $(seq 300); do : > f$i; done; true", "inodes")],
)
async def test_what_a_full_layer_holds_is_not_brought_in_whatever_the_command_says(
    tmp_path: Path, command: str, breach: str
) -> None:
    profile = Profile(limits=Quotas(disk=8 << 20, inodes=200), workspace=Tree(apply="when-ended"))
    async with sandboxes(tmp_path, profile) as place:
        ended = await place.run(command)
        assert (ended.code, ended.breach) == (0, breach)
        assert names(tmp_path) == []
        assert await place.says("echo fine > small; echo fine") == "fine"
    assert names(tmp_path) == ["small"]


@pytest.mark.requirement("sandbox:native-layer", "sandbox:native-quotas")
async def test_what_is_brought_in_stays_as_small_as_it_was_and_below_the_quota(tmp_path: Path) -> None:
    profile = Profile(limits=Quotas(disk=4 << 20), workspace=Tree(apply="when-ended"))
    async with sandboxes(tmp_path, profile) as place:
        assert (await place.run("truncate -s 300M hole; echo end >> hole")).code == 0
        assert (tmp_path / "hole").stat().st_size == (300 << 20) + 4
        assert (tmp_path / "hole").stat().st_blocks * 512 < 1 << 20
        ended = await place.run("head -c 2000000 /dev/urandom > a; for i in $(seq 50); do ln a l$i; done")
        assert "quota of the disk" in ended.lost
    assert sum((tmp_path / each).stat().st_size for each in names(tmp_path) if each.startswith("l")) < 4 << 20


@pytest.mark.requirement("sandbox:native-protected-paths")
async def test_no_mark_that_a_command_makes_hides_what_is_protected(tmp_path: Path) -> None:
    (tmp_path / ".git" / "hooks").mkdir(parents=True)
    (tmp_path / ".git" / "config").write_text("[core]\n")
    mark = "import os; os.mkdir('.git/new'); os.setxattr('.git', 'user.overlay.opaque', b'y')"
    async with sandboxes(tmp_path, Profile(workspace=Tree(apply="when-ended"))) as place:
        await place.run(f'python3 -c "{mark}"')
        await place.run("rm -rf .git; mkdir .git; echo x > .git/config")
    assert (tmp_path / ".git" / "config").read_text() == "[core]\n"
    assert "hooks" in names(tmp_path / ".git")


@pytest.mark.requirement("sandbox:native-layer")
async def test_a_program_that_chose_a_high_exit_code_has_ended_and_what_it_did_counts(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, Profile(workspace=Tree(apply="when-ended"))) as place:
        assert (await place.run("echo x > made; mkdir shut; chmod 000 shut; exit 255")).code == 255
    assert names(tmp_path) == ["made", "shut"]


@pytest.mark.requirement("sandbox:native-layer")
async def test_a_layer_can_be_written_wherever_the_workspace_is() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-", dir="/var") as name:
        async with sandboxes(Path(name), Profile(workspace=Tree(apply="when-ended"))) as place:
            assert await place.says("echo x > made; cat made > /dev/stdout") == "x"
        assert names(Path(name)) == ["made"]
