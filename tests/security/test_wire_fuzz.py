"""What was a stream, an answer or a request once, and was damaged since: never more than one error of ours.

Each case is made from a seed that a failure names. `HOLDFAST_CAMPAIGN=1` makes hundreds of times as many.
"""

from __future__ import annotations

import io
import os
import random
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mutating import damaged, rewritten, shuffled, varied
from tests.wires import (
    WIRES,
    Wire,
    answer_of,
    body_of,
    check_joined,
    cut_anywhere,
    events_of,
    framed,
    parse_request,
    parser_of,
    unframed,
    whole_of,
)

from holdfast.errors import InvalidRequest, ModelError
from holdfast.models.wire.reading import AnswerParser
from holdfast.types import AssistantMessage, Delta

CAMPAIGN = os.environ.get("HOLDFAST_CAMPAIGN") == "1"
STREAMS = 10_000 if CAMPAIGN else 150
REQUESTS = 10_000 if CAMPAIGN else 150
REPEATS = 5_000 if CAMPAIGN else 400
LINE_CHARS = 1000
LIMIT = 1000
"""Characters an answer may have where memory is measured."""
SHARE = 40
"""Bytes kept for each character that an answer may have, at most."""
FIXED = 10_000
"""Bytes that a parser takes besides."""


def stream_of(wire: Wire, chance: random.Random) -> bytes:
    """Returns a stream or an answer with something wrong in it."""
    events = events_of(wire, answer_of(chance), chance.choice((None, 1, 4)))
    others = [*(framed(wire, each.encode()) for each in wire.more), *events_of(wire, answer_of(chance))]
    how = chance.randrange(6)
    if how == 0:
        return damaged(b"".join(events), chance)
    if how == 1:
        return rewritten(whole_of(wire, answer_of(chance)), chance)
    for _ in range(chance.choice((0, 1, 4))):
        events.insert(chance.randrange(len(events) + 1), chance.choice(others))
    if how in (2, 3):
        events = shuffled(events, others, chance)
    if how > 2:
        for _ in range(chance.choice((1, 1, 2, 5)) if events else 0):
            place = chance.randrange(len(events))
            if data := unframed(wire, events[place]):
                events[place] = framed(wire, rewritten(data, chance))
    return b"".join(events)


def outcome(name: str, pieces: Iterable[bytes], max_chars: int = 1 << 20) -> AssistantMessage | ModelError:
    """Returns what reading comes to; raises when it is anything else, or not what the deltas said."""
    parser = parser_of(name, max_chars)
    deltas: list[Delta] = []
    try:
        for piece in pieces:
            deltas += parser.feed(piece)
        deltas += parser.end()
        message = parser.message()
    except ModelError as error:
        assert str(error).isprintable()
        assert len(str(error)) < LINE_CHARS
        return error
    check_joined(message, deltas)
    assert msgspec.json.decode(msgspec.json.encode(message), type=AssistantMessage) == message, "no log can keep it"
    assert all(call.id for call in message.calls)
    assert len({call.id for call in message.calls} | {"a"}) == len(message.calls) + 1, "ids are doubled, or taken"
    return message


def same(one: AssistantMessage | ModelError, other: AssistantMessage | ModelError) -> bool:
    return type(one) is type(other) if isinstance(one, ModelError) else one == other


@pytest.mark.requirement("hostile:wire-fuzz", "hostile:wire-fuzz-cuts")
@pytest.mark.parametrize("name", WIRES)
def test_a_damaged_stream_is_an_answer_that_its_deltas_join_to_or_one_error(name: str) -> None:
    came: set[type] = set()
    for seed in range(STREAMS):
        chance = random.Random(f"{name} {seed}")
        data = stream_of(WIRES[name], chance)
        try:
            whole, cut = outcome(name, [data]), outcome(name, cut_anywhere(data, chance))
            assert same(whole, cut), f"cut, it is another answer: {whole!r} and {cut!r}"
        except Exception as error:
            error.add_note(f"stream {seed} of {name}: {data[:2000]!r}")
            raise
        came.add(type(whole))
    assert AssistantMessage in came, "nothing was damaged a little"
    assert len(came) > 1, "nothing was damaged"


