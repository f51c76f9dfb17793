"""The kit of `holdfast.sandbox.port`: every sentence of its docstrings, as a check.

A check gets a `Stage`, made by whoever tests an adapter: a backend, and an empty folder in which commands run.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.output import Streams
from holdfast.sandbox.port import LAYERS, Backend, unmet
from holdfast.sandbox.processes import Ended
from holdfast.testing.conformance.checking import expect, refused

__all__ = ("CHECKS", "Check", "Stage", "alive", "marker", "run", "until")


class Stage(Protocol):
    """Where a check runs."""

    backend: Backend
    folder: Path
    """A workspace, empty at the beginning."""

    def again(self) -> Backend:
        """Returns the backend as another owner of the workspace would make it."""
        ...


Check = Callable[[Stage], Awaitable[None]]
"""One promise; it raises `AssertionError` when the adapter breaks it."""

_PATIENCE = 30.0
"""Seconds for a command that ends by itself."""
_SOON = 10.0
"""Seconds within which what was killed is gone."""
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_ADDED = {"PWD", "OLDPWD", "SHLVL", "_", "HOME", "TMPDIR", "HOLDFAST_CALL"}
"""What shells and container runtimes set where it is missing, and our mark of one command."""


async def run(
    stage: Stage,
    command: str | Sequence[str],
    *,
    timeout: float = _PATIENCE,  # noqa: ASYNC109 - handed on
    keep: int = 1 << 16,
    errors: bool = True,
    more: Mapping[str, str] | None = None,
    streams: Streams | None = None,
) -> tuple[Ended, str]:
    """Runs a command in the stage's folder, with more variables, and returns how it ended, and its output."""
    env = {**_ENV, **(more or {})}
    ended = await stage.backend.run(
        command, folder=stage.folder, env=env, timeout=timeout, keep=keep, errors=errors, streams=streams
    )
    return ended, ended.output.raw().decode("utf-8", "replace")


def alive(marker: str) -> list[str]:
    """Returns the command lines of processes on this machine that have a text in it, whoever's they are."""
    found: list[str] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path stumbles over those that are just ending
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes() if name.isdigit() and int(name) != os.getpid() else b""
        except OSError:
            continue
        if marker.encode() in line:
            found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


async def until(condition: Callable[[], bool], promise: str) -> None:
    """Waits until a condition holds, some seconds at most."""
    end = time.monotonic() + _SOON
    while not condition():
        expect(time.monotonic() < end, promise)
        await asyncio.sleep(0.01)


def marker() -> str:
    """Returns a name that nothing else on this machine has."""
    return f"check-{secrets.token_hex(6)}"


def _lasting(name: str) -> str:
    """Returns a shell's words for a process that lasts: as long as it does, the file of that name grows."""
    return f"bash -c 'while :; do echo >>{name}; sleep 0.05; done'"


def _leaving(name: str) -> str:
    """Returns a shell's words that leave behind one in the background, one in a session of its own, and an orphan."""
    first, second, third = (_lasting(f"{name}-{n}") for n in range(3))
    left = f"{first} & setsid {second} >/dev/null 2>&1 & (setsid {third} >/dev/null 2>&1 &)"
    return f"{left}; until [ -s {name}-0 -a -s {name}-1 -a -s {name}-2 ]; do sleep 0.05; done"


def _sizes(folder: Path, name: str) -> dict[str, int]:
    return {each.name: each.stat().st_size for each in folder.glob(f"{name}*")}


async def _end(folder: Path, name: str, *, at_once: bool = False) -> None:
    """Checks that nothing of that name is left, from now on or some seconds later."""
    if not at_once:
        await until(lambda: not alive(name), "no process of it is left")
    expect(not alive(name), "no process of it is left", alive(name))
    before = _sizes(folder, name)
    await asyncio.sleep(0.3)
    expect(bool(before) and _sizes(folder, name) == before, "and nothing writes any more", before)


async def both_streams_come_in_order(stage: Stage) -> None:
    """Its output comes through one pipe, so that both streams keep their order."""
    ended, text = await run(stage, "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done")
    wanted = "".join(f"out {n}\nerr {n}\n" for n in range(1, 6))
    expect((ended.code, text) == (0, wanted), "both streams are in the output, in order", ended.code, text)
    ended, text = await run(stage, "printf 'a\\0b\\377\\n'")
    expect(ended.output.raw() == b"a\0b\xff\n", "bytes come as they are", ended.output.raw())


