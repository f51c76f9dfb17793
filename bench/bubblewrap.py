"""Bubblewrap driven by hand, as well hardened as it can be: what a new sandbox of ours is measured against.

`setpriv` takes a user from our own range, so that root starts nothing; then `bwrap` with six namespaces, a root of its
own, no capabilities and no further user namespaces, our seccomp program, and a launcher written in C that puts on
Landlock (the root readable, the workspace and `/tmp` writable) and starts the program. Without a C compiler that
is left out, which makes bubblewrap faster, and `hardening` says so. Not in it, but in ours: a control group, protected
paths, and the end of what a command leaves running.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from holdfast.sandbox.kernel import seccomp
from holdfast.sandbox.native.slots import FIRST_UID
from holdfast.sandbox.timing.commands import spawn

__all__ = ("Bubblewrap",)

_UNSHARED = ("user", "pid", "net", "ipc", "uts")
_LAUNCHER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct beneath { uint64_t access; int32_t parent; } __attribute__((packed));

static int allow(int rules, const char *path, uint64_t access) {
    struct beneath rule = { access, open(path, O_PATH | O_CLOEXEC) };
    return rule.parent < 0 || syscall(445, rules, 1, &rule, 0);
}

int main(int count, char **words) {
    uint64_t all[1] = { (1 << 15) - 1 };
    int rules = syscall(444, all, sizeof all, 0);
    if (count < 2 || rules < 0) return 126;
    if (allow(rules, "/", 1 | 4 | 8) || allow(rules, "/workspace", all[0]) || allow(rules, "/tmp", all[0])) return 126;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(446, rules, 0)) return 126;
    execv(words[1], words + 1);
    return 127;
}
"""


class Bubblewrap:
    """One command line of it, in a workspace that only it uses."""

    def __init__(self, program: str) -> None:
        """Prepares it; `close` when it is used no more.

        Raises:
            SystemExit: there is no bubblewrap here.
        """
        bwrap, setpriv = shutil.which("bwrap"), shutil.which("setpriv")
        if bwrap is None:
            raise SystemExit("bubblewrap is not installed: there is nothing to compare with")
        self._place = tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir="/var/tmp")  # its user may go there
        folder = Path(self._place.name)
        folder.chmod(0o755)
        workspace = folder / "workspace"
        workspace.mkdir()
        before: list[str] = []
        self.hardening = "bwrap, seccomp"
        if os.geteuid() == 0:
            if setpriv is None:
                raise SystemExit("setpriv is not installed, and bwrap started by root is no sandbox")
            user = str(FIRST_UID - 1)
            os.chown(workspace, int(user), int(user))
            before = [setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
            self.hardening = "own uid, " + self.hardening
        launcher = _compile(folder)
        self.hardening += ", Landlock" if launcher else ", without Landlock"
        self._filter = folder / "filter"
        self._filter.write_bytes(seccomp.program())
        self._argv = [*before, *_words(bwrap, workspace, launcher), program]

    async def run(self) -> None:
        """Runs the program in it, to the end.

        Raises:
            SandboxError: it failed.
        """
        filter = os.open(self._filter, os.O_RDONLY | os.O_CLOEXEC)
        try:
            await spawn(self._argv, {9: filter})
        finally:
            os.close(filter)

    def close(self) -> None:
        """Removes what it needed."""
        self._place.cleanup()


def _words(bwrap: str, workspace: Path, launcher: Path | None) -> list[str]:
    return [
        bwrap,
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
        *("--symlink", "usr/lib64", "/lib64", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        *("--bind", str(workspace), "/workspace", "--chdir", "/workspace"),
        *(("--ro-bind", str(launcher), "/run/landlock") if launcher else ()),
        *(f"--unshare-{each}" for each in _UNSHARED),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
        *("--clearenv", "--die-with-parent", "--new-session", "--seccomp", "9", "--"),
        *(("/run/landlock",) if launcher else ()),
    ]


def _compile(folder: Path) -> Path | None:
    """Returns where the Landlock launcher was made; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    (folder / "landlock.c").write_text(_LAUNCHER, encoding="utf-8")
    made = folder / "landlock"
    subprocess.run([compiler, "-O2", "-static", "-o", made, folder / "landlock.c"], check=True, capture_output=True)
    return made
