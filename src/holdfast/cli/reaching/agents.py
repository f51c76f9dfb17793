"""Which of a server's agents answers."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.cli.reaching.port import Offered
from holdfast.errors import UsageError
from holdfast.errors.hinting import hint

__all__ = ("chosen",)


def chosen(agents: Sequence[Offered], named: str) -> Offered:
    """Returns the agent of a name; without one the only one there is.

    Raises:
        UsageError: there is none, or there are several and none is named.
    """
    if not agents:
        raise UsageError("this server has no agent that may be asked with this key: ask whoever runs it for one")
    if not named and len(agents) == 1:
        return agents[0]
    names = [each.name for each in agents]
    if not named:
        raise UsageError(f"this server has several agents ({', '.join(names[:20])}): say which with --agent")
    found = next((each for each in agents if each.name == named), None)
    if found is None:
        raise UsageError(f"the server has no agent {named!r}: {hint(named, names)}")
    return found
