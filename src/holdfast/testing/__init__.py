"""The test kit: what a program built on Holdfast is tested with.

Purpose: a scripted model server with faults, a fake clock, conformance kits for ports, doubles that behave.
Knows: every room below it.
Must not know: pytest; the command line.
Start reading at: `model_server.py`, then `scripts.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` hands out, for type checkers and editors
    from holdfast.testing.model_server import Bounds, ScriptedModelServer
    from holdfast.testing.recording import Exchange, Report
    from holdfast.testing.scripts import Call, Canned, ScriptRequest, Tokens, Turn, When

_WHERE = {
    "Bounds": "model_server",
    "Call": "scripts",
    "Canned": "scripts",
    "Exchange": "recording",
    "Report": "recording",
    "ScriptRequest": "scripts",
    "ScriptedModelServer": "model_server",
    "Tokens": "scripts",
    "Turn": "scripts",
    "When": "scripts",
}

__all__ = (
    "Bounds",
    "Call",
    "Canned",
    "Exchange",
    "Report",
    "ScriptRequest",
    "ScriptedModelServer",
    "Tokens",
    "Turn",
    "When",
)


def __getattr__(name: str) -> object:
    """Loads a name when it is first asked for, so that using one double does not load a server."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
