"""What looks like a secret is not shown: of calls that are asked about, and of what is read in logs.

The patterns are those of `safety/redacting.py` (source: Orloj 3.10). What a run says to whoever it works for, its
answer, is not touched, and neither is data that a program reads (`-o json`, `-o jsonl`).
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from rich.text import Text

from holdfast.safety.redacting import MARK, Redactor

__all__ = ("masked", "masked_data", "masked_json", "masked_line")

_LOOKS = Redactor()


def masked(text: str) -> str:
    """Returns a text with a mark in the place of each word that looks like a secret."""
    return _LOOKS.clean(text)


def masked_data(data: Any, name: str = "") -> Any:
    """Returns what JSON can hold, masked; all of a text is, that stands under a name such as `password`."""
    match data:
        case str():
            return MARK if data and name and _is_secret(name) else masked(data)
        case dict():
            return {str(key): masked_data(value, str(key)) for key, value in cast("dict[Any, Any]", data).items()}
        case list() | tuple():
            return [masked_data(each, name) for each in cast("list[Any]", data)]
        case _:
            return data


def masked_json(data: Any) -> str:
    """Returns data as a person reads it, each text of it masked; names of members say nothing here, as a `token` in a
    log is what an answer is known by.
    """
    return msgspec.json.format(msgspec.json.encode(_LOOKS.clean_data(data)), indent=2).decode("utf-8", "replace")


def _is_secret(name: str) -> bool:
    return masked(f"{name}=x") != f"{name}=x"


def masked_line(line: Text) -> Text:
    """Returns a line that is laid out already, masked, with its styles."""
    plain = line.plain
    clean = masked(plain)
    if clean == plain:
        return line
    first, *rest = clean.split(MARK)
    found, at = line[: len(first)], len(first)
    for number, part in enumerate(rest, 1):
        last = number == len(rest)
        begin = len(plain) - len(part) if last else max(at, plain.find(part, at))
        hidden = line[at:begin]
        style = hidden.spans[0].style if hidden.spans else ""
        found = found.append(MARK, style).append_text(line[begin : begin + len(part)])
        at = begin + len(part)
    # What is laid out must say what was redacted, whatever became of its styles.
    return found if found.plain == clean else Text(clean, line.style)
