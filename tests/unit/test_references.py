"""What an event refers to is found by what it holds, so that no kind of event can be forgotten."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import pytest

from holdfast.engine import events
from holdfast.engine.events import CODEC
from holdfast.engine.keeping.references import may_refer, references, references_in
from holdfast.engine.letters import Prompt
from holdfast.types import Digest, Event, EventId, Execution, Payload, SnapshotRef, Unknown

PAYLOADS = [each for name in events.__all__ if isinstance(each := getattr(events, name), type) and each is not Payload]
KINDS = [each for each in PAYLOADS if issubclass(each, Payload)]


class Filler:
    """Fills every field of a struct, also those that may stay empty, and remembers what it referred to."""

    def __init__(self) -> None:
        self.digests: set[Digest] = set()
        self.snapshots: set[SnapshotRef] = set()
        self._number = itertools.count(1)

    def digest(self) -> Digest:
        return Digest(f"sha256:{next(self._number):064x}")

    def fill(self, kind: Any, choice: int) -> Any:
        """Returns a value of a type; `choice` picks among alternatives."""
        if kind is Digest:
            self.digests.add(made := self.digest())
            return made
        if kind is SnapshotRef:
            self.snapshots.add(ref := SnapshotRef("tree", self.digest(), whole=True))
            return ref
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            several = [each for each in arguments if each is not NoneType]
            return self.fill(several[choice % len(several)], choice)
        if origin is Literal:
            return arguments[choice % len(arguments)]
        if origin is tuple:
            return tuple(self.fill(each, choice) for each in arguments if each is not Ellipsis)
        if origin is dict:
            return {self.fill(arguments[0], choice): self.fill(arguments[1], choice)}
        return self._plain(kind, choice)

    def _plain(self, kind: Any, choice: int) -> Any:
        if kind is Execution:
            return Execution(sequence=("t",), markers=("m",))  # not any two of its words belong together
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            hints = get_type_hints(kind)
            return kind(**{name: self.fill(hints[name], choice) for name in kind.__struct_fields__})
        if kind is Any:
            return [{"deep": self.fill(Digest, choice)}]
        plain = getattr(kind, "__supertype__", kind)
        assert plain in (str, int, float, bool, bytes), f"teach this test to make a {kind!r}"
        return plain(b"1") if plain is bytes else plain(1)


def made(kind: type[Payload]) -> Iterator[tuple[Payload, Filler]]:
    for choice in range(4):
        filler = Filler()
        yield filler.fill(kind, choice), filler


def event_of(payload: Payload) -> Event:
    return Event(seq=1, id=EventId("e"), type=payload.type, at=1, epoch=1, data=payload)


@pytest.mark.requirement("runtime:references-complete")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_digest_and_snapshot_that_a_kind_of_event_can_hold_is_found(kind: type[Payload]) -> None:
    assert CODEC.knows(kind.type)
    for payload, filler in made(kind):
        decoded = CODEC.decode(CODEC.encode(event_of(payload)))
        found = references(decoded)
        assert set(found.digests) == filler.digests
        assert set(found.snapshots) == filler.snapshots
        if filler.digests or filler.snapshots:
            assert may_refer(CODEC.encode(decoded))


@pytest.mark.requirement("runtime:references-complete")
def test_some_kinds_do_refer_to_blobs_and_some_to_snapshots() -> None:
    fillers = {kind.__name__: next(made(kind))[1] for kind in KINDS}
    assert {name for name, filler in fillers.items() if filler.snapshots} >= {"ToolStarted"}
    assert {name for name, filler in fillers.items() if filler.digests} >= {"RunStarted", "InputReceived"}


@pytest.mark.requirement("runtime:references-complete")
def test_letters_and_events_of_later_versions_are_read_by_their_form() -> None:
    filler = Filler()
    letter = filler.fill(Prompt, 0)
    assert set(references_in(msgspec.json.encode(letter)).digests) == filler.digests
    ref = SnapshotRef("overlay", filler.digest(), ("a",))
    digest = filler.digest()
    raw = msgspec.json.encode({"x": [{"files": ref}, f"see blob:{digest}, {digest}"], digest: 1, "store": "s"})
    later = references(Event(seq=1, id=EventId("e"), type="x.y", at=1, epoch=1, data=Unknown(msgspec.Raw(raw))))
    assert later.snapshots == (ref,)
    assert later.digests == (digest,)
    assert references_in(f"no JSON but {digest}".encode()).digests == (digest,)
    odd = msgspec.json.encode({"store": 1, "manifest": digest})
    assert references_in(odd).digests == (digest,), "what has not quite the form still refers"


@pytest.mark.requirement("runtime:references-complete")
def test_what_only_begins_like_a_digest_refers_to_nothing() -> None:
    for text in ("sha256:", "sha256:12", "SHA256:" + "0" * 64, "0" * 64):
        assert references_in(msgspec.json.encode([text])).digests == ()
    assert cast("tuple[object, ...]", references_in(b'{"a":1.5,"b":null,"c":true}').snapshots) == ()
