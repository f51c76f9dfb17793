"""One model call, as the loop makes it: reserve, stream, settle."""

from __future__ import annotations

import msgspec

from holdfast.context.assembling import assemble
from holdfast.engine.attempt import Attempt
from holdfast.engine.events import AccountOpened, BudgetExhausted, ModelFailed, ModelFinished, ModelStarted
from holdfast.engine.purse import Purse, own
from holdfast.engine.state import Run
from holdfast.errors import Malformed, ModelError, UnknownPrice
from holdfast.ledger.amounts import MOST
from holdfast.ledger.port import Denied
from holdfast.models import calling
from holdfast.models.port import Model, ModelRequest
from holdfast.types import AssistantMessage, from_dollars

__all__ = ("ask_model",)

_LONGEST_WAIT = 60.0
"""Seconds a provider may ask us to wait; one that asks for more is not asked again."""
_COUNTED = {"tokens": "tokens", "cost": "dollars", "time": "seconds"}
"""What the dimensions of the ledger are called to people."""


async def ask_model(attempt: Attempt, at: int, *, last: bool = False) -> None:
    """Asks the model, not before `at`, and writes down the answer, or why there is none; the `last` time it may call no
    tools.
    """
    bindings = await attempt.bindings()
    assert bindings.model is not None  # a pipeline has none, and asks none
    request = assemble(bindings.spec, attempt.state.messages, last=last)
    reservation = await _reserve(attempt, bindings.model, request, bindings.purse)
    if isinstance(reservation, BudgetExhausted):
        attempt.write(reservation)
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


async def _reserve(
    attempt: Attempt, model: Model, request: ModelRequest, purse: Purse | None
) -> calling.Reservation | BudgetExhausted:
    """Returns what the call may spend, or the limit that leaves nothing for it: the run's own, or an account's."""
    allowance, run = _allowance(attempt.run), attempt.run
    if purse is not None:
        allowance = calling.narrower(allowance, calling.Allowance(MOST, None if model.price is None else MOST))
    found = calling.reserve(model, request, allowance)
    if purse is None or isinstance(found, calling.Exhausted):
        return BudgetExhausted(found.limit) if isinstance(found, calling.Exhausted) else found
    if not run.account:
        attempt.write(AccountOpened(purse.account))
        await attempt.pen.sync()  # barrier: whoever goes on has to know of the grant
    try:
        covered = await purse.cover(own(run, attempt.clock.now()), found, model.name)
    except UnknownPrice:
        if run.setup.setup.lineage is None:
            raise
        # Whoever waits for it would wait for ever.
        return BudgetExhausted(f"dollars of account {'/'.join(purse.account)}, as a price is unknown")
    if isinstance(covered, Denied):
        limit = f"{_COUNTED[covered.dimension]} of account {'/'.join(covered.account)}"
        return BudgetExhausted(limit, covered.again_at)
    found = calling.reserve(model, request, calling.narrower(allowance, covered))
    if not isinstance(found, calling.Exhausted):
        return found
    account, again_at = (purse.account, None) if purse.denied is None else (purse.denied.account, purse.denied.again_at)
    return BudgetExhausted(f"{found.limit} of account {'/'.join(account)}", again_at)


async def _wait(attempt: Attempt, at: int) -> bool:
    """Returns True when the time to ask has come, and False when somebody said something that counts first."""
    if attempt.hurried:
        return False
    attempt.pen.flush()  # no barrier: readers see what is waited for
    attempt.patient = True
    try:
        with attempt.interruptible() as scope:
            if (delay := at - attempt.clock.now()) > 0:
                await attempt.clock.sleep(delay / 1e6)
    finally:
        attempt.patient = False
    return not (scope.interrupted or attempt.hurried)


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
