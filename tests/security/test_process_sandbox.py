"""Commands without namespaces: what is refused, what stays open and is named, and that all of it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.confining import HOMES, Place, confined, lives, python
from tests.running import until
from tests.sandboxing import children, of
from tests.security.escapes.catalogue import ATTEMPTS
from tests.security.escapes.hosting import open_place
from tests.security.escapes.running import CONTROLS, applicable, attack, through, without_sandbox

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.native.slots import Slots, folder
from holdfast.sandbox.policy.openshell import SYSTEM, FilesystemPolicy, NetworkPolicy, Policy
from holdfast.sandbox.policy.profile import Profile, Tree

IS_ROOT = os.geteuid() == 0
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(landlock.abi() < 6, reason="takes Landlock with ABI 6")


@pytest.mark.requirement("sandbox:process-posture-is-true")
async def test_what_works_of_the_escapes_is_what_the_posture_names() -> None:
    quick = [each for each in ATTEMPTS if not each.alone]
    controls = {
        name: await attack(without_sandbox(uid), quick, uid=uid)
        for name, uid in CONTROLS.items()
        if uid is None or IS_ROOT
    }
    backend = await ProcessSandboxes.open(Profile())
    try:
        found = await attack(through(backend), quick)
    finally:
        await backend.close()
    names = {each.name for each in quick} & applicable(controls).keys()
    assert {each for each in names if found[each].worked} == names & set(backend.posture.open), found
    assert not backend.posture.isolated


@pytest.mark.requirement("sandbox:process-posture-is-true")
async def test_modes_outside_can_be_changed_and_the_posture_says_so(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "work", tmp_path / "outside"
    workspace.mkdir()
    outside.write_text("mine")
    outside.chmod(0o600)
    async with confined(workspace) as place:
        await place.run(
            f"chmod 644 {outside}; cat {outside}; echo x > {outside}; truncate -s 0 {outside}; rm {outside}"
        )
        assert "change_modes_outside" in place.backend.posture.open
    assert (stat.S_IMODE(outside.stat().st_mode), outside.read_text()) == (0o644, "mine")


@pytest.mark.requirement("sandbox:process-refuses-the-way-out")
async def test_no_socket_but_a_pair_is_had_and_a_pair_reaches_nobody_else(tmp_path: Path) -> None:
    code = """
        import socket
        def refused(do):
            try:
                do()
            except PermissionError:
                return True
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                assert refused(lambda: socket.socket(family, kind)), (family, kind)
        assert refused(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))  # it could send elsewhere
        one, other = socket.socketpair()
        one.sendall(b"through")
        print(other.recv(9).decode())
    """
    async with confined(tmp_path) as place:
        assert await place.says(python(code)) == "through"


@pytest.mark.requirement("sandbox:process-refuses-the-way-out")
def test_without_the_filter_landlock_refuses_tcp_too(tmp_path: Path) -> None:
    code = f"""
        import socket, sys
        sys.path.insert(0, {str(ROOT / "src")!r})
        from holdfast.sandbox.kernel import landlock, syscalls
        there = socket.create_server(("127.0.0.1", 0))
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(landlock.build([("/", landlock.READ)], offline=True))
        for do in (socket.create_connection, lambda _: socket.create_server(("127.0.0.1", 0))):
            try:
                do(there.getsockname())
            except PermissionError:
                print("refused")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.stdout == "refused\nrefused\n", done.stderr


@pytest.mark.requirement("sandbox:process-refuses-the-way-out")
async def test_limits_and_priorities_of_other_processes_are_out_of_reach(tmp_path: Path) -> None:
    other = await asyncio.create_subprocess_exec("sleep", "60")
    code = f"""
        import os, resource
        for do in (
            lambda: resource.prlimit({other.pid}, resource.RLIMIT_CPU, (1, 1)),
            lambda: os.setpriority(os.PRIO_PROCESS, {other.pid}, 19),
            lambda: os.setpriority(os.PRIO_USER, 0, 19),
            lambda: os.sched_setaffinity({other.pid}, {{0}}),
            lambda: os.kill({other.pid}, 9),
        ):
            try:
                do()
                print("done")
            except PermissionError:
                pass
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        print("own")
    """
    try:
        async with confined(tmp_path) as place:
            assert await place.says(python(code)) == "own"
        assert other.returncode is None
    finally:
        other.kill()
        await other.wait()


@pytest.mark.requirement("sandbox:process-sees-its-workspace")
async def test_each_sandbox_has_a_fresh_folder_for_what_goes_to_tmp_and_home_and_it_goes_with_it(
    tmp_path: Path,
) -> None:
    async with confined(tmp_path) as place:
        made = Path(await place.says("echo x > ~/f; mktemp"))
        assert made.is_relative_to(HOMES)
        assert await place.says(f"cat ~/f; [ -e {made} ] && echo kept; mkdir -p ~/d/e; chmod 0 ~/d/e ~/d") == "x\nkept"
        assert (await place.run("echo x > /tmp/f || ls /tmp")).code != 0
        there = made.parents[1]
        assert stat.S_IMODE(there.stat().st_mode) == 0o700
    assert not there.exists()


