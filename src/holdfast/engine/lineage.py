"""Where a run comes from that another run started: who waits for it, and who stands above it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from holdfast.types import Digest, Limits, SnapshotRef, StreamId, digest_of

__all__ = (
    "Ancestor",
    "Lineage",
    "child_named",
    "child_token",
    "comes_back",
    "is_child",
    "narrowed",
    "refusal",
    "start_key",
)

_CHILD = re.compile(r"c-[0-9a-f]{20}")


class Ancestor(msgspec.Struct, frozen=True, gc=False):
    """A run that stands above another one."""

    stream: StreamId
    agent: Digest
    """Its agent's spec."""


class Lineage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a run that was started by a call of another one knows of it."""

    token: str
    """What the call waits under that wants to know how it ended."""
    line: tuple[Ancestor, ...]
    """The runs above it, the root's first, its parent's last."""
    origin: str = ""
    """The folder its own was made from; empty when it has none of its own."""
    files: tuple[SnapshotRef, ...] = ()
    """How its files are in the beginning."""
    account: tuple[str, ...] = ()
    """Where it takes what it spends, if anything bounds that: its root's account."""
    phase: bool = False
    """Whether it is a phase of a pipeline, which wants its words as they are, however it ended."""
    family: tuple[str, ...] = ()
    """The account in which all sessions are counted that its root's run and those below it start."""

    @property
    def parent(self) -> StreamId:
        """The session that waits for it."""
        return self.line[-1].stream


def child_named(parent: StreamId, key: str) -> str:
    """Returns the name of the session that a call starts, by the call's key: the same, however often it is made."""
    return f"c-{digest_of(f'{parent} {key}'.encode())[7:27]}"


def is_child(name: str) -> bool:
    """Returns whether a session is called as those are that calls start."""
    return _CHILD.fullmatch(name) is not None


def child_token(name: str) -> str:
    """Returns what a call waits under for a session it started."""
    return f"child:{name}"


def start_key(token: str) -> str:
    """Returns the key of the prompt of the session that a call waits for."""
    return f"start:{token}"


def comes_back(key: str) -> bool:
    """Returns whether words with that key came from a pipeline, or came back to one, that wants them back if their run
    is over.
    """
    return key.startswith(("passed:", "returned:"))


def refusal(line: Sequence[Ancestor], agent: Digest, limits: Limits, started: int) -> str:
    """Returns why no child may be started; empty when one may.

    `line` ends with the run that wants to; `started` is how many children it has started by now.
    """
    if any(above.agent == agent for above in line):
        return "it stands above this run already, and agents that call each other in a circle come to no end"
    if limits.depth <= 0:
        return "this run may start no others: it lies as deep as one may"
    if started >= limits.children:
        return f"this run has started {started} others, as many as it may"
    return ""


def narrowed(own: Limits, above: Limits, seconds_left: float | None) -> Limits:
    """Returns the limits of a child: its own, and no wider than its parent's in depth, money and time."""

    def least(first: float | None, second: float | None) -> float | None:
        return first if second is None else second if first is None else min(first, second)

    tokens = least(own.tokens, above.tokens)
    return msgspec.structs.replace(
        own,
        depth=min(own.depth, above.depth - 1),
        descendants=min(own.descendants, above.descendants),
        tokens=None if tokens is None else int(tokens),
        dollars=least(own.dollars, above.dollars),
        seconds=least(own.seconds, seconds_left),
    )
