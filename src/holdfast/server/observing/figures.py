"""Figures of the process, as Prometheus scrapes them.

Each label has few values, whatever clients send: routes as they are declared, methods that exist, models that
answered, up to a bound. Nothing here names people, tenants or sessions.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.runtime.runtime import Runtime
from holdfast.server.parts import Heard, Observer
from holdfast.types import dollars

__all__ = ("MEDIA_TYPE", "Figures")

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"))
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG = 0.25
"""Seconds between two looks at how late the event loop is."""


@final
class Spread:
    """How often something took how long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Returns how many took at most so long, for each bound, and how long all took together."""
        bounds = [*map(str, _SECONDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum


@final
class Figures(Observer, Collector):
    """The figures of one server."""

    def __init__(self, runtime: Runtime) -> None:
        self.connections: Callable[[], int] = lambda: 0
        """Gives how many connections are open."""
        self._runtime = runtime
        self._tally = runtime.tally()
        self._requests: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[str, Spread] = {}
        self._refused: dict[str, int] = {}
        self._open = 0
        self._lag = Spread()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._task: asyncio.Task[None] | None = None

    def heard(self, heard: Heard) -> None:
        """Counts a request."""
        route = heard.route or "none"
        key = (route, heard.method if heard.method in _METHODS else "other", str(heard.status))
        self._requests[key] = self._requests.get(key, 0) + 1
        if not heard.streamed:
            spread = self._seconds.get(route)
            if spread is None:
                spread = self._seconds[route] = Spread()
            spread.add(heard.seconds)
        if heard.code:
            self._refused[heard.code] = self._refused.get(heard.code, 0) + 1

    def streams(self, change: int) -> None:
        """Counts a stream."""
        self._open += change

    def exposed(self) -> bytes:
        """Returns all figures as they are scraped."""
        return generate_latest(self._registry)

    def begin(self) -> None:
        """Begins to look how late the event loop is."""
        self._task = asyncio.create_task(self._look(), name="event loop lag")

    def end(self) -> None:
        """Looks no longer."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted = loop.time() + _LAG
            await asyncio.sleep(_LAG)
            self._lag.add(max(0.0, loop.time() - wanted))

    def collect(self) -> Iterable[Metric]:
        """Returns all figures."""
        yield from self._of_requests()
        load, tally = self._runtime.stats(), self._tally
        sessions = GaugeMetricFamily("holdfast_sessions", "Sessions of this process.", labels=("state",))
        for state, many in (("driven", load.driven), ("parked", load.parked), ("queued", load.queued)):
            sessions.add_metric((state,), many)
        yield sessions
        yield _counted("holdfast_runs", "Runs that ended here, by how.", ("status",), tally.runs)
        tokens = CounterMetricFamily("holdfast_tokens", "Tokens that models used.", labels=("model", "kind"))
        spent = CounterMetricFamily("holdfast_dollars", "What models cost, in US dollars.", labels=("model",))
        failed = CounterMetricFamily("holdfast_model_failures", "Model calls without an answer.", labels=("model",))
        for model, used in tally.models.items():
            tokens.add_metric((model, "input"), used.input_tokens)
            tokens.add_metric((model, "output"), used.output_tokens)
            tokens.add_metric((model, "cache_read"), used.cache_read_tokens)
            spent.add_metric((model,), dollars(used.cost))
            failed.add_metric((model,), used.failed)
        yield from (tokens, spent, failed)

    def _of_requests(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "holdfast_http_requests", "Requests answered.", labels=("route", "method", "status")
        )
        for labels, many in self._requests.items():
            requests.add_metric(labels, many)
        yield requests
        seconds = HistogramMetricFamily(
            "holdfast_http_request_seconds", "From a request to its whole answer; not of streams.", labels=("route",)
        )
        for route, spread in self._seconds.items():
            seconds.add_metric((route,), *spread.told())
        yield seconds
        yield _counted("holdfast_http_refusals", "Problems answered, by code.", ("code",), self._refused)
        yield GaugeMetricFamily("holdfast_http_streams", "Streams that are open.", self._open)
        yield GaugeMetricFamily("holdfast_http_connections", "Connections that are open.", self.connections())
        lag = HistogramMetricFamily("holdfast_event_loop_lag_seconds", "How late the event loop is.", labels=())
        lag.add_metric((), *self._lag.told())
        yield lag


def _counted(name: str, about: str, labels: tuple[str, ...], counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for label, many in counts.items():
        family.add_metric((label,), many)
    return family
