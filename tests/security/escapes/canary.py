"""The process of the host that attempts are made on. Standard library only; started by `hosting.py`.

It holds secrets where only who reaches into it finds them, counts the signals it gets in files, and ends when its
standard input does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

__all__ = ("main",)


def main(folder: str, held: str) -> None:
    """Says where the secrets are, then waits. `held` is the descriptor of a file without a name."""
    word = ctypes.create_string_buffer(sys.stdin.readline().strip().encode(), 17)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: Path(f"{folder}/signal-{number}").touch())
    os.chdir(folder)
    print(json.dumps({"pid": os.getpid(), "address": ctypes.addressof(word), "descriptor": int(held)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
