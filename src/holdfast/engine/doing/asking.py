"""One model call, as the loop makes it: reserve, stream, settle.

Of a chain of models, each attempt on each of them is such a call, and each failure an event that says who failed, what
it cost, what had come and who is asked next. So what comes follows from the log, and a process that dies between two
of them loses nothing (`models/routing/` decides; nothing is decided here).
"""

from __future__ import annotations

import msgspec

from holdfast.context.assembling import assemble
from holdfast.engine.attempt import Attempt
from holdfast.engine.doing.lasting import account_for
from holdfast.engine.events import AccountOpened, BudgetExhausted, ModelFailed, ModelFinished, ModelStarted
from holdfast.engine.letters import Shortage
from holdfast.engine.purse import Purse, own
from holdfast.engine.state import Run
from holdfast.errors import ContextOverflow, Malformed, MediaUnsupported, ModelError, UnknownPrice
from holdfast.ledger.amounts import DIMENSIONS, MOST
from holdfast.ledger.port import Denied
from holdfast.models import calling
from holdfast.models.port import Model, ModelRequest
from holdfast.models.routing.chain import note
from holdfast.models.routing.seams import Seam, came
from holdfast.models.routing.targets import Chain, Target
from holdfast.types import AssistantMessage, from_dollars

__all__ = ("ask_model",)

_LONGEST_WAIT = 60.0
"""Seconds a provider may ask us to wait; one that asks for more is not asked again."""
_COUNTED = {"tokens": "tokens", "cost": "dollars", "time": "seconds"}
"""What the dimensions of the ledger are called to people."""
_UNBOUNDED = calling.Allowance()


class _Asked(msgspec.Struct, frozen=True):
    """One attempt on one model."""

    chain: Chain
    target: Target
    request: ModelRequest
    """What it is asked, but for the words it is to go on with."""
    sent: ModelRequest
    """What it is sent: the same, with those words at its end."""
    seam: Seam | None
    reservation: calling.Reservation


async def _prepare(attempt: Attempt, at: int, last: bool) -> _Asked | None:
    """Returns what to ask the model now, not before `at`; None where something comes before that, or nobody may be
    asked, which then is written down. The `last` time it may call no tools.
    """
    state = attempt.state
    if state.processes:
        await account_for(attempt)
    bindings = await attempt.bindings()
    chain, run = bindings.chain, state.run
    assert chain is not None and run is not None  # a pipeline has none, and asks none
    target = chain.only or chain.pick(run.tried, run.next, attempt.clock.now())
    if target is None:
        attempt.write(_nobody(chain))
        return None
    tools = None if bindings.showing is None else bindings.showing.tools(state.messages, state.said)
    request = target.request(assemble(bindings.spec, state.messages, last=last, tools=tools))
    seam = None if run.partial is None else _seam(attempt, chain, target, request, run.partial)
    if target.pictured:
        shown = await _shown(attempt, _Asked(chain, target, request, request, seam, calling.Reservation()))
        if shown is None:
            return None
        request = shown
    sent = request if seam is None else seam.request(request)
    model, purse = target.model, bindings.purse
    if purse is None:
        reservation = calling.reserve(model, sent, _allowance(run))
    else:
        reservation = await _share(attempt, run, model, sent, purse)
    if not isinstance(reservation, calling.Reservation):
        attempt.write(reservation if isinstance(reservation, BudgetExhausted) else _exhausted(reservation))
        return None
    if at and not await _wait(attempt, at):
        return None
    if reservation.binding:  # written no sooner: a call that was never made costs nothing
        attempt.write(ModelStarted(reservation.tokens, reservation.cost, target.name))
        await attempt.pen.sync()  # barrier: a call that is lost stays charged
    if attempt.stopping:
        return None  # it came while the barrier was waited for
    attempt.pen.flush()  # no barrier: readers see what led here while the model thinks
    return _Asked(chain, target, request, sent, seam, reservation)


async def _shown(attempt: Attempt, asked: _Asked) -> ModelRequest | None:
    """Returns the request with its pictures as the model takes them; None when it takes one in no form, which is its
    failure, or when something interrupted.
    """
    shown: ModelRequest | None = None
    with attempt.interruptible():
        try:
            shown = await asked.target.shown(asked.request)
        except MediaUnsupported as error:
            _fail(attempt, asked, error)
    return shown


