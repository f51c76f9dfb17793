"""Which pictures are sent when there are more than a target takes: the newest ones.

**The rule.** Providers keep what a conversation begins with, and charge little for what they kept, but only as long as
the beginning stays equal. To leave out one old picture for each new one would change the beginning with every picture.
So the conversation is divided into pages, from its start, each half of the bound long, and the oldest are left out by
whole pages: after that half of the bound is free again, and the beginning stays as it is until that is used up. What
came last is spared: pictures of the newest message with any are left out only as far as the bound itself demands.

Pages follow from the conversation and nothing else, so that another process, or the same one after a crash, sends the
same bytes. Files are divided by their own size, not the one they are made to have, or each would have to be decoded to
know where the pages are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from holdfast.types import Document, Image, Text

__all__ = ("left_out", "placeholder")


def left_out(needed: int, before: Sequence[int], most: int, latest: int) -> int:
    """Returns how many of the oldest are left out.

    Args:
        needed: How many have to be, so that the bound holds; 0 if it does.
        before: For each item, oldest first, what all before it weigh together; and that of all, last.
        most: The bound, by weight.
        latest: The place of the first item that belongs to what was said last, from 0.
    """
    if not needed:
        return 0
    page = max(1, most // 2)
    ends = (before[needed - 1] // page + 1) * page
    return max(needed, min(bisect_left(before, ends), latest))


def placeholder(part: Image | Document) -> Text:
    """Returns the words that stand where a picture or document was, equal each time."""
    what = "image" if isinstance(part, Image) else "document"
    name = f" {part.name[:100]!r}" if part.name else ""
    return Text(f"[The {what}{name} is left out here: only the newest ones are sent.]")
