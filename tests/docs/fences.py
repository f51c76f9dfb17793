"""The fenced blocks of a document, and what each is there for.

The first word behind the opening fence is the language, the second its role:

    ```python agent.py     a program: kept as that file beside the others of its page, and run
    ```python a.py later   the same, and not run: a command of the page does that
    ```sh                  commands, one a line
    ```yaml answers.yaml   a script of the scripted model, kept as that file
    ```yaml ~/.config/…    settings, kept as the reader's own
    ```text notes.txt      any other file, kept
    ```text output         what the block before it prints; `...` stands for anything
    ```text                a picture or a listing; only read
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ("Fence", "fences", "prose")

_OPEN = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)$")


@dataclass(frozen=True)
class Fence:
    """One fenced block."""

    where: str
    language: str
    role: str
    text: str


def fences(text: str, name: str) -> Iterator[Fence]:
    """Yields the blocks of a document in order; one that is never closed is an error."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        opened = _OPEN.match(line)
        if opened is None:
            continue
        where, indent = f"{name}:{number}", len(opened["indent"])
        body: list[str] = []
        for _, inner in lines:
            if inner.strip() == opened["ticks"]:
                break
            body.append(inner[indent:])
        else:
            raise ValueError(f"{where}: the block is never closed")
        language, _, role = opened["info"].strip().partition(" ")
        yield Fence(where, language, role.strip(), "\n".join(body) + "\n")


def prose(text: str) -> str:
    """Returns a document without its fenced blocks."""
    kept: list[str] = []
    ticks = ""
    for line in text.splitlines():
        opened = _OPEN.match(line)
        if not ticks and opened:
            ticks = opened["ticks"]
        elif ticks and line.strip() == ticks:
            ticks = ""
        elif not ticks:
            kept.append(line)
    return "\n".join(kept)