@pytest.mark.requirement("hostile:wire-fuzz-limit")
@pytest.mark.parametrize("name", WIRES)
def test_a_damaged_stream_is_never_read_past_the_bound_of_an_answer(name: str) -> None:
    for seed in range(STREAMS // 5):
        chance = random.Random(f"{name} short {seed}")
        events = shuffled(events_of(WIRES[name], answer_of(chance), None), [b""], chance)
        limit = chance.choice((1, 50, 400))
        read = outcome(name, events, limit)
        if isinstance(read, AssistantMessage):
            kept = len(read.text) + sum([len(call.arguments) + len(call.name) for call in read.calls])
            assert kept <= limit, f"seed {seed}"


@pytest.mark.requirement("hostile:wire-fuzz")
@pytest.mark.parametrize("name", WIRES)
@given(data=st.binary(max_size=200), texts=st.lists(st.binary(max_size=30), max_size=4))
def test_any_bytes_at_all_are_one_error_or_an_answer(name: str, data: bytes, texts: list[bytes]) -> None:
    outcome(name, [data])
    outcome(name, [framed(WIRES[name], b'{"%b":1}' % text) for text in texts])


@pytest.mark.requirement("hostile:request-fuzz")
@pytest.mark.parametrize("name", WIRES)
def test_a_damaged_request_is_read_or_refused_in_one_line(name: str) -> None:
    body = body_of(name)
    read = 0
    for seed in range(REQUESTS):
        chance = random.Random(f"{name} {seed}")
        sent = (damaged if chance.random() < 0.3 else rewritten)(body, chance)
        try:
            msgspec.json.encode(parse_request(name, sent))
            read += 1
        except InvalidRequest as error:
            assert str(error).isprintable(), f"seed {seed}"
            assert len(str(error)) < LINE_CHARS, f"seed {seed}"
        except Exception as error:
            error.add_note(f"request {seed} of {name}: {sent[:2000]!r}")
            raise
    assert 0 < read < REQUESTS, "all were damaged alike"


# ---- the same again and again -----------------------------------------------------------------------------------


@pytest.mark.requirement("hostile:wire-memory")
@pytest.mark.parametrize("name", WIRES)
def test_no_event_said_again_and_again_takes_memory_without_bound(name: str) -> None:
    """Each kind of event, as it is and with each of its values another one every time."""
    wire = WIRES[name]
    first, *events = _kinds(wire)
    for event in events:
        for make in (lambda _, same=event: same, *varied(event)):
            parser = parser_of(name, LIMIT)
            parser.feed(framed(wire, first))
            _repeat(parser, wire, make)
            kept = _bytes_in(parser, set())
            assert kept < SHARE * LIMIT + FIXED, f"{kept} bytes are kept of {make(1)!r}"


def _repeat(parser: AnswerParser, wire: Wire, make: Callable[[int], bytes]) -> None:
    try:
        for number in range(REPEATS):
            parser.feed(framed(wire, make(number)))
    except ModelError:
        pass


def _kinds(wire: Wire) -> list[bytes]:
    """Returns the JSON of one event of each kind."""
    found: dict[bytes, bytes] = {}
    for seed in range(12):
        for event in events_of(wire, answer_of(random.Random(seed)), None):
            data = unframed(wire, event)
            found.setdefault(re.sub(rb'"(text|thinking|arguments|delta|partial_json)":"[^"]*"|\d', b"", data), data)
    return [each for each in (*found.values(), *(more.encode() for more in wire.more)) if each]


def _bytes_in(thing: object, seen: set[int]) -> int:
    """Returns the memory that something and all it holds takes; code counts for nothing."""
    if id(thing) in seen or isinstance(thing, type) or callable(thing):
        return 0
    seen.add(id(thing))
    if isinstance(thing, msgspec.Raw):
        return len(bytes(thing))
    return sys.getsizeof(thing) + sum([_bytes_in(each, seen) for each in _held(thing)])


def _held(thing: object) -> Iterator[object]:
    if isinstance(thing, str | bytes | bytearray | int | float | io.StringIO | None):
        return
    if isinstance(thing, dict):
        yield from cast("dict[Any, Any]", thing)
        yield from cast("dict[Any, Any]", thing).values()
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from cast("list[object]", thing)
    elif isinstance(thing, msgspec.Struct):
        yield from [getattr(thing, field) for field in thing.__struct_fields__]
    else:
        names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        yield from [getattr(thing, name) for name in names if hasattr(thing, name)]
        yield from getattr(thing, "__dict__", {}).values()