async def ask_model(attempt: Attempt, at: int, *, last: bool = False) -> None:
    """Asks, not before `at` (µs UTC), and writes down the answer, or why there is none and who is asked next.

    The `last` time the model may call no tools.
    """
    asked = await _prepare(attempt, at, last)
    if asked is None:
        return
    target, seam, answer, message = asked.target, asked.seam, None, None
    with attempt.interruptible():
        if not attempt.pen.held:
            await attempt.pen.hold()  # nobody pays for a call whose answer may not be written
        clock, publish = attempt.clock, attempt.tail.publish
        began = clock.monotonic()
        stream = calling.perform(target.model, asked.sent, asked.reservation)
        try:
            async for item in stream:
                if not isinstance(item, list):
                    answer = item
                elif seam is None or (item := seam.trim(item)):
                    publish(item, attempt.state.seq)
        except ModelError as error:
            _fail(attempt, asked, error)
            return
        finally:
            if answer is None:  # otherwise it has come to its end, or was stopped on the way there
                await stream.aclose()
        assert answer is not None  # the port: a message last, or an error
        message = answer if seam is None else seam.join(answer)
        if (wrong := _wrong(target, asked.sent, message)) is not None:
            _fail(attempt, asked, wrong, message)
            return
        asked.chain.succeeded(target)
        settled = calling.settle(target.model, asked.reservation, message.usage)
        duration = int((clock.monotonic() - began) * 1e6)
        attempt.write(ModelFinished(message, settled.cost, duration, settled.exceeded))
    if message is None:
        attempt.tail.reset("interrupted", attempt.state.seq, carried=seam is not None)
        attempt.write(ModelFailed("interrupted", "the call was stopped", model=target.name))


def _seam(
    attempt: Attempt, chain: Chain, target: Target, request: ModelRequest, partial: AssistantMessage
) -> Seam | None:
    """Returns where the answer goes on; None where the model that is asked now is one that begins again."""
    heard = attempt.state.steered or attempt.state.followed  # what was said meanwhile wants an answer of its own
    if not heard and chain.continues(target.name, partial.model, request):
        return Seam(partial)
    attempt.tail.reset("steered" if heard else "another model", attempt.state.seq, carried=True)
    return None


def _nobody(chain: Chain) -> ModelFailed:
    """Returns the failure of a chain in which nobody is left, before anybody was asked."""
    return ModelFailed(
        "benched", f"nobody is left to ask of {', '.join(chain.names)}: take one off the bench, or name another model"
    )


def _wrong(target: Target, sent: ModelRequest, message: AssistantMessage) -> ModelError | None:
    """Returns what is wrong with an answer that came as it should: it says nothing, or to half of what was asked."""
    if message.stop == "stop" and not message.text.strip() and not message.calls:
        return Malformed(f"{target.name!r} gave an empty answer; try again, or look at what the server logs about it")
    if target.overflowed(sent, message):
        return ContextOverflow(
            f"{target.name!r}: the request has {message.usage.input_tokens:,} tokens and the model's window holds "
            f"{target.window:,}, so the answer is to a part of it; shorten the conversation, use a model with a "
            "larger window, or tell Holdfast of the true one (`facts`)"
        )
    return None


def _exhausted(found: calling.Exhausted, denied: Denied | None = None) -> BudgetExhausted:
    """Returns what is used up: the run's own limit, or the cap of an account that is in the way."""
    short = Shortage(found.request, found.answer, found.left if denied is None else denied.left)
    if denied is None:
        return BudgetExhausted(found.limit, short=short)
    cap = denied.cap.limits[DIMENSIONS.index(denied.dimension)]
    again_at = None if cap is not None and found.request + found.answer > cap else denied.again_at  # it never fits
    return BudgetExhausted(f"{found.limit} of account {'/'.join(denied.account)}", again_at, short)


