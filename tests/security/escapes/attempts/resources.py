"""Attempts to take more than was given. Runs inside: standard library only.

Each stops by its own count, and gives it back: children are killed, space is freed. What it took is what it says,
and what the host sees meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from knowing import Refused, Spec, call_myself

__all__ = ()

MB = 1 << 20
HOLD = 0.25
"""Seconds what was taken is kept, so that the host sees it."""


@contextmanager
def _children() -> Generator[list[int]]:
    """A list of processes that are killed and collected in the end."""
    pids: list[int] = []
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with suppress(OSError):
                os.waitpid(pid, 0)


def fork_bomb_600(spec: Spec) -> str:
    call_myself(f"f{spec.nonce}")
    with _children() as pids:
        try:
            for _ in range(600):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(20)
                    signal.pause()
                    os._exit(0)
                pids.append(pid)
        except OSError as error:
            raise Refused(f"{error.strerror} after {len(pids)}") from None
        time.sleep(HOLD)
    return "600"


def memory_1500MB(spec: Spec) -> str:
    call_myself(f"m{spec.nonce}")
    try:
        taken = _touched(1500)
    except MemoryError:
        raise Refused("MemoryError") from None
    time.sleep(HOLD)
    return str(len(taken))


def _touched(megabytes: int) -> list[bytearray]:
    taken: list[bytearray] = []
    for _ in range(megabytes // 50):
        piece = bytearray(50 * MB)
        piece[::4096] = b"x" * len(range(0, len(piece), 4096))
        taken.append(piece)
    return taken


def memory_many_processes(spec: Spec) -> str:
    """Six processes of 200 MB: each alone is modest."""
    call_myself(f"p{spec.nonce}")
    ready, told = os.pipe()
    with _children() as pids:
        for _ in range(6):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                with suppress(MemoryError):
                    taken = _touched(200)
                    os.write(told, b"x")
                    signal.pause()
                    taken.clear()
                os._exit(1)
            pids.append(pid)
        os.close(told)
        got = 0
        # The pipe stays open as long as any of them lives.
        deadline = time.monotonic() + 7
        os.set_blocking(ready, False)
        while got < 6 and time.monotonic() < deadline and not _any_ended(pids):
            with suppress(BlockingIOError):
                data = os.read(ready, 6)
                if not data:
                    break
                got += len(data)
            time.sleep(0.01)
        if got < 6:
            raise Refused(f"{got} of 6 got theirs")
        time.sleep(HOLD)
    return "1200"


def _any_ended(pids: list[int]) -> bool:
    return any(os.waitpid(pid, os.WNOHANG)[0] for pid in pids)


def disk_fill_700MB(spec: Spec) -> str:
    return _fill(f"fill-{spec.nonce}", 700)


def dev_shm_fill_300MB(spec: Spec) -> str:
    return _fill(f"/dev/shm/fill-{spec.nonce}", 300)


def _fill(path: str, megabytes: int) -> str:
    """Fills several files, since one alone may be bounded by itself."""
    taken = 0
    paths = [f"{path}-{number}" for number in range(0, megabytes, 100)]
    try:
        for each in paths:
            taken += _reserve(each, 100)
        return str(taken)
    except OSError as error:
        raise Refused(f"{error.strerror} after {taken} MB") from None
    finally:
        for each in paths:
            with suppress(OSError):
                os.unlink(each)  # noqa: PTH108 - names


def _reserve(path: str, megabytes: int) -> int:
    with Path(path).open("wb", buffering=0) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, megabytes * MB)
        except OSError as error:
            if error.errno not in (22, 38, 95):  # only that it is not supported
                raise
            for _ in range(megabytes):
                file.write(bytes(MB))
        return os.fstat(file.fileno()).st_blocks * 512 // MB


def tmp_and_pipe_buffers_fill(spec: Spec) -> str:
    """Fills /tmp, then pipes: memory that no file and no process seems to hold."""
    folder = f"/tmp/fill-{spec.nonce}"
    taken, paths, pipes = 0, [f"{folder}-{number}" for number in range(7)], 0
    descriptors: list[int] = []
    try:
        with suppress(OSError):
            for each in paths:
                taken += _reserve(each, 100)
        with suppress(OSError):
            for _ in range(300):
                descriptors += os.pipe()
                fcntl.fcntl(descriptors[-1], 1031, MB)  # F_SETPIPE_SZ
                os.set_blocking(descriptors[-1], False)
                pipes += os.write(descriptors[-1], bytes(MB))
    finally:
        for each in paths:
            with suppress(OSError):
                os.unlink(each)  # noqa: PTH108 - names
        for descriptor in descriptors:
            os.close(descriptor)
    if taken + pipes // MB < 700:
        raise Refused(f"{taken} MB in /tmp, {pipes // MB} MB in pipes")
    return str(taken + pipes // MB)


def inode_fill_20k(spec: Spec) -> str:
    folder = Path(f"inodes-{spec.nonce}")  # goes with the workspace, which takes a slow disk longer than this may take
    folder.mkdir()
    made = 0
    try:
        opened = os.open(folder, os.O_RDONLY)
        for made in range(20_000):
            os.mknod(str(made), 0o100600, dir_fd=opened)
        return str(made + 1)
    except OSError as error:
        raise Refused(f"{error.strerror} after {made}") from None


def fd_15k(_: Spec) -> str:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: list[int] = []
    try:
        while len(held) < 15_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        raise Refused(f"{error.strerror} after {len(held)}") from None
    finally:
        for descriptor in held:
            os.close(descriptor)
    return str(len(held))


def cpu_unlimited(_: Spec) -> str:
    """Burns 1.2 seconds of a processor: more than a fifth of one gives in five seconds, or one process may use."""
    ready, told = os.pipe()
    deadline = time.monotonic() + 5.0
    child = os.fork()
    if child == 0:
        while time.process_time() < 1.2 and time.monotonic() < deadline:
            pass
        os.write(told, str(time.process_time()).encode())
        os._exit(0)
    os.close(told)
    burnt = float(os.read(ready, 40) or 0)
    os.waitpid(child, 0)
    if burnt < 1.2:
        raise Refused(f"{burnt:.2f} seconds" if burnt else "it was killed")
    return f"{burnt:.2f} seconds"
