"""Plain functions beside the loop: results, errors, context, cancellation, many at once."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from functools import partial

import pytest

from holdfast.tools import threads
from holdfast.tools.threads import in_thread

VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("VALUE", default="unset")


def fail_with(error: BaseException) -> None:
    raise error


async def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_thread(lambda: next(iter(())))
    for kind in (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
        with pytest.raises(RuntimeError, match=kind.__name__):
            await in_thread(partial(fail_with, kind("3")))


async def test_context_variables_are_seen_and_not_changed_outside() -> None:
    VALUE.set("outer")

    def look() -> str:
        seen = VALUE.get()
        VALUE.set("inner")
        return seen

    assert await in_thread(look) == "outer"
    assert VALUE.get() == "outer"


async def test_more_calls_than_threads_all_get_their_own_answer() -> None:
    together = threading.Barrier(threads._LIMIT)

    def meet(number: int) -> int:
        if number < threads._LIMIT:
            together.wait(5)  # only passes when as many as may run do run at once
        return number

    numbers = range(threads._LIMIT * 8)
    assert await asyncio.gather(*(in_thread(partial(meet, n)) for n in numbers)) == list(numbers)


async def test_a_cancelled_call_is_let_go_and_its_place_is_free() -> None:
    free = threading.Event()
    started = threading.Semaphore(0)

    def stuck() -> None:
        started.release()
        free.wait(5)

    def start_of_all() -> None:
        for _ in range(threads._LIMIT):
            assert started.acquire(timeout=5)

    try:
        calls = [asyncio.create_task(in_thread(stuck)) for _ in range(threads._LIMIT)]
        await asyncio.to_thread(start_of_all)
        waiting = asyncio.create_task(in_thread(lambda: "never"))
        await asyncio.sleep(0)
        waiting.cancel()
        for each in calls:
            each.cancel()
        await asyncio.wait([*calls, waiting], timeout=5)
        assert all(each.cancelled() for each in (*calls, waiting))
        assert await asyncio.wait_for(in_thread(lambda: "free"), 5) == "free"
    finally:
        free.set()


def test_a_stuck_function_does_not_keep_the_process_from_ending() -> None:
    code = (
        "import asyncio, threading\nfrom holdfast.tools.threads import in_thread\n"
        "async def main():\n"
        "    begun = threading.Event()\n"
        "    task = asyncio.create_task(in_thread(lambda: (begun.set(), threading.Event().wait())))\n"
        "    await asyncio.to_thread(begun.wait)\n    task.cancel()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
