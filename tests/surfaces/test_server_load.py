"""Many streams of one server at once: a slice of the bench's load, held to what is right and not to how fast it is."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bench.load.__main__ import judge
from bench.load.measuring import Load, faults_in, measure
from tests.running import MODEL, scene
from tests.serving import serving
from tests.surfaces.listening import asked, drain

from holdfast import Agent

SLICE = Load(active=100, idle=300, rate=1000, deltas=25, window=2.0, windows=2, warm=2.0, turns=2)
LATE = 5_000
"""Milliseconds within which half of the deltas are read, however busy the machine is."""


@pytest.mark.requirement("server_load:once-and-in-order", "server_load:text-since-reset")
async def test_of_many_live_streams_each_hears_every_event_once_in_order_and_the_whole_answer() -> None:
    seen = await measure("holdfast", SLICE)
    assert faults_in(seen) == []
    assert seen["answers"] >= 100, "whole answers were compared"
    assert seen["total"] >= 12 * seen["answers"]
    assert seen["events"] > 3 * seen["answers"]
    assert seen["p50"] < LATE
    assert 0 < seen["kib_per_stream"] < 100


FINE: dict[str, Any] = {
    "rate": 20_000,
    "p99": 4.9,
    "windows": [{"mib": 400}] * 12,
    "wrong": [],
    "lagged": 0,
    "ended": 0,
    "silence": 14.0,
    "total": 1,
}


@pytest.mark.requirement("server_load:late-deltas", "server_load:idle-streams")
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"p99": 5.1, "windows": [{"mib": 400}] * 6}, "p99 5.1 ms > 5 ms"),
        ({"windows": [{"mib": 400}] * 11 + [{"mib": 450}]}, "memory grew from 400 to 450 MiB"),
        ({"rate": 19_000}, "the machine is too busy to judge it"),
        ({"silence": 15.5}, "an idle stream was silent for 15.5 s"),
        ({"lagged": 1}, "1 lagged"),
        ({"ended": 3}, "3 ended"),
        ({"wrong": ["a1: event 7 after 5"]}, "a1: event 7 after 5"),
        ({"total": 0}, "no delta came"),
    ],
)
def test_the_bench_of_the_load_fails_where_one_of_its_promises_is_broken(odd: dict[str, Any], said: str) -> None:
    assert judge(FINE, Load()) == []
    (found,) = judge({**FINE, **odd}, Load())
    assert said in found


@pytest.mark.requirement("server_load:flat")
async def test_sessions_that_are_over_leave_no_object_behind(tmp_path: Path) -> None:
    there: list[Counter[str]] = []
    async with (
        scene(lambda _: "Hello.", url=f"sqlite:///{tmp_path}/s.db", seconds=60) as s,
        serving({"plain": Agent(MODEL, name="plain")}, runtime=s.runtime) as served,
    ):
        for turn in range(3):
            for number in range(100):
                await asked(served, "hi", name=f"s{turn}.{number}")
                await drain(served, f"s{turn}.{number}")
            gc.collect()
            there.append(Counter(type(each).__qualname__ for each in gc.get_objects()))
    timed = ("Context", "TimerHandle")  # an event loop keeps timers that were cancelled for a while
    grown = {kind: count for kind, count in (there[2] - there[1]).items() if count >= 50 and kind not in timed}
    assert not grown, "of a hundred sessions each leaves something"


@pytest.mark.requirement("server_load:rare-collections")
def test_a_server_looks_for_garbage_rarely_and_finds_it_all_the_same() -> None:
    program = """
import gc, weakref
from holdfast.cli.serve.collecting import collect_rarely

class Node: ...

def circle():
    node = Node()
    node.own = node
    return weakref.ref(node)

collect_rarely()
looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "start" else None)
gone = circle()
kept = [[] for _ in range(19_000)]
assert gone() is not None and not looks, looks
kept += [[] for _ in range(10_000)]
assert gone() is None and looks == [0], looks
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
