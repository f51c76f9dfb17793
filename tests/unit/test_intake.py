"""What is printed into a pipe is read to its end, whoever stops waiting for it."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.running import until

from holdfast.sandbox.output import Intake, Output


@pytest.mark.requirement("sandbox:output-whole")
async def test_an_intake_whose_waiting_was_cancelled_is_closed_like_any_other() -> None:
    output = Output(1000)
    intake = Intake(output)
    written = os.dup(intake.writing)
    intake.started()
    intake.begin()
    waiting = asyncio.ensure_future(intake.silent)
    waiting.cancel()
    os.write(written, b"last words")
    intake.close()
    assert output.text() == "last words"
    os.close(written)
    again = Intake(Output(1000))  # it may be given the number of the one that was closed
    again.begin()
    again.started()
    await until(again.silent.done)
    again.close()


@pytest.mark.requirement("sandbox:output-whole")
async def test_an_end_that_comes_after_the_waiting_was_cancelled_is_no_error() -> None:
    intake = Intake(Output(1000))
    intake.begin()
    intake.silent.cancel()
    intake.started()
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    await until(lambda: intake._ended)
    intake.close()
    assert troubles == []
