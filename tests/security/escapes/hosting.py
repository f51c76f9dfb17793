"""The host's side of the attempts: a workspace, canaries beside it, and eyes that see what reached them.

A `House` is everything one sandbox is set against. Its secrets are made anew each time and told to nobody, so whoever
names one has read it; what is written, dialled or killed is looked up here, not believed.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.security.escapes.watching import Ears, Eyes

__all__ = ("ORDINARY", "PLACE", "PYTHON", "House", "open_house", "open_place")

PLACE: Final = "HOLDFAST_ESCAPES_PLACE"
"""The variable that names where to make folders; without it they are made where everybody may enter."""
ORDINARY: Final = 40001
"""A user with no rights and no name."""
HERE: Final = Path(__file__).resolve().parent
PYTHON: Final = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
"""Reached by any user, unlike ours perhaps."""
_PLACES = ("secret", "memory", "held", "environ", "argument", "leak", "shared", "shmfile")


class House:
    """A workspace and what lies around it."""

    def __init__(self, base: Path, uid: int | None) -> None:
        self.nonce = secrets.token_hex(5)
        self.uid = uid
        self.base = base
        self.work = base / "work"
        self.outside = base / "outside"
        # 16 bytes each: one canary holds its secret in a buffer of that size.
        self.secrets = {place: secrets.token_hex(8) for place in _PLACES}
        self.ears = Ears(self.outside / "socket", f"holdfast-{self.nonce}")
        self.eyes = Eyes(self.nonce)
        self.shm_file = Path(f"/dev/shm/holdfast-{self.nonce}")
        self.shm_key = int(self.nonce[:7], 16) | 1

    def furnish(self) -> None:
        """Makes the folders and files."""
        for folder in (self.outside, self.work):
            folder.mkdir()
            folder.chmod(0o777)
        self._file(self.outside / "secret", self.secrets["secret"], 0o644)
        for name in ("target", "linked"):
            self._file(self.outside / name, "untouched\n", 0o666)
        self._file(self.work / "roots", "", 0o666)
        for path in (".git/HEAD", ".git/config", ".git/hooks/pre-commit", ".mcp.json", ".vscode/x", ".claude/x"):
            self._file(self.work / path, "", 0o666)
        for path in (".git/objects", ".git/refs", ".git/modules"):
            (self.work / path).mkdir()
        for folder in (path for path in self.work.rglob("*") if path.is_dir()):
            folder.chmod(0o777)
        with suppress(OSError):
            self._file(self.shm_file, self.secrets["shmfile"], 0o644)
        shutil.copytree(HERE / "attempts", self.work / "attempts", ignore=shutil.ignore_patterns("__pycache__"))

    def _file(self, path: Path, text: str, mode: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    @contextmanager
    def alive(self) -> Generator[None]:
        """Starts the process, the listeners and the watch; and what inherits: a variable, a folder."""
        folder = os.open(self.outside, os.O_RDONLY)
        os.set_inheritable(folder, True)
        os.environ["CANARY_SECRET"] = self.secrets["leak"]
        try:
            with _shared(self.shm_key, self.secrets["shared"]), self.ears, self.eyes, self._process() as where:
                self._tell(where)
                yield
        finally:
            del os.environ["CANARY_SECRET"]
            os.close(folder)
            self.shm_file.unlink(missing_ok=True)

    @contextmanager
    def _process(self) -> Generator[dict[str, int]]:
        with tempfile.TemporaryFile() as held:
            held.write(self.secrets["held"].encode())
            held.flush()
            script = shutil.copy(HERE / "canary.py", self.outside)  # where any user can read it
            process = subprocess.Popen(
                [PYTHON, "-I", "-S", script, self.outside, str(held.fileno()), self.secrets["argument"]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={"CANARY": self.secrets["environ"]},
                pass_fds=(held.fileno(),),
                user=self.uid,
                group=self.uid,
                extra_groups=None if self.uid is None else [],
            )
            with process:
                try:
                    assert process.stdin is not None
                    assert process.stdout is not None
                    process.stdin.write(self.secrets["memory"] + "\n")
                    process.stdin.flush()
                    yield json.loads(process.stdout.readline())
                finally:
                    process.kill()

    def _tell(self, where: dict[str, int]) -> None:
        """Writes down for the attempts where things are, and no secret."""
        kind, handle = _handle_of(self.outside / "secret")
        told: dict[str, Any] = {
            **where,
            "nonce": self.nonce,
            "outside": str(self.outside),
            "tcp": self.ears.tcp,
            "udp": self.ears.udp,
            "udp6": self.ears.udp6,
            "abstract": self.ears.abstract,
            "shm_key": self.shm_key,
            "shm_file": str(self.shm_file),
            "handle_type": kind,
            "handle": handle,
            "disk": _some_disk(self.outside),
            "pidns": os.readlink("/proc/self/ns/pid"),  # noqa: PTH115 - a name, not a path
            "mntns": os.readlink("/proc/self/ns/mnt"),  # noqa: PTH115 - a name, not a path
        }
        (self.work / "attempts" / "spec.json").write_text(json.dumps(told))

    def mark(self, name: str) -> str:
        """Returns what an attempt of this name leaves where it was, as it does itself."""
        return f"{self.nonce} {name}\n"

    def clean(self) -> None:
        """Removes what attempts left on the host; all of it has our mark in its name."""
        self.eyes.end_daemons()
        for folder in ("/usr", "/etc", "/tmp", "/dev", "/dev/shm"):
            for path in Path(folder).glob(f"*{self.nonce}*"):
                with suppress(OSError):
                    path.unlink()

    def signalled(self, number: signal.Signals) -> bool:
        """Whether the process got this signal."""
        return (self.outside / f"signal-{int(number)}").exists()


@contextmanager
def open_house(uid: int | None = None) -> Generator[House]:
    """Yields a house whose process belongs to this user, and ours by default; nothing is left of it."""
    with open_place() as base:
        house = House(base, uid)
        house.furnish()
        try:
            with house.alive():
                yield house
        finally:
            house.clean()


@contextmanager
def open_place() -> Generator[Path]:
    """Yields a folder that any user can enter, and that no sandbox has one of its own of, as it has of `/tmp`."""
    places = (os.environ.get(PLACE, ""), "/srv", "/home", tempfile.gettempdir())
    place = next(each for each in places if each and os.access(each, os.W_OK))
    with tempfile.TemporaryDirectory(dir=place, prefix="holdfast-escapes-", ignore_cleanup_errors=True) as base:
        Path(base).chmod(0o755)
        yield Path(base)


def _handle_of(path: Path) -> tuple[int, str]:
    """Returns type and bytes of a file's handle in its file system; the handle is empty where there are none."""
    number = {"x86_64": 303, "aarch64": 264}.get(platform.machine())
    if number is None:
        return 0, ""
    memory = ctypes.create_string_buffer((128).to_bytes(4, "little") + bytes(132))
    mount = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, -100, os.fsencode(path), memory, ctypes.byref(mount), 0) != 0:
        return 0, ""
    size, kind = (int.from_bytes(memory.raw[at : at + 4], "little") for at in (0, 4))
    return kind, memory.raw[8 : 8 + size].hex()


def _some_disk(path: Path) -> tuple[int, int]:
    """Returns the numbers of the disk a path is on, or of any."""
    device = path.stat().st_dev
    if os.major(device):
        return os.major(device), os.minor(device)
    with suppress(OSError, StopIteration):
        lines = Path("/proc/partitions").read_text().splitlines()[2:]
        first = next(line.split() for line in lines)
        return int(first[0]), int(first[1])
    return 7, 0


@contextmanager
def _shared(key: int, secret: str) -> Generator[None]:
    """A piece of System V shared memory that anybody may read."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(key, 4096, 0o1000 | 0o666)  # IPC_CREAT
    if number < 0:  # a kernel without it: the attempt then fails everywhere
        yield
        return
    try:
        address = libc.shmat(number, None, 0)
        ctypes.memmove(address, secret.encode(), len(secret))
        libc.shmdt(ctypes.c_void_p(address))
        yield
    finally:
        libc.shmctl(number, 0, None)  # IPC_RMID
