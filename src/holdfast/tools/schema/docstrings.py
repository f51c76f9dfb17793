"""Reads what a docstring in Google style says of a function and of its parameters."""

from __future__ import annotations

import inspect
import re

__all__ = ("split_docstring",)

_ARGUMENTS = re.compile(r"(?:Args|Arguments|Parameters):\s*")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def split_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Returns the docstring without its `Args:` section, and what that section says of each parameter."""
    kept: list[str] = []
    entries: dict[str, list[str]] = {}
    inside = False
    depth: int | None = None
    current: list[str] = []
    for line in inspect.cleandoc(text or "").splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent == 0:
            inside, depth = _ARGUMENTS.fullmatch(line) is not None, None
            if inside:
                continue
        if not inside:
            kept.append(line)
            continue
        if not line.strip():
            continue
        depth = indent if depth is None else depth
        entry = _ENTRY.fullmatch(line.strip()) if indent <= depth else None
        if entry:
            current = entries.setdefault(entry[1], [])
            current.append(entry[2])
        else:
            current.append(line.strip())
    described = {name: " ".join(part for part in parts if part) for name, parts in entries.items()}
    return "\n".join(kept).strip(), described
