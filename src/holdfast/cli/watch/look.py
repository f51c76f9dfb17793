"""Colours of the screen, on dark and on light ground."""

from __future__ import annotations

from rich.terminal_theme import TerminalTheme
from textual.theme import Theme

__all__ = ("ANSI", "THEMES")

THEMES = (
    Theme(
        name="holdfast-dark",
        primary="#5fb8ad",
        secondary="#7fa6d8",
        accent="#e2a95c",
        warning="#e2a95c",
        error="#e0696b",
        success="#84b66a",
        foreground="#d5d9de",
        background="#12161b",
        surface="#171c22",
        panel="#2b333d",
        dark=True,
    ),
    Theme(
        name="holdfast-light",
        primary="#16756b",
        secondary="#2d5f9e",
        accent="#9a5b06",
        warning="#9a5b06",
        error="#b3262b",
        success="#3c7a1f",
        foreground="#22272e",
        background="#fbfaf7",
        surface="#f4f2ed",
        panel="#d5d0c6",
        dark=False,
    ),
)
"""The grounds there are, the default first."""


def _ansi(*names: str) -> TerminalTheme:
    """Returns sixteen colours from background, foreground and the eight names."""
    background, foreground, *eight = [_rgb(name) for name in names]
    return TerminalTheme(background, foreground, eight, eight)


def _rgb(name: str) -> tuple[int, int, int]:
    return int(name[1:3], 16), int(name[3:5], 16), int(name[5:7], 16)


ANSI = {
    True: _ansi(
        *("#12161b", "#d5d9de"),
        *("#5b6672", "#e0696b", "#84b66a", "#e2a95c", "#7fa6d8", "#c08fd0", "#5fb8ad", "#d5d9de"),
    ),
    False: _ansi(
        *("#fbfaf7", "#22272e"),
        *("#8a8578", "#b3262b", "#3c7a1f", "#9a5b06", "#2d5f9e", "#7d3f96", "#16756b", "#22272e"),
    ),
}
"""What the terminal's colour names mean here, by whether the ground is dark."""
