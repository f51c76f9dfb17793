"""Makes attempts through a runner, and says of each whether it worked.

A runner is anything that runs a command: nothing at all as root, nothing at all as an ordinary user, or a backend.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from tests.security.escapes.catalogue import ATTEMPTS, Attempt, Said
from tests.security.escapes.hosting import ORDINARY, PYTHON, House, open_house

from holdfast.sandbox.port import Backend

__all__ = ("CONTROLS", "ENV", "Runner", "Verdict", "applicable", "attack", "through", "without_sandbox")

Runner = Callable[[Sequence[str], Path, Mapping[str, str], float], Awaitable[tuple[int, str]]]
"""Runs a program with its arguments in a folder, with variables, for at most so many seconds: exit code and output."""

ENV: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}
_SECONDS = 120.0
_OUTPUT = 1 << 20


class Verdict(msgspec.Struct, frozen=True):
    """What came of one attempt."""

    name: str
    worked: bool
    tried: bool
    evidence: str


def without_sandbox(uid: int | None = None) -> Runner:
    """Returns the control: commands run as this user, naively, and inherit our variables and open folders."""

    async def run(argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[int, str]:  # noqa: ASYNC109 - it is the runner's
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            close_fds=False,
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        try:
            async with asyncio.timeout(timeout):
                output, _ = await process.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode(errors="replace")

    return run


def through(backend: Backend) -> Runner:
    """Returns a runner whose commands a backend runs."""

    async def run(argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[int, str]:  # noqa: ASYNC109 - it is the runner's
        ended = await backend.run(argv, folder=cwd, env=env, timeout=timeout, keep=_OUTPUT)
        return ended.code, ended.output.raw().decode(errors="replace")

    return run


async def attack(
    run: Runner, attempts: Sequence[Attempt] = ATTEMPTS, *, starved: Runner | None = None, uid: int | None = None
) -> dict[str, Verdict]:
    """Makes the attempts and judges them, all that can be in one command.

    Args:
        run: What they are made in.
        attempts: Which.
        starved: The same with little of the processors, for the attempt that wants more of those.
        uid: Whose the process is that they are made on; ours by default.
    """
    with open_house(uid) as house:
        together = [each.name for each in attempts if not each.alone]
        said = await _all_said(run, house, together)
        for each in attempts:
            if each.alone:
                way = starved if starved is not None and each.name == "cpu_unlimited" else run
                said |= await _said(way, house, [each.name])
        return {each.name: _judge(house, each, said) for each in attempts}


async def _all_said(run: Runner, house: House, names: list[str]) -> dict[str, Said]:
    """Makes attempts together, and goes on with the next where one ended them all."""
    said: dict[str, Said] = {}
    left = names
    while left:
        said |= await _said(run, house, left)
        at = next((index for index, name in enumerate(left) if name not in said), len(left))
        if at < len(left):
            said[left[at]] = Said(False, "it ended the command")
            at += 1
        left = left[at:]
    return said


async def _said(run: Runner, house: House, names: Sequence[str]) -> dict[str, Said]:
    command = (PYTHON, "-I", "-S", "-B", "attempts/making.py", *names)
    code, output = await run(command, house.work, ENV, _SECONDS)
    said: dict[str, Said] = {}
    for line in output.splitlines():
        with suppress(msgspec.DecodeError, KeyError):
            answer = json.loads(line) if line.startswith('{"name": ') else {}
            said[answer["name"]] = Said(answer["said"], answer["evidence"])
    if code == 124:
        raise AssertionError(f"the attempts took too long; the last was {list(said)[-1:]}")
    if not said and len(names) > 1:
        raise AssertionError(f"no attempt was made at all; the command ended with {code}: {output[-2000:]}")
    return said


def _judge(house: House, attempt: Attempt, all_said: Mapping[str, Said]) -> Verdict:
    said = all_said.get(attempt.name, Said(False, "it was ended"))
    worked = attempt.worked(house, said)
    evidence = said.evidence
    for secret in house.secrets.values():
        evidence = evidence.replace(secret, "<the secret>")
    return Verdict(attempt.name, worked, said.ok is not None or worked, evidence)


CONTROLS: Final = {"none as root": None, "none as an ordinary user": ORDINARY}
"""The controls, by their names in the table, and whose processes they are; None for our own."""


def applicable(controls: Mapping[str, Mapping[str, Verdict]]) -> dict[str, Attempt]:
    """Returns the attempts that work where nothing is in their way, so that their failure says something."""
    works = {name for control in controls.values() for name, verdict in control.items() if verdict.worked}
    return {each.name: each for each in ATTEMPTS if each.name in works}