async def the_exit_code_is_a_shells(stage: Stage) -> None:
    """Exit code as a shell gives it: 128 and the signal's number for a killed one."""
    for line, code in (("true", 0), ("exit 1", 1), ("exit 42", 42), ("exit 255", 255), ("no-such-program", 127)):
        ended, text = await run(stage, line)
        expect(ended.code == code, f"{line!r} ends with {code}", ended.code, text)
    ended, _ = await run(stage, "bash -c 'kill -9 $$'; exit $?")
    expect(ended.code == 137, "a killed one gives 128 and the number of the signal", ended.code)
    ended, text = await run(stage, "kill -9 $BASHPID; echo on")
    expect(
        (ended.code, text) in ((137, ""), (0, "on\n")), "the first process is killed, or cannot be", ended.code, text
    )
    expect(not ended.timed_out and ended.breach is None, "and nothing else is said", ended)
    ended, text = await run(stage, ["/no/such/program", "x"])
    expect(ended.code == 127, "nor is a program that is not there a failure of the backend", ended.code, text)


async def a_sequence_is_read_by_no_shell(stage: Stage) -> None:
    """A sequence is a program and its arguments, which no shell reads."""
    given = ["$HOME", "*", "a b", "", "`id`", "'\"", "\n", "-n", "é"]
    _, text = await run(stage, ["printf", "[%s]", *given])
    expect(text == "".join(f"[{each}]" for each in given), "arguments arrive as they are", text)


async def errors_are_dropped_where_that_is_asked_for(stage: Stage) -> None:
    """`errors` says whether its standard error is part of the output or dropped."""
    program = ["bash", "-c", "echo out; echo err >&2"]
    _, text = await run(stage, program, errors=False)
    expect(text == "out\n", "standard error is dropped", text)
    _, text = await run(stage, program)
    expect(text == "out\nerr\n", "else it is part of the output", text)


async def it_starts_in_the_folder_and_may_change_it(stage: Stage) -> None:
    """Runs a command in the workspace, at its own path."""
    (stage.folder / "before").write_text("from outside\n")
    ended, text = await run(stage, "pwd; cat before; echo inside >after; mkdir -p d/e; echo 2 >>before; mv d moved")
    expect(text == f"{stage.folder.resolve()}\nfrom outside\n", "it is at its own path, with its files", text)
    expect(ended.code == 0, "and can be changed", ended.code, text)
    expect((stage.folder / "after").read_text() == "inside\n", "what is written is there outside")
    expect((stage.folder / "before").read_text() == "from outside\n2\n", "what was there can be written")
    expect((stage.folder / "moved/e").is_dir(), "and folders can be made and moved")
    owner = stage.folder.stat()
    made = (stage.folder / "after").stat()
    expect((made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid), "it belongs to the folder's owner", made)
    (stage.folder / "after").unlink()
    secret = stage.folder / "private"
    secret.write_text("mine\n")
    secret.chmod(0o600)
    _, text = await run(stage, "cat private && echo more >>private && chmod 700 private")
    expect(text == "mine\n", "files that only their owner may read are its own in there", text)
    expect(secret.stat().st_mode & 0o777 == 0o700, "and so are their modes", oct(secret.stat().st_mode))


async def a_folder_that_is_not_there_is_an_error(stage: Stage) -> None:
    """SandboxError: it cannot be started."""
    nowhere = stage.folder / "nowhere"
    call = stage.backend.run("true", folder=nowhere, env=_ENV, timeout=_PATIENCE, keep=100)
    error = await refused(SandboxError, call, "a folder that is not there")
    expect("nowhere" in str(error), "the error names it", str(error))


async def the_environment_is_what_was_given(stage: Stage) -> None:
    """Nothing of the host's environment but what was given."""
    os.environ["HOLDFAST_CHECK_SECRET"] = "leaked"
    try:
        ended = (await run(stage, "env -0", more={"ODD": "a\nb=c é", "EMPTY": ""}))[0]
    finally:
        del os.environ["HOLDFAST_CHECK_SECRET"]
    pairs = (entry.split(b"=", 1) for entry in ended.output.raw().split(b"\0") if entry)
    found = {name.decode(): value.decode() for name, value in pairs}
    wanted = {**_ENV, "ODD": "a\nb=c é", "EMPTY": ""}
    expect({name: found.get(name) for name in wanted} == wanted, "what is given is there, to the byte", found)
    expect(set(found) - set(wanted) <= _ADDED, "and nothing else is", sorted(set(found) - set(wanted)))


