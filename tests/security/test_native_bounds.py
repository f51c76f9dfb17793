"""Quotas that are met have a name, and those that do not bind are said; a layer is brought in whole or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.sandboxing import names, sandboxes

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.policy.profile import Profile, Quotas, Tree
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.bash import bash
from holdfast.types import CallId, StreamId

ROOT = os.geteuid() == 0
MB = 1 << 20
LOOP = "while :; do :; done"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("sandbox:every-breach-named")
@pytest.mark.parametrize(
    ("quotas", "command", "breach"),
    [
        (Quotas(cpu=1), f"bash -c '{LOOP}'; exit 3", "cpu"),
        (Quotas(cpu=1), f"bash -c '{LOOP}' & bash -c '{LOOP}' & wait; exit 3", "cpu"),
        (Quotas(cpu=1), f"trap : XCPU; setsid bash -c '{LOOP}' & setsid bash -c '{LOOP}' & wait; {LOOP}", "cpu"),
        (Quotas(cpu=1), "for i in $(seq 2000); do python3 -c 'sum(range(3000000))' || exit 3; done", "cpu"),
        (Quotas(file=MB), "python3 -c \"open('big', 'wb').write(bytes(3 << 20))\"", "file"),
        (Quotas(file=MB), "python3 -c \"open('/tmp/big', 'wb').write(bytes(3 << 20))\"", "file"),
        (Quotas(file=MB), "head -c 2000000 /dev/zero > big || exit 5", "file"),
        (Quotas(disk=MB), "head -c 5000000 /dev/zero > /tmp/big", "disk"),
        (Quotas(disk=MB), "head -c 5000000 /dev/zero > ~/big", "disk"),
        (Quotas(inodes=50), "for i in $(seq 200); do : > /tmp/f$i || exit 1; done", "inodes"),
        (Quotas(output=1000), "head -c 5000 /dev/zero; exit 1", "output"),
        (Quotas(output=1000), "head -c 5000 /dev/zero", "output"),
    ],
)
async def test_what_a_command_ran_into_is_said_by_name(
    tmp_path: Path, quotas: Quotas, command: str, breach: str
) -> None:
    async with sandboxes(tmp_path, Profile(limits=quotas)) as place:
        ended = await place.run(command)
        assert ended.breach == breach, (ended.code, ended.output.text())
        later = await place.run("grep nothing /dev/null")
        assert (later.code, later.breach) == (1, None)
        assert await place.says("echo fine") == "fine"


@pytest.mark.requirement("sandbox:every-breach-named")
@pytest.mark.parametrize(
    ("quotas", "command"),
    [
        (Quotas(cpu=30), "python3 -c 'sum(range(1000000))'; exit 3"),
        (Quotas(file=MB), "head -c 1000 /dev/zero > small; exit 1"),
        (Quotas(disk=MB), "head -c 1000 /dev/zero > /tmp/small; exit 1"),
        (Quotas(output=1000), "head -c 1000 /dev/zero; exit 1"),
        (Quotas(nofile=50), "python3 -c '[open(\"/dev/null\") for _ in range(100)]' 2>/dev/null; exit 1"),
    ],
)
async def test_a_failure_of_its_own_is_no_breach(tmp_path: Path, quotas: Quotas, command: str) -> None:
    (tmp_path / "old").write_bytes(bytes(MB))  # exactly as large as one may be, and not this command's
    os.utime(tmp_path / "old", (1, 1))
    async with sandboxes(tmp_path, Profile(limits=quotas)) as place:
        ended = await place.run(command)
        assert ended.code != 0
        assert ended.breach is None


@pytest.mark.requirement("sandbox:every-breach-named")
async def test_the_cpu_of_what_goes_on_is_not_counted_as_a_commands(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, Profile(limits=Quotas(cpu=1))) as place:
        kept = await place.backend.start(f"(sleep 0.2; {LOOP}) & sleep 60", name="busy", folder=tmp_path, env=place.env)
        ended = await place.run("sleep 1.7; exit 3")
        assert (ended.code, ended.breach) == (3, None)
        assert kept.code is None


@pytest.mark.requirement("sandbox:every-breach-named")
async def test_without_namespaces_the_cpu_of_a_commands_children_counts_too(tmp_path: Path) -> None:
    backend = await ProcessSandboxes.open(Profile(limits=Quotas(cpu=1)))
    try:
        env = clean_environment({})
        ended = await backend.run(f"bash -c '{LOOP}'; exit 3", folder=tmp_path, env=env, timeout=20, keep=1000)
        assert (ended.code, ended.breach) == (3, "cpu")
    finally:
        await backend.close()


@pytest.mark.requirement("sandbox:every-breach-named")
async def test_too_much_output_loses_no_change_and_fails_no_call(tmp_path: Path) -> None:
    profile = Profile(limits=Quotas(output=100), workspace=Tree(apply="when-succeeded"))
    backend = await NativeSandboxes.open(profile)
    try:
        context = _context(tmp_path, backend)
        result = await bash.function("echo x > made; seq 1000", context)
    finally:
        await backend.close()
    assert result.metadata["breach"] == "output"
    assert "bytes printed, over the sandbox's quota of output" in result.content
    assert names(tmp_path) == ["made"]


# ---- quotas that do not bind -----------------------------------------------------------------------------------


@pytest.mark.requirement("sandbox:quota-that-does-not-bind")
async def test_a_quota_that_the_folder_itself_does_not_keep_is_said_everywhere(tmp_path: Path) -> None:
    profile = Profile(backend="native", limits=Quotas(disk=MB, inodes=1000))
    async with sandboxes(tmp_path, profile) as place:
        reasons = {each.layer: each.reason for each in place.backend.missing}
        assert "disk, inodes bound /tmp and the home folder alone" in reasons["disk-quota"]
        ended = await place.run("head -c 5000000 /dev/zero > big")
        assert (ended.code, ended.unbound) == (0, ("disk", "inodes"))
    with pytest.raises(IsolationMissing, match="disk-quota"):
        await NativeSandboxes.open(Profile(backend="native", limits=Quotas(disk=MB), require=("disk-quota",)))
    layered = Profile(limits=Quotas(disk=MB), workspace=Tree(apply="when-ended"))
    async with sandboxes(tmp_path, layered) as place:
        assert (await place.run("true")).unbound == ()


# ---- layers that are refused whole -----------------------------------------------------------------------------

DEEP = "import os\nos.mkdir('m'); os.chdir('m')\nfor _ in range(%d): os.mkdir('d'); os.chdir('d')"
LONG = "import os\nos.mkdir('m'); os.chdir('m')\nfor _ in range(40): os.mkdir('n' * 200); os.chdir('n' * 200)"


@pytest.mark.requirement("sandbox:layer-whole-or-not-at-all")
@pytest.mark.parametrize("tree", [DEEP % 2000, DEEP % 128, LONG], ids=["deep", "just-too-deep", "long"])
async def test_a_layer_that_is_too_deep_is_refused_before_anything_of_it_is_done(tmp_path: Path, tree: str) -> None:
    for name in ("a", "z"):
        (tmp_path / name).write_text("old")
    script = f'echo new > a; echo new > z; python3 -c "{tree}"'
    backend = await NativeSandboxes.open(Profile(workspace=Tree(apply="when-succeeded")))
    try:
        context = _context(tmp_path, backend)
        with pytest.raises(ToolFailure, match="nothing of what it changed in the workspace was brought in: 'm"):
            await bash.function(script, context)
        assert [(each, (tmp_path / each).read_text()) for each in names(tmp_path)] == [("a", "old"), ("z", "old")]
        await bash.function("echo new > a", context)
        assert (tmp_path / "a").read_text() == "new\n"
    finally:
        await backend.close()


@pytest.mark.requirement("sandbox:layer-whole-or-not-at-all")
async def test_a_layer_that_is_more_than_its_quota_is_refused_before_anything_of_it_is_done(tmp_path: Path) -> None:
    profile = Profile(limits=Quotas(disk=4 * MB), workspace=Tree(apply="when-ended"))
    async with sandboxes(tmp_path, profile) as place:
        ended = await place.run("echo x > a; head -c 2000000 /dev/urandom > b; for i in $(seq 50); do ln b l$i; done")
    assert (ended.code, "quota of the disk" in ended.lost) == (0, True)
    assert names(tmp_path) == []


@pytest.mark.requirement("sandbox:layer-whole-or-not-at-all")
async def test_a_layer_as_deep_as_may_be_is_brought_in_with_few_descriptors(tmp_path: Path) -> None:
    folders = "/".join(["d"] * 127)
    command = f"mkdir -p {folders}; echo end > {folders}/file; chmod 500 d/d; mkdir $'odd\\xff'; echo o > $'odd\\xff/x'"
    backend = await NativeSandboxes.open(Profile(workspace=Tree(apply="when-ended")))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
            await asyncio.sleep(0)

    try:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        watching = asyncio.create_task(watch())
        ended = await backend.run(command, folder=tmp_path, env=clean_environment({}), timeout=20, keep=1000)
        watching.cancel()
        assert ended.code == 0, ended.output.text()
    finally:
        await backend.close()
    assert most - before < 60
    assert (tmp_path / folders / "file").read_text() == "end\n"
    assert (tmp_path / "d" / "d").stat().st_mode & 0o777 == 0o500
    assert (tmp_path / os.fsdecode(b"odd\xff") / "x").read_text() == "o\n"
    shutil.rmtree(tmp_path / "d", onerror=_with_rights)


def _context(folder: Path, backend: NativeSandboxes) -> ToolContext:
    workspace = Workspace(folder)
    return ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=workspace, backend=backend)


def _with_rights(_function: object, path: str, _error: object) -> None:
    os.chmod(os.path.dirname(path), 0o700)  # noqa: PTH101, PTH120
