"""One model call, as the loop makes it: reserve, stream, settle."""

from __future__ import annotations

import msgspec

from holdfast.context.assembling import assemble
from holdfast.engine.attempt import Attempt
from holdfast.engine.events import BudgetExhausted, ModelFailed, ModelFinished, ModelStarted
from holdfast.engine.state import Run
from holdfast.errors import Malformed, ModelError
from holdfast.models import calling
from holdfast.models.port import Model, ModelRequest
from holdfast.types import AssistantMessage, from_dollars

__all__ = ("ask_model",)

_LONGEST_WAIT = 60.0
"""Seconds a provider may ask us to wait; one that asks for more is not asked again."""


async def ask_model(attempt: Attempt, at: int) -> None:
    """Asks the model, not before `at`, and writes down the answer, or why there is none."""
    bindings = await attempt.bindings()
    request = assemble(bindings.spec, attempt.state.messages)
    reservation = calling.reserve(bindings.model, request, _allowance(attempt.run))
    if isinstance(reservation, calling.Exhausted):
        attempt.write(BudgetExhausted(reservation.limit))
        return
    if at and not await _wait(attempt, at):
        return
    if reservation.binding:  # written no sooner: a call that was never made costs nothing
        attempt.write(ModelStarted(reservation.tokens, reservation.cost))
        await attempt.pen.sync()  # barrier: a call that is lost stays charged
    if attempt.stopping:
        return  # it came while the barrier was waited for
    attempt.pen.flush()  # no barrier: readers see what led here while the model thinks
    message: AssistantMessage | None = None
    with attempt.interruptible():
        await attempt.pen.hold()  # nobody pays for a call whose answer may not be written
        began = attempt.clock.monotonic()
        try:
            message = await _stream(attempt, bindings.model, request, reservation)
        except ModelError as error:
            attempt.tail.reset(error.code, attempt.state.seq)
            attempt.write(_failed(error, attempt.clock.now()))
            return
        settled = calling.settle(bindings.model, reservation, message.usage)
        if message.stop == "stop" and not message.calls and not message.text.strip():
            _discard(attempt, bindings.model, message, settled)
            return
        duration = int((attempt.clock.monotonic() - began) * 1e6)
        attempt.write(ModelFinished(message, settled.cost, duration, settled.exceeded))
    if message is None:
        attempt.tail.reset("interrupted", attempt.state.seq)
        attempt.write(ModelFailed("interrupted", "the call was stopped"))


async def _wait(attempt: Attempt, at: int) -> bool:
    """Returns True when the time to ask has come, and False when something wants the run to end first."""
    if attempt.stopping:
        return False
    attempt.pen.flush()  # no barrier: readers see what is waited for
    with attempt.interruptible() as scope:
        if (delay := at - attempt.clock.now()) > 0:
            await attempt.clock.sleep(delay / 1e6)
    return not scope.interrupted


async def _stream(
    attempt: Attempt, model: Model, request: ModelRequest, reservation: calling.Reservation
) -> AssistantMessage:
    stream = calling.perform(model, request, reservation)
    message: AssistantMessage | None = None
    try:
        async for item in stream:
            if isinstance(item, list):
                attempt.tail.publish(item, attempt.state.seq)
            else:
                message = item
    finally:
        await stream.aclose()
    assert message is not None  # the port: a message last, or an error
    return message


def _discard(attempt: Attempt, model: Model, message: AssistantMessage, settled: calling.Settlement) -> None:
    """Writes down an answer that says nothing and wants nothing as a failure, which costs what it used."""
    error = Malformed(f"{model.name!r} gave an empty answer; try again, or look at what the server logs about it")
    failed = _failed(error, attempt.clock.now())
    if message.usage.total_tokens:  # a provider that reports nothing is charged like one that was not heard
        failed = msgspec.structs.replace(failed, usage=message.usage, cost=settled.cost, exceeded=settled.exceeded)
    attempt.tail.reset(error.code, attempt.state.seq)
    attempt.write(failed)


def _allowance(run: Run) -> calling.Allowance:
    limits = run.setup.setup.limits
    return calling.Allowance(
        None if limits.tokens is None else limits.tokens - run.tokens,
        None if limits.dollars is None else from_dollars(limits.dollars) - (run.cost or 0),
    )


def _failed(error: ModelError, now: int) -> ModelFailed:
    wait = error.retry_after
    again = error.retry != "never" and (wait is None or wait <= _LONGEST_WAIT)
    return ModelFailed(error.code, str(error), again, None if wait is None else now + int(wait * 1e6))
