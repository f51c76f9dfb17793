"""One snippet on its way through a thread: what it reaches of us, what stops it, and what is made of its end."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Literal, final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.sandbox.output import Output
from holdfast.sandbox.snippets.port import Calls, Ending, SnippetLimits, SnippetResult

if TYPE_CHECKING:
    from holdfast.sandbox.snippets.engines import Engine, Ran

__all__ = ("Job",)


class _Said(msgspec.Struct):
    """What the interpreter says of itself: a stranger's word."""

    ended: Literal["ok", "error", "memory"]
    answer: Any = None
    error: str = ""


def _error(text: str) -> str:
    return msgspec.json.encode({"error": text}).decode()


def _is_over(text: str, limit: int) -> bool:
    return len(text) > limit or len(text.encode()) > limit


@final
class Job:
    """One snippet on its way; this is all of us that it reaches."""

    def __init__(
        self,
        request: str,
        limits: SnippetLimits,
        calls: Calls | None,
        loop: asyncio.AbstractEventLoop,
        output: Output | None = None,
        seed: int | None = None,
    ) -> None:
        self._request, self._limits, self._calls, self._loop = request, limits, calls, loop
        self._seed = seed
        self._output = Output(limits.output) if output is None else output
        self._lock = threading.Lock()
        """Held while it begins, ends, or is stopped: what comes too late must not stop the next one."""
        self.used: Engine | None = None
        """What ran it."""
        self._engine: Engine | None = None
        """What runs it now."""
        self._started = 0.0
        self._stopped: Ending | Literal["cancelled", ""] = ""
        self._timer: asyncio.TimerHandle | None = None
        self._called: Future[str] | None = None
        self._failed: BaseException | None = None

    def stop(self, why: Ending | Literal["cancelled"]) -> None:
        """Ends it, if it has not ended; from any thread."""
        with self._lock:
            self._stopped = self._stopped or why
            if self._engine is not None:
                self._engine.stop()
            if self._called is not None:
                self._called.cancel()

    def run(self, engine: Engine) -> SnippetResult:
        """Runs it in a thread."""
        with self._lock:
            if self._stopped:
                return SnippetResult(ended="error", error=self._stopped)
            limits = self._limits
            go = engine.begin(self, self._request, fuel=limits.fuel, memory=limits.memory, seed=self._seed)
            self._engine, self._started = engine, time.monotonic()
        try:
            ran = go()
        finally:
            with self._lock:
                self._engine = None
        if self._failed is not None:
            raise self._failed
        return self._result(ran, time.monotonic() - self._started)

    def watch(self) -> None:
        """Ends it when its time is over, which begins when a thread has it; on the loop."""
        left = self._limits.wall - (time.monotonic() - self._started if self._started else 0)
        if left <= 0:
            self.stop("wall")
        else:
            self._timer = self._loop.call_later(left, self.watch)

    def leave(self) -> None:
        """Ends it, if need be: nobody waits for it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.stop("cancelled")

    def send(self, text: str) -> bool:
        """Keeps what was printed; False when it is too much."""
        self._output.feed(text.encode())
        if self._output.total <= self._limits.output:
            return True
        self._stopped = self._stopped or "output"
        return False

    def call(self, name: str, arguments: str) -> str | None:
        """Has the loop answer a call, and waits for that here, in the thread."""
        if self._calls is None:
            return _error("there is nothing to call from this snippet")
        if _is_over(arguments, self._limits.output):
            return _error(f"the arguments are over {self._limits.output} bytes: pass less")
        try:
            asked = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError) as error:
            return _error(f"the arguments are no JSON value: {error}")
        with self._lock:
            if self._stopped:
                return None
            self._called = asyncio.run_coroutine_threadsafe(self._answered(self._calls, name, asked), self._loop)
        try:
            self._failed = self._called.exception()
        except CancelledError:
            return None
        return None if self._failed else self._called.result()

    async def _answered(self, calls: Calls, name: str, arguments: Any) -> str:
        try:
            return msgspec.json.encode({"answer": await calls(name, arguments)}).decode()
        except HoldfastError as error:
            return _error(str(error))

    def _result(self, ran: Ran, seconds: float) -> SnippetResult:
        said = self._said(ran)
        return SnippetResult(
            ended=said.ended,
            answer=said.answer,
            printed=self._output.text(),
            error=said.error,
            seconds=seconds,
            fuel=ran.fuel,
        )

    def _said(self, ran: Ran) -> SnippetResult:
        limits = self._limits
        if ran.answer is None and self._stopped == "wall":
            return SnippetResult(ended="wall", error=f"stopped after {limits.wall:g} seconds")
        if self._stopped == "output" or (ran.answer is not None and _is_over(ran.answer, limits.output)):
            return SnippetResult(ended="output", error=f"stopped at {limits.output} bytes: print and answer less")
        if ran.answer is None:
            if ran.dry:
                return SnippetResult(ended="cpu", error=f"stopped after {limits.fuel} instructions")
            return SnippetResult(ended="error", error=f"the interpreter broke off: {ran.trap}")
        try:
            said = msgspec.json.decode(ran.answer, type=_Said)
        except (msgspec.MsgspecError, RecursionError) as error:
            return SnippetResult(ended="error", error=f"its answer cannot be read: {error}")
        return SnippetResult(ended=said.ended, answer=said.answer, error=said.error)
