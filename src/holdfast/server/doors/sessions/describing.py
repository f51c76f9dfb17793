"""What the events of a stream hold, for the description: made from the types that the log is written with."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from holdfast.engine.events import CODEC
from holdfast.server.problems import Problem
from holdfast.types import Delta, Event

__all__ = ("End", "streamed_events")


class End(msgspec.Struct, frozen=True):
    """The last of a stream that was not cut off."""

    type: Literal["end"]
    reason: Literal["idle", "deleted", "replaced", "closing"]


def streamed_events() -> dict[str, Any]:
    """Returns the type of the JSON of each event, by its name."""
    durable = {kind.type: _durable(kind) for kind in CODEC.kinds}
    passing = {kind.type: _passing(kind) for kind in get_args(Delta)}
    return {**dict(sorted(durable.items())), **passing, "end": End, "error": Problem}


def _durable(kind: Any) -> Any:
    own = {"type": Literal[kind.type], "data": kind}
    return _made(f"{kind.__name__}Event", kind, Event, own)


def _passing(kind: Any) -> Any:
    return _made(kind.__name__, kind, kind, {"type": Literal[kind.type]})


def _made(name: str, about: Any, like: Any, own: dict[str, Any]) -> Any:
    """Returns a struct with the fields of another one, and with some of its own in their place."""
    fields: list[Any] = []
    for each in msgspec.structs.fields(like):
        kind = own.pop(each.name, each.type)
        fields.append((each.name, kind) if each.required else (each.name, kind, each.default))
    namespace = {"__doc__": about.__doc__, "__wrapped__": like}  # as Python marks what was made from another
    return msgspec.defstruct(name, [*own.items(), *fields], kw_only=True, namespace=namespace)
