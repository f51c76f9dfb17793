"""What a scripted server was asked and what it gave, within a bound of memory, and the account of both.

A run is told apart by a header, or else by its conversation's first words. For each run it is kept which turns were
given and how often a turn failed; for each request the bytes as they came. When a bound is met the oldest go
first, and the report says how many it no longer knows.

Safe to read from another thread than the server's.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import final

import msgspec

__all__ = ("Exchange", "Recording", "Report", "Unconsumed", "run_key")


class Exchange(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One request and how it was answered."""

    number: int
    """Its place in the order of arrival, from 1."""
    at: int
    """µs UTC by the server's clock."""
    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    """As it came."""
    run: str = ""
    """Whose it was; empty when it was no request for an answer."""
    script: str = ""
    model: str = ""
    turn: int | None = None
    """Index of the turn in its script; None when a function or no turn answered."""
    label: str = ""
    """What was given, in a few words."""
    fault: str = ""
    """The kind of fault that was played."""
    status: int = 200
    unexpected: str = ""
    """Why no turn fitted."""

    def json(self) -> object:
        """Returns the body as JSON values.

        Raises:
            msgspec.DecodeError: the body is no JSON.
        """
        return msgspec.json.decode(self.body)


class Unconsumed(msgspec.Struct, frozen=True, gc=False):
    """Turns of a script that a run never got."""

    run: str
    """Empty for turns that no run at all got."""
    script: str
    turns: tuple[int, ...]
    labels: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a server."""

    requests: int
    runs: int
    unexpected: tuple[Exchange, ...]
    unconsumed: tuple[Unconsumed, ...]
    forgotten: int
    """Requests and runs that met the memory bound and are in no list here, unexpected ones excepted by count."""
    forgotten_unexpected: int

    @property
    def clean(self) -> bool:
        """Whether every request had its turn and every turn its request."""
        return not self.unexpected and not self.unconsumed and not self.forgotten_unexpected

    def __str__(self) -> str:
        lines = [f"{_count(self.requests, 'request')} of {_count(self.runs, 'run')}"]
        for one in self.unexpected:
            run = f" of run {one.run!r}" if one.run else ""
            lines.append(f"unexpected: request {one.number}{run}, {one.method} {one.target}: {one.unexpected}")
        if self.forgotten_unexpected:
            lines.append(f"unexpected: {_count(self.forgotten_unexpected, 'request')} more, no longer recorded")
        for left in self.unconsumed:
            who = f"run {left.run!r} never got" if left.run else "nobody got"
            turns = "; ".join(f"{index + 1} ({label})" for index, label in zip(left.turns, left.labels, strict=True))
            lines.append(f"unconsumed: {who} of script {left.script!r} turn {turns}")
        if self.forgotten:
            lines.append(
                f"{self.forgotten} older requests and runs met the bound of memory and are not in this account"
            )
        return "\n".join(lines)


class RunState(msgspec.Struct):
    """What a run has had of one script."""

    given: set[int]
    failed: dict[int, int]
    """For each turn, how often it has gone wrong."""


@final
class Recording:
    """The memory of a server."""

    def __init__(self, *, max_requests: int, max_bytes: int, max_runs: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_runs = max_runs
        self._exchanges: deque[Exchange] = deque()
        self._bytes = 0
        self._count = 0
        self._unexpected: deque[Exchange] = deque(maxlen=100)
        self._unexpected_count = 0
        self._runs: dict[tuple[str, str], RunState] = {}
        self._forgotten = 0
        self._changed = threading.Condition()
        self.watchers: list[Callable[[Exchange], None]] = []
        """Called with each exchange, in the server's thread."""

    @property
    def count(self) -> int:
        """How many requests came, forgotten ones included."""
        return self._count

    def exchanges(self) -> tuple[Exchange, ...]:
        """Returns the requests still remembered, oldest first."""
        with self._changed:
            return tuple(sorted(self._exchanges, key=lambda exchange: exchange.number))

    def run(self, run: str, script: str) -> RunState:
        """Returns what a run has had of a script, to be changed in place."""
        with self._changed:
            state = self._runs.pop((run, script), None) or RunState(set(), {})
            if len(self._runs) >= self._max_runs:
                del self._runs[next(iter(self._runs))]
                self._forgotten += 1
            self._runs[run, script] = state  # at the end again: the run that was quiet longest goes first
            return state

    def add(self, exchange: Exchange) -> None:
        """Remembers a request, at the cost of the oldest when there is no room."""
        with self._changed:
            self._count += 1
            self._exchanges.append(exchange)
            self._bytes += _weight(exchange)
            if exchange.unexpected:
                self._unexpected_count += 1
                self._unexpected.append(_slim(exchange))
            while len(self._exchanges) > self._max_requests or (self._bytes > self._max_bytes and self._exchanges):
                self._bytes -= _weight(self._exchanges.popleft())
                self._forgotten += 1
            self._changed.notify_all()
        for watch in self.watchers:
            watch(exchange)

    def wait(self, count: int, timeout: float) -> bool:
        """Blocks until so many requests came; False when they did not in time (seconds)."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count >= count, timeout)

    def report(self, scripts: dict[str, Sequence[str]], rules: dict[str, frozenset[int]]) -> Report:
        """Returns the account.

        `scripts` are the labels of every list's turns; `rules` which of them have conditions: those are missed only
        when no run got them.
        """
        with self._changed:
            unconsumed: list[Unconsumed] = []
            given: dict[str, set[int]] = {name: set() for name in scripts}
            asked: set[str] = set()
            for (run, name), state in self._runs.items():
                if name not in scripts:
                    continue
                asked.add(name)
                given[name] |= state.given
                unconsumed += _missing(run, name, scripts[name], state.given | rules[name])
            for name, labels in scripts.items():
                per_run = rules[name] if name in asked else frozenset(range(len(labels)))
                unconsumed += _missing("", name, labels, given[name] | (frozenset(range(len(labels))) - per_run))
            return Report(
                requests=self._count,
                runs=len({run for run, _ in self._runs}),
                unexpected=tuple(self._unexpected),
                unconsumed=tuple(unconsumed),
                forgotten=self._forgotten,
                forgotten_unexpected=self._unexpected_count - len(self._unexpected),
            )


def run_key(text: str) -> str:
    """Returns a short name for a conversation that begins with `text`."""
    if len(text) <= 80:
        return text
    return f"{text[:60]}… ({hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]})"


def _missing(run: str, script: str, labels: Sequence[str], had: set[int] | frozenset[int]) -> list[Unconsumed]:
    turns = tuple(index for index in range(len(labels)) if index not in had)
    return [Unconsumed(run, script, turns, tuple(labels[index] for index in turns))] if turns else []


def _weight(exchange: Exchange) -> int:
    return len(exchange.body) + 1024


def _slim(exchange: Exchange) -> Exchange:
    return msgspec.structs.replace(exchange, body=exchange.body[:4096])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
