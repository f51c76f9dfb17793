"""Hooks that are programs: the call as JSON on standard input, the word as exit code, perhaps with JSON on the output.

    exit 0    as the output says, a `Ruling` or a `Finding` as JSON; without output nothing is said
    exit 2    the call is denied, and standard error says why; of a result, that is noted
    other     the hook has failed: a call is denied, a result stays and the failure is noted

The program is the operator's: it runs as we do, in a process group of its own that ends with it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, final

import msgspec

from holdfast.errors import UsageError
from holdfast.safety.redacting import Redactor
from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling
from holdfast.types import ToolResult

__all__ = ("ProgramAfter", "ProgramBefore")

T = TypeVar("T", Ruling, Finding)
_DENIES: Final = 2
_MOST = 64 * 1024
"""Bytes of each of its outputs that are read; it is killed when it writes more."""
_REASON = 1_000
_TOLD = 80
"""Characters of a program with its arguments in a note."""
_HOLDS_CODE: Final = {"-c", "-e"}
"""Flags behind which there is no script, but code."""
_RUNS_OTHERS: Final = re.compile(r"(?:python|pypy|node|deno|bun|ruby|perl|php)[\d.]*|(?:ba|da|z|k)?sh")
"""Programs that are what another file makes of them."""


class _Ended(msgspec.Struct, frozen=True):
    code: int
    output: bytes
    errors: bytes


class _Program:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        if not argv or isinstance(argv, str):
            raise UsageError(f"a hook's program is a list of words, as ['python3', 'check.py'], and not {argv!r}")
        self._argv = tuple(argv)
        self._env = {"PATH": os.environ.get("PATH", os.defpath), **(env or {})}
        self.__name__, self.told = _names(self._argv)

    async def _run(self, said: Mapping[str, Any]) -> _Ended:
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        # No group of tasks: one that fails may leave the run's own task counted as cancelled (Python 3.11).
        feeding = asyncio.ensure_future(_feed(process.stdin, msgspec.json.encode(said)))
        reading = [asyncio.ensure_future(_read(each)) for each in (process.stdout, process.stderr)]
        try:
            output, errors = await asyncio.gather(*reading)
            code = await process.wait()
        except _TooMuchError:
            raise ValueError(f"it wrote more than {_MOST:,} bytes") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for task in (feeding, *reading):
                task.cancel()
            # Its pipes, first: somebody may hold them, and whoever stopped reading one would wait for its end for ever.
            process._transport.close()  # type: ignore[attr-defined]  # pyright: ignore
            await asyncio.shield(process.wait())
            await asyncio.gather(feeding, *reading, return_exceptions=True)
        return _Ended(code, output, errors)


def _names(argv: tuple[str, ...]) -> tuple[str, str]:
    """Returns what a program is called, which is its script where the program itself is what runs many, and what tells
    it apart from the same one with other arguments, on one line.
    """
    program, *words = argv
    name = Path(program).name
    if name == "env" and (rest := tuple(itertools.dropwhile(lambda word: word[:1] == "-" or "=" in word, words))):
        return _names(rest)  # what variables hold is told to nobody
    if _RUNS_OTHERS.fullmatch(name):
        flags = list(itertools.takewhile(lambda word: word.startswith("-"), words))
        script, rest = "".join(words[len(flags) :][:1]), words[len(flags) + 1 :]
        if script and not _HOLDS_CODE.intersection(flags):
            name, words = (script if "-m" in flags else Path(script).name), rest
    said = Redactor().clean(" ".join(" ".join((name, *words)).split()))  # a token may be given as an argument
    return name, said if len(said) <= _TOLD else f"{said[: _TOLD - 1]}…"


class _TooMuchError(Exception):
    pass


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is told
        stream.write(data)
        await stream.drain()
    stream.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()


async def _read(stream: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while piece := await stream.read(_MOST):
        data += piece
        if len(data) > _MOST:
            raise _TooMuchError
    return bytes(data)


def _reason(ended: _Ended) -> str:
    return " ".join(ended.errors.decode("utf-8", "replace").split())[:_REASON]


def _said(ended: _Ended, kind: type[T]) -> T | None:
    """Returns what the output says.

    Raises:
        ValueError: the program failed, or its output is none that is understood.
    """
    if ended.code != 0:
        how = f"it ended with {ended.code}" if ended.code > 0 else f"signal {-ended.code} ended it"
        raise ValueError(f"{how}: {_reason(ended) or 'it said nothing on standard error'}")
    if not ended.output.strip():
        return None
    try:
        return msgspec.json.decode(ended.output, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"its output is no {kind.__name__}: {error}") from None


@final
class ProgramBefore(_Program):
    """Asks a program about each call before it is made."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        """Takes the program with its arguments, and what its environment holds beside `PATH`."""
        super().__init__(argv, env)

    async def __call__(self, calling: Calling) -> Ruling | None:
        """Returns what it says.

        Raises:
            OSError, ValueError: it cannot be started, or has failed.
        """
        ended = await self._run({"hook": "before", **msgspec.to_builtins(calling)})
        if ended.code == _DENIES:
            reason = _reason(ended) or f"{self.__name__} does not allow it"
            note = Note("security", "security/hook_denied", f"{self.told}: {reason}", (calling.tool,))
            return Ruling(verdict="deny", reason=reason, notes=(note,))
        return _said(ended, Ruling)


@final
class ProgramAfter(_Program):
    """Shows a program each result before the model reads it."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        """Takes the program with its arguments, and what its environment holds beside `PATH`."""
        super().__init__(argv, env)

    async def __call__(self, calling: Calling, result: ToolResult) -> Finding | None:
        """Returns what it says.

        Raises:
            OSError, ValueError: it cannot be started, or has failed.
        """
        told = {"hook": "after", **msgspec.to_builtins(calling), "result": msgspec.to_builtins(result)}
        ended = await self._run(told)
        if ended.code == _DENIES:
            reason = _reason(ended) or "no reason given"
            return Finding(notes=(Note("security", "security/hook_objected", f"{self.told}: {reason}"),))
        return _said(ended, Finding)
