"""Sandboxes of our own making: what gets in and out of them, what is left of them, and who ends them."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.running import until
from tests.sandboxing import children, first_processes, names, of, sandboxes

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.native.client import Launcher
from holdfast.sandbox.native.talking.channel import Channel
from holdfast.sandbox.policy.loading import load_profile
from holdfast.sandbox.policy.openshell import FilesystemPolicy, Landlock, Policy
from holdfast.sandbox.policy.profile import Profile, Tree

ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("sandbox:native-sees-its-workspace")
async def test_a_command_sees_the_workspace_at_its_own_path_and_nothing_else_of_the_user(tmp_path: Path) -> None:
    workspace, secret = tmp_path / "work", tmp_path / "secret"
    workspace.mkdir()
    secret.write_text("s3cret")
    (workspace / "here").write_text("mine")
    async with sandboxes(workspace) as place:
        assert await place.says("pwd; cat here") == f"{workspace}\nmine"
        assert (await place.run(f"cat {secret}")).code != 0
        assert await place.says(f"ls -A {tmp_path}") == "work"
        assert await place.says("echo new > made; chmod 640 made; cat made") == "new"
        assert await place.says("ls -A ~; echo kept > ~/file; ls ~") == "file"
    made = (workspace / "made").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (os.geteuid(), os.getegid(), 0o640)


@pytest.mark.requirement("sandbox:native-no-set-id")
@pytest.mark.parametrize("how", ["chmod 4755 f", "chmod 2755 f", "install -m 6755 /bin/true f2"])
async def test_no_file_of_the_workspace_gets_a_bit_that_lends_its_owner(tmp_path: Path, how: str) -> None:
    async with sandboxes(tmp_path) as place:
        await place.run(f"cp /bin/true f; {how}")
    for each in names(tmp_path):
        assert not (tmp_path / each).stat().st_mode & 0o6000


@pytest.mark.requirement("sandbox:native-protected-paths")
@pytest.mark.parametrize("apply", ["at-once", "when-ended"])
async def test_what_programs_outside_obey_is_neither_changed_nor_moved_away(tmp_path: Path, apply: str) -> None:
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(parents=True)
    (tmp_path / ".git" / "config").write_text("[core]\n")
    (tmp_path / ".mcp.json").write_text("{}")
    profile = Profile(workspace=Tree(apply=apply))  # pyright: ignore[reportArgumentType]
    async with sandboxes(tmp_path, profile) as place:
        for attempt in (
            "echo x > .git/hooks/pre-commit",
            "echo x >> .git/config",
            "mv .git .g && mkdir -p .git/hooks && echo x > .git/hooks/pre-commit",
            "rm -rf .git",
            "echo 1 > .mcp.json",
            "rm .mcp.json",
            "ln -sf /etc/passwd .mcp.json",
        ):
            assert (await place.run(attempt)).code != 0, attempt
        assert await place.says("echo ref > .git/HEAD; cat .git/HEAD .git/config") == "ref\n[core]"
    assert names(hooks) == []
    assert (tmp_path / ".git" / "config").read_text() == "[core]\n"
    assert (tmp_path / ".mcp.json").read_text() == "{}"
    assert (tmp_path / ".git" / "HEAD").read_text() == "ref\n"


@pytest.mark.requirement("sandbox:native-protected-paths")
async def test_a_protected_path_that_is_a_link_brings_nothing_of_the_machine_in(tmp_path: Path) -> None:
    workspace, secret = tmp_path / "work", tmp_path / "hooks"
    (workspace / ".git").mkdir(parents=True)
    secret.mkdir()
    (secret / "key").write_text("s3cret")
    (workspace / ".git" / "hooks").symlink_to(secret)
    async with sandboxes(workspace) as place:
        assert (await place.run("cat .git/hooks/key")).code != 0


@pytest.mark.requirement("sandbox:native-fails-closed")
async def test_a_layer_that_is_required_and_missing_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsolationMissing, match="own-kernel"):
        await NativeSandboxes.open(Profile(require=("own-kernel",)))
    with pytest.raises(IsolationMissing, match="disk-quota"):
        await NativeSandboxes.open(Profile(require=("disk-quota",)))
    files = FilesystemPolicy(read_only=("/usr", "/not/there"))
    with pytest.raises(IsolationMissing, match="/not/there"):
        strict = Landlock(compatibility="hard_requirement")
        await NativeSandboxes.open(Profile(policy=Policy(filesystem_policy=files, landlock=strict)))
    backend = await NativeSandboxes.open(Profile(require=("netns", "landlock>=1", "seccomp", "no-capabilities")))
    await backend.close()


@pytest.mark.requirement("sandbox:native-policy-files")
async def test_a_policy_says_what_of_the_file_system_is_there(tmp_path: Path) -> None:
    workspace, given = tmp_path / "work", tmp_path / "given"
    workspace.mkdir()
    given.mkdir()
    (given / "data").write_text("data")
    system = ("/usr", "/bin", "/lib", "/lib64")
    files = FilesystemPolicy(include_workdir=False, read_only=(*system, str(given)))
    async with sandboxes(workspace, Profile(policy=Policy(filesystem_policy=files))) as place:
        assert await place.says(f"cat {given}/data") == "data"
        assert (await place.run(f"echo x > {given}/data")).code != 0
        assert (await place.run("echo x > file")).code != 0
        assert (await place.run("ls /etc")).code != 0
    files = FilesystemPolicy(include_workdir=True, read_only=system, read_write=(str(given),))
    async with sandboxes(workspace, Profile(policy=Policy(filesystem_policy=files))) as place:
        assert await place.says(f"echo more >> {given}/data; cat {given}/data") == "datamore"


@pytest.mark.requirement("sandbox:native-daemons-die")
async def test_what_a_command_leaves_running_ends_with_it_and_its_files_in_tmp_stay(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        ended = await place.run("setsid sleep 300 >/dev/null 2>&1 & (sleep 300 &) ; echo x > /tmp/kept; echo done")
        assert (ended.code, ended.output.text(), ended.strays >= 1) == (0, "done\n", True)
        assert await place.says("cat /tmp/kept") == "x"
        assert not of(str(tmp_path))


@pytest.mark.requirement("sandbox:native-fencing")
async def test_a_newer_epoch_ends_the_sandboxes_of_older_ones_in_any_process(tmp_path: Path) -> None:
    mine = f"{tmp_path}-session"  # that an epoch is over stays written down
    async with sandboxes(tmp_path, owner=f"{mine}#1") as old, sandboxes(tmp_path, owner=f"{mine}#2") as new:
        going = asyncio.create_task(old.run("echo begun > mark; sleep 60", seconds=60))
        await until((tmp_path / "mark").exists)
        assert await new.backend.attach(f"{tmp_path}-other", 2) == 0
        assert await new.backend.attach(mine, 1) == 0
        assert await new.backend.attach(mine, 2) == 1
        assert (await asyncio.wait_for(going, 5)).code == 128 + signal.SIGKILL
        assert await new.says("echo fine") == "fine"


@pytest.mark.requirement("sandbox:native-leaves-nothing")
async def test_a_runtime_that_is_killed_leaves_no_process_and_what_comes_next_no_group(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from holdfast.sandbox.backends.native import NativeSandboxes
        from holdfast.sandbox.policy.profile import Profile
        async def main():
            backend = await NativeSandboxes.open(Profile())
            env = {{"PATH": "/usr/bin:/bin", "HOLDFAST_OWNER": "{tmp_path}#1"}}
            await backend.run("echo $$ > begun; setsid sleep 300 & sleep 300", folder=Path({str(tmp_path)!r}),
                              env=env, timeout=300, keep=1000)
        asyncio.run(main())
    """)
    runtime = subprocess.Popen([sys.executable, "-c", script])  # noqa: ASYNC220 - it is to be killed
    try:
        await until((tmp_path / "begun").exists, seconds=20)
        assert of(str(tmp_path))
    finally:
        runtime.kill()
        runtime.wait()
    await until(lambda: not of(str(tmp_path)), "processes of a sandbox outlived the runtime")
    async with sandboxes(tmp_path) as place:
        assert await place.says("echo fine") == "fine"


