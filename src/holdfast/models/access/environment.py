"""What a model was made with of the environment, and whether that still holds.

It is asked before each call, so it costs as little as it can: the names are looked up at once, as they stand in the
dict behind `os.environ`, where there is one.

Not here: what is made of a change (`making.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ("Reading", "same_in")


class Reading(Mapping[str, str]):
    """An environment with something laid over it, that remembers what was read of what is below."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.over: Mapping[str, str | None] = {}
        """What lies over it; None for what is not to be seen."""
        self.read: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        value = self.over[name] if name in self.over else self.below(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter({*self._env, *self.over})

    def __len__(self) -> int:
        return len({*self._env, *self.over})

    def below(self, name: str) -> str | None:
        """Returns what the environment itself says, whatever lies over it."""
        value = self.read[name] = self._env.get(name)
        return value


def same_in(env: Mapping[str, str], read: Mapping[str, str | None]) -> Callable[[], bool]:
    """Returns a function that says whether an environment still says what was read of it."""
    known: Any = env
    names: tuple[Any, ...] = tuple(read)
    values: tuple[Any, ...] = tuple(read.values())
    if env is os.environ and isinstance(behind := vars(env).get("_data"), dict):
        # What Python's own `get` does for each name, done once: a name that is not set costs it two exceptions.
        names = tuple(map(known.encodekey, names))
        values = tuple(None if each is None else known.encodevalue(each) for each in values)
        known = behind  # pyright: ignore[reportUnknownVariableType] - of whatever the platform keeps
    look: Callable[[Any], Any] = known.get
    return lambda: tuple(map(look, names)) == values
