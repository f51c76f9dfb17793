"""Sets every backend of this machine against every attempt and every workload, and writes down what came of it.

    python -m tests.security.escapes.board [--only NAME]... [--out FILE]

The file is what `table.py` reads. With `--only`, neither the controls nor other backends are run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from tests.security.escapes.contenders import CONTENDERS, LIMITED, STARVED, Absent, opened
from tests.security.escapes.hosting import ORDINARY, PLACE, PYTHON, open_place
from tests.security.escapes.lures import LURES, Reader
from tests.security.escapes.running import CONTROLS, Runner, Verdict, attack, through, without_sandbox
from tests.security.escapes.workloads import WORKLOADS, lay_out, missing, perform

from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import Backend, Posture

__all__ = ("ROOTLESS", "Board", "Row", "as_ordinary_user", "lured", "measured", "worked_on")

ROOT: Final = Path(__file__).resolve().parents[3]
RESULTS: Final = ROOT / "campaign-results" / "escapes.json"
ROOTLESS: Final = ("native", "bubblewrap", "process")
"""Those that an ordinary user can start, too."""
PROGRAMS: Final = ("bwrap", "crun", "runc", "runsc")


class Row(msgspec.Struct, frozen=True):
    """What one backend, or control, let through and let work."""

    attempts: dict[str, Verdict]
    workloads: dict[str, str]
    """What went wrong, by the workload's name; nothing for those that worked."""
    lures: dict[str, bool] = {}
    posture: Posture | None = None


class Board(msgspec.Struct, frozen=True):
    """All of them."""

    controls: dict[str, Row]
    backends: dict[str, Row]
    absent: dict[str, str]
    """Why a backend is not here."""
    machine: dict[str, str] = {}
    """The versions of the kernel, of the programs, and of their like."""


async def worked_on(run: Runner) -> dict[str, str]:
    """Does the workloads whose programs are here; returns what went wrong, by their names."""
    wrong: dict[str, str] = {}
    with open_place() as place:
        lay_out(place)
        for each in WORKLOADS:
            if missing(each):
                continue
            got = await perform(run, place, each)
            if got != each.expected:
                wrong[each.name] = got[:800]
    return wrong


async def lured(backend: Backend | None) -> dict[str, bool]:
    """Lays the lures for a naive reader, or for ours with this backend; returns which of them were swallowed."""
    found: dict[str, bool] = {}
    for name, lure in LURES.items():
        with open_place() as place:
            found[name] = await lure(Reader(place, backend))
    return found


async def measured(name: str) -> Row:
    """Sets a backend against everything.

    Raises:
        Absent: it does not work here.
    """
    async with opened(name, LIMITED) as limited, opened(name, STARVED) as starved, opened(name, Profile()) as usual:
        attempts = await attack(through(limited), starved=through(starved))
        # What is open depends on the profile: the processors are judged by the one that bounds them.
        told = {*limited.posture.open} - {"cpu_unlimited"} | {*starved.posture.open} & {"cpu_unlimited"}
        posture = msgspec.structs.replace(limited.posture, open=tuple(sorted(told)))
        return Row(attempts, await worked_on(through(usual)), await lured(usual), posture)


async def _control(uid: int | None) -> Row:
    run = without_sandbox(uid)
    return Row(await attack(run, uid=uid), await worked_on(run), await lured(None))


def as_ordinary_user(name: str) -> Row:
    """Sets a backend against everything in a process without rights.

    Raises:
        Absent: it does not work there.
    """
    with open_place() as place, tempfile.TemporaryDirectory(dir=place) as own:
        os.chown(own, ORDINARY, ORDINARY)
        out = Path(own) / "board.json"
        found = [path for path in sys.path if path]
        done = subprocess.run(
            [PYTHON, "-B", "-m", "tests.security.escapes.board", "--only", name, "--out", str(out)],
            cwd=ROOT,
            env={"PYTHONPATH": ":".join([str(ROOT), str(ROOT / "src"), *found]), "PATH": "/usr/bin:/bin", PLACE: own}
            | {"HOME": own},
            user=ORDINARY,
            group=ORDINARY,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if not out.exists():
            raise Absent(f"it ended with {done.returncode}: {done.stderr[-1500:]}")
        board = msgspec.json.decode(out.read_bytes(), type=Board)
    if name in board.absent:
        raise Absent(board.absent[name])
    return board.backends[name]


def versions() -> dict[str, str]:
    """Returns the versions of what the backends are made of."""
    found = {"Linux": os.uname().release.split("-")[0], "Python": platform.python_version()}
    for program in PROGRAMS:
        if (path := shutil.which(program, path=f"{os.defpath}:/usr/sbin")) is not None:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
            words = said.split("\n", 1)[0].split()
            found[program] = words[-1] if words else "?"
    return found


async def _board(only: Sequence[str]) -> Board:
    controls: dict[str, Row] = {}
    backends: dict[str, Row] = {}
    absent: dict[str, str] = {}
    is_root = os.geteuid() == 0
    for name, uid in CONTROLS.items() if not only else ():
        if is_root:
            controls[name] = await _control(uid)
    for name in only or CONTENDERS:
        try:
            backends[name] = await measured(name)
        except Absent as error:
            absent[name] = str(error)
    for name in ROOTLESS if is_root and not only else ():
        try:
            backends[f"{name}, rootless"] = await asyncio.to_thread(as_ordinary_user, name)
        except Absent as error:
            absent[f"{name}, rootless"] = str(error)
    return Board(controls, backends, absent, versions())


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=CONTENDERS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    board = asyncio.run(_board(wanted.only))
    wanted.out.parent.mkdir(exist_ok=True)
    wanted.out.write_bytes(msgspec.json.format(msgspec.json.encode(board)))
    for name, row in (board.controls | board.backends).items():
        got = [each.name for each in row.attempts.values() if each.worked] + [k for k, bit in row.lures.items() if bit]
        print(f"{name}: {len(got)} attempts worked, {len(WORKLOADS) - len(row.workloads)} workloads")
    for name, why in board.absent.items():
        print(f"{name}: not here: {why[:200]}")


if __name__ == "__main__":
    main()
