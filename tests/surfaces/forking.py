"""Commands that start as forks of one process in which everything is loaded already: each a process of its own.

A command spends most of its time on being loaded, and the tests run thousands of them. What is forked has its own
folder, environment, streams, and end, as one that was started has; what it is not is loaded anew. So whatever is said
of loading, or hangs on what Python itself reads from its environment, is started (`possible` says which).

As a program this file is the process that is forked; it ends with whoever started it.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, AnyStr

LENGTH = 8
"""Bytes before a request that say how long it is."""
LANG = "C.UTF-8"
"""What Python's streams are made by when it starts."""
USED = (
    "aiohttp",
    "holdfast.journal.stores.sqlite",
    "holdfast.ledger.stores.sqlite",
    "holdfast.models.providers.openai",
    "holdfast.models.wire.chat.requests",
    "holdfast.models.wire.chat.streaming",
    "holdfast.net.exchange",
    "holdfast.net.pooling",
    "holdfast.sandbox.snapshots.restoring",
    "holdfast.sandbox.snapshots.stores.tree",
    "holdfast.tools.builtin.bash",
    "holdfast.tools.builtin.edit",
    "holdfast.tools.builtin.fetch",
    "holdfast.tools.builtin.git",
    "holdfast.tools.builtin.process",
    "holdfast.tools.builtin.read",
    "holdfast.tools.builtin.searching.glob",
    "holdfast.tools.builtin.searching.grep",
    "holdfast.tools.builtin.searching.ls",
    "holdfast.tools.builtin.write",
)
"""What commands load while they run, beside their own modules."""


def possible(environment: Mapping[str, str]) -> bool:
    """Whether a fork cannot be told from a process that was started with this environment."""
    told = any(name.startswith(("PYTHON", "LC_", "TZ", "GRPC_", "LD_")) for name in environment)
    return hasattr(os, "pidfd_open") and environment.get("LANG") == LANG and not told


def holdfast(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], **more: Any) -> subprocess.Popen[Any]:
    """Starts `python -m holdfast` with these arguments, as `subprocess.Popen` does with these options."""
    kind = Forked if possible(env) else subprocess.Popen
    return kind([sys.executable, "-m", "holdfast", *arguments], cwd=cwd, env=env, **more)


class Nursery:
    """The process that is forked, as those see it who want forks."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": LANG},
                cwd="/",
            )
        atexit.register(self.close)

    def fork(self, order: bytes, streams: Sequence[int]) -> tuple[int, socket.socket]:
        """Returns the number of a new process, and where its status is read once it has ended."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._control, [b"+"], [theirs.fileno(), *streams])
        ours.sendall(len(order).to_bytes(LENGTH) + order)
        if not (pid := int.from_bytes(ours.recv(LENGTH, socket.MSG_WAITALL))):
            raise ChildProcessError("the process that is forked has ended")  # and nobody is to signal process 0
        return pid, ours

    def close(self) -> None:
        """Ends it."""
        self._control.close()
        self._process.wait(10)


@functools.cache
def nursery() -> Nursery:
    """Returns the one of this process, started when it is first wanted."""
    return Nursery()


class Forked(subprocess.Popen[AnyStr]):
    """A process that was forked by the nursery, and is waited for there."""

    _status: socket.socket
    _waitpid_lock: Any

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        cwd, env, pipes = given[4], given[5], given[9:15]
        streams = [each if each != -1 else number for number, each in enumerate((pipes[0], pipes[3], pipes[5]))]
        order = json.dumps([list(args[3:]), str(cwd), dict(env)]).encode()
        try:
            self.pid, self._status = nursery().fork(order, streams)
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self._child_created = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        with self._status:
            return self.pid, int.from_bytes(self._status.recv(LENGTH, socket.MSG_WAITALL))

    def _internal_poll(self, **_: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()
        return self.returncode


# ---- the process that is forked -------------------------------------------------------------------------------------


def _load() -> None:
    """Loads what commands are made of."""
    from holdfast.cli.main import COMMANDS

    for module in (*(each for each, _, _ in COMMANDS.values()), *USED):
        import_module(module)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads is not to be forked"
    gc.freeze()


def _serve(control: socket.socket) -> list[str]:
    """Forks for whoever asks; returns in each fork, with its arguments."""
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for number, _ in waiting.poll():
            if number == control.fileno():
                byte, given, _, _ = socket.recv_fds(control, 1, 4)
                if not byte:
                    os._exit(0)
                caller = socket.socket(fileno=given[0])
                length = int.from_bytes(caller.recv(LENGTH, socket.MSG_WAITALL))
                arguments, folder, environment = json.loads(caller.recv(length, socket.MSG_WAITALL))
                if not (pid := os.fork()):
                    for each in (control, caller, *(one for _, one in children.values())):
                        each.close()
                    for each in children:
                        os.close(each)
                    _become(folder, environment, given[1:])
                    return arguments
                for each in given[1:]:
                    os.close(each)
                caller.sendall(pid.to_bytes(LENGTH))
                ended = os.pidfd_open(pid)
                children[ended] = (pid, caller)
                waiting.register(ended, select.POLLIN)
            else:
                pid, caller = children.pop(number)
                waiting.unregister(number)
                os.close(number)
                with caller:
                    caller.sendall(os.waitpid(pid, 0)[1].to_bytes(LENGTH))


def _become(folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Makes of a fork what it would be had it been started."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, _stream(number, getattr(sys, name)))
        setattr(sys, f"__{name}__", getattr(sys, name))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder


def _stream(number: int, before: io.TextIOWrapper) -> io.TextIOWrapper:
    """Returns what Python makes of a number when it starts; what was made knew another file behind it."""
    buffer = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 - it stays open
    newline, lines = ("\n", number == 2 or buffer.isatty()) if number else (None, False)
    return io.TextIOWrapper(buffer, before.encoding, before.errors, newline, line_buffering=lines)


def _end(status: int) -> None:
    """Ends a fork as Python ends, but for taking apart what was loaded.

    That touches all the memory it shares with the others, each page of which is copied for that: most of what a short
    command costs. Where something is in the way, as a pipe that nobody reads, or a thread that Python would have to
    stop, it returns, and Python ends it.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()
    gc.collect()  # what was left open and lies in a circle complains here
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(status)


if __name__ == "__main__":
    _load()
    sys.argv = ["-m", *_serve(socket.socket(fileno=int(sys.argv[1])))]
    try:
        runpy.run_module("holdfast", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            _end((error.code or 0) & 0xFF)
        raise