async def what_cannot_be_passed_on_is_a_value_error(stage: Stage) -> None:
    """ValueError: it cannot be passed on: it holds NUL, or is too long."""
    for command in ("echo a\0b", ["echo", "a\0b"], "true " + "x" * 200_000, ["echo", "x" * 200_000]):
        await refused(ValueError, run(stage, command), "NUL, or too long for the kernel")
    long = "x" * 100_000
    _, text = await run(stage, ["printf", "%s", long], keep=200_000)
    expect(text == long, "what the kernel takes arrives", len(text))


async def nothing_is_typed_to_it(stage: Stage) -> None:
    """Nobody is there to answer what a command asks."""
    ended, text = await run(stage, "read -r line; echo $?; cat; [ -t 0 ]; echo $?")
    expect((ended.code, text) == (0, "1\n1\n"), "standard input is at its end, and no terminal", text)


async def it_reads_what_it_is_given(stage: Stage) -> None:
    """With `streams` it reads what those give, and its standard error is theirs instead of part of the output."""
    given = bytes(range(256)) * 4096
    for command in ("cat; echo err >&2", ["bash", "-c", "cat; echo err >&2"]):
        streams = Streams(given)
        ended, _ = await run(stage, command, keep=1 << 22, streams=streams)
        expect(ended.output.raw() == given, "it reads all that it is given, to the byte", ended.output.total)
        expect(streams.errors.raw() == b"err\n", "and its errors come apart from its output", streams.errors.raw())
    streams = Streams(given)
    ended, text = await run(stage, "head -c 2 | wc -c; echo err >&2; exit 3", streams=streams)
    expect((ended.code, text.strip()) == (3, "2"), "nor need it read all of it", ended, text)
    ended, text = await run(stage, ["bash", "-c", "cat; echo err >&2"], errors=False, streams=(streams := Streams()))
    expect((text, streams.errors.raw()) == ("", b""), "what is dropped is in neither", text, streams.errors.raw())
    many = await asyncio.gather(*(run(stage, "cat", streams=Streams(str(n).encode())) for n in range(8)))
    expect([text for _, text in many] == [str(n) for n in range(8)], "each reads its own", many)


async def much_is_read_apart(stage: Stage) -> None:
    """Errors are bounded as the output is; whoever prints more than is taken waits for both."""
    streams = Streams(b"x" * 5_000_000, keep=1000)
    ended, text = await run(stage, "cat >&2; wc -c </dev/stdin; echo end", keep=1000, streams=streams)
    expect((ended.code, text.split()[-1]) == (0, "end"), "it ends by itself", ended, text)
    expect(streams.errors.total == 5_000_000, "all of its errors were read", streams.errors.total)
    expect(len(streams.errors.raw()) == 1000, "and the rest is not kept", len(streams.errors.raw()))
    name = marker()
    ended, _ = await run(
        stage, f"cat; {_lasting(name)} >&2 & until [ -s {name} ]; do sleep 0.05; done", streams=Streams(b"in")
    )
    expect(ended.code == 0 and ended.seconds < _SOON, "what holds its errors is not waited for", ended)
    await _end(stage.folder, name)


async def much_output_is_bounded(stage: Stage) -> None:
    """`keep` bounds the bytes of output that are kept."""
    ended, text = await run(stage, "head -c 20000000 /dev/zero | tr '\\0' x; echo end", keep=10_000)
    expect(ended.output.total == 20_000_004, "all of it was read", ended.output.total, ended, text[-200:])
    expect(len(text) <= 10_000 and text.endswith("xend\n") and text.startswith("x"), "its ends are kept", len(text))
    expect(ended.output.omitted == 20_000_004 - len(text), "and the rest is counted", ended.output.omitted)


async def output_waits_for_who_takes_it(stage: Stage) -> None:
    """Whoever prints more than is taken waits, on standard output as on standard error; no byte is lost."""

    def slowly(_: bytes) -> None:
        if next(pieces) < 3:
            time.sleep(0.3)

    for stream in ("", " >&2"):
        pieces = itertools.count()
        ended = await stage.backend.run(
            f"(head -c 6000000 /dev/zero | tr '\\0' x{stream}; echo ${{PIPESTATUS[*]}})",
            folder=stage.folder,
            env=_ENV,
            timeout=_PATIENCE,
            keep=1000,
            watch=slowly,
        )
        text = ended.output.raw().decode()
        expect(text.endswith("x0 0\n"), "who prints it fails at nothing", text[-200:])
        expect(ended.output.total == 6_000_004, "all of it was read", ended)


async def time_runs_out(stage: Stage) -> None:
    """124 when its time was over; `timeout` bounds its seconds."""
    name = marker()
    ended, text = await run(stage, f"echo begun; trap '' TERM; {_lasting(name)}", timeout=2.0)
    expect((ended.code, ended.timed_out) == (124, True), "it is stopped and says so", ended)
    expect("begun\n" in text, "what it printed until then is kept", text)
    expect(2.0 <= ended.seconds < 2.0 + _SOON, "it takes its time and little more", ended.seconds)
    await _end(stage.folder, name)


