"""What a command cannot do to its sandbox's first process, and so to the commands that come after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sandboxing import Place, first_processes, names, sandboxes

from holdfast.errors import SandboxError
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.policy.profile import Profile, Quotas

ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

HARM = {
    "prlimit": "import resource as r; r.prlimit(1, r.RLIMIT_NOFILE, (5, 5))",
    "prlimit-as": "import resource as r; r.prlimit(1, r.RLIMIT_AS, (1 << 20, 1 << 20))",
    "affinity": "import os; os.sched_setaffinity(1, {0})",
    "scheduler": "import os; os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))",
    "priority": "import os; os.setpriority(os.PRIO_PROCESS, 1, 19)",
    "priority-of-group": "import os; os.setpriority(os.PRIO_PGRP, 1, 19)",
    "priority-of-user": "import os; os.setpriority(os.PRIO_USER, 0, 19)",
    "priority-of-user-by-number": "import os; os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    "ioprio": "import ctypes as c; l = c.CDLL(None, use_errno=True); "
    "n = 251 if __import__('platform').machine() == 'x86_64' else 30; r = l.syscall(n, 1, 1, 3 << 13); "
    "raise OSError(c.get_errno(), '') if r else SystemExit(0)",
    "ioprio-of-user": "import ctypes as c, os; l = c.CDLL(None, use_errno=True); "
    "n = 251 if __import__('platform').machine() == 'x86_64' else 30; r = l.syscall(n, 3, os.getuid(), 3 << 13); "
    "raise OSError(c.get_errno(), '') if r else SystemExit(0)",
    "comm": "import os; os.write(os.open('/proc/1/comm', os.O_WRONLY), b'x')",
    "oom": "import os; os.write(os.open('/proc/1/oom_score_adj', os.O_WRONLY), b'1000')",
    "timer-slack": "import os; os.write(os.open('/proc/1/timerslack_ns', os.O_WRONLY), b'4000000000')",
    "memory": "open('/proc/1/mem', 'rb+')",
    "descriptors": "import os; os.listdir('/proc/1/fd')",
    "environment": "open('/proc/1/environ').read()",
    "trace": "import ctypes as c; l = c.CDLL(None); raise SystemExit(l.ptrace(16, 1, 0, 0) != -1 and 0 or 1)",
}


@pytest.mark.requirement("sandbox:first-process-kept")
@pytest.mark.parametrize("harm", HARM)
async def test_no_command_changes_the_first_process(tmp_path: Path, harm: str) -> None:
    async with sandboxes(tmp_path) as place:
        ended = await place.run(f'python3 -c "{HARM[harm]}"')
        assert ended.code == 1, ended.output.text()
        await _works(place)


@pytest.mark.requirement("sandbox:first-process-kept")
async def test_no_signal_of_a_command_ends_or_stops_the_first_process(tmp_path: Path) -> None:
    signals = "for n in $(seq 1 64); do kill -$n 1; done 2>/dev/null; for i in $(seq 500); do kill -CHLD 1; done"
    async with sandboxes(tmp_path) as place:
        assert (await place.run("echo kept > /tmp/mark")).code == 0
        await place.run(signals)
        assert await place.says("cat /tmp/mark") == "kept"  # it is the same one
        await _works(place)


@pytest.mark.requirement("sandbox:first-process-kept")
async def test_a_shell_that_a_command_puts_into_the_path_is_not_taken_for_the_next_command(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        place.env["PATH"] = f"{tmp_path}/bin:/tmp/bin:/usr/bin:/bin"
        false = "printf '#!/bin/sh\\necho all is well\\n'"
        await place.run(f"mkdir bin /tmp/bin; {false} | tee /tmp/bin/bash > bin/bash; chmod +x bin/bash /tmp/bin/bash")
        assert await place.says("echo really") == "really"
        assert (await place.run("exit 3")).code == 3
        assert await place.says("tool 2>/dev/null || echo none; command -v bash") == f"none\n{tmp_path}/bin/bash"


@pytest.mark.requirement("sandbox:first-process-kept")
async def test_what_programs_need_of_limits_and_priorities_they_have(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        said = await place.says(
            "nice -n 5 nice; ulimit -n 100; ulimit -n; prlimit --pid $$ --nofile=50:50; ulimit -n;"
            "sleep 9 & renice -n 7 -p $! > /dev/null; ps -o ni= -p $! | tr -d ' ';"
            "taskset -c 0 echo pinned; ionice -c3 echo idle"
        )
    assert said.split() == ["5", "100", "50", "7", "pinned", "idle"]


def _first(backend: NativeSandboxes) -> int:
    launcher = backend._launcher._process.pid  # pyright: ignore[reportPrivateUsage]
    (first,) = first_processes(launcher)
    return first


def _lower(pid: int, limit: str) -> None:
    """Lowers a limit of a process, as its own user from outside, whom no filter holds."""
    words = next(each for each in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if "Uid:" in each).split()
    user = int(words[1])
    subprocess.run(["prlimit", "--pid", str(pid), limit], user=user, group=user, extra_groups=[], check=True)


@pytest.mark.skipif(not ROOT, reason="takes the right to become a sandbox's user")
@pytest.mark.requirement("sandbox:broken-never-again")
@pytest.mark.parametrize("most", [5, 6, 7])
async def test_a_first_process_without_room_for_a_commands_output_starts_none_and_is_not_used_again(
    tmp_path: Path, most: int
) -> None:
    (tmp_path / "file").write_text("content\n")
    async with sandboxes(tmp_path) as place:
        await _works(place)
        first = _first(place.backend)
        _lower(first, f"--nofile={most}:{most}")
        with pytest.raises(SandboxError, match="cannot be started"):
            for _ in range(2):  # with a descriptor to spare it may be the first one that still works
                assert await place.says("cat file") == "content"
        assert await place.says("cat file") == "content"
        assert _first(place.backend) != first


@pytest.mark.skipif(not ROOT, reason="takes the right to become a sandbox's user")
@pytest.mark.requirement("sandbox:broken-never-again")
async def test_a_sandbox_without_memory_for_a_command_is_not_used_again(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await _works(place)
        first = _first(place.backend)
        _lower(first, "--as=1048576:1048576")
        with pytest.raises(SandboxError):
            await place.run("true")
        await _works(place)
        assert _first(place.backend) != first


@pytest.mark.skipif(not ROOT, reason="takes control groups")
@pytest.mark.requirement("sandbox:broken-never-again")
async def test_files_in_memory_that_leave_no_room_go_with_their_sandbox(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, Profile(limits=Quotas(memory=64 << 20))) as place:
        ended = await place.run("head -c 200000000 /dev/zero > /tmp/fill")
        assert ended.breach == "memory", ended.output.text()
        assert await place.says("ls /tmp/fill 2>/dev/null; python3 -c 'print(len(bytes(20 << 20)))'") == str(20 << 20)


async def _works(place: Place) -> None:
    """Sees that commands print what they print, and write what they write."""
    assert await place.says("echo out; echo err >&2; echo x > made; cat made") == "out\nerr\nx"
    assert "made" in names(place.folder)
    assert (await place.run("exit 7")).code == 7