async def _share(
    attempt: Attempt, run: Run, model: Model, request: ModelRequest, purse: Purse
) -> calling.Reservation | BudgetExhausted:
    """Returns what the call may spend of what others spend, too, or the limit that leaves nothing for it: the run's
    own, or an account's.
    """
    most = calling.Allowance(MOST, None if model.price is None else MOST)
    allowance = calling.narrower(_allowance(run), most)
    first = calling.reserve(model, request, allowance)
    if isinstance(first, calling.Exhausted):
        return _exhausted(first)
    if not run.account:
        attempt.write(AccountOpened(purse.account))
        await attempt.pen.sync()  # barrier: whoever goes on has to know of the grant
    spent = own(run, attempt.clock.now())
    try:
        covered = await purse.cover(spent, first, model.name)
    except UnknownPrice:
        if run.setup.setup.lineage is None:
            raise
        # Whoever waits for it would wait for ever.
        return BudgetExhausted(f"dollars of account {'/'.join(purse.account)}, as a price is unknown")
    if isinstance(covered, Denied):
        covered = msgspec.structs.replace(covered, left=purse.left(covered, spent))
        return _denied(covered, model, request)
    found = calling.reserve(model, request, calling.narrower(allowance, covered))
    if not isinstance(found, calling.Exhausted):
        return found
    # What was granted in part may lack more than one kind, each by the cap of another account.
    needed = found.request + found.answer
    denied = await purse.short_of(spent, "tokens" if found.limit == "tokens" else "cost", needed)
    if denied is not None:
        return _exhausted(found, denied)
    covered = await purse.cover(spent, first, model.name)  # others gave something back meanwhile
    if isinstance(covered, Denied):
        return _denied(covered, model, request)
    found = calling.reserve(model, request, calling.narrower(allowance, covered))
    return _exhausted(found) if isinstance(found, calling.Exhausted) else found


def _denied(denied: Denied, model: Model, request: ModelRequest) -> BudgetExhausted:
    """Returns what is used up where a cap leaves nothing at all."""
    limit = _COUNTED[denied.dimension]
    if denied.dimension == "time":
        return BudgetExhausted(f"{limit} of account {'/'.join(denied.account)}", denied.again_at)
    return _exhausted(calling.least_of(model, request, limit), denied)


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


def _fail(attempt: Attempt, asked: _Asked, error: ModelError, message: AssistantMessage | None = None) -> None:
    """Writes down a failure: what came, what it cost, and who is asked next. A `message` is an answer that will not do,
    which costs what it used.
    """
    now, name, seam = attempt.clock.now(), asked.target.name, asked.seam
    before = None if seam is None else seam.partial
    broke = came(attempt.tail.heard(attempt.state.seq), before)
    author = name if broke.size or before is None else before.model
    asked.chain.failed(name, error.code, str(error), error.retry_after)
    failed = _failed(error, now, name)
    words = message is None and broke.is_open
    if asked.chain.only is None:
        tried = note(attempt.run.tried, name, error.code, str(error), failed.retry_at or 0)
        coming = asked.chain.after(tried, now, asked.request if words else None, author)
        at = (False, "", 0) if coming is None else (True, coming.model, coming.at)
        failed = msgspec.structs.replace(failed, again=at[0], next=at[1], next_at=at[2])
    if broke.parts or broke.torn:
        goes_on = words and bool(failed.next) and asked.chain.continues(failed.next, author, asked.request)
        partial = AssistantMessage(broke.parts, author) if broke.parts else None
        failed = msgspec.structs.replace(failed, partial=partial, mode="continue" if goes_on else "reset")
    if failed.mode != "continue":
        attempt.tail.reset(error.code, attempt.state.seq, carried=seam is not None)
    attempt.write(_charged(failed, asked, message, broke.size))


def _charged(failed: ModelFailed, asked: _Asked, message: AssistantMessage | None, size: int) -> ModelFailed:
    """Returns a failure with what it cost: what the provider says, or of an answer that broke off the most that it can
    be. Where a limit binds what nobody reports stays charged at its reservation.
    """
    if message is not None and message.usage.total_tokens:
        usage = message.usage
    elif size and not asked.reservation.binding:
        usage = asked.target.bound(asked.sent, size)
    else:
        return failed  # a provider that reports nothing is charged like one that was not heard
    settled = calling.settle(asked.target.model, asked.reservation, usage)
    return msgspec.structs.replace(
        failed, usage=usage, cost=settled.cost, exceeded=settled.exceeded, estimated=usage.estimated
    )


def _allowance(run: Run) -> calling.Allowance:
    """Returns what the run's own limits leave."""
    limits = run.setup.setup.limits
    if limits.tokens is None and limits.dollars is None:
        return _UNBOUNDED
    tokens = None if limits.tokens is None else limits.tokens - run.tokens
    cost = None if limits.dollars is None else from_dollars(limits.dollars) - (run.cost or 0)
    return calling.Allowance(tokens, cost)


def _failed(error: ModelError, now: int, model: str) -> ModelFailed:
    """Returns the failure of the only model there is."""
    wait = error.retry_after
    again = error.retry != "never" and (wait is None or wait <= _LONGEST_WAIT)
    return ModelFailed(error.code, str(error), again, None if wait is None else now + int(wait * 1e6), model=model)
