"""What the input line offers while it is typed: commands and what stands behind them, and paths behind `@`.

Nothing is read from the disk but the one folder that is being named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from holdfast.cli.chat.attaching import place
from holdfast.cli.words import printable

__all__ = ("PATHS", "ChatCompleter")

PATHS = "paths"
"""In place of values, for a command whose argument is a path."""
_MOST = 50
"""Offers at most; who sees more types another letter."""


@final
class ChatCompleter(Completer):
    """Completes one input line."""

    def __init__(
        self,
        commands: Mapping[str, str],
        values: Mapping[str, Callable[[], Iterable[str]] | str],
        folder: Callable[[], Path],
    ) -> None:
        """Takes the commands with what they do, what may stand behind each, or `PATHS`, and where paths begin."""
        self._commands = commands
        self._values = values
        self._folder = folder

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yields what could stand where the cursor is."""
        text = document.text_before_cursor
        word = document.get_word_before_cursor(WORD=True)
        if text.startswith("/") and " " not in text and "\n" not in text:
            yield from self._command(text)
        elif text.startswith("/") and "\n" not in text:
            yield from self._argument(text)
        elif word.startswith("@"):
            yield from self._paths(word[1:])

    def _command(self, text: str) -> Iterator[Completion]:
        for name, about in self._commands.items():
            if name.startswith(text[1:]):
                yield Completion(f"/{name}", start_position=-len(text), display_meta=about)

    def _argument(self, text: str) -> Iterator[Completion]:
        command, _, begun = text[1:].partition(" ")
        values = self._values.get(command)
        if values is None:
            return
        if not callable(values):
            yield from self._paths(begun.lstrip())
            return
        if command == "model":
            begun = begun.rpartition(",")[2]  # of a chain, the model that is being typed
        begun = begun.lstrip()
        fitting = [value for value in values() if begun.lower() in value.lower()]
        for value in sorted(fitting, key=lambda each: not each.startswith(begun))[:_MOST]:
            yield Completion(value, start_position=-len(begun), display=printable(value))

    def _paths(self, begun: str) -> Iterator[Completion]:
        folder, _, start = begun.rpartition("/")
        within = place(f"{folder}/" if folder or begun.startswith("/") else ".", self._folder())
        for name, is_folder in _names(within, start)[:_MOST]:
            end = "/" if is_folder else ""
            yield Completion(f"{name}{end}", start_position=-len(start), display=printable(f"{name}{end}"))


def _names(folder: Path, start: str) -> list[tuple[str, bool]]:
    """Returns the names in a folder that begin so, hidden ones only where that is asked for, folders first."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, entry.is_dir())
                for entry in entries
                if entry.name.lower().startswith(start.lower()) and (start or not entry.name.startswith("."))
            ]
    except (OSError, ValueError):
        return []
    return sorted((each for each in found if each[0].isprintable()), key=lambda each: (not each[1], each[0].lower()))
