"""The environment commands start with: clean, so that no key of ours reaches them.

Nothing is passed on because nobody forbade it; a few variables are passed on because programs cannot do without.
Two more are marks: `fencing.py` finds by them what a command started, wherever it went.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

__all__ = ("CALL", "OWNER", "clean_environment", "owner_of")

OWNER: Final = "HOLDFAST_OWNER"
"""Names the owner of a command as `<stream>#<epoch>`; whoever gives a workspace to an owner puts it in its `env`."""
CALL: Final = "HOLDFAST_CALL"
"""Names one single command; `processes.run_command` sets it."""

_DEFAULTS = {"PATH": os.defpath, "HOME": "/", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "USER": "user"}


def owner_of(env: Mapping[str, str]) -> tuple[str, int]:
    """Returns whose a command is and the epoch, by the mark in its environment."""
    owner, _, epoch = env.get(OWNER, "").rpartition("#")
    return (owner, int(epoch)) if epoch.isdigit() else ("", 0)


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns PATH, HOME, LANG, TMPDIR and USER as this process has them, a dumb TERM, and then all of `extra`."""
    environment = {name: os.environ.get(name) or default for name, default in _DEFAULTS.items()}
    environment["TERM"] = "dumb"
    environment.update(extra)
    return environment
