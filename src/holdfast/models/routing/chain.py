"""What comes after a failure: the same model again, another one, or the end. One pure function, and its facts.

Theory of operation. A chain is a list of models, the one people want most first. Each may be asked twice in a step of
a run (`Failover.tries`). Where the next attempt goes follows from what failed so far, from who is benched, and from
the time (source: executus B1):

    the last one failed with          then
    -------------------------------   ---------------------------------------------------------------------------
    rate_limit                        the next model at once; without one, this one when it wants to be asked again
    what may pass (transient)         the same model once more, a little later; the next when it was benched by this
    ... after words of its answer     the next model at once, if that can go on where the words end
    model_not_found,                  the next model; only no credit is held against this one
      media_unsupported, no_credit
    context_overflow                  the next model whose window is known to be larger
    auth, invalid_request             the end; with `Failover.advance` the next model

Benched models are passed over. Where nothing else is left, one that was not asked in this step is asked all the same,
but never one that a person benched until further notice. A model that wants to be left alone for longer than
`Failover.longest_wait` is out of the step. When nobody is left the step is over, and the reasons of all are told.

Of those that are left the ones that were not asked in this step go first, in their order; then those that failed once.

A spec with one model has no chain: its retries are the loop's own (`engine/decide.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from holdfast.errors import UsageError

__all__ = ("Candidate", "Failover", "Kind", "Next", "Tried", "choose", "is_held_against", "kind_of", "note", "reasons")

Kind = Literal["transient", "other", "larger", "final"]
"""What a failure asks for: patience, another model, a model with a larger window, or a person."""

_KINDS: dict[str, Kind] = {
    "model_not_found": "other",
    "media_unsupported": "other",
    "no_credit": "other",
    "context_overflow": "larger",
    "auth": "final",
    "invalid_request": "final",
}
_FIRST_RETRY = 500_000
"""µs before the same model is asked again; each further time twice as long."""


class Failover(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a chain of models deals with failures.

    Raises:
        UsageError: a number is negative, or none.
    """

    tries: int = 2
    """How often one model is asked in a step of a run."""
    advance: bool = False
    """Whether a model that refuses the request, or our key, is passed over, too; otherwise the run ends there, since
    nobody may notice that a fallback serves everything."""
    longest_wait: float = 60.0
    """Seconds a model may want to be left alone and still be asked again."""
    bench_after: int = 2
    """Failures in a row, over all runs, after which a model is benched."""
    bench_seconds: float = 30.0
    """How long the first time; twice as long each further time."""
    longest_bench: float = 600.0
    """Seconds it is benched at most."""

    def __post_init__(self) -> None:
        for name in ("tries", "bench_after", "longest_wait", "bench_seconds", "longest_bench"):
            value: float = getattr(self, name)
            least = 1 if name in ("tries", "bench_after") else 0
            if not least <= value < math.inf:
                raise UsageError(f"Failover({name}={value!r}) makes no sense: give a number from {least}")


class Tried(msgspec.Struct, frozen=True, gc=False):
    """How a model failed in the current step."""

    model: str
    failures: int
    code: str
    """Of the last one."""
    message: str
    retry_at: int = 0
    """µs UTC before which it does not want to be asked."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A model of a chain, as the choice sees it."""

    name: str
    window: int | None = None
    """Tokens; None when nobody knows."""
    benched: float = 0.0
    """Seconds it is benched yet."""
    quiet: float = 0.0
    """Seconds its provider wants to be left alone yet, as another run was told."""
    continues: bool = False
    """Whether it can go on where the words end that came."""


class Next(msgspec.Struct, frozen=True, gc=False):
    """The attempt that comes."""

    model: str
    at: int = 0
    """µs UTC before which it does not begin; 0 for at once."""


def kind_of(code: str) -> Kind:
    """Returns what a failure asks for; one that nobody knows may pass (source: executus B1)."""
    return _KINDS.get(code, "transient")


def is_held_against(code: str) -> bool:
    """Whether a failure says that the next request to the model is likely to fail, too."""
    return kind_of(code) == "transient" or code == "no_credit"


def note(tried: tuple[Tried, ...], model: str, code: str, message: str, retry_at: int) -> tuple[Tried, ...]:
    """Returns what was tried with one more failure, which is the last one then."""
    before = next((each.failures for each in tried if each.model == model), 0)
    return (*(each for each in tried if each.model != model), Tried(model, before + 1, code, message, retry_at))


def reasons(tried: Sequence[Tried]) -> str:
    """Returns why nobody answered, each model with its last failure, for the error that ends the step."""
    if len(tried) == 1:
        return f"{tried[0].code}: {tried[0].message}"
    told = "; ".join([f"{each.code}: {each.message}" for each in tried])
    return f"no model of {len(tried)} answered: {told}"


def choose(
    candidates: Sequence[Candidate], tried: Sequence[Tried], now: int, policy: Failover, *, visible: bool = False
) -> Next | None:
    """Returns the next attempt, or None when there is none.

    Args:
        candidates: The chain.
        tried: What failed in this step, last what failed last; empty before the first attempt.
        now: µs UTC.
        policy: How it deals with failures.
        visible: Whether words of the answer that broke off were shown.
    """
    last = tried[-1] if tried else None
    if last is not None and kind_of(last.code) == "final" and not policy.advance:
        return None
    left = _left(candidates, tried, now, policy)
    fit = [each for each in left if not each.benched]
    failed = {each.model: each for each in tried}
    same = next((each for each in fit if last is not None and each.name == last.model), None)
    ready = [each for each in fit if each is not same and not each.quiet and _ready(failed, each) <= now]
    other = min(ready, key=lambda each: each.name in failed, default=None)  # those that were not asked yet go first
    if same is not None and other is not None and last is not None:
        patient = last.code != "rate_limit" and not (visible and other.continues)
        other = same if patient else other
    if other is None and fit:  # they want to be left alone for a while: whoever can be asked first
        other = min(fit, key=lambda each: _at(failed, each, now))
    if other is not None:
        return Next(other.name, _at(failed, other, now))
    benched = [each for each in left if each.name not in failed and each.benched < math.inf]
    return Next(min(benched, key=lambda each: each.benched).name) if benched else None


def _ready(failed: dict[str, Tried], candidate: Candidate) -> int:
    known = failed.get(candidate.name)
    return 0 if known is None else known.retry_at


def _at(failed: dict[str, Tried], candidate: Candidate, now: int) -> int:
    """Returns when a model can be asked; one that failed before, a little later and not before it wants to be."""
    known, quiet = failed.get(candidate.name), now + int(candidate.quiet * 1e6) if candidate.quiet else 0
    return quiet if known is None else max(quiet, known.retry_at, now + _FIRST_RETRY * 2 ** (known.failures - 1))


def _left(candidates: Sequence[Candidate], tried: Sequence[Tried], now: int, policy: Failover) -> list[Candidate]:
    """Returns those that may be asked in this step yet, benched or not."""
    known = {each.model: each for each in tried}
    windows = {each.name: each.window for each in candidates}
    overflowed = [windows.get(each.model) for each in tried if kind_of(each.code) == "larger"]
    latest = now + int(policy.longest_wait * 1e6)
    left: list[Candidate] = []
    for each in candidates:
        failure = known.get(each.name)
        if failure is not None:
            spent = failure.failures >= policy.tries or failure.retry_at > latest
            if spent or kind_of(failure.code) != "transient":
                continue
        if all(each.window is not None and (window is None or each.window > window) for window in overflowed):
            left.append(each)
    return left
