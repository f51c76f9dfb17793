"""Which characters the bytes of a file stand for, and back without changing one that was not touched.

A byte order mark says what a file is; without one it is UTF-8. Bytes that are no UTF-8 become characters that no
text has (lone surrogates) and turn into the same bytes again.
"""

from __future__ import annotations

import codecs

import msgspec

__all__ = ("UTF8", "Encoding", "decode", "encode", "encoding_of")


class Encoding(msgspec.Struct, frozen=True, gc=False):
    """How a file writes its characters."""

    name: str
    """As `codecs` and people call it."""
    mark: bytes = b""
    """What the file begins with."""

    @property
    def errors(self) -> str:
        """How what is no character is carried along."""
        return "surrogateescape" if self.name == "utf-8" else "surrogatepass"


UTF8 = Encoding("utf-8")

_MARKED = (
    Encoding("utf-8", codecs.BOM_UTF8),
    # The longer ones first: the mark of UTF-16 is how this one begins.
    Encoding("utf-32-le", codecs.BOM_UTF32_LE),
    Encoding("utf-32-be", codecs.BOM_UTF32_BE),
    Encoding("utf-16-le", codecs.BOM_UTF16_LE),
    Encoding("utf-16-be", codecs.BOM_UTF16_BE),
)


def encoding_of(beginning: bytes) -> Encoding:
    """Returns what the first four bytes of a file say of it."""
    return next((each for each in _MARKED if beginning.startswith(each.mark)), UTF8)


def decode(data: bytes) -> tuple[str, Encoding]:
    """Returns a file's text, without the mark, and its encoding.

    Raises:
        UnicodeDecodeError: the mark says UTF-16 or UTF-32, and that is not what follows.
    """
    encoding = encoding_of(data)
    return data[len(encoding.mark) :].decode(encoding.name, encoding.errors), encoding


def encode(text: str, encoding: Encoding) -> bytes:
    """Returns the bytes of a text from `decode`, with the mark.

    Raises:
        UnicodeEncodeError: the text holds what this encoding cannot write.
    """
    return encoding.mark + text.encode(encoding.name, encoding.errors)
