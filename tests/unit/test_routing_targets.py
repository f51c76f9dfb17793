"""The models of one run: whom it asks, how the request looks, and what readers hear of a seam."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import final

import msgspec
import pytest
from tests.running import opened, told

from holdfast.engine.decide import CallModel, Finish, decide
from holdfast.engine.events import ModelFailed, ModelFinished
from holdfast.engine.folding import replay
from holdfast.journal.tail import Tail
from holdfast.models.catalogue import ModelCard
from holdfast.models.port import Model, ModelRequest
from holdfast.models.routing.chain import Failover, Tried
from holdfast.models.routing.health import Health
from holdfast.models.routing.routes import Routes
from holdfast.models.routing.targets import Chain, Target
from holdfast.testing.clock import FakeClock
from holdfast.types import (
    AssistantMessage,
    Delta,
    Image,
    Limits,
    Price,
    Reset,
    StreamId,
    Text,
    TextDelta,
    Usage,
    UserMessage,
)


@final
class Silent(Model):
    """A model that says nothing."""

    def __init__(self, name: str, size: int = 1_000_000) -> None:
        self._name = name
        self._size = size

    def check(self) -> None: ...

    def fresh(self) -> Model:
        return self

    @property
    def name(self) -> str:
        return self._name

    @property
    def price(self) -> Price | None:
        return None

    @property
    def max_output_tokens(self) -> int | None:
        return None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        yield AssistantMessage((), self._name)

    def size(self, request: ModelRequest) -> int:
        return self._size


REQUEST = ModelRequest(instructions="Be good.", messages=[UserMessage((Text("go"),))], thinking=None)


def chain(*names: str, health: Health | None = None, retries: int = 1) -> Chain:
    targets = [Target(Silent(name), ModelCard(name=name, prefill=True)) for name in names]
    return Chain(targets, health or Health(FakeClock()), Failover(), retries)


def test_one_model_is_asked_whatever_is_known_against_it() -> None:
    health = Health(FakeClock())
    health.bench("p/a")
    alone = chain("p/a", health=health)
    target = alone.pick((), "", 0)
    assert target is alone.only is alone.first


def test_who_was_intended_is_asked_unless_it_is_gone_or_was_benched_since() -> None:
    health = Health(FakeClock())
    three = chain("p/a", "p/b", "p/c", health=health)
    tried = (Tried("p/a", 2, "overloaded", "full"),)

    def picked(intended: str) -> str:
        target = three.pick(tried, intended, 0)
        return "" if target is None else target.name

    assert picked("p/c") == "p/c"
    assert picked("p/elsewhere") == "p/b"
    health.bench("p/c", 60)
    assert picked("p/c") == "p/b"
    health.bench("p/b")
    assert picked("p/c") == "p/c"  # nobody else is left, and it was not asked yet


def test_a_run_without_retries_asks_nobody_twice() -> None:
    two = chain("p/a", "p/b", retries=0)
    failed = (Tried("p/a", 1, "overloaded", "full"),)
    coming = two.after(failed, 0)
    assert coming is not None
    assert coming.model == "p/b"
    assert two.after((*failed, Tried("p/b", 1, "timeout", "late")), 0) is None


def test_a_request_goes_on_as_it_is_where_nothing_has_to_change_and_else_only_that_changes() -> None:
    target = Target(Silent("p/a"), None)
    assert target.request(REQUEST) is REQUEST
    blind = Target(Silent("p/b"), ModelCard(name="p/b", inputs=frozenset({"text"})), "high")
    seen = msgspec.structs.replace(
        REQUEST, messages=[UserMessage((Image("image/png", b"1"),))], temperature=0.5, must_call="", options={"tier": 1}
    )
    changed = blind.request(seen)
    assert changed.thinking == "high"
    assert msgspec.structs.replace(changed, thinking=None, messages=seen.messages) == seen
    assert "image left out" in changed.messages[0].text  # type: ignore[union-attr]


@pytest.mark.requirement("models:overflow-silent")
@pytest.mark.parametrize(
    ("window", "used", "stop", "over"),
    [(100, 101, "stop", True), (100, 100, "stop", False), (100, 101, "length", False), (None, 10_000, "stop", False),
     (100, 1_000_000, "stop", False)],
)  # fmt: skip
def test_an_overflow_is_more_than_a_known_window_and_no_mere_bound(
    window: int | None, used: int, stop: str, over: bool
) -> None:
    target = Target(Silent("p/a"), ModelCard(name="p/a", context_window=window))
    answer = AssistantMessage((Text("x"),), "p/a", stop, Usage(used, 1, used - 1))  # type: ignore[arg-type]
    assert target.overflowed(REQUEST, answer) is over


def heard(tail: Tail, reader_items: list[object]) -> list[str]:
    return [item.text if isinstance(item, TextDelta) else item.type for item in reader_items]  # type: ignore[union-attr]


async def test_words_that_were_carried_over_an_event_are_taken_back_also_where_nothing_came_since() -> None:
    tail = Tail(StreamId("t/s"), 0)
    reader, _ = tail.join()
    events = told(ModelFailed("connection", "x"), ModelFailed("overloaded", "y"))
    tail.publish([TextDelta("one")], 0)
    assert tail.heard(0) == [TextDelta("one")]
    tail.commit(events[:1])
    assert tail.heard(1) == []
    tail.reset("overloaded", 1)
    tail.reset("overloaded", 1, carried=True)
    tail.commit(events[1:])
    assert heard(tail, list(await reader.take())) == ["one", "model.failed", "reset", "model.failed"]


async def test_what_is_taken_back_before_its_events_are_durable_is_taken_back_behind_them() -> None:
    tail = Tail(StreamId("t/s"), 0)
    reader, _ = tail.join()
    events = told(ModelFailed("connection", "x"), ModelFailed("overloaded", "y"))
    tail.publish([TextDelta("one")], 0)
    tail.publish([TextDelta("two")], 1)  # the first event is written, and not durable yet
    assert tail.heard(1) == [TextDelta("two")]
    tail.reset("overloaded", 1, carried=True)
    tail.commit(events)
    assert heard(tail, list(await reader.take())) == ["one", "model.failed", "reset", "model.failed"]
    assert Reset("overloaded").type == "reset"


def failure(model: str, code: str = "overloaded", again: bool = True, **more: object) -> ModelFailed:
    return ModelFailed(code, f"{model} failed", again, model=model, **more)  # type: ignore[arg-type]


def test_who_is_asked_after_a_failure_and_when_is_what_the_failure_says() -> None:
    partial = AssistantMessage((Text("one"),), "p/a")
    log = [*opened(Limits(model_retries=0)), failure("p/a", next="p/b", next_at=5, partial=partial, mode="continue")]
    state = replay(told(*log))
    assert decide(state, 10) == CallModel(5)
    assert state.run is not None
    assert (state.run.next, state.run.partial) == ("p/b", partial)
    lost = replay(told(*log, failure("p/b", "lost", partial=partial, mode="continue")))
    assert lost.run is not None
    assert (decide(lost, 10), lost.run.partial, lost.run.next) == (CallModel(5), partial, "p/b")
    over = replay(told(*log, failure("p/b", "timeout", again=False)))
    assert decide(over, 10) == Finish("failed", "no model of 2 answered: overloaded: p/a failed; timeout: p/b failed")
    answered = replay(told(*log, ModelFinished(AssistantMessage((Text("x"),), "p/b"))))
    assert answered.run is not None
    assert (answered.run.tried, answered.run.next, answered.run.partial) == ((), "", None)


def test_a_log_of_before_there_were_chains_means_what_it_meant() -> None:
    old = [*opened(), ModelFailed("overloaded", "full", True, 7), ModelFailed("overloaded", "still full", True, 7)]
    state = replay(told(*old, at=1_000))
    assert decide(state, 10) == CallModel(1_000 + 1_000_000)
    assert state.run is not None
    assert state.run.failure == "overloaded: still full"


def test_routes_make_chains_with_their_policy() -> None:
    routes = Routes(FakeClock(), failover=Failover(tries=5, bench_after=1))
    made = routes.chain([first := Target(Silent("p/a"), None), Target(Silent("p/b"), None)], 9)
    made.failed("p/a", "overloaded", "full")
    assert made.names == ("p/a", "p/b")
    assert routes.health.left("p/a") == 30
    made.failed("p/b", "invalid_request", "no")
    made.failed("p/b", "model_not_found", "no")
    assert routes.health.left("p/b") == 0
    made.succeeded(first)
    assert not routes.health.troubled
