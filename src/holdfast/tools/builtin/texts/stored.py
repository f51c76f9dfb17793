"""What an earlier call gave back and was too long for the model, as a source of pages.

It is a blob and no file: its name is what the model was told below the part it saw, and opens nothing else. A line
that is longer than is ever shown is broken into several, so that all of it can be read.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.texts.paging import WIDTH
from holdfast.types import Digest

__all__ = ("PREFIX", "load_stored", "pages_of")

PREFIX = "blob:"
"""What the path of such an output begins with."""


async def load_stored(path: str, context: ToolContext) -> bytes:
    """Returns the output that a path stands for.

    Raises:
        ToolFailure: there is none of that name.
    """
    digest = Digest(path.removeprefix(PREFIX))
    try:
        if context.stored is not None:
            return await context.stored(digest)
    except KeyError:
        pass
    raise ToolFailure(f"There is no stored output {path!r}: use the name as it was given.", code="invalid_input")


def pages_of(data: bytes, stop: threading.Event | None = None) -> io.BytesIO:
    """Returns a source of its lines, long ones broken; when `stop` is set it ends early."""
    text = data.decode("utf-8", "replace").replace("\0", "\u2400")
    pages = io.BytesIO()
    for piece in _broken(text):
        if stop is not None and stop.is_set():
            break
        pages.write(piece.encode())
    pages.seek(0)
    return pages


def _broken(text: str) -> Iterator[str]:
    """Yields the text with line ends where a line is too long, many short lines or a piece of a long one at a time."""
    at = 0
    while len(text) - at > WIDTH:
        end = text.rfind("\n", at, at + WIDTH + 1) + 1
        yield text[at:end] if end else f"{text[at : at + WIDTH - 1]}\n"
        at = end or at + WIDTH - 1
    yield text[at:]
