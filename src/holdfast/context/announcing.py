"""Tells an answer from the announcement of one.

Some models stop after "Now let me run the tests:" and call nothing. What is told here is only that, and only where it
is plain: whoever asks again because of it would rather miss ten of them than question one good answer. So the text has
to be short, to end with a colon that nothing follows, and its last sentence to say that something is about to come.
Words are English; whatever is written in another language passes.
"""

from __future__ import annotations

import re

__all__ = ("announces",)

_LONGEST = 300
"""Characters of an announcement; a longer text has said something."""
_SOON = re.compile(
    r"(?:(?:ok|okay|now|next|first|then|so|great|good|perfect|alright|right|hmm?|and)[,.!]* +)*"
    r"(?:let me (?!know\b)|let's |i'll |i will |i'm going to |i am going to |i'm about to |here is |here's |here are )",
    re.IGNORECASE,
)
_APOSTROPHE = "\u2019"
_SENTENCES = re.compile(r"(?<=[.!?…])\s+|\n+")


def announces(text: str) -> bool:
    """Returns whether a text only says that something is about to come."""
    said = text.rstrip()
    if not said.endswith(":") or len(said) > _LONGEST or "```" in said:
        return False
    return _SOON.match(_SENTENCES.split(said)[-1].lstrip(" *_#>-").replace(_APOSTROPHE, "'")) is not None
