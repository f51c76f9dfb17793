"""What a session's log is made of: the envelope, its payload, and the codec between them and bytes.

Only the envelope is known here. The structs of payloads belong to the rooms that append them; a `Codec` is told
of them. A type it was not told of is kept byte for byte: it can be shown and written again, and unless it says
`must_understand` the session can go on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec

from holdfast.types.ids import EventId, TenantId

__all__ = ("Codec", "Event", "Payload", "Scrubbed", "Unknown")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The base of what events say."""

    type: ClassVar[str] = ""
    """The name in the log, `noun.verb`; never reused for another meaning."""
    v: ClassVar[int] = 1
    must_understand: ClassVar[bool] = False
    """Whether a version that does not know this type has to keep its hands off the session."""


class Unknown(Payload, frozen=True, gc=False):
    """A payload of a type this version does not know, verbatim."""

    raw: msgspec.Raw


class Scrubbed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Says that what an event had to say was taken out of it, or some words of that; what it did still counts."""

    at: int
    """µs UTC."""
    by: str = ""
    """Who did it, for example `user`."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One entry of a session's log."""

    seq: int
    """Its place in the stream, from 1, without gaps."""
    id: EventId
    type: str
    at: int
    """µs UTC by the owner's clock."""
    epoch: int
    """Which attempt wrote it."""
    v: int = 1
    tenant: TenantId = TenantId("local")
    actor: str = ""
    """Who caused it, for example `user`; empty for the agent itself."""
    cause: str = ""
    """Key of the message, or id of the event, that led to it."""
    trace: str = ""
    """W3C traceparent, if there was one."""
    key_id: str = ""
    """Which key encrypts the data; empty means none does."""
    must_understand: bool = False
    scrubbed: Scrubbed | None = None
    """Set when content was taken out."""
    data: Payload


class _Envelope(msgspec.Struct, kw_only=True, omit_defaults=True):
    seq: int
    id: EventId
    type: str
    at: int
    epoch: int
    v: int = 1
    tenant: TenantId = TenantId("local")
    actor: str = ""
    cause: str = ""
    trace: str = ""
    key_id: str = ""
    must_understand: bool = False
    scrubbed: Scrubbed | None = None
    data: msgspec.Raw


_encoder = msgspec.json.Encoder()


class Codec:
    """Turns events into bytes and back, for the payload types it was told of."""

    def __init__(self, payloads: Iterable[type[Payload]]) -> None:
        self.kinds = tuple(payloads)
        """The payload types it was told of."""
        self.encode_known: Callable[[Event], bytes] = _encoder.encode
        """As `encode`, of an event whose payload was not decoded here: what is written now is known."""
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._payloads = {kind.type: msgspec.json.Decoder(kind) for kind in self.kinds}

    def knows(self, kind: str) -> bool:
        """Whether events of this type can be folded."""
        return kind in self._payloads

    def encode(self, event: Event) -> bytes:
        """Returns the event as compact JSON; an unknown payload comes out as it went in."""
        if isinstance(event.data, Unknown):
            fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "data"}
            return _encoder.encode(_Envelope(**fields, data=event.data.raw))
        return self.encode_known(event)

    def decode(self, body: bytes) -> Event:
        """Returns the event that `encode` was given.

        Raises:
            msgspec.DecodeError: the bytes are not an event.
        """
        raw = self._envelope.decode(body)
        decoder = self._payloads.get(raw.type)
        data: Payload = decoder.decode(raw.data) if decoder else Unknown(msgspec.Raw(bytes(raw.data)))
        return Event(
            seq=raw.seq,
            id=raw.id,
            type=raw.type,
            at=raw.at,
            epoch=raw.epoch,
            v=raw.v,
            tenant=raw.tenant,
            actor=raw.actor,
            cause=raw.cause,
            trace=raw.trace,
            key_id=raw.key_id,
            must_understand=raw.must_understand,
            scrubbed=raw.scrubbed,
            data=data,
        )