@pytest.mark.requirement("sandbox:process-sees-its-workspace")
@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
async def test_under_root_it_becomes_the_owner_of_the_workspace_and_root_without_rights_where_that_is_root() -> None:
    with open_place() as base:
        for owner in (40001, 0):
            place = Path(base, str(owner))
            os.mkdir(place)  # noqa: PTH102 - a moment
            os.chown(place, owner, owner)
            async with confined(place) as here:
                assert (
                    await here.says("id -u; id -G; echo x > made; echo x > ~/f; stat -c %u ~")
                    == f"{owner}\n{owner}\n{owner}"
                )
                assert (await here.run("cat /etc/shadow || chown 1 made || ls /root")).code != 0
                assert (
                    await here.says("head -c 4 /etc/passwd; stat -c %u made; echo x >/dev/stdout") == f"root{owner}\nx"
                )


@pytest.mark.requirement("sandbox:process-sees-its-workspace")
async def test_a_link_in_place_of_the_workspace_or_on_the_way_there_gives_nothing_of_where_it_leads(
    tmp_path: Path,
) -> None:
    outer, secret = tmp_path / "outer", tmp_path / "secret"
    (secret / "work").mkdir(parents=True)
    for each in (secret, secret / "work"):
        (each / "file").write_text("secret")
    (outer / "work").mkdir(parents=True)
    async with confined(outer / "work") as place:
        assert (await place.run(f"cat {secret}/file")).code != 0
        (outer / "work").rmdir()
        (outer / "work").symlink_to(secret)
        with pytest.raises(SandboxError):
            await place.run(f"cat {secret}/file")
        (outer / "work").unlink()
        outer.rmdir()
        outer.symlink_to(secret)
        with pytest.raises(SandboxError):
            await place.run("cat file")


@pytest.mark.requirement("sandbox:process-sees-its-workspace")
@pytest.mark.skipif(not IS_ROOT, reason="only root owns what it alone may read and everybody could list")
async def test_under_root_what_only_root_may_read_is_refused_wherever_a_policy_lets_it_read(tmp_path: Path) -> None:
    given, workspace = tmp_path / "given", tmp_path / "work"
    (given / "deep").mkdir(parents=True)
    workspace.mkdir()
    for path, mode in ((given / "open", 0o644), (given / "deep/open", 0o644), (given / "deep/closed", 0o600)):
        path.write_text("text")
        path.chmod(mode)
    files = FilesystemPolicy(include_workdir=True, read_only=(*SYSTEM, str(given)))
    backend = await ProcessSandboxes.open(Profile(policy=Policy(filesystem_policy=files)))
    try:
        place = Place(backend, workspace, f"{workspace}#1")
        assert await place.says(f"cat {given}/open {given}/deep/open") == "texttext"
        assert (await place.run(f"cat {given}/deep/closed")).code != 0
    finally:
        await backend.close()


@pytest.mark.requirement("sandbox:process-leaves-nothing")
async def test_what_a_command_leaves_ends_with_it_and_nothing_else_does(tmp_path: Path) -> None:
    other = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    try:
        async with confined(tmp_path) as place:
            left = "(setsid env -i setsid sleep 300 &) ; (env -i sleep 300 &) >/dev/null 2>&1 ; sleep 300 & echo done"
            ended = await place.run(left)
            assert (ended.code, ended.output.text(), ended.strays) == (0, "done\n", 3)
            # One that is never there for long: each ends as soon as it has started the next.
            chain = "f() { [ -e stop ] || { f & } ; echo x >> beats; }; f >/dev/null 2>&1"
            await place.run(chain)
            beats = (tmp_path / "beats").stat().st_size
            assert await place.says("echo on") == "on"
            assert (tmp_path / "beats").stat().st_size == beats
        assert other.returncode is None
        assert not of(str(tmp_path))
    finally:
        (tmp_path / "stop").touch()
        other.kill()
        await other.wait()


