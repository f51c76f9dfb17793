"""The environment commands start with: clean, so that no key of ours reaches them.

Nothing is passed on because nobody forbade it; a few variables are passed on because programs cannot do without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ("clean_environment",)

_DEFAULTS = {"PATH": os.defpath, "HOME": "/", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "USER": "user"}


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns PATH, HOME, LANG, TMPDIR and USER as this process has them, a dumb TERM, and then `extra`."""
    environment = {name: os.environ.get(name) or default for name, default in _DEFAULTS.items()}
    environment["TERM"] = "dumb"
    environment.update(extra)
    return environment