async def cancelling_ends_everything(stage: Stage) -> None:
    """Cancelling ends everything the command started."""
    name = marker()
    task = asyncio.ensure_future(run(stage, f"{_leaving(name)}; {_lasting(f'{name}-last')}"))
    await until(lambda: len(_sizes(stage.folder, name)) == 4 or task.done(), "the command begins")
    task.cancel()
    await asyncio.wait({task}, timeout=_SOON)
    expect(task.cancelled(), "the cancelled call ends as cancelled", task)
    await _end(stage.folder, name)


async def what_is_left_behind_ends_too(stage: Stage) -> None:
    """What a command starts ends with it."""
    name = marker()
    ended, text = await run(stage, f"{_leaving(name)}; echo done")
    expect((ended.code, text) == (0, "done\n"), "what it leaves is not waited for", ended, text)
    expect(ended.seconds < _SOON, "and its end not put off", ended.seconds)
    await _end(stage.folder, name)


async def many_run_at_once(stage: Stage) -> None:
    """Twenty commands in one workspace do not get into each other's way."""
    ran = await asyncio.gather(*(run(stage, f"echo {n} >f{n}; cat f{n}; exit {n}", timeout=120) for n in range(20)))
    seen = [(ended.code, text) for ended, text in ran]
    expect(seen == [(n, f"{n}\n") for n in range(20)], "each has its own output and code", seen)


async def attaching_kills_lower_epochs(stage: Stage) -> None:
    """Kills what commands of this owner's lower epochs left running, and returns how many processes that were."""
    name, folder = marker(), stage.folder
    owner = f"local/{name}-owner"
    marks = {"old": f"{owner}#1", "same": f"{owner}#2", "later": f"{owner}#3", "other": f"{owner}x#1"}
    tasks = {
        each: asyncio.ensure_future(run(stage, _lasting(f"{name}-{each}"), more={OWNER: mark}))
        for each, mark in marks.items()
    }
    try:
        await until(lambda: len(_sizes(folder, name)) == len(marks), "all of them run")
        count = await stage.again().attach(owner, 2)
        expect(count >= 1, "it says how many it killed", count)
        await _end(folder, f"{name}-old", at_once=True)
        await asyncio.wait({tasks["old"]}, timeout=_SOON)
        expect(tasks["old"].done(), "whoever waited for it hears of its end")
        before = _sizes(folder, name)
        await until(
            lambda: (
                {each for each, size in _sizes(folder, name).items() if size > before[each]}
                == {f"{name}-{each}" for each in ("same", "later", "other")}
            ),
            "no other epoch and no other owner is touched",
        )
        expect(await stage.again().attach(owner, 2) == 0, "and there is nothing to kill any more")
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def the_posture_is_true_and_stays(stage: Stage) -> None:
    """What it does on this machine, found out by trying; which layers are not on, and why."""
    posture, again = stage.backend.posture, stage.again().posture
    expect(posture == again and posture.digest == again.digest, "it is the same whenever it is asked", posture, again)
    names = [each.partition("=")[0] for each in posture.layers]
    expect(set(names) <= set(LAYERS) and len(names) == len(set(names)), "its layers are those there are", names)
    missing = {each.layer: each.reason for each in stage.backend.missing}
    expect(set(missing) == set(LAYERS) - set(names), "what is not on is missing, and nothing else", missing)
    expect(all(missing.values()), "and each says why", missing)
    expect(unmet(posture, names) == (), "what is on can be required")
    expect(set(unmet(posture, list(missing))) == set(missing), "what is missing is told when it is required")


CHECKS: tuple[Check, ...] = (
    both_streams_come_in_order,
    the_exit_code_is_a_shells,
    a_sequence_is_read_by_no_shell,
    errors_are_dropped_where_that_is_asked_for,
    it_starts_in_the_folder_and_may_change_it,
    a_folder_that_is_not_there_is_an_error,
    the_environment_is_what_was_given,
    what_cannot_be_passed_on_is_a_value_error,
    nothing_is_typed_to_it,
    it_reads_what_it_is_given,
    much_is_read_apart,
    much_output_is_bounded,
    output_waits_for_who_takes_it,
    time_runs_out,
    cancelling_ends_everything,
    what_is_left_behind_ends_too,
    many_run_at_once,
    attaching_kills_lower_epochs,
    the_posture_is_true_and_stays,
)
"""Every check."""