DYING = """
import asyncio, os, sys
from pathlib import Path
from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.policy.profile import Profile

async def main(folder):
    backend = await ProcessSandboxes.open(Profile())
    line = "(setsid env -i bash -c 'echo $$ > $0; exec sleep 300' pid &) ; echo $HOME > home; touch x; sleep 300"
    env = {"PATH": "/usr/bin:/bin", "HOLDFAST_OWNER": f"{folder}#1"}
    await backend.run(line, folder=Path(folder), env=env, timeout=100, keep=100)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.requirement("sandbox:process-leaves-nothing")
@pytest.mark.parametrize("who", ["runtime", "launcher", "both"])
async def test_what_is_killed_with_a_sandbox_under_it_leaves_no_process(who: str, tmp_path: Path) -> None:
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, str(tmp_path), stderr=subprocess.DEVNULL)
    pid, home = tmp_path / "pid", tmp_path / "home"
    await until(lambda: pid.exists() and pid.read_text() != "" and (tmp_path / "x").exists(), seconds=30)
    (launcher,) = children(dying.pid)
    # Nothing tells the one that left its session, its parent and its environment of any end.
    assert lives(pid)
    for victim in {"runtime": [dying.pid], "launcher": [launcher], "both": [launcher, dying.pid]}[who]:
        os.kill(victim, signal.SIGKILL)
    await until(lambda: not lives(pid) and not of(str(tmp_path)))
    await asyncio.wait_for(dying.wait(), 10)
    left = Path(home.read_text().strip()).parent
    async with confined(tmp_path):
        await until(lambda: not left.exists())


@pytest.mark.requirement("sandbox:process-leaves-nothing")
async def test_a_folder_whose_sandbox_nobody_holds_is_swept_at_start(tmp_path: Path) -> None:
    async with confined(tmp_path) as place:
        held = Path(await place.says("echo $TMPDIR")).parent
        slots = Slots(folder())
        free = slots.take()
        slots.give_back(free)
        left = HOMES / f"{free}.left"
        (left / "deep").mkdir(parents=True)
        async with confined(tmp_path):
            await until(lambda: not left.exists())
        assert held.exists()


@pytest.mark.requirement("sandbox:process-leaves-nothing")
async def test_a_newer_epoch_ends_what_hides_from_a_search(tmp_path: Path) -> None:
    owner = str(tmp_path)
    async with confined(tmp_path, f"{owner}#1") as old, confined(tmp_path, f"{owner}#2") as new:
        line = (
            "(setsid env -i bash -c 'echo $$ > pid; exec sleep 99' &); until [ -s pid ]; do :; done; touch x; sleep 9"
        )
        going = asyncio.create_task(old.run(line, seconds=60))
        await until((tmp_path / "x").exists)
        assert await new.backend.attach(owner, 2) == 1
        assert not lives(tmp_path / "pid")
        assert (await asyncio.wait_for(going, 5)).code == 128 + signal.SIGKILL


@pytest.mark.requirement("sandbox:process-fails-closed")
async def test_what_it_lacks_and_is_asked_for_starts_nothing(tmp_path: Path) -> None:
    for profile, why in (
        (Profile(require=("netns",)), "netns"),
        (Profile(require=("protected-paths",)), "protected-paths"),
        (Profile(workspace=Tree(apply="when-ended")), "layers"),
        (Profile(policy=Policy(network_policies={"a": NetworkPolicy(name="a")})), "network"),
    ):
        with pytest.raises(IsolationMissing, match=why):
            await ProcessSandboxes.open(profile)
    backend = await ProcessSandboxes.open(Profile(require=("landlock>=3", "seccomp", "no-capabilities")))
    with pytest.raises(SandboxError, match="keeps no processes"):
        await backend.start("sleep 1", name="x", folder=tmp_path, env={})
    await backend.close()


@pytest.mark.requirement("sandbox:process-fails-closed")
async def test_an_older_landlock_is_said_to_leave_signals_open_and_one_that_lets_files_be_emptied_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 5)
    backend = await ProcessSandboxes.open(Profile())
    assert {"signal_host", "signal_blind"} <= set(backend.posture.open)
    assert "landlock=5" in backend.posture.layers
    await backend.close()
    monkeypatch.setattr(landlock, "abi", lambda: 2)
    with pytest.raises(IsolationMissing, match=r"ABI 3 \(Linux 6.2\)"):
        await ProcessSandboxes.open(Profile())


def no_namespaces() -> bytes:
    """Returns a filter that forbids them, as the policies of containers do; for x86-64."""
    new = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000
    code = (
        (0x20, 0, 0, 0),
        (0x15, 4, 0, 272),  # unshare
        (0x15, 5, 0, 435),  # clone3
        (0x15, 0, 3, 56),  # clone
        (0x20, 0, 0, 16),
        (0x45, 0, 1, new),
        (0x06, 0, 0, 0x00050001),
        (0x06, 0, 0, 0x7FFF0000),
        (0x06, 0, 0, 0x00050026),  # no such call: libraries then take the older one
    )
    return b"".join(struct.pack("=HBBI", *each) for each in code)


FORBIDDEN = """
import asyncio, sys
from pathlib import Path
from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import open_backend
from holdfast.sandbox.kernel import seccomp, syscalls
from holdfast.sandbox.policy.profile import Profile

async def main(folder, code):
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(bytes.fromhex(code))
    backend = await open_backend(Profile())
    ended = await backend.run("echo $((6*7))", folder=Path(folder), env={"PATH": "/usr/bin"}, timeout=9, keep=99)
    print(backend.posture.backend, ended.output.text().strip())
    await backend.close()
    try:
        await open_backend(Profile(require=("netns",)))
    except IsolationMissing as error:
        print("process: no netns" in str(error))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.requirement("sandbox:process-fails-closed")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the filter is for x86-64")
def test_where_namespaces_are_forbidden_it_is_the_last_choice_and_none_where_one_is_required(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORBIDDEN, str(tmp_path), no_namespaces().hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "process 42\nTrue\n", done.stderr[-2000:]
