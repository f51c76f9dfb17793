"""Everything commands can run in passes the one kit; what says that it isolates passes the other one, too.

What needs a program runs where that is installed; in CI as root that it is not is an error.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import holdfast
from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.bubblewrap import Bubblewrap
from holdfast.sandbox.backends.container import Container
from holdfast.sandbox.backends.gvisor import GVisor
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native.slots import Slots, folder
from holdfast.sandbox.policy.openshell import Landlock, Policy
from holdfast.sandbox.policy.profile import Profile, Quotas, Tree
from holdfast.sandbox.port import Backend
from holdfast.sandbox.processes import Ended
from holdfast.testing.conformance.backends import isolating
from holdfast.testing.conformance.backends import running as kit

Open = Callable[[Profile], Awaitable[Backend]]


async def crun(profile: Profile) -> Backend:
    return await Container.open(profile, "crun")


async def runc(profile: Profile) -> Backend:
    return await Container.open(profile, "runc")


async def none(profile: Profile) -> Backend:
    return NoIsolation()


INSTALLED: dict[str, Open] = {"bubblewrap": Bubblewrap.open, "crun": crun, "runc": runc, "gvisor": GVisor.open}
BACKENDS: dict[str, Open] = {
    "none": none,
    "process": ProcessSandboxes.open,
    "native": NativeSandboxes.open,
    **INSTALLED,
}
OPEN = {
    "process": (
        isolating.it_says_that_it_is_isolated,
        isolating.nothing_outside_can_be_read,  # but it can be seen
        isolating.protected_paths_stay,
    )
}
"""Checks of isolation that a backend does not pass, and does not claim to."""


class Stage:
    def __init__(self, backend: Backend, folder: Path) -> None:
        self.backend = backend
        self.folder = folder

    def again(self) -> Backend:
        return self.backend


OPENED: list[Backend] = []


@pytest.fixture(autouse=True)
async def closing() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().close()


async def opened(name: str, profile: Profile) -> Backend:
    try:
        OPENED.append(await BACKENDS[name](profile))
        return OPENED[-1]
    except IsolationMissing as error:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"this machine is to run every backend: {error}")
        pytest.skip(f"{name}: {error}")


@pytest.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    yield Stage(await opened(request.param, Profile()), folder)


@pytest.mark.requirement("sandbox:backends-pass-the-kit", "commands:input-and-errors-apart")
@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stage", BACKENDS, indirect=True)
async def test_what_every_backend_does(check: kit.Check, stage: Stage) -> None:
    await check(stage)


@pytest.mark.requirement("sandbox:backends-pass-the-kit")
@pytest.mark.parametrize("check", isolating.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stage", [name for name in BACKENDS if name != "none"], indirect=True)
async def test_what_isolates(check: kit.Check, stage: Stage) -> None:
    if check in OPEN.get(stage.backend.posture.backend, ()):
        assert not stage.backend.posture.isolated
        with pytest.raises(AssertionError):
            await check(stage)
    else:
        await check(stage)


@pytest.mark.parametrize("check", isolating.CHECKS, ids=lambda check: check.__name__)
async def test_what_does_not_isolate_fails_each_check_of_isolation(check: kit.Check, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    with pytest.raises(AssertionError, match=r"\w+ \w+"):
        await check(Stage(NoIsolation(), folder))


class Faulty:
    """A backend that does one thing wrong."""

    def __init__(self, name: str, wrong: Callable[..., Any]) -> None:
        self._inner = NoIsolation()
        self._name = name
        self._wrong = wrong

    def __getattr__(self, name: str) -> Any:
        right = getattr(self._inner, name)
        return partial(self._wrong, right) if name == self._name else right


async def leaks_our_environment(right: Any, command: Any, *, env: Any, **given: Any) -> Ended:
    return await right(command, env={**os.environ, **env}, **given)


async def keeps_errors(right: Any, command: Any, *, errors: bool = True, **given: Any) -> Ended:
    return await right(command, **given)


async def gives_nothing_to_read(right: Any, command: Any, *, streams: Any = None, **given: Any) -> Ended:
    return await right(command, **given)


async def mixes_errors_in(right: Any, command: Any, *, streams: Any = None, **given: Any) -> Ended:
    ended = await right(command, streams=streams, **given)
    if streams is not None:
        ended.output.feed(streams.errors.raw())
    return ended


async def asks_a_shell(right: Any, command: Any, **given: Any) -> Ended:
    return await right(command if isinstance(command, str) else " ".join(command), **given)


async def says_all_went_well(right: Any, command: Any, **given: Any) -> Ended:
    return msgspec.structs.replace(await right(command, **given), code=0)


async def is_never_late(right: Any, command: Any, **given: Any) -> Ended:
    return msgspec.structs.replace(await right(command, **given), timed_out=False)


async def ignores_its_folder(right: Any, command: Any, *, folder: Path, **given: Any) -> Ended:
    return await right(command, folder=folder.parent, **given)


async def kills_every_epoch(right: Any, owner: str, epoch: int) -> int:
    return await right(owner, epoch + 9)


async def kills_nothing(right: Any, owner: str, epoch: int) -> int:
    return 1


@pytest.mark.parametrize(
    ("name", "wrong", "caught_by"),
    [
        ("run", leaks_our_environment, kit.the_environment_is_what_was_given),
        ("run", keeps_errors, kit.errors_are_dropped_where_that_is_asked_for),
        ("run", gives_nothing_to_read, kit.it_reads_what_it_is_given),
        ("run", mixes_errors_in, kit.it_reads_what_it_is_given),
        ("run", mixes_errors_in, kit.much_is_read_apart),
        ("run", asks_a_shell, kit.a_sequence_is_read_by_no_shell),
        ("run", says_all_went_well, kit.the_exit_code_is_a_shells),
        ("run", is_never_late, kit.time_runs_out),
        ("run", ignores_its_folder, kit.it_starts_in_the_folder_and_may_change_it),
        ("attach", kills_every_epoch, kit.attaching_kills_lower_epochs),
        ("attach", kills_nothing, kit.attaching_kills_lower_epochs),
    ],
)
async def test_a_fault_is_caught_in_words(
    name: str, wrong: Callable[..., Any], caught_by: kit.Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "_SOON", 3.0)  # a fault is waited for as long as that
    backend: Any = Faulty(name, wrong)
    with pytest.raises(AssertionError, match=r"\w+ \w+"):
        await caught_by(Stage(backend, tmp_path))


QUOTAS: dict[str, tuple[Quotas, str]] = {
    "memory": (Quotas(memory=256 * 1024**2), "head -c 800m /dev/zero | tail"),
    "pids": (Quotas(pids=40), "for n in $(seq 60); do sleep 1.5 & done 2>/dev/null; wait; exit 1"),
    "cpu": (Quotas(cpu=1), "while :; do :; done"),
    "file": (Quotas(file=1 << 20), "exec head -c 2m /dev/zero >large"),
    "disk": (Quotas(disk=1 << 20), "head -c 5m /dev/zero >/tmp/large"),
    "inodes": (Quotas(inodes=200), "for n in $(seq 500); do : >/tmp/f$n || exit 1; done"),
    "wall": (Quotas(wall=1), "sleep 60"),
    "output": (Quotas(output=1000), "head -c 5000 /dev/zero"),
}


@pytest.mark.requirement("sandbox:quota-names-the-breach", "sandbox:gvisor-bundle")
@pytest.mark.parametrize("quota", QUOTAS)
@pytest.mark.parametrize("name", INSTALLED)
async def test_a_command_that_uses_too_much_ends_and_says_what_of(name: str, quota: str, tmp_path: Path) -> None:
    limits, line = QUOTAS[quota]
    stage = Stage(await opened(name, Profile(limits=limits)), tmp_path)
    ended, text = await kit.run(stage, line)
    assert ended.breach == quota, (ended, text)
    assert ended.seconds < 25
    fine, text = await kit.run(stage, "echo fine")
    assert (fine.code, text, fine.breach) == (0, "fine\n", None)


async def said(backend: Backend, line: str, folder: Path, **more: str) -> str:
    env = {"PATH": "/usr/bin:/bin", **more}
    ended = await backend.run(line, folder=folder, env=env, timeout=60, keep=1000)
    return ended.output.raw().decode()


@pytest.mark.requirement("sandbox:installed-kept-files")
@pytest.mark.parametrize("name", INSTALLED)
async def test_what_a_command_leaves_in_tmp_and_home_is_there_for_the_next_of_its_owner_and_for_nobody_else(
    name: str, tmp_path: Path
) -> None:
    backend = await opened(name, Profile(limits=Quotas(disk=32 << 20)))
    home, look = "/home/somebody", "cat /tmp/t /var/tmp/v ~/h 2>/dev/null; true"
    mine = {"HOLDFAST_OWNER": f"local/{secrets.token_hex(6)}#1", "HOME": home}
    await said(backend, "echo 1 >/tmp/t; echo 2 >/var/tmp/v; echo 3 >~/h; chmod 600 /tmp/t", tmp_path, **mine)
    assert await said(backend, look, tmp_path, **mine) == "1\n2\n3\n"
    assert await said(backend, look, tmp_path, HOME=home) == ""
    assert "No space left" in await said(backend, "head -c 40m /dev/zero >/tmp/large", tmp_path, **mine)
    later = mine | {"HOLDFAST_OWNER": mine["HOLDFAST_OWNER"].replace("#1", "#2")}
    await backend.attach(later["HOLDFAST_OWNER"].removesuffix("#2"), 2)
    assert await said(backend, look, tmp_path, **later) == ""


@pytest.mark.requirement("sandbox:quota-names-the-breach")
@pytest.mark.parametrize("name", [*INSTALLED, "native"])
async def test_a_limit_of_cpu_warns_at_the_quota_and_kills_a_second_later(name: str, tmp_path: Path) -> None:
    backend = await opened(name, Profile(limits=Quotas(cpu=7)))
    seven = 8 if name == "native" else 7  # where everything that a command starts is bounded together before that
    assert await said(backend, "ulimit -St; ulimit -Ht", tmp_path) == f"{seven}\n{seven + 1}\n"


@pytest.mark.requirement("sandbox:start-cleans-up")
@pytest.mark.parametrize("name", INSTALLED)
async def test_what_a_runtime_left_that_was_killed_as_it_opened_is_removed_by_the_next_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, ours = tmp_path / "holdfast-look-left", tmp_path / "holdfast-look-now"
    for each in (left, ours):
        (each / "workspace").mkdir(parents=True)
        (each / "canary").touch()
    os.utime(left, (0, 0))
    await opened(name, Profile(limits=Quotas(nofile=900 + secrets.randbelow(100))))  # as it never was opened before
    assert (left.exists(), ours.exists()) == (False, True)


def below(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


@pytest.mark.requirement("sandbox:installed-protected-paths")
@pytest.mark.parametrize("name", INSTALLED)
async def test_what_a_command_puts_where_something_protected_was_not_yet_is_taken_away(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / ".git/hooks").mkdir(parents=True)
    backend = await opened(name, Profile())
    line = "echo x >.envrc; echo x >.git/commondir; echo x >ours; (echo x >.git/hooks/new) 2>/dev/null; true"
    ended, _ = await kit.run(Stage(backend, tmp_path), line)
    assert set(ended.taken) == {".envrc", ".git/commondir"}
    assert below(tmp_path) == {".git", ".git/hooks", "ours"}


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native.slots import Slots, folder
from holdfast.sandbox.policy.openshell import Landlock, Policy
from holdfast.sandbox.policy.profile import Profile
from tests.conformance.test_backends import BACKENDS

async def main(name, folder, owner):
    backend = await BACKENDS[name](Profile())
    line = "(setsid bash -c 'while :; do echo >>beats; sleep 0.05; done' &); sleep 100"
    env = {{"PATH": "/usr/bin:/bin", "HOLDFAST_OWNER": f"{{owner}}#1"}}
    asyncio.create_task(backend.run(line, folder=Path(folder), env=env, timeout=100, keep=100))
    while not Path(folder, "beats").exists():
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


def beats(folder: Path) -> int:
    return (folder / "beats").stat().st_size


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text("utf-8")


def left() -> set[str]:
    """Returns the control groups of sandboxes that nobody holds."""
    held, groups = Slots(folder()), Groups().left()
    free = {name for name in groups if name.isdigit() and held.try_take(int(name))}
    for name in free:
        held.give_back(int(name))
    return free


@pytest.mark.requirement("sandbox:gvisor-stale-containers")
@pytest.mark.parametrize("name", INSTALLED)
async def test_a_killed_runtime_leaves_nothing_once_the_next_one_began(name: str, tmp_path: Path) -> None:
    await opened(name, Profile())
    script = DYING.format(root=str(Path(__file__).parents[2]))
    owner = f"local/dying-{secrets.token_hex(6)}"
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", script, name, str(tmp_path), owner)
    assert await asyncio.wait_for(dying.wait(), 60) == -signal.SIGKILL
    before = -1
    async with asyncio.timeout(5):
        while beats(tmp_path) != before:
            before = beats(tmp_path)
            await asyncio.sleep(0.3)  # as long as it lives it writes every 0.05 s
    lost = left()
    next_one = await opened(name, Profile())
    assert await next_one.attach(owner, 2) == 0
    assert not left() & lost
    assert str(tmp_path) not in mounts()


@pytest.mark.requirement("sandbox:no-silent-downgrade")
@pytest.mark.parametrize("name", INSTALLED)
async def test_a_layer_that_is_required_and_missing_stops_it(name: str) -> None:
    await opened(name, Profile(require=("netns", "seccomp", "private-root")))
    with pytest.raises(IsolationMissing, match="no landlock>=4: paths are bounded by mounts alone"):
        await BACKENDS[name](Profile(require=("netns", "landlock>=4")))
    with pytest.raises(IsolationMissing, match="'landlock'"):
        await BACKENDS[name](Profile(policy=Policy(landlock=Landlock(compatibility="hard_requirement"))))
    with pytest.raises(IsolationMissing, match="'layers'"):
        await BACKENDS[name](Profile(workspace=Tree(apply="when-ended")))


@pytest.mark.parametrize("name", INSTALLED)
async def test_a_program_that_is_not_there_is_named_with_its_package(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(IsolationMissing, match="install "):
        await BACKENDS[name](Profile())


def useless(program: Path) -> None:
    program.symlink_to("/bin/false")


@pytest.mark.parametrize("name", ["bubblewrap", "crun"])
async def test_a_program_that_does_not_work_here_says_what_it_said(name: str, tmp_path: Path, monkeypatch) -> None:
    await opened(name, Profile())
    for each in ("bwrap", "crun"):
        useless(tmp_path / each)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(IsolationMissing, match=r"does not work here: .*; allow it what it lacks, or choose another"):
        await BACKENDS[name](Profile())


ROOTLESS = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from holdfast.sandbox.backends.bubblewrap import Bubblewrap
from holdfast.sandbox.policy.openshell import Landlock, Policy
from holdfast.sandbox.policy.profile import Profile
from holdfast.testing.conformance.backends import isolating, running

class Stage:
    def __init__(self, backend, folder):
        self.backend, self.folder = backend, folder
    def again(self):
        return self.backend

async def main(place):
    backend = await Bubblewrap.open(Profile())
    for check in (*running.CHECKS, *isolating.CHECKS):
        folder = Path(place, check.__name__, "workspace")
        folder.mkdir(parents=True)
        await check(Stage(backend, folder))
    missing = {each.layer for each in backend.missing}
    assert {"own-uid", "cgroup.memory", "cgroup.pids"} <= missing, missing
    assert "pytest" not in sys.modules
    await backend.close()
    print("all of them")

asyncio.run(main(sys.argv[1]))
"""


def pythons() -> tuple[str, ...]:
    """Returns where a Python may be that others than root may start, with the libraries that we have."""
    return f"/usr/bin/python3.{sys.version_info.minor}", os.path.realpath(sys.executable)


async def test_bubblewrap_passes_both_kits_without_root_and_without_rights() -> None:
    await opened("bubblewrap", Profile())
    libraries = [str(Path(holdfast.__file__).parents[1]), sysconfig.get_path("purelib")]
    with tempfile.TemporaryDirectory() as place:
        shutil.chown(place, 65534, 65534)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]
        for python in pythons():
            line = [*command, python, "-I", "-B", "-c", ROOTLESS, place, *libraries]
            done = subprocess.run(line, capture_output=True, text=True, timeout=170, check=False)  # noqa: ASYNC221
            if done.returncode not in (126, 127):
                break
        else:
            pytest.skip("there is no Python that others than root may start")
    assert done.stdout == "all of them\n", done.stderr[-2000:]
