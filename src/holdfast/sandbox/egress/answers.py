"""What the proxy says of its own: refusals a program can act on, the record of each decision, and few words on it."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, Literal

import msgspec

__all__ = ("ESTABLISHED", "Decided", "Refused", "Verdict", "answer_of", "denials_of")

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""The answer to a CONNECT that is allowed."""

Verdict = Literal["allowed", "denied", "audit"]
Layer = Literal["connection", "address", "request", "credential", "several"]


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. It holds neither a query nor a value of a credential."""

    verdict: Verdict
    """`audit`: it breaks a rule and passes because the endpoint does not enforce."""
    layer: Layer
    """What was decided about: going to a host and port, dialling an address, one request, or filling values in;
    `several` for decisions that were only counted.
    """
    reason: str
    host: str = ""
    port: int = 0
    address: str = ""
    binary: str = ""
    """The program that asked; empty where nobody knows."""
    pid: int = 0
    """Its process, as the host counts."""
    method: str = ""
    path: str = ""
    policy: str = ""
    """The key of the network policy that decided; empty where none did."""
    rule: str = ""
    """The pattern of the endpoint that decided, as `host:port`."""
    credentials: tuple[str, ...] = ()
    """The keys of credentials that were filled in."""
    count: int = 1
    """How many equal ones this stands for; `pid` is that of the first."""
    first: float = 0.0
    """When the first of them was, in seconds since 1970; 0 before it is in a record."""
    last: float = 0.0


_TOLD: Final = 5
_LONGEST: Final = 300


def denials_of(records: Iterable[object], most: int = _TOLD) -> list[str]:
    """Returns who was not let where, and why, each on one line of plain characters: the first so many, and how many
    more there are. What is no record of a decision is passed over.
    """
    found: dict[str, int] = {}
    for each in records:
        try:
            decided = msgspec.convert(each, Decided)
        except msgspec.ValidationError:
            continue
        if decided.verdict == "denied":
            where = f"{decided.host}:{decided.port}{decided.path}" if decided.host else "elsewhere"
            said = _plain(f"{f'{decided.method} {where}'.lstrip()} {decided.reason}")
            found[said] = found.get(said, 0) + decided.count
    told = [f"{said} ({times:,} times)" if times > 1 else said for said, times in list(found.items())[:most]]
    return [*told, f"and {len(found) - most:,} more"] if len(found) > most else told


def _plain(text: str) -> str:
    """What a program in there wrote can neither end the line nor act on a terminal."""
    clean = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"


class Refused(Exception):
    """A connection or request goes no further; the client is told why."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        reason: str,
        *,
        next_steps: tuple[str, ...] = (),
        decided: Decided | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.error = error
        self.reason = reason
        self.next_steps = next_steps
        self.decided = decided


def answer_of(refused: Refused) -> bytes:
    """Returns the answer that tells a client of a refusal; the connection ends with it."""
    body: dict[str, object] = {"error": refused.error, "detail": refused.reason}
    if (decided := refused.decided) is not None:
        body |= {
            "layer": decided.layer,
            "policy": decided.policy,
            "rule": decided.rule,
            "rule_missing": not decided.policy,
            "host": decided.host,
            "port": decided.port,
            "binary": decided.binary,
            "method": decided.method,
            "path": decided.path,
        }
    body["next_steps"] = list(refused.next_steps)
    data = msgspec.json.encode(body)
    head = (
        f"HTTP/1.1 {refused.status.value} {refused.status.phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + data
