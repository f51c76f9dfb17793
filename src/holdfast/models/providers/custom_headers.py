"""Headers that a person gave in a variable of the environment: lines of `Name: value`.

Official clients read such a variable and send what it says in the place of what they would send themselves. Not here:
which variable, and what else is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ("bearer", "read_headers", "secrets_in")

_CREDENTIALS = ("api-key", "x-api-key", "authorization", "proxy-authorization")
_SCHEMES = ("bearer", "basic")
_PARTING = re.compile(r"[\s;,=]+")
_SHORTEST_VALUE, _SHORTEST_WORD = 4, 7


def read_headers(lines: str) -> dict[str, str]:
    """Returns the headers by their names in lower case; a line without a colon is none."""
    pairs = [line.partition(":") for line in lines.split("\n") if ":" in line]
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


def bearer(authorization: str) -> str:
    """Returns what stands behind `Bearer`, however that is written; the whole where there is no such word."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else authorization.strip()


def secrets_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Yields what of headers may be secret: each value, and each of its words that is long enough.

    A server may repeat a token without its scheme, or one of several cookies. Shorter ones are no secrets, and would
    blank ordinary words.
    """
    for name, value in headers.items():
        least = 1 if name in _CREDENTIALS else _SHORTEST_WORD
        yield from (word for word in _PARTING.split(value) if len(word) >= least and word.lower() not in _SCHEMES)
        if name in _CREDENTIALS or len(value) >= _SHORTEST_VALUE:
            yield value
