"""Start-up: CPU of `import holdfast` or of `holdfast --help`, over the start of a bare interpreter.

Argument: `import` or `help`. `SIZE` is how often each of the two is started; they take turns, and the first
start of each, which may have to compile, does not count. CPU and not wall time, so that a busy machine does
not change the ratio.
"""

import json
import os
import statistics
import sys
from pathlib import Path

QUIET = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0o600) for fd in (1, 2)]


def cpu_seconds(command: list[str]) -> float:
    """CPU that a command needs from start to end.

    Raises:
        SystemExit: It failed.
    """
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=QUIET)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{command!r} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def main(what: str) -> None:
    """Measures and prints one line."""
    bare = [sys.executable, "-c", "pass"]
    script = Path(sys.executable).with_name("holdfast")
    ours = [sys.executable, "-c", "import holdfast"] if what == "import" else [str(script), "--help"]
    pairs = [(cpu_seconds(bare), cpu_seconds(ours)) for _ in range(int(os.environ["SIZE"]) + 1)][1:]
    bare_ms, ours_ms = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(json.dumps({"value": round(ratio, 3), "cost": f"{ours_ms:.0f} ms", "bare_ms": bare_ms, "ms": ours_ms}))


if __name__ == "__main__":
    main(sys.argv[1])
