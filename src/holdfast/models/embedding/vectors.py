"""Vectors out of the JSON that providers send, and how near two of them are.

Numbers are kept in arrays: a list of Python's floats takes eight times the memory of what a model computes. Signed
bits come as the packed byte less 128, eight dimensions in a byte and the first in its highest bit; so says what
sentence-transformers and vLLM send under Cohere's names.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from operator import mul

import msgspec

from holdfast.models.embedding.port import Embedding, Encoding

__all__ = ("MAX_DIMENSIONS", "floats_of", "read_vector", "similarities", "similarity")

MAX_DIMENSIONS = 65_536
"""The longest vector that is taken."""

_floats = msgspec.json.Decoder(list[float])
_numbers = msgspec.json.Decoder(list[int])
_bytes = msgspec.json.Decoder(bytes)
_BITS = [bytes(1 if byte >> bit & 1 else 255 for bit in range(7, -1, -1)) for byte in range(256)]
"""The eight signs of each byte, as signed bytes."""
_FORMS = {"int8": "b", "uint8": "B", "binary": "b", "ubinary": "B"}


def read_vector(raw: msgspec.Raw, encoding: Encoding, index: int) -> Embedding:
    """Returns the vector of one text from its JSON.

    Raises:
        ValueError: it is none, or one in another encoding.
    """
    try:
        found = _packed(raw, encoding, index) if encoding in _FORMS else _plain(raw, encoding, index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"vector {index} is no vector of numbers in the encoding {encoding!r} ({error})") from None
    if not 0 < len(found.values) <= MAX_DIMENSIONS:
        raise ValueError(f"vector {index} has {len(found.values)} dimensions")
    return found


def _plain(raw: msgspec.Raw, encoding: Encoding, index: int) -> Embedding:
    if bytes(memoryview(raw)[:1]) == b'"':
        data = _bytes.decode(raw)
        if len(data) % 4:
            raise ValueError(f"vector {index} has {len(data)} bytes, which are no 32-bit floats")
        values = array("f", data)
        if sys.byteorder == "big":
            values.byteswap()
    else:
        values, data = array("f", _floats.decode(raw)), b""
    # A sum of finite 32-bit floats is finite in 64 bits, and what is not finite stays so.
    if not math.isfinite(sum(values)):
        raise ValueError(f"vector {index} holds a number that is infinite, none at all, or too large for a float")
    if encoding == "float":
        return Embedding(index, values)
    return Embedding(index, values, data or _little_endian(values))


def _packed(raw: msgspec.Raw, encoding: Encoding, index: int) -> Embedding:
    numbers = array(_FORMS[encoding], _numbers.decode(raw))
    data = numbers.tobytes()
    if encoding in ("int8", "uint8"):
        return Embedding(index, numbers, data)
    # -128..127 counts the packed bytes from -128 on: turning the highest bit over gives 0..255 again.
    bits = [byte ^ 128 for byte in data] if encoding == "binary" else data
    return Embedding(index, array("b", b"".join([_BITS[byte] for byte in bits])), data)


def floats_of(values: array[float], index: int, encoding: Encoding = "float") -> Embedding:
    """Returns the vector of 32-bit floats computed here, as `float` or `base64`."""
    return Embedding(index, values, _little_endian(values) if encoding == "base64" else b"")


def _little_endian(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = array("f", values)
        values.byteswap()
    return values.tobytes()


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the cosine of the angle between two vectors of the same length: 1 for one direction, 0 for nothing in
    common or a vector of zeros, -1 for opposite ones.
    """
    return similarities(one, (other,))[0]


def similarities(one: Sequence[float], others: Iterable[Sequence[float]]) -> list[float]:
    """Returns how near one vector is to each of the others, as `similarity` does."""
    own = list(one)  # numbers that are made once, and not out of an array each time
    length = math.sqrt(sum(map(mul, own, own)))
    found: list[float] = []
    for other in others:
        values = list(other)
        lengths = length * math.sqrt(sum(map(mul, values, values)))
        found.append(max(-1.0, min(1.0, sum(map(mul, own, values)) / lengths)) if lengths else 0.0)
    return found
