"""Whether an embedder can do what it is asked, before anything is sent.

Pure. What is refused here is refused in words that say what would be taken; nothing that was asked for is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from holdfast.errors import UsageError
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.port import ENCODINGS, TASKS, EmbedRequest, Encoding, Task

__all__ = ("check_request", "sizes_of")


def check_request(
    request: EmbedRequest, card: EmbedderCard, tasks: AbstractSet[Task], encodings: AbstractSet[Encoding]
) -> None:
    """Ends quietly when the embedder of that card takes the request, as far as can be said without its texts.

    Raises:
        UsageError: it does not; says what it takes.
    """
    name = card.name
    if isinstance(request.texts, str):
        raise UsageError(f"{name!r} embeds a list of texts and was given one text: put it into a list")
    if request.task is not None and request.task not in tasks:
        known = _listed([task for task in TASKS if task in tasks])
        takes = f"it knows {known}" if known else "it knows none, so give no task"
        raise UsageError(f"{name!r} does not know the task {request.task!r}: {takes}")
    if request.encoding not in encodings:
        known = _listed([encoding for encoding in ENCODINGS if encoding in encodings])
        raise UsageError(f"{name!r} cannot give the encoding {request.encoding!r}: ask for {known}")
    if request.dimensions is not None:
        _check_dimensions(request.dimensions, card)
        if request.encoding in ("binary", "ubinary") and request.dimensions % 8:
            raise UsageError(
                f"vectors of {request.dimensions} bits fill no whole bytes: ask {name!r} for a multiple of 8 dimensions"
            )


def _check_dimensions(wanted: int, card: EmbedderCard) -> None:
    own, least = card.dimensions, card.min_dimensions
    if wanted < 1:
        raise UsageError(f"vectors of {wanted} dimensions do not exist: ask {card.name!r} for at least 1")
    if own is None or wanted == own:
        return
    if least is None:
        raise UsageError(
            f"vectors of {card.name!r} always have {own} dimensions and {wanted} were asked for: leave them out"
        )
    if card.sizes and wanted not in card.sizes:
        raise UsageError(f"{card.name!r} cannot give {wanted} dimensions: ask for {_listed(card.sizes)}")
    if not least <= wanted <= own:
        raise UsageError(f"{card.name!r} cannot give {wanted} dimensions: ask for {least} to {own}")


def sizes_of(texts: Sequence[str], name: str) -> list[int]:
    """Returns the length of each text in bytes.

    Raises:
        UsageError: one is no text, cannot be sent as UTF-8, or is empty; says which.
    """
    sizes: list[int] = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what users give
            raise UsageError(f"item {index} for {name!r} is no text but {type(text).__name__!r}: embed its words")
        if not text:
            raise UsageError(f"text {index} for {name!r} is empty, and there is no vector of nothing: leave it out")
        try:
            sizes.append(len(text) if text.isascii() else len(text.encode()))
        except UnicodeEncodeError:
            raise UsageError(
                f"text {index} for {name!r} holds half a character (a lone surrogate): "
                "decode it again with errors='replace'"
            ) from None
    return sizes


def _listed(items: Sequence[object]) -> str:
    words = [repr(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else ""
