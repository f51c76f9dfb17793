"""Text to the terms that are compared: the same for names of tools, their descriptions, and what people say.

Names fall into their words (`createIssue`, `create_issue`), and stay findable whole. Letters are compared without case,
accents and the `s` of a plural. Writing without spaces between words is compared by pairs of letters.

Not here: what terms are worth (`ranking.py`), meaning, other languages' endings.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ("COMMON", "terms")

_LONGEST = 64
"""Letters of a term that count."""
_NAMED = 256
"""Letters of a name that count, or of a stretch of text without spaces."""
_NAME = re.compile(r"[^\W_]+(?:[-_]+[^\W_]+)*")
_PARTS = re.compile(r"[-_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DENSE = re.compile("([\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]+)")
"""Thai, Lao, Japanese, Chinese, Korean."""


def terms(text: str) -> list[str]:
    """Returns the terms of a text in their order, as often as they occur."""
    names = _NAME.findall(text if text.isascii() else _plain(text))
    return [term for name in names for term in _terms_of(name[:_NAMED])]


@lru_cache(maxsize=4096)
def _terms_of(name: str) -> tuple[str, ...]:
    """Returns the terms of a word, or of a name made of some; the same few thousand come again and again."""
    parts = [part for part in _PARTS.split(name) if part]
    found = [name.casefold()[:_LONGEST]] if len(parts) > 1 else []
    for part in parts:
        if part.isascii():
            found.append(_singular(part.lower()[:_LONGEST]))
        else:
            found += _scripts(part.casefold())
    return tuple(found)


def _plain(text: str) -> str:
    """Returns a text without accents, and with one form for what can be written in several."""
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join([each for each in apart if unicodedata.category(each) != "Mn"]))


def _scripts(word: str) -> list[str]:
    """Returns a word that is not all of plain letters, in pairs of letters where these stand without spaces."""
    found: list[str] = []
    for place, part in enumerate(_DENSE.split(word)):
        if place % 2 and len(part) > 1:
            found += [part[at : at + 2] for at in range(len(part) - 1)]
        elif part:
            found.append(_singular(part[:_LONGEST]))
    return found


def _singular(word: str) -> str:
    """Returns an English word without the ending of a plural, as far as that can be told from its letters."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zes")) else word[:-1]


COMMON: Final = frozenset(
    terms(
        "a about all also am an and any are as at be been but by can could did do does for from had has have he her "
        "him his how i if in into is it its just let like make may me my need no not now of ok okay on one or our out "
        "please she should so some than thank that the their them then there these they this those to up us use using "
        "want was we were what when where which who will with would yes you your"
    )
)
"""English words that say nothing of what is wanted, as long as there are others."""
