"""A model provider on loopback that says what a script tells it to, over real HTTP, with real faults.

It speaks every protocol of `protocols.py` (streamed or whole, and counts of tokens), the lists of models, `/health`
and embeddings in OpenAI's form, so the same script is served to clients of all; nothing in it is random and it keeps no
position of its own, so any number of clients get the same answers in any order of arrival. What is said is in
`scripts.py`, what goes wrong in `faults.py`, what clients set in `doors.py`, how an answer is found in `answering.py`,
what is remembered in `recording.py`; here are its life and its account.

A request no turn fits is answered with an error that says why, and reported. So is every turn nobody asked for:
a test ends with `server.verify()`.

Not here: judgement of the client's words, tokens counted for real, whether a signature is right.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, final

import msgspec

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.testing.answering import Answering
from holdfast.testing.fixtures import load_scripts
from holdfast.testing.http1 import Connection
from holdfast.testing.recording import Exchange, Recording, Report
from holdfast.testing.scripts import ANY_MODEL, Script, ScriptFunction, Turn

__all__ = ("Bounds", "ScriptedModelServer")


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much a server remembers and accepts."""

    requests: int = 10_000
    bytes: int = 64 * 1024 * 1024
    """Of recorded bodies, together."""
    runs: int = 10_000
    body: int = 64 * 1024 * 1024
    """Bytes of one request's body; a longer one is refused with 413."""


@final
class ScriptedModelServer:
    """A scripted model provider; `async with` it, or use `in_thread` where there is no event loop.

    `script` is a list of turns, a function, several of them by the name of the model, or the path of a fixture.
    """

    def __init__(
        self,
        script: Script | Mapping[str, Script] | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        run_header: str = "x-holdfast-run",
        bounds: Bounds | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._scripts = _by_name(load_scripts(script) if isinstance(script, Path) else script)
        self._host = host
        self._port = port
        self._bounds = bounds or Bounds()
        self._clock = clock or SystemClock()
        self._recording = Recording(
            max_requests=self._bounds.requests, max_bytes=self._bounds.bytes, max_runs=self._bounds.runs
        )
        self._answering = Answering(
            self._scripts,
            run_header=run_header.lower(),
            recording=self._recording,
            clock=self._clock,
        )
        self._server: asyncio.Server | None = None
        self._peers: set[Connection] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._recording.watchers.append(self._wake)

    # ---- life ----

    async def start(self) -> None:
        """Listens, from now on at `base_url`; a port that was chosen once is kept over a stop and a start.

        Raises:
            OSError: the address is taken or is none of this machine's.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, self._host, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Resets every connection and stops listening."""
        if self._server is None:
            return
        self._server.close()
        for peer in tuple(self._peers):
            peer.abort()
        await self._server.wait_closed()
        self._server = None
        await asyncio.sleep(0)  # the aborted connections hear of it in the loop's next round

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @classmethod
    @contextmanager
    def in_thread(
        cls,
        script: Script | Mapping[str, Script] | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        run_header: str = "x-holdfast-run",
        bounds: Bounds | None = None,
        clock: Clock | None = None,
    ) -> Generator[Self]:
        """Runs a server in a thread of its own, for programs without an event loop and for subprocesses."""
        server = cls(script, host=host, port=port, run_header=run_header, bounds=bounds, clock=clock)
        with _Thread(server):
            yield server

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first start when none was chosen."""
        return self._port

    @property
    def base_url(self) -> str:
        """What clients of Chat Completions are given as the provider's address, `/v1` included."""
        return f"{self.origin}/v1"

    @property
    def origin(self) -> str:
        """What clients of Messages are given as the provider's address, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def scripts(self) -> Mapping[str, Sequence[Turn] | ScriptFunction]:
        """The scripts by the names `/v1/models` lists."""
        return self._scripts

    # ---- what happened ----

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """Everything that was asked, in order of arrival, as far as the bounds let it be remembered."""
        return self._recording.exchanges()

    def watch(self, callback: Callable[[Exchange], None]) -> None:
        """Calls back with each exchange, in the server's thread."""
        self._recording.watchers.append(callback)

    async def arrived(self, count: int) -> None:
        """Returns once so many requests were answered, or faulted, since the server was made."""
        while self._recording.count < count:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def wait_arrived(self, count: int, timeout: float = 5.0) -> bool:
        """Blocks this thread until so many requests were answered; False when they were not in time (seconds)."""
        return self._recording.wait(count, timeout)

    def report(self) -> Report:
        """Returns the account of unexpected requests and unconsumed turns."""
        lists = {name: script for name, script in self._scripts.items() if not callable(script)}
        return self._recording.report(
            {name: [turn.label for turn in turns] for name, turns in lists.items()},
            {
                name: frozenset(index for index, turn in enumerate(turns) if turn.when is not None)
                for name, turns in lists.items()
            },
        )

    def verify(self, *, complete: bool = True) -> None:
        """Ends quietly when every request had its turn and every turn its request.

        `complete=False` does not ask for the second.

        Raises:
            AssertionError: with the account.
        """
        report = self.report()
        if not report.clean if complete else report.unexpected or report.forgotten_unexpected:
            raise AssertionError(f"the scripted model server at {self.base_url} saw something else:\n{report}")

    # ---- inside ----

    def _connect(self) -> Connection:
        return Connection(
            self._answering.answer,
            self._answering.refuse,
            clock=self._clock,
            max_body=self._bounds.body,
            peers=self._peers,
        )

    def _wake(self, exchange: Exchange) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _by_name(script: Script | Mapping[str, Script]) -> dict[str, Sequence[Turn] | ScriptFunction]:
    if callable(script) or isinstance(script, Sequence):
        return {ANY_MODEL: _checked(ANY_MODEL, script)}
    return {name: _checked(name, one) for name, one in script.items()}


def _checked(name: str, script: Script) -> Sequence[Turn] | ScriptFunction:
    if isinstance(script, str):
        raise UsageError(f"script {name!r} is a string: give a list of turns, a function or a pathlib.Path")
    return script if callable(script) else [Turn(turn) if isinstance(turn, str) else turn for turn in script]


@final
class _Thread:
    """A thread with an event loop in which one server lives."""

    def __init__(self, server: ScriptedModelServer) -> None:
        self._server = server
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="scripted-model-server", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._server.start())
            except OSError as error:
                self._failure = error
                return
            finally:
                self._ready.set()
            self._loop.run_forever()
            runner.run(self._server.stop())
