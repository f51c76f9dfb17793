"""Bytes that were right once: what a broken proxy, a bad disk or somebody hostile makes of them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

__all__ = ("TOKENS", "damaged", "rewritten", "shuffled", "varied")

TOKENS = (
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"-1e999",
    b"1.5",
    b"9" * 30,
    b"9" * 5000,
    b'""',
    b'"\xff\xfe"',
    b'"\\ud800"',
    b'"\\q"',
    b'"\\u0000\\u001b[31m\\n"',
    b'"' + "²".encode() + b'"',
    b'"429"',
    b'"' + b"x" * 3000 + b'"',
    b"[]",
    b"{}",
    b"[[]]",
    b'{"type":"text"}',
    b'{"x":1e999}',
    b'"{\\"x\\":1e999}"',
    b"[" * 3000 + b"]" * 3000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b"[" * 3000,
    b'"' + b"[" * 3000 + b'"',
    b'"{\\"a\\":' + b"[" * 3000 + b'"',
    b"NaN",
    b'[1,null,{},"a"]',
)
"""JSON values nobody asked for, and some that are none."""

_BYTES = (
    b"\n",
    b"\r",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"data:",
    b"event: x\n",
    b"[DONE]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b",",
    b":",
)
_HOLE = re.compile(rb'"@@(\d+)@@"')
_Path = tuple[Any, ...]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Returns bytes with some of them turned, cut out, said twice or put in."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        until = min(len(data), at + chance.choice((1, 1, 3, 30, 400)))
        match chance.randrange(5):
            case 0 if at < len(data):
                data = data[:at] + bytes((data[at] ^ (1 << chance.randrange(8)),)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[until:]
            case 2:
                data = data[:until] + data[at:]
            case 3:
                data = data[:at]
            case _:
                data = data[:at] + chance.choice((*_BYTES, *TOKENS[:15])) + data[at:]
    return data


def shuffled(events: Sequence[bytes], others: Sequence[bytes], chance: random.Random) -> list[bytes]:
    """Returns events with some left out, doubled, swapped, or put in from elsewhere."""
    found = list(events)
    for _ in range(chance.choice((1, 1, 2, 4, 9))):
        at, other = chance.randrange(len(found) + 1), chance.randrange(len(found) + 1)
        match chance.randrange(5):
            case 0:
                del found[at : at + 1]
            case 1:
                found[at:at] = found[other : other + chance.choice((1, 2, 50))]
            case 2 if max(at, other) < len(found):
                found[at], found[other] = found[other], found[at]
            case 3:
                del found[at:other]
            case _:
                found.insert(at, chance.choice(others))
    return found


def rewritten(data: bytes, chance: random.Random) -> bytes:
    """Returns JSON with values, keys or whole branches in it changed; what is none is damaged instead."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return damaged(data, chance)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = _places(value)
        if not places:
            break
        path = chance.choice(places)
        held = _at(value, path[:-1])
        match chance.randrange(6):
            case 0:
                del held[path[-1]]
            case 1 if isinstance(held, dict):
                cast("dict[Any, Any]", held)[chance.choice(("type", "index", "", "x", "error"))] = held[path[-1]]
            case 2:
                held[path[-1]] = json.loads(json.dumps(_at(value, chance.choice(places))))
            case _:
                held[path[-1]] = f"@@{chance.randrange(len(TOKENS))}@@"
    return _HOLE.sub(lambda found: TOKENS[int(found[1])], json.dumps(value).encode())


def varied(data: bytes) -> list[Callable[[int], bytes]]:
    """Returns makers of JSON like this one, which differ from call to call in one of its values."""
    value = json.loads(data)
    made: list[Callable[[int], bytes]] = []
    for path in _places(value):
        held, last = _at(value, path[:-1]), path[-1]
        was = held[last]
        if isinstance(was, str | int) and not isinstance(was, bool):
            held[last] = "@@0@@"
            before, _, after = json.dumps(value).encode().partition(b'"@@0@@"')
            quote = b'"' if isinstance(was, str) else b""
            made.append(lambda n, b=before, a=after, q=quote: b"%b%b%d%b%b" % (b, q, n, q, a))
            held[last] = was
    return made


def _places(value: Any, path: _Path = ()) -> list[_Path]:
    inner: Any = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        inner = enumerate(cast("list[Any]", value))
    found: list[_Path] = []
    for key, each in inner:
        found += [(*path, key), *_places(each, (*path, key))]
    return found


def _at(value: Any, path: _Path) -> Any:
    for key in path:
        value = value[key]
    return value
