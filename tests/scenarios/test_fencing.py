"""Processes of earlier owners, found by their mark wherever they went, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.sandbox import fencing
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.fencing import kill_below, kill_left

STREAM = f"local/fencing-{os.getpid()}"

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Starts a command in a session of its own, marked as an owner's; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(command: str, owner: str = f"{STREAM}#1", **more: str) -> subprocess.Popen[bytes]:
        environment = clean_environment({"HOLDFAST_OWNER": owner, "FENCING_TEST": STREAM, **more})
        process = subprocess.Popen(["bash", "-c", command], env=environment, cwd=tmp_path, start_new_session=True)
        started.append(process)
        return process

    yield run
    for pid in marked():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in started:
        process.wait(5)


def marked(mark: str = f"FENCING_TEST={STREAM}") -> list[int]:
    """The living processes that were started with this in their environment."""
    found: list[int] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path stumbles over those that are just ending
        with suppress(OSError):
            if name.isdigit() and mark.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def until(condition: Callable[[], object]) -> None:
    """Waits for what other processes do, which nothing here can be woken by."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.requirement("sandbox:attach-kills-lower-epoch")
@pytest.mark.parametrize(
    ("command", "count"),
    [
        ("exec sleep 60", 1),
        ("sleep 60 & sleep 60 & wait", 3),
        ("trap '' TERM INT HUP; sleep 60 & wait; sleep 60", 2),
        ("setsid sleep 60 & wait", 2),
        ("(setsid bash -c '(sleep 60 & exec setsid sleep 60) & exit' &) ; exit", 2),
        ("for n in {1..40}; do setsid sleep 60 & done; exit", 40),
        ("sleep 60 & kill -STOP $!; kill -STOP $$", 2),
    ],
)
def test_whatever_an_older_owner_left_is_killed_wherever_it_went(start: Start, command: str, count: int) -> None:
    start(command)
    until(lambda: len(marked()) == count)
    assert kill_below(STREAM, 2) >= 1  # those that share a group, or come and go, may count once
    assert marked() == []
    assert kill_below(STREAM, 2) == 0


@pytest.mark.requirement("sandbox:attach-kills-lower-epoch")
def test_owners_of_this_epoch_and_later_ones_and_everybody_else_live(start: Start) -> None:
    others = [
        f"{STREAM}#5",
        f"{STREAM}#6",
        f"{STREAM}0#1",
        f"x{STREAM}#1",
        f"{STREAM}#",
        f"{STREAM}#-1",
        f"{STREAM}#1x",
    ]
    others += [f"{STREAM}#\u0661", f"{STREAM}", "", f"{STREAM}#1#9", f"{STREAM}#" + "1" * 30]
    alive = [start("exec sleep 60", owner) for owner in others]
    alive += [
        start("exec sleep 60", "", XHOLDFAST_OWNER=f"{STREAM}#1"),
        start("exec sleep 60", "", A=f"HOLDFAST_OWNER={STREAM}#1"),
    ]
    old = [start("exec sleep 60", f"{STREAM}#{epoch}") for epoch in (0, 1, 4)]
    until(lambda: len(marked()) == len(alive) + len(old))
    assert kill_below(STREAM, 5) == 3
    assert [process.wait(5) for process in old] == [-signal.SIGKILL] * 3
    assert [process.poll() for process in alive] == [None] * len(alive)


def test_a_process_without_a_mark_ends_with_the_group_it_shares(start: Start, tmp_path: Path) -> None:
    start("env -i sleep 60 & echo $! > pid; wait")
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    watch = os.pidfd_open(int(pid.read_text()))
    try:
        # Until `env` has become `sleep` it still has the environment it was started with, and counts by its mark.
        until(lambda: Path(f"/proc/{pid.read_text().strip()}/cmdline").read_bytes().startswith(b"sleep"))
        assert kill_below(STREAM, 2) == 1
        until(lambda: fencing._state_of(int(pid.read_text()))[0] in ("", "Z"))
    finally:
        os.close(watch)


@pytest.mark.requirement("sandbox:attach-kills-lower-epoch")
@pytest.mark.parametrize("again", ["sh", "setsid sh"])
def test_processes_that_start_another_and_end_do_not_run_away(start: Start, tmp_path: Path, again: str) -> None:
    # Each lives about a millisecond: it starts the next one and ends. The number bounds it should this test fail.
    (tmp_path / "next").write_text(f': > "going$1"; [ "$1" -gt 0 ] && {again} next $(($1 - 1)) &\n')
    start("for n in 1 2 3; do sh next 3000 & done; wait; sleep 60")
    until(lambda: len(list(tmp_path.glob("going29*"))) > 50)
    assert kill_below(STREAM, 2) > 0
    ended = len(list(tmp_path.glob("going*")))
    assert (marked(), ended) == ([], len(list(tmp_path.glob("going*"))))
    assert not (tmp_path / "going0").exists()


def test_who_asks_is_never_killed_even_if_it_is_an_older_owner_s(start: Start) -> None:
    code = (
        "import sys\nfrom holdfast.sandbox.fencing import kill_below\nkilled = kill_below(sys.argv[1], 2)\n"
        "sys.exit(10 + killed)"
    )
    asks = start(f"exec {sys.executable} -c '{code}' {STREAM}")
    assert asks.wait(20) == 10
    shares = start(f"sleep 60 & {sys.executable} -c '{code}' {STREAM} & wait -n %2; exit $?")
    # It shares a group with the two it kills, and lives on to say so only by not being among them.
    assert shares.wait(20) in (-signal.SIGKILL, 12)


def test_a_number_that_belongs_to_somebody_else_by_now_is_not_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = start("exec sleep 60")
    until(lambda: len(marked()) == 1)
    real, seen = fencing._environment_of, list[int]()

    def changes_hands(pid: int) -> bytes:
        environment = real(pid)
        if pid == victim.pid:
            seen.append(pid)
            # At every second look the process is another.
            return environment if len(seen) % 2 else b"HOME=/\0"
        return environment

    monkeypatch.setattr(fencing, "_environment_of", changes_hands)
    monkeypatch.setattr(fencing, "_PATIENCE", 0.1)
    assert kill_below(STREAM, 2) == 0
    assert len(seen) > 1
    assert victim.poll() is None


def test_without_process_descriptors_the_same_ones_are_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    start("setsid sleep 60 & wait")
    until(lambda: len(marked()) == 2)
    assert kill_below(STREAM, 2) == 2
    until(lambda: not marked())


def test_where_there_is_no_proc_nobody_is_found(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start("exec sleep 60")
    until(lambda: len(marked()) == 1)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (kill_below(STREAM, 2), kill_left("", 1)) == (0, 0)
    assert len(marked()) == 1


def test_what_one_command_left_is_found_also_when_process_numbers_began_anew(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("setsid sleep 60 & exit", HOLDFAST_CALL=STREAM)
    until(lambda: len(marked()) == 1)
    assert kill_left("another", 1) == 0
    assert kill_left(STREAM, 1 << 30) == 1  # no number that high was given yet, so all are looked at


@pytest.mark.requirement("sandbox:fence-is-cheap")
def test_looking_at_three_hundred_processes_takes_milliseconds() -> None:
    crowd = [subprocess.Popen(["sleep", "60"]) for _ in range(300)]
    try:
        taken: list[float] = []
        for _ in range(9):
            begun = time.thread_time()
            kill_below(STREAM, 2)
            taken.append(time.thread_time() - begun)
        assert min(taken) < 0.05, "it takes about 0.01 s alone on a machine"
    finally:
        for process in crowd:
            process.kill()
        for process in crowd:
            process.wait()
