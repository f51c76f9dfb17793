"""What an earlier call gave back and was too long for the model, as a source of pages.

It is a blob and no file: its name is what the model was told below the part it saw, and opens nothing else. A line
that is longer than is ever shown is broken into several, so that all of it can be read.
"""

from __future__ import annotations

import io
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


def pages_of(data: bytes) -> io.BytesIO:
    """Returns a source of its lines, long ones broken."""
    text = data.decode("utf-8", "replace").replace("\0", "\u2400")
    return io.BytesIO("".join(_broken(text)).encode())


def _broken(text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        while len(line) > WIDTH:
            yield f"{line[: WIDTH - 1]}\n"
            line = line[WIDTH - 1 :]  # noqa: PLW2901 - what is left of it
        yield line