@pytest.mark.requirement("sandbox:native-leaves-nothing")
@pytest.mark.parametrize("victim", ["sandbox", "launcher"])
async def test_who_kills_a_sandbox_or_its_launcher_ends_one_command_and_no_more(tmp_path: Path, victim: str) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        going = asyncio.create_task(place.run("echo begun > mark; sleep 60", seconds=60))
        await until((tmp_path / "mark").exists)
        launcher = place.backend._launcher
        pid = launcher._process.pid
        if victim == "sandbox":
            for child in first_processes(pid):
                os.kill(child, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        assert (await asyncio.wait_for(going, 10)).code == 128 + signal.SIGKILL
        assert await place.says("echo fine") == "fine"


@pytest.mark.requirement("sandbox:native-hostile-messages")
async def test_what_a_sandbox_says_instead_of_messages_does_no_harm(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        box = await place.backend.pool.take((str(tmp_path), "s", 1, ""))
        for message in (
            {"command": "x"}, {"command": 7, "status": 0}, {"status": None}, {"cleared": "many"}, {"built": True}, {},
            {"failed": 1, "error": 2}, {"command": [], "pid": {}},
        ):  # fmt: skip
            box.heard(message, [os.open(os.devnull, os.O_RDONLY)])
        command = await box.begun(box.begin(["true"], {"PATH": "/usr/bin:/bin"}, str(tmp_path), [0, 1, 2]))
        assert await asyncio.wait_for(command.ended, 5) == 0


@pytest.mark.requirement("sandbox:native-leaves-nothing")
async def test_a_launcher_that_we_have_no_descriptor_left_for_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, looked = os.open, list[str]()

    def open_once(path: str, *args: Any, **more: Any) -> int:
        if path == os.devnull:
            looked.append(path)
            if len(looked) > 1:  # the first is the process's own input
                raise OSError(errno.EMFILE, "too many open files")
        return opened(path, *args, **more)

    before = children(os.getpid())
    with monkeypatch.context() as patching:
        patching.setattr(os, "open", open_once)
        with pytest.raises(IsolationMissing, match="too many open files"):
            await Launcher.start()
    assert len(looked) == 2
    assert set(children(os.getpid())) <= set(before)


@pytest.mark.requirement("sandbox:native-hostile-messages")
async def test_what_is_no_message_is_not_heard_and_what_comes_after_it_is() -> None:
    heard = asyncio.Queue[dict[str, Any]]()

    class Listening(Channel):
        def heard(self, message: dict[str, Any], descriptors: list[int]) -> None:
            heard.put_nowait(message)

        def lost(self) -> None:
            heard.put_nowait({"lost": True})

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Listening(ours)
    with theirs:
        for data in (
            b"{", b"[]", b"1", b'"x"', b"null", b"\xff", b"+", b"[" * 30_000, b'{"a":' * 5_000, b'{"a": 1} x',
            b'{"a": "\\udcff"}', b'{"last": true}',
        ):  # fmt: skip
            theirs.send(data)
        assert await asyncio.wait_for(heard.get(), 5) == {"a": "\udcff"}
        assert await asyncio.wait_for(heard.get(), 5) == {"last": True}
    assert await asyncio.wait_for(heard.get(), 5) == {"lost": True}
    channel.close()


@pytest.mark.requirement("sandbox:native-launcher-is-small")
def test_the_launcher_loads_the_standard_library_and_its_neighbours_alone() -> None:
    source = str(Path(__file__).parents[2] / "src")
    code = f"import sys; sys.path.insert(0, {source!r}); import holdfast.sandbox.native.launching; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split())
    assert not loaded & {"asyncio", "msgspec", "pathlib", "subprocess", "yaml", "typing_extensions", "threading"}
    assert {each for each in loaded if each.startswith("holdfast.")} <= {
        "holdfast.sandbox",
        *(f"holdfast.sandbox.longrunning{each}" for each in ("", ".dialling")),
        *(f"holdfast.sandbox.native{each}" for each in (".blanks", ".bounds", ".bounds.measuring")),
        *(f"holdfast.sandbox.native{each}" for each in (".lasting", ".lasting.sparing")),
        *(f"holdfast.sandbox.kernel{each}" for each in ("", ".syscalls", ".landlock", ".seccomp", ".cgroups")),
        *(f"holdfast.sandbox.native{each}" for each in ("", ".launching", ".building", ".serving", ".slots")),
        *(f"holdfast.sandbox.native.talking{each}" for each in ("", ".wire")),
    }


ROOTLESS = """
import asyncio, sys
from pathlib import Path
from typing import Any
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.policy.profile import Profile, Tree

async def main():
    profile = Profile(require=("userns", "netns", "seccomp"), workspace=Tree(apply=sys.argv[2]))
    backend = await NativeSandboxes.open(profile)
    assert "own-uid" not in backend.posture.layers
    env = {"PATH": "/usr/bin:/bin", "HOME": "/home/me"}
    command = "id -u; echo x > made; cat /etc/shadow"
    ended = await backend.run(command, folder=Path(sys.argv[1]), env=env, timeout=20, keep=10000)
    print(ended.code, ended.output.text())
    await backend.close()

asyncio.run(main())
"""


@pytest.mark.requirement("sandbox:native-rootless")
@pytest.mark.skipif(not ROOT, reason="root becomes somebody else for it")
@pytest.mark.parametrize("apply", ["at-once", "when-ended"])
def test_who_is_not_root_gets_the_same_sandbox_without_a_user_and_groups_of_its_own(apply: str) -> None:
    python = everybodys_python()
    source = Path(__file__).parents[2] / "src"
    libraries = next(each for each in sys.path if each.endswith("site-packages"))
    folder = Path(tempfile.mkdtemp(prefix="holdfast-rootless-", dir="/tmp"))
    try:
        os.chown(folder, 40001, 40001)
        user = ["setpriv", "--reuid=40001", "--regid=40001", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
        env = {"PYTHONPATH": f"{source}:{libraries}", "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*user, python, "-c", ROOTLESS, str(folder), apply]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("1 1000\n"), done.stdout
        assert (folder / "made").stat().st_uid == 40001
    finally:
        shutil.rmtree(folder)


def everybodys_python() -> str:
    """Returns a Python that any user may run and that our libraries are made for; skips where there is none."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = shutil.which(f"python{mine}", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"takes a Python {mine} that everybody may run")
    return found


@pytest.mark.requirement("sandbox:native-leaves-nothing")
async def test_a_sandbox_that_cannot_be_built_says_at_which_step_and_leaves_nothing(tmp_path: Path) -> None:
    launcher = await Launcher.start()
    try:
        with pytest.raises(IsolationMissing, match="mounts"):
            await launcher.make(
                {
                    "uid": 1000, "gid": 1000, "owner": (0, 0), "whose": {"owner": "", "epoch": 0}, "landlock": [],
                    "mounts": [{"path": "/x", "kind": "ro", "source": str(tmp_path / "missing")}], "listen": 0,
                    "group": {"memory": None, "cpus": None, "pids": None}, "rlimits": {}, "cwd": "/",
                }
            )  # fmt: skip
        assert launcher.open
    finally:
        await launcher.end()


POLICY = """
kind: SandboxProfile
policy:
  version: 1
  network_policies:
    service:
      name: service
      endpoints: [{ host: service.test, port: 80, protocol: rest, enforcement: enforce, access: read-only }]
      binaries: [{ path: /usr/bin/python3* }]
env:
  secrets: { TEST_SERVICE_KEY: [service.test] }
"""


@pytest.mark.requirement("sandbox:native-egress")
async def test_the_way_out_is_judged_by_program_host_and_method_and_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SERVICE_KEY", "s3cret")
    ask = (
        "import urllib.request as u, urllib.error as e, os, sys\n"
        "def ask(url, **k):\n"
        "    try: return u.urlopen(u.Request(url, **k), timeout=5).status\n"
        "    except e.HTTPError as error: return error.code\n"
        "print(ask('http://other.test/'), ask('http://service.test/', data=b'x'), ask('http://service.test/'))\n"
        "print(os.environ['TEST_SERVICE_KEY'])\n"
    )
    (tmp_path / "ask.py").write_text(ask)
    async with sandboxes(tmp_path, load_profile(POLICY)) as place:
        assert not place.backend.posture.isolated, "what it does may be seen outside"
        assert "egress-proxy" in place.backend.posture.layers
        ended = await place.run("/usr/bin/python3 ask.py; bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128 && echo connected'")
    codes, placeholder, *_ = ended.output.text().splitlines()
    refused, written, allowed = codes.split()
    assert (refused, written) == ("403", "403")
    assert allowed in ("502", "504"), "it was let out, and nobody is there"
    assert "s3cret" not in placeholder
    verdicts = [(each["host"], each["method"], each["verdict"]) for each in ended.out]
    assert ("service.test", "POST", "denied") in verdicts
    assert ("service.test", "GET", "allowed") in verdicts
    assert not [each for each in verdicts if each[0] == "other.test" and each[2] != "denied"]


@pytest.mark.requirement("sandbox:native-protected-paths")
async def test_what_is_put_where_something_protected_was_not_yet_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    async with sandboxes(tmp_path) as place:
        await place.run("echo x > .envrc; mkdir .idea .git/hooks; echo x > .git/hooks/post-checkout; echo y > fine")
        await place.run("echo own > .git/commondir; ln -s /etc .mcp.json; exit 1")
        await place.run("echo x > .envrc; sleep 60", seconds=0.5)
    assert names(tmp_path) == [".git", "fine"]
    assert names(tmp_path / ".git") == []


@pytest.mark.requirement("sandbox:native-protected-paths")
async def test_a_repository_that_a_command_makes_loses_its_hooks_and_a_file_in_its_place_goes(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.run("mkdir own; echo 'gitdir: own' > .git")
        assert names(tmp_path) == ["own"]
        await place.run("mkdir -p .git/hooks .git/refs; echo x > .git/hooks/pre-commit; echo '[core]' > .git/config")
    assert names(tmp_path / ".git") == ["config", "refs"]


@pytest.mark.requirement("sandbox:native-protected-paths")
async def test_a_worktree_keeps_its_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    async with sandboxes(tmp_path) as place:
        assert (await place.run("echo 'gitdir: own' > .git")).code != 0
        assert (await place.run("rm .git || mv .git own")).code != 0
    assert (tmp_path / ".git").read_text() == "gitdir: /elsewhere\n"


@pytest.mark.requirement("sandbox:native-leaves-nothing")
async def test_several_launchers_on_one_machine_do_not_take_each_others_places(tmp_path: Path) -> None:
    async def work(number: int) -> list[int]:
        folder = tmp_path / str(number)
        codes: list[int] = []
        for _ in range(4):
            async with sandboxes(folder) as place:
                ended = await asyncio.gather(*(place.run(f"echo {each}") for each in range(3)))
                codes += [each.code for each in ended]
        return codes

    for number in range(3):
        (tmp_path / str(number)).mkdir()
    for codes in await asyncio.gather(*(work(number) for number in range(3))):
        assert codes == [0] * 12


@pytest.mark.requirement("sandbox:native-sees-its-workspace")
async def test_a_workspace_below_the_second_folder_for_passing_things_is_at_its_path() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-", dir="/var/tmp") as name:
        async with sandboxes(Path(name)) as place:
            assert await place.says("pwd; echo x > made; cat /var/tmp/*/made") == f"{name}\nx"


@pytest.mark.requirement("sandbox:native-protected-paths")
async def test_what_is_protected_is_also_when_somebody_outside_replaced_it_or_made_it_between(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("1")
    async with sandboxes(tmp_path) as place:
        assert (await place.run("echo own > .git/config")).code != 0
        (tmp_path / "new").write_text("2")
        (tmp_path / "new").rename(tmp_path / ".git" / "config")
        (tmp_path / ".envrc").write_text("mine")
        assert (await place.run("echo own > .git/config")).code != 0
        assert (await place.run("echo own > .envrc")).code != 0
    assert (tmp_path / ".git" / "config").read_text() == "2"


@pytest.mark.requirement("sandbox:native-sees-its-workspace")
async def test_a_workspace_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    workspace, private = tmp_path / "work", tmp_path / "private"
    workspace.mkdir()
    private.mkdir()
    async with sandboxes(workspace) as place:
        workspace.rmdir()
        workspace.symlink_to(private)
        with pytest.raises(SandboxError):
            await place.run("touch made")
    assert names(private) == []
