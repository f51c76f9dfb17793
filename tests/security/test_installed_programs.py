"""What keeps the places of installed programs, where something fails."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
ROOT = Path(__file__).parents[2]


@pytest.mark.requirement("sandbox:native-leaves-nothing")
def test_a_command_that_could_not_be_started_leaves_no_descriptor(tmp_path: Path) -> None:
    code = f"""
        import os, resource, socket, sys
        sys.path.insert(0, {str(ROOT / "src")!r})
        from holdfast.sandbox.native.talking.wire import receive, send
        from holdfast.sandbox.programs.keeping import keep
        def used():
            found = 0
            for number in range(200):
                try:
                    os.fstat(number)
                    found += 1
                except OSError:
                    pass
            return found
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            send(ours, {{"do": "start", "command": number, "argv": ["true"], "env": {{}}, "cwd": "/"}}, [nothing] * 3)
        ours.shutdown(socket.SHUT_WR)
        if os.geteuid() == 0:
            os.setuid(40001)  # whom the limit binds
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        before = used()
        bounds = {{"scratch": [], "writable": []}}
        keep(theirs, {{"program": {{"config": ""}}, "place": 0, "kuid": os.geteuid(), "bounds": bounds}}, b"")
        print(["error" in receive(ours)[0] for _ in range(3)], used() == before)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.stdout == "[True, True, True] True\n", done.stderr
